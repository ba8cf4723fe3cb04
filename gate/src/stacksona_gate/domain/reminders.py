"""When reviewers are reminded of a thread that still waits, and how long an outcome may be missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stacksona_gate.domain.requests import Request
from stacksona_gate.domain.times import HOUR

REMINDERS_MOST: Final = 10
REMINDED: Final = "reminded"
ESCALATED: Final = "escalated"


@dataclass(frozen=True, slots=True)
class Timing:
    """A workspace's settings of time."""

    reminders: tuple[int, ...] = (50, 90)
    """Whole percents of a thread's window, 1 to 99, ascending; the last one escalates. Empty: nobody is reminded."""
    outcome_within: int = HOUR
    """Microseconds after its redemption in which an action's outcome is awaited."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a due reminder leads to. ``said`` None: nothing is said now."""

    said: str | None
    remind_at: int | None


def first_reminder(opened_at: int, lasts: int, percents: tuple[int, ...]) -> int | None:
    """When a thread's first reminder is due. ``lasts``: microseconds of its window."""
    return opened_at + lasts * percents[0] // 100 if percents else None


def next_step(request: Request, percents: tuple[int, ...], now: int) -> Step:
    """What is due of a pending thread at ``now``, and when to look again.

    Of several reminders that were missed only the strongest is said. One that was said is before ``remind_at`` and is
    not looked at again, whatever becomes of the clock or of the setting.
    """
    if request.remind_at is None or request.expires_at is None:
        return Step(None, None)
    lasts = request.expires_at - request.created_at
    moments = [request.created_at + lasts * percent // 100 for percent in percents]
    open_ones = [moment for moment in moments if moment >= request.remind_at]
    ahead = next((moment for moment in open_ones if moment > now), None)
    if ahead is not None:
        return Step(REMINDED if open_ones[0] <= now else None, ahead)
    if open_ones:
        return Step(ESCALATED, None)
    # Taken from the setting meanwhile. Only an escalated thread has been reminded and has no next time.
    return Step(None, request.expires_at if request.reminders else None)


def attention(request: Request) -> str | None:
    """``waiting_long`` once its reviewers were reminded, ``expires_soon`` once it was escalated, else None."""
    if not request.is_pending or not request.reminders:
        return None
    return "expires_soon" if request.remind_at is None else "waiting_long"
