"""Waiting for people, within Dify's limits, in slices: between two of them whoever listens can end the wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from stacksona import Decision, Gate, GateError, GateUnavailable, PendingReview

WAIT: Final = 300
WAIT_MOST: Final = 540
"""Seconds. Dify gives a plugin's call 600, and an answer must find its way back."""
SLICE: Final = 10.0


class WaitFailed(GateError):
    """The gate stopped answering while people decided. The thread goes on without us."""


def waited(
    gate: Gate, decision: Decision, seconds: float, patience: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[Decision]:
    """The decision as it stands, before each slice of the wait and at its end: the last one is the answer.

    The end is a final decision, a request for changes, or ``seconds``. ``patience``: seconds for which a gate that is
    away is waited for, over the ends of slices. Raises WaitFailed.
    """
    now = clock()
    end, well_at = now + seconds, now
    while decision.is_pending and not decision.revision_requested and clock() < end:
        yield decision
        try:
            decision = _slice(gate, decision, min(SLICE, end - clock()))
            well_at = clock()
        except GateUnavailable as error:
            if clock() - well_at >= patience or clock() >= end - 1.0:
                raise _failed(decision, error) from None
        except GateError as error:
            raise _failed(decision, error) from None
    yield decision


def _slice(gate: Gate, decision: Decision, seconds: float) -> Decision:
    try:
        return gate.wait_for_decision(str(decision.thread_id), timeout=max(seconds, 0.0))
    except PendingReview as pending:
        return pending.decision or decision


def _failed(decision: Decision, error: GateError) -> WaitFailed:
    return WaitFailed(f"the wait for {decision.thread_id} ended without an answer: {error}")
