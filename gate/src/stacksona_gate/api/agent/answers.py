"""The shapes of answers, for the OpenAPI document: what is sent is built in domain/decisions.py, and held against these
by the tests."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Status = Literal["allow", "reject", "pending_review", "approved", "rejected"]
ReasonCode = Literal[
    "rule",
    "default",
    "reviewer",
    "expired",
    "cancelled",
    "agent_paused",
    "rule_error",
    "tool_unknown",
    "over_budget",
]


class Rule(msgspec.Struct):
    """The rule that answered."""

    id: str
    name: str
    type: str


class Decision(msgspec.Struct, kw_only=True):
    """Run the action only on `allow` or `approved`."""

    status: Status
    request_id: str
    task_id: str
    reason_code: ReasonCode
    message: str
    rule: Rule | None
    policy_version: int
    payload_digest: str
    revision: int
    metadata: dict[str, str]
    warnings: list[str]
    thread_id: str | msgspec.UnsetType = msgspec.UNSET
    expires_at: str | msgspec.UnsetType = msgspec.UNSET
    review_url: str | msgspec.UnsetType = msgspec.UNSET
    revision_requested: bool | msgspec.UnsetType = msgspec.UNSET
    approval_token: str | msgspec.UnsetType = msgspec.UNSET
    approval_expires_at: str | msgspec.UnsetType = msgspec.UNSET


class DecisionReview(msgspec.Struct):
    """What one person said."""

    verdict: Literal["approve", "reject", "request_changes"]
    reviewer: str
    at: str


class PolledDecision(Decision, kw_only=True):
    """A decision read back."""

    decision: Status
    tool_name: str
    created_at: str
    decided_at: str | None
    reviews: list[DecisionReview]
    payload: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    erased: bool | msgspec.UnsetType = msgspec.UNSET
    """The content is gone: there is no payload, and nothing to redeem."""
    edited: bool
    feedback: str | msgspec.UnsetType | None = msgspec.UNSET
    approval_state: Literal["open", "redeemed", "revoked", "expired"] | msgspec.UnsetType = msgspec.UNSET
    redeemed_at: str | msgspec.UnsetType | None = msgspec.UNSET


class DecisionPage(msgspec.Struct):
    """A page of the agent's own threads."""

    threads: list[PolledDecision]
    next_cursor: str | None


class Redemption(msgspec.Struct):
    """The one redemption."""

    valid: Literal[True]
    status: Literal["allow", "approved"]
    thread_id: str | None
    request_id: str
    task_id: str
    tool_name: str
    payload_digest: str
    redeemed_at: str
    payload: dict[str, Any]


class EventCreated(msgspec.Struct):
    """The event's id."""

    event_id: str


class OutcomeCreated(msgspec.Struct):
    """The outcome's id, and what is wrong with it, if anything is."""

    outcome_id: str
    flag: Literal["not_approved", "not_redeemed", "other_payload", "executed_again"] | None
