"""Server-sent events, taken apart where Dify puts them together: one JSON object per event."""

from __future__ import annotations

import json
from typing import Any, Final

BLOCK_MOST: Final = 4 * 1024 * 1024


class TooLong(Exception):
    """One event is over BLOCK_MOST bytes."""


class Splitter:
    """Gives whole events with the empty line at their end, every byte as it came."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        """The events that are whole now. Raises TooLong."""
        found = []
        start = max(0, len(self._rest) - 3)
        self._rest += piece
        while (end := _end(self._rest, start)) is not None:
            found.append(bytes(self._rest[:end]))
            del self._rest[:end]
            start = 0
        if len(self._rest) > BLOCK_MOST:
            raise TooLong
        return found

    @property
    def rest(self) -> bytes:
        """What is left at the end: an event that broke off."""
        return bytes(self._rest)


def _end(buffer: bytearray, start: int) -> int | None:
    """After the first empty line, whichever of the three line ends it has."""
    ends = [(at, at + len(mark)) for mark in (b"\n\n", b"\r\n\r\n", b"\r\r") if (at := buffer.find(mark, start)) >= 0]
    return min(ends)[1] if ends else None


def data_of(block: bytes) -> dict[str, Any] | None:
    """The JSON object of an event; None for pings, comments and what is none."""
    lines = [line for line in block.splitlines() if line.startswith(b"data:")]
    return object_or_none(b"\n".join(line[5:].removeprefix(b" ") for line in lines)) if lines else None


def object_or_none(text: bytes) -> dict[str, Any] | None:
    """What Dify wrote, read as everybody reads it: whatever a workflow has put into it must not stop an event."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
