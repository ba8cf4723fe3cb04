"""What happened, as JSON lines: each call when it began and when it ended, and how."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

OK: Final = "ok"
FAILED: Final = "failed"
"""For certain: it had no effect."""
UNKNOWN: Final = "unknown"
"""It may have had one, now or later."""

Facts = dict[str, Any]


def digest_of(secret: str) -> str:
    """Stands for a key or a token, which have no place in a history."""
    return sha256(secret.encode()).hexdigest()[:16]


@dataclass(slots=True)
class Operation:
    """A call. ``begun`` and ``ended``: seconds of a clock that nobody sets; ``ended`` None: never heard of again."""

    number: int
    do: str
    who: str
    node: int
    begun: float
    given: Facts
    outcome: str = UNKNOWN
    ended: float | None = None
    got: Facts = field(default_factory=dict)

    @property
    def is_ok(self) -> bool:
        return self.outcome == OK

    def before(self, other: Operation) -> bool:
        """Whether it had ended when the other began."""
        return self.ended is not None and self.ended < other.begun


class Recorder:
    """Writes it while it happens."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")
        self._number = 0
        self.counts: dict[tuple[str, str], int] = {}

    def begin(self, do: str, who: str, node: int, **given: Any) -> int:
        """Returns the operation's number."""
        self._number += 1
        self._write({"op": self._number, "phase": "invoked", "do": do, "who": who, "node": node, **_moment()} | given)
        return self._number

    def end(self, number: int, do: str, outcome: str, **got: Any) -> None:
        self.counts[do, outcome] = self.counts.get((do, outcome), 0) + 1
        self._write({"op": number, "phase": outcome, **_moment()} | got)

    def note(self, do: str, **facts: Any) -> None:
        """Something that is no call: a fault, a webhook that arrived."""
        self._write({"note": do, **_moment()} | facts)

    def count(self, *, outcome: str) -> int:
        return sum(number for (_, ended), number in self.counts.items() if ended == outcome)

    def _write(self, line: Facts) -> None:
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def close(self) -> None:
        self._file.close()


def _moment() -> Facts:
    return {"at": round(time.monotonic(), 6), "wall": round(time.time(), 6)}


@dataclass(slots=True)
class History:
    """Operations in the order in which they began, and notes."""

    operations: list[Operation] = field(default_factory=list)
    notes: list[Facts] = field(default_factory=list)

    def of(self, *do: str, outcome: str | None = None) -> Iterator[Operation]:
        for operation in self.operations:
            if operation.do in do and outcome in (None, operation.outcome):
                yield operation

    def noted(self, *do: str) -> Iterator[Facts]:
        return (note for note in self.notes if note["note"] in do)


_PLACES: Final = frozenset({"op", "phase", "do", "who", "node", "at", "wall"})


def read_history(lines: Iterable[str]) -> History:
    """Raises ValueError for what is no history."""
    history, by_number = History(), dict[int, Operation]()
    for line in lines:
        facts = json.loads(line)
        if "note" in facts:
            history.notes.append(facts)
            continue
        rest = {name: value for name, value in facts.items() if name not in _PLACES}
        if facts["phase"] == "invoked":
            made = Operation(facts["op"], facts["do"], facts["who"], facts["node"], facts["at"], rest)
            by_number[made.number] = made
            history.operations.append(made)
        else:
            ended = by_number[facts["op"]]
            ended.outcome, ended.ended, ended.got = facts["phase"], facts["at"], rest
    return history
