"""A request: one question about one action, and the thread it becomes when people must look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from msgspec import Struct

from stacksona_gate.domain import status
from stacksona_gate.domain.times import MINUTE

RISK_LEVELS: Final = ("low", "medium", "high", "critical")
MAX_REVISIONS: Final = 50
CLAIM_LASTS: Final = 15 * MINUTE
"""Microseconds after which another reviewer may take a claim over."""


class Request(Struct, frozen=True):
    """One row: what was asked, what holds now. Content is the newest revision's.

    A msgspec struct: the hot path makes one per decision, and a frozen dataclass of this size takes five times as long.
    """

    seq: int
    tenant_id: str
    id: str
    agent_id: str
    task_id: str
    thread_id: str | None
    tool_name: str
    workflow_name: str | None
    task_label: str | None
    subject: str
    risk_level: str
    preview: str | None
    summary: str
    """JSON list of strings."""
    payload: str
    """RFC 8785 form."""
    payload_digest: str
    metadata: str
    """JSON object."""
    status: str
    reason_code: str
    message: str
    rule: str | None
    """JSON object: ``id``, ``name``, ``type`` of the rule that answered, as it was then."""
    policy_version: int
    revision: int
    revision_requested: bool
    feedback: str | None
    edited: bool
    strict_binding: bool
    created_at: int
    decided_at: int | None
    expires_at: int | None
    required_approvals: int
    approval_valid_for: int
    """Microseconds an approval stays redeemable."""
    claimed_by: str | None
    claimed_at: int | None
    approval_id: str | None
    """The token's ``jti``."""
    approval_expires_at: int | None
    approved_by: int
    """How many people approved."""
    generation: int
    """The agent's generation when the approval was given."""
    redeemed_at: int | None
    redeemed_by: str | None
    remind_at: int | None = None
    """When reviewers are reminded next, while it is pending."""
    reminders: int = 0
    """How many times they were."""
    outcome: str | None = None
    """The newest that its agent reported: ``executed``, ``failed`` or ``skipped``."""
    erased_at: int | None = None
    """When its content was taken away; what proves it was there stays."""
    http_request_id: str | None = None
    """Of the call that opened the thread, as ``traceparent`` is: webhooks carry both to the receiver."""
    traceparent: str | None = None

    @property
    def is_pending(self) -> bool:
        return self.status == status.PENDING_REVIEW

    def is_overdue(self, now: int) -> bool:
        return self.is_pending and self.expires_at is not None and now >= self.expires_at


@dataclass(frozen=True, slots=True)
class RequestState:
    """Of a request what says whether its content may go."""

    seq: int
    tenant_id: str
    id: str
    agent_id: str
    task_id: str
    thread_id: str | None
    status: str
    created_at: int
    decided_at: int | None
    approval_id: str | None
    approval_expires_at: int | None
    redeemed_at: int | None
    erased_at: int | None

    def is_final(self, now: int) -> bool:
        """Neither waiting for people nor approved and still to be redeemed."""
        if self.status == status.PENDING_REVIEW:
            return False
        if self.approval_id is None or self.redeemed_at is not None:
            return True
        return self.approval_expires_at is not None and now >= self.approval_expires_at


@dataclass(frozen=True, slots=True)
class Revision:
    """A version of a thread's action that a later one replaced."""

    request_id: str
    revision: int
    subject: str
    preview: str | None
    summary: str
    payload: str
    payload_digest: str
    reason_code: str
    message: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that an agent sent along. ``data`` is empty in listings."""

    id: str
    request_id: str
    revision: int
    position: int
    name: str
    content_type: str
    size: int
    digest: str
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Review:
    """One person's verdict on one revision: ``approve``, ``reject`` or ``request_changes``."""

    id: str
    request_id: str
    revision: int
    user_id: str
    reviewer: str
    verdict: str
    message: str
    created_at: int


class Opinion(Struct, frozen=True):
    """Of a review what its request's agent is told."""

    revision: int
    reviewer: str
    verdict: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Note:
    """What a reviewer tells other reviewers; agents never see it."""

    id: str
    request_id: str
    user_id: str
    author: str
    text: str
    created_at: int


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """What an agent says that it does. ``payload`` is JSON."""

    id: str
    agent_id: str
    task_id: str
    request_id: str | None
    event_type: str
    summary: str
    payload: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an agent says became of the action. ``flag`` names what is wrong with that, None when nothing is."""

    id: str
    request_id: str
    agent_id: str
    status: str
    detail: str | None
    payload_digest: str | None
    flag: str | None
    created_at: int


@dataclass(frozen=True, slots=True)
class ThreadFilter:
    """Which threads a page lists. ``before`` and ``after`` are sequence numbers (cursors)."""

    folder: str | None = None
    """``new``, ``reviewing``, ``approved`` or ``rejected``."""
    status: str | None = None
    text: str | None = None
    agent_ids: tuple[str, ...] | None = None
    """None: any; empty: none at all."""
    tool_name: str | None = None
    risk_level: str | None = None
    redeemed: bool | None = None
    redeemable_at: int | None = None
    """Only approvals that nobody used and that hold beyond this time."""
    since: int | None = None
    before: int | None = None
    after: int | None = None
    oldest_first: bool = False
    limit: int = 50


def approval_state(request: Request, agent_generation: int, now: int) -> str | None:
    """``open``, ``redeemed``, ``revoked``, ``expired``; None where there is no approval token to speak of."""
    if request.approval_id is None:
        return None
    if request.redeemed_at is not None:
        return "redeemed"
    if request.generation != agent_generation:
        return "revoked"
    if request.erased_at is not None:
        return "expired"
    if request.approval_expires_at is not None and now >= request.approval_expires_at:
        return "expired"
    return "open"
