"""What a check finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chaos.history import OK, Facts, History, Operation


@dataclass(frozen=True, slots=True)
class Violation:
    """``operations``: numbers of those that show it. ``request``: which one it is about, if any."""

    text: str
    operations: tuple[int, ...] = ()
    request: str | None = None


def observations(history: History) -> Iterator[tuple[Operation, Facts]]:
    """Everything that agents were told about a request: one by one, whichever call told it."""
    for operation in history.of("submit", "poll", "held", "revise", "cancel", "stream", "list", outcome=OK):
        told = operation.got.get("told", [operation.got])
        for facts in told:
            if facts.get("request") is not None:
                yield operation, facts
