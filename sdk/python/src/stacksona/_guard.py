"""What a guard is made of, the same for both clients: how a call becomes a question, and which function is which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar, cast

from stacksona._arguments import Arguments
from stacksona._errors import InvalidRequest
from stacksona._gating import Check
from stacksona._requests import ActionRequest, require_tool_name

V = TypeVar("V")
Given: TypeAlias = V | Callable[[dict[str, Any]], V]
"""A value, or a function that makes it of the arguments."""


@dataclass(frozen=True)
class Question:
    """How calls of one guarded function are asked about."""

    tool_name: str
    fields: Mapping[str, Any] = field(repr=False)
    arguments: Arguments = field(repr=False)

    def asked(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], fresh_key: str) -> ActionRequest:
        """One call as a question. Raises TypeError as the function would, and what a field's function raises."""
        payload = self.arguments.payload(args, kwargs)
        # Functions that make texts get a dict of their own: they cannot change what is asked.
        made: dict[str, Any] = {
            name: value(dict(payload)) if callable(value) else value for name, value in self.fields.items()
        }
        task_id = made.pop("task_id") or f"task-{fresh_key}"
        return ActionRequest(task_id=task_id, tool_name=self.tool_name, payload=payload, **made)

    def check(self, payload: dict[str, Any]) -> None:
        """Raises ArgumentsRefused."""
        self.arguments.bound(payload)

    def call(self, function: Callable[..., V], payload: dict[str, Any]) -> V:
        """The action itself."""
        bound = self.arguments.bound(payload)
        return function(*bound.args, **bound.kwargs)


@dataclass(frozen=True)
class Registered:
    """A guarded function by its tool."""

    question: Question
    function: Callable[..., Any]

    def find(self, tool_name: str) -> tuple[str, Check]:
        """The literal name and the check, for a thread of this tool. Raises InvalidRequest for another's."""
        if tool_name != self.question.tool_name:
            raise InvalidRequest(f"that thread is not about {self.question.tool_name}")
        return self.question.tool_name, self.question.check


class Register:
    """Which function runs which tool, for coming back to a thread."""

    def __init__(self) -> None:
        self._tools: dict[str, Registered] = {}

    def add(self, registered: Registered) -> None:
        """Raises ValueError when another function runs the tool: a resumed thread must lead to exactly one."""
        name = require_tool_name(registered.question.tool_name)
        known = self._tools.get(name)
        if known is not None and _name(known.function) != _name(registered.function):
            raise ValueError(f"two functions are guarded as {name}: which one should an approval run?")
        self._tools[name] = registered

    def find(self, tool_name: str) -> tuple[str, Check]:
        """The literal name and the check. Raises InvalidRequest for a tool that no function here is guarded as."""
        return self.named(tool_name).find(tool_name)

    def named(self, tool_name: str) -> Registered:
        """Raises InvalidRequest."""
        if tool_name not in self._tools:
            raise InvalidRequest("no function of this client is guarded as that thread's tool")
        return self._tools[tool_name]


def question(tool_name: str, function: Callable[..., Any], **fields: object) -> Question:
    """``fields`` are those of ActionRequest, or functions that make them. Raises TypeError for what cannot be guarded,
    InvalidRequest for what is no tool's name."""
    return Question(require_tool_name(tool_name), fields, Arguments(function))


def no_check(payload: dict[str, Any]) -> None:
    """An action that takes the payload as it is."""


def _name(function: Callable[..., Any]) -> tuple[str, str]:
    named = cast("Any", function)
    return getattr(named, "__module__", ""), getattr(named, "__qualname__", repr(function))
