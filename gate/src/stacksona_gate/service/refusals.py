"""Refusals that callers can cause at will: counted always, recorded at most once a minute per cause and caller."""

from __future__ import annotations

from typing import Final

from stacksona_gate.domain.times import MINUTE

KINDS_MOST: Final = 10_000
"""Causes and callers remembered at once; beyond that the oldest minute is forgotten early."""


class RefusalLog:
    """Says when a refusal is to be recorded, and how many it stands for."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, str], tuple[int, int]] = {}
        self.totals: dict[str, int] = {}

    def count(self, cause: str, caller: str, now: int) -> int:
        """0: only counted. Otherwise record it: it stands for that many since the last recorded one."""
        self.totals[cause] = self.totals.get(cause, 0) + 1
        start, unrecorded = self._since.get((cause, caller), (None, 0))
        # A clock that was set back starts a new minute instead of silencing the log until it has caught up.
        if start is not None and 0 <= now - start < MINUTE:
            self._since[cause, caller] = (start, unrecorded + 1)
            return 0
        if len(self._since) >= KINDS_MOST:
            self._since.clear()
        self._since[cause, caller] = (now, 0)
        return unrecorded + 1
