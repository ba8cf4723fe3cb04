"""A function's arguments as a payload, and an approved payload as arguments again."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from stacksona._errors import ArgumentsRefused, InvalidRequest

_POSITIONAL_ONLY = inspect.Parameter.POSITIONAL_ONLY
_OTHERS = inspect.Parameter.VAR_KEYWORD


class Arguments:
    """The parameters of one function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        """Raises TypeError for a function whose arguments have no names: ``*args``, methods, generators."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError("a generator runs when it is read, not when it is called: guard a plain function")
        self._signature = inspect.signature(function)
        self._parameters = list(self._signature.parameters.values())
        if any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in self._parameters):
            raise TypeError("arguments without a name cannot be shown and approved: guard a function without *args")
        if self._parameters and self._parameters[0].name in ("self", "cls"):
            raise TypeError("an object cannot be shown and approved: guard a function, and call it from the method")

    def payload(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Every argument by its name, defaults too. Raises TypeError as the function itself would."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        payload: dict[str, Any] = {}
        for one in self._parameters:
            value = bound.arguments[one.name]
            if one.kind is not _OTHERS:
                payload[one.name] = value
            elif payload.keys() & value.keys():
                raise InvalidRequest("two arguments have the same name")
            else:
                payload |= value
        return payload

    def bound(self, payload: Mapping[str, Any]) -> inspect.BoundArguments:
        """The call that was approved, and no other: every argument is named in it. Raises ArgumentsRefused."""
        rest = dict(payload)
        args = [rest.pop(one.name) for one in self._parameters if one.kind is _POSITIONAL_ONLY and one.name in rest]
        missing = [one.name for one in self._parameters if one.kind is not _OTHERS and one.name not in payload]
        try:
            bound = self._signature.bind(*args, **rest)
        except TypeError as error:
            raise ArgumentsRefused(f"the approved payload does not fit the function: {error}") from None
        if missing:
            # A default would be an argument that nobody approved.
            raise ArgumentsRefused(f"the approved payload lacks {', '.join(missing)}")
        return bound
