"""Threads as people's programs see them."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from stacksona_gate.api.agent.answers import ReasonCode, Rule, Status
from stacksona_gate.domain.agents import Agent
from stacksona_gate.domain.outcomes import outcome_state
from stacksona_gate.domain.reminders import attention
from stacksona_gate.domain.requests import (
    Attachment,
    Note,
    Outcome,
    Request,
    Review,
    Revision,
    TaskEvent,
    approval_state,
)
from stacksona_gate.domain.times import rfc3339, rfc3339_or_none
from stacksona_gate.service.reviews import ThreadView

_SAME: Final = (
    "task_id",
    "tool_name",
    "subject",
    "risk_level",
    "workflow_name",
    "task_label",
    "status",
    "reason_code",
    "message",
    "revision",
    "revision_requested",
    "edited",
)
_SAME_IN_FULL: Final = ("preview", "payload_digest", "policy_version", "feedback", "strict_binding", "redeemed_by")
_MOMENTS: Final = ("decided_at", "expires_at", "claimed_at", "redeemed_at", "erased_at")


class Named(msgspec.Struct):
    """An agent or a person."""

    id: str
    name: str


class ThreadSummary(msgspec.Struct, kw_only=True):
    """A row of a folder."""

    thread_id: str
    request_id: str
    task_id: str
    agent: Named
    tool_name: str
    subject: str
    risk_level: Literal["low", "medium", "high", "critical"]
    workflow_name: str | None
    task_label: str | None
    status: Status
    reason_code: ReasonCode
    message: str
    revision: int
    revision_requested: bool
    edited: bool
    created_at: str
    decided_at: str | None
    expires_at: str | None
    claimed_at: str | None
    redeemed_at: str | None
    erased_at: str | None
    """When its content was taken away: then texts and payload are empty."""
    attention: Literal["waiting_long", "expires_soon"] | None


class ThreadPage(msgspec.Struct):
    """A page of a folder, newest first."""

    threads: list[ThreadSummary]
    next_cursor: str | None


class ThreadRevision(msgspec.Struct):
    """A version that a later one replaced."""

    revision: int
    subject: str
    preview: str | None
    summary: list[str]
    payload: dict[str, Any]
    payload_digest: str
    reason_code: ReasonCode
    message: str
    replaced_at: str


class ThreadReview(msgspec.Struct):
    """One person's verdict on one revision."""

    id: str
    revision: int
    verdict: Literal["approve", "reject", "request_changes"]
    message: str
    reviewer: Named
    at: str


class ThreadNote(msgspec.Struct):
    """A word among reviewers."""

    id: str
    author: Named
    text: str
    at: str


class ThreadEvent(msgspec.Struct):
    """What the agent says that it does."""

    id: str
    event_type: str
    summary: str
    payload: dict[str, Any]
    of_this_thread: bool
    at: str


class ThreadOutcome(msgspec.Struct):
    """What the agent says became of the action, and what is wrong with that, if anything is."""

    id: str
    status: Literal["executed", "failed", "skipped"]
    detail: str | None
    payload_digest: str | None
    flag: Literal["not_approved", "not_redeemed", "other_payload", "executed_again"] | None
    at: str


class ThreadAttachment(msgspec.Struct):
    """A file that the agent sent; ``path`` downloads it."""

    id: str
    revision: int
    name: str
    content_type: str
    size: int
    digest: str
    path: str


class TimelineActor(msgspec.Struct):
    """Who did it."""

    kind: Literal["agent", "verifier", "user", "command_line", "gate", "unknown"]
    id: str


class TimelineStep(msgspec.Struct, kw_only=True):
    """An audit entry about the thread, without its private values."""

    id: str
    event: str
    at: str
    actor: TimelineActor
    status: Status | None = None
    reason_code: str | None = None
    policy_version: int | None = None


class Thread(ThreadSummary, kw_only=True):
    """Everything about a thread that its reader may see. Content is the newest revision's."""

    preview: str | None
    summary: list[str]
    payload: dict[str, Any]
    payload_digest: str
    metadata: dict[str, str]
    rule: Rule | None
    policy_version: int
    feedback: str | None
    strict_binding: bool
    approval_state: Literal["open", "redeemed", "revoked", "expired"] | None
    approval_expires_at: str | None
    redeemed_by: str | None
    outcome_state: Literal["none", "awaiting", "executed", "failed", "skipped", "unknown"]
    """What is known about the action since its approval was used."""
    claimed_by: Named | None
    may_review: bool
    masked: list[str]
    """Where `payload` has values that the caller may not see: each reads `⟦masked 1 ••••⟧` there."""
    revisions: list[ThreadRevision]
    reviews: list[ThreadReview]
    notes: list[ThreadNote]
    events: list[ThreadEvent]
    outcomes: list[ThreadOutcome]
    attachments: list[ThreadAttachment]
    timeline: list[TimelineStep]


def summary_of(request: Request, agent: Agent) -> ThreadSummary:
    """A thread as its folder lists it."""
    return ThreadSummary(**_common(request, agent))


def _common(request: Request, agent: Agent) -> dict[str, Any]:
    return {
        "thread_id": request.thread_id,
        "request_id": request.id,
        "agent": Named(agent.id, agent.name),
        "created_at": rfc3339(request.created_at),
        **{name: getattr(request, name) for name in _SAME},
        **{name: rfc3339_or_none(getattr(request, name)) for name in _MOMENTS},
        "attention": attention(request),
    }


def thread_of(view: ThreadView, now: int) -> Thread:
    """``now`` tells what is over; a thread whose time is over can no longer be reviewed, whatever its row says."""
    request, agent, claimer = view.request, view.agent, view.claimed_by
    return Thread(
        **_common(request, agent),
        **{name: getattr(request, name) for name in _SAME_IN_FULL},
        summary=as_is(request.summary),
        payload=as_is(request.payload),
        metadata=as_is(request.metadata),
        rule=None if request.rule is None else as_is(request.rule),
        approval_state=_approval_state(request, agent, now),
        approval_expires_at=rfc3339_or_none(request.approval_expires_at),
        outcome_state=_literal(outcome_state(request, now, view.outcome_within)),
        claimed_by=None if claimer is None else Named(claimer.id, claimer.name),
        may_review=view.may_review and not request.is_overdue(now),
        masked=list(view.masked),
        revisions=[_revision(revision) for revision in view.revisions],
        reviews=[_review(review) for review in view.reviews],
        notes=[note_of(note) for note in view.notes],
        events=[_event(event, request) for event in view.events],
        outcomes=[_outcome(outcome) for outcome in view.outcomes],
        attachments=[_attachment(attachment, request) for attachment in view.attachments],
        timeline=[msgspec.json.decode(entry.leaf, type=TimelineStep) for entry in view.entries],
    )


def as_is(text: str) -> Any:
    """Stored JSON, sent byte for byte as it is stored."""
    return msgspec.Raw(text.encode())


def _approval_state(request: Request, agent: Agent, now: int) -> Any:
    return approval_state(request, agent.generation, now)


def _revision(revision: Revision) -> ThreadRevision:
    return ThreadRevision(
        revision.revision,
        revision.subject,
        revision.preview,
        as_is(revision.summary),
        as_is(revision.payload),
        revision.payload_digest,
        _literal(revision.reason_code),
        revision.message,
        rfc3339(revision.created_at),
    )


def _review(review: Review) -> ThreadReview:
    reviewer = Named(review.user_id, review.reviewer)
    verdict, at = _literal(review.verdict), rfc3339(review.created_at)
    return ThreadReview(review.id, review.revision, verdict, review.message, reviewer, at)


def note_of(note: Note) -> ThreadNote:
    return ThreadNote(note.id, Named(note.user_id, note.author), note.text, rfc3339(note.created_at))


def _event(event: TaskEvent, request: Request) -> ThreadEvent:
    mine, at = event.request_id == request.id, rfc3339(event.created_at)
    return ThreadEvent(event.id, event.event_type, event.summary, as_is(event.payload), mine, at)


def _outcome(outcome: Outcome) -> ThreadOutcome:
    status, flag, at = _literal(outcome.status), _literal(outcome.flag), rfc3339(outcome.created_at)
    return ThreadOutcome(outcome.id, status, outcome.detail, outcome.payload_digest, flag, at)


def _attachment(file: Attachment, request: Request) -> ThreadAttachment:
    path = f"/api/review/threads/{request.thread_id}/attachments/{file.id}"
    return ThreadAttachment(file.id, file.revision, file.name, file.content_type, file.size, file.digest, path)


def _literal(value: str | None) -> Any:
    """A stored word; the database's own checks and the domain's writers keep it to the known ones."""
    return value
