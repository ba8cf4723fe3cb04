"""What is known about an action after its approval was used."""

from __future__ import annotations

from stacksona_gate.domain.requests import Request


def outcome_state(request: Request, now: int, within: int) -> str:
    """``executed``, ``failed`` or ``skipped`` as reported; else ``none`` (nothing was redeemed, so nothing may have
    run), ``awaiting``, or ``unknown`` from the moment on at which ``within`` microseconds since redemption are over.
    """
    if request.outcome is not None:
        return request.outcome
    if request.redeemed_at is None:
        return "none"
    return "awaiting" if now < request.redeemed_at + within else "unknown"
