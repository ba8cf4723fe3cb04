"""A call's parameters, read strictly: what is not exactly what it should be is refused, never repaired."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NoReturn

from stacksona import InvalidRequest

JSON_MOST: Final = 256 * 1024

_UNRESOLVED: Final = re.compile(r"(?:sys|env|conversation)\..*")


class Given:
    """The parameters of one call. Empty text is what Dify sends for nothing."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._parameters = parameters

    def text(self, name: str) -> str | None:
        """None when it is not given. Raises InvalidRequest for anything but text."""
        value = self._parameters.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise InvalidRequest(f"{name}: text is needed, not {type(value).__name__}")
        return value

    def needed(self, name: str) -> str:
        """As ``text``, of what must be there."""
        value = self.text(name)
        if value is None:
            raise InvalidRequest(f"{name}: is missing")
        return value

    def identifier(self, name: str) -> str | None:
        """As ``text``. Dify puts a missing variable's own name in its place: that would be one id for every run."""
        value = self.text(name)
        if value is not None and _UNRESOLVED.fullmatch(value):
            raise InvalidRequest(f"{name}: Dify had no value for this variable")
        return value

    def needed_identifier(self, name: str) -> str:
        """As ``identifier``, of what must be there."""
        value = self.identifier(name)
        if value is None:
            raise InvalidRequest(f"{name}: is missing")
        return value

    def whole(self, name: str, least: int, most: int) -> int | None:
        """A whole number in its range, None when it is not given. Raises InvalidRequest."""
        value = self._parameters.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
            value = int(value)
        is_whole = isinstance(value, (int, float)) and not isinstance(value, bool) and value == value // 1
        if not is_whole or not least <= value <= most:
            raise InvalidRequest(f"{name}: a whole number from {least} to {most} is needed")
        return int(value)

    def object(self, name: str) -> dict[str, Any] | None:
        """A JSON object, as such or as its text; None when it is not given. Raises InvalidRequest."""
        value = self._parameters.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, dict):
            return value
        if not isinstance(value, str):
            raise InvalidRequest(f"{name}: a JSON object is needed, not {type(value).__name__}")
        return read_object(name, value)

    def lines(self, name: str) -> list[str] | None:
        """Text as its lines, without empty ones."""
        value = self.text(name)
        found = [line.strip() for line in (value or "").splitlines() if line.strip()]
        return found or None


def read_object(name: str, text: str) -> dict[str, Any]:
    """The JSON object that a text is, in its one reading. Raises InvalidRequest.

    A key twice is what a hostile value leaves behind that closed its own quote in somebody's JSON template.
    """
    if len(text) > JSON_MOST:
        raise InvalidRequest(f"{name}: the JSON is too long")
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_exact, parse_int=int
        )
    except _Unclear as error:
        raise InvalidRequest(f"{name}: {error}") from None
    except (ValueError, RecursionError):
        raise InvalidRequest(f"{name}: this is not JSON, such as {{'amount': 40}} with double quotes") from None
    if not isinstance(value, dict):
        raise InvalidRequest(f"{name}: a JSON object is needed")
    return value


class _Unclear(Exception):
    """JSON that two readers could read in two ways."""


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Unclear("a key is there twice in one object")
    return members


def _no_constant(text: str) -> NoReturn:
    raise _Unclear(f"{text} is no JSON number")


def _exact(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or Decimal(text) != Decimal(repr(value)):
        raise _Unclear("a number has more digits than can be kept: send it as text")
    return value
