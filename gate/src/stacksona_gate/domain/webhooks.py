"""Webhooks: where they go, what is sent, each attempt, when the next one comes, and what admins are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stacksona_gate.domain.times import DAY, HOUR, MINUTE, SECOND

PENDING: Final = "pending"
DELIVERED: Final = "delivered"
SUPERSEDED: Final = "superseded"
DEAD: Final = "dead"
STATES: Final = (PENDING, DELIVERED, SUPERSEDED, DEAD)

APPROVED: Final = "decision.approved"
REJECTED: Final = "decision.rejected"
REVISION_REQUESTED: Final = "decision.revision_requested"
TEST: Final = "test"
"""Sent once, never again by itself, and never about a thread."""

AGENT: Final = "agent"
WORKSPACE: Final = "workspace"
"""The kind, and the id, of the workspace's own hook."""

LADDER: Final = (0, 5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR)
"""Microseconds before each try, counted from the end of the one before."""
JITTER: Final = 0.1
"""The part of a wait by which it is made longer or shorter, so that receivers are not met by everything at once."""
RETRY_AFTER_MOST: Final = DAY
FAILING_MOST: Final = 5 * DAY
"""Microseconds of nothing but failure after which an endpoint is switched off."""
ANSWER_MOST: Final = 1024
"""Bytes kept of an answer."""
ERROR_MOST: Final = 300
DELIVERED_KEPT: Final = 30 * DAY
DEAD_KEPT: Final = 90 * DAY


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A receiver. Its id is its agent's, or ``workspace``; without a URL nothing is sent."""

    tenant_id: str
    id: str
    kind: str
    url: str | None
    secret: str | None
    """Wrapped by the root secret, as ``previous_secret`` is, which signs beside it until ``previous_until``."""
    previous_secret: str | None = None
    previous_until: int | None = None
    failing_since: int | None = None
    """The first failure since anything was delivered."""
    switched_off_at: int | None = None
    switched_off_because: str | None = None

    @property
    def is_on(self) -> bool:
        return self.url is not None and self.switched_off_at is None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one endpoint. ``body`` is what is sent, byte for byte, on every attempt; empty in listings."""

    seq: int
    tenant_id: str
    id: str
    """The ``webhook-id``."""
    endpoint_id: str
    request_id: str | None
    thread_id: str | None
    event: str
    state: str
    attempts: int
    """Attempts begun. One whose process died has no row of its own."""
    tries: int
    """Failures since it was made or replayed: the rung of the ladder."""
    created_at: int
    due_at: int | None
    """When it is sent next, 0: at once; while it is being sent, when somebody else may take it over."""
    leased_until: int | None
    fence: int
    """Grows with every attempt that is begun: the result of an older one changes nothing."""
    finished_at: int | None
    http_request_id: str | None = None
    """Of the call that it goes back to, as ``traceparent`` is: sent with it on every attempt."""
    traceparent: str | None = None
    body: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of a receiver. ``answer``: the first 1,024 bytes of it as text, whatever it may hold."""

    tenant_id: str
    delivery_id: str
    attempt: int
    at: int
    duration: int
    status: int | None
    error: str | None
    answer: str


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one call. ``at`` and ``duration`` in microseconds, ``retry_after`` in seconds."""

    at: int
    duration: int
    status: int | None
    error: str | None
    answer: str = ""
    retry_after: int | None = None
    gone: bool = False
    """The receiver wants no more of them (410)."""

    @property
    def is_success(self) -> bool:
        return self.error is None and self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Due:
    """An endpoint that has something to be sent, and when: 0 is at once."""

    tenant_id: str
    endpoint_id: str
    due_at: int
    is_failing: bool


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries are listed, newest first. ``before`` is the sequence number of a cursor."""

    state: str | None = None
    endpoint_id: str | None = None
    before: int | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits. ``oldest_at``: when the oldest of those that could be sent now was made."""

    pending: int
    dead: int
    oldest_at: int | None


@dataclass(frozen=True, slots=True)
class Notice:
    """What admins are told until one of them takes it off the list. ``objects`` is JSON: ids by kind."""

    seq: int
    tenant_id: str
    id: str
    kind: str
    text: str
    objects: str
    created_at: int
    dismissed_at: int | None = None
    dismissed_by: str | None = None


def wait_after(tries: int, chance: float, retry_after: int | None = None) -> int | None:
    """Microseconds until the next try after ``tries`` failures; None: that was the last.

    ``chance`` from 0 to 1. A receiver's ``Retry-After`` (seconds) makes the wait longer, never shorter, and at most a
    day.
    """
    if tries >= len(LADDER):
        return None
    wait = round(LADDER[tries] * (1 + JITTER * (2 * chance - 1)))
    return max(wait, min((retry_after or 0) * SECOND, RETRY_AFTER_MOST))


def must_switch_off(endpoint: Endpoint, now: int) -> bool:
    """Whether it has failed for so long that it is given up. ``failing_since`` includes the newest failure."""
    return endpoint.failing_since is not None and now - endpoint.failing_since >= FAILING_MOST


def why_dead(delivery: Delivery) -> str:
    """Why a dead delivery was given up."""
    if delivery.event == TEST and delivery.tries:
        return "a test is sent once"
    if delivery.tries >= len(LADDER):
        return f"{len(LADDER)} attempts failed"
    return "its endpoint was switched off or taken away"
