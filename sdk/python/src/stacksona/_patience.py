"""How long troubles are endured, and how the pauses between tries grow."""

from __future__ import annotations

from typing import Final

from stacksona._wire import Seams

FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 15.0
EXACT_DOUBLINGS: Final = 10


class Patience:
    """Endures troubles for some seconds in a row, counted from the first of them.

    Pauses double, each between half and all of itself by chance, so that many clients do not come back at once; the
    gate's ``Retry-After`` makes them longer, never shorter.
    """

    def __init__(self, seams: Seams, seconds: float, *, until: float | None = None) -> None:
        """``until``: a moment of the clock that no pause goes beyond, whatever patience is left."""
        self._seams = seams
        self._seconds = seconds
        self._until = until
        self.renew()

    def renew(self) -> None:
        """A good answer came: it begins anew."""
        self._tries = 0
        self._since: float | None = None

    def pause(self, asked_for: float = 0.0) -> float | None:
        """Seconds until the next try; None when patience is at its end."""
        pause: float = min(FIRST_PAUSE * 2.0 ** min(self._tries, EXACT_DOUBLINGS), LONGEST_PAUSE)
        pause = max(pause * (1 + self._seams.chance()) / 2, asked_for)
        self._tries += 1
        now = self._seams.clock()
        if self._since is None:
            self._since = now
        then: float = now + pause
        if then > self._since + self._seconds or (self._until is not None and then > self._until):
            return None
        return pause
