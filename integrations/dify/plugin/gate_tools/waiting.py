"""Waiting for people, within Dify's limits, in slices: between two of them whoever listens can end the wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from stacksona import Decision, Gate, GateError, PendingReview

WAIT: Final = 300
WAIT_MOST: Final = 540
"""Seconds. Dify gives a plugin's call 600, and an answer must find its way back."""
SLICE: Final = 10.0


class WaitFailed(GateError):
    """The gate stopped answering while people decided. The thread goes on without us."""


def waited(
    gate: Gate, decision: Decision, seconds: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[Decision]:
    """The decision as it stands, before each slice of the wait and at its end: the last one is the answer.

    The end is a final decision, a request for changes, or ``seconds``. Raises WaitFailed.
    """
    end = clock() + seconds
    while decision.is_pending and not decision.revision_requested and clock() < end:
        yield decision
        decision = _slice(gate, decision, min(SLICE, end - clock()))
    yield decision


def _slice(gate: Gate, decision: Decision, seconds: float) -> Decision:
    thread_id = str(decision.thread_id)
    try:
        return gate.wait_for_decision(thread_id, timeout=max(seconds, 0.0))
    except PendingReview as pending:
        return pending.decision or decision
    except GateError as error:
        raise WaitFailed(f"the wait for {thread_id} ended without an answer: {error}") from None
