"""Not now: the gate sends the webhook again, and the same is tried once more."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from stacksona import Decision

from stacksona_bridge.problems import Problem

FRESH_SECONDS: Final = 900.0
"""How long after a decision what it names may still come to be: a run that is not written down yet."""

Clock = Callable[[], float]


def try_again(why: str) -> Problem:
    """503: nothing was settled."""
    return Problem(503, "try_again", f"{why}; the gate sends this again", retry_after=2)


def seconds_since(moment: str | None, clock: Clock = time.time) -> float:
    """Since an RFC 3339 time; 0 for none."""
    if moment is None:
        return 0.0
    try:
        return clock() - datetime.fromisoformat(moment).timestamp()
    except ValueError:
        return 0.0


def missing(what: str, decision: Decision, clock: Clock = time.time) -> str:
    """Raises Problem as long as it may still come; then says that it is given up."""
    if seconds_since(decision.decided_at, clock) < FRESH_SECONDS:
        raise try_again(what)
    return f"given up: {what}"
