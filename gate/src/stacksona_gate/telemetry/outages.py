"""What fails again and again, said so that the log can still be read the morning after."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

AGAIN_SECONDS: Final = 60.0


class Outage:
    """Told of each try, it says when the first one failed, once a minute that they still do, and when one succeeds.

    Of one thread.
    """

    def __init__(
        self, log: logging.Logger, name: str, over: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``name``: what is wrong; ``over``: what is right again. ``clock``: seconds, set by nobody."""
        self._log = log
        self._name = name
        self._over = over
        self._clock = clock
        self._since: float | None = None
        self._said = 0.0

    def failed(self, reason: object) -> None:
        """``reason`` is written down: no secret, and nothing that a caller sent."""
        now = self._clock()
        if self._since is None:
            self._since = self._said = now
            self._log.warning("%s: %s", self._name, reason)
        elif now - self._said >= AGAIN_SECONDS:
            self._said = now
            self._log.warning("%s, for %d seconds now: %s", self._name, now - self._since, reason)

    def succeeded(self) -> None:
        """Says so when it failed before."""
        if self._since is not None:
            self._log.warning("%s, after %d seconds", self._over, self._clock() - self._since)
            self._since = None
