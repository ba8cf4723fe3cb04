"""Stacksona Gate for Python agents: ask before acting, run only what was allowed or approved, once.

``Gate`` and ``AsyncGate`` are the clients; ``guard`` is the shortest way. ``verify_approval`` and ``WebhookVerifier``
are for the tool's and the receiver's side. Whatever is not in ``__all__`` may change.
"""

from stacksona._async_client import AsyncGate, AsyncGuarded
from stacksona._canonical import payload_digest
from stacksona._client import Gate, Guarded
from stacksona._decisions import Decision, GatedRun, Outcome, Redemption, Review, Rule
from stacksona._errors import (
    AgentPaused,
    ApprovalInvalid,
    ArgumentsRefused,
    CallRefused,
    Cancelled,
    ChangesRequested,
    ConfigurationError,
    Conflict,
    Expired,
    Forbidden,
    GateError,
    GateUnavailable,
    InvalidRequest,
    NotFound,
    PendingReview,
    RedemptionLost,
    RedemptionRefused,
    Refused,
    Rejected,
    Unauthenticated,
    UnexpectedAnswer,
    WaitStopped,
    WebhookRefused,
)
from stacksona._requests import ActionRequest, Attachment
from stacksona._tokens import Approval, verify_approval
from stacksona._webhooks import WebhookEvent, WebhookVerifier

__all__ = [
    "ActionRequest",
    "AgentPaused",
    "Approval",
    "ApprovalInvalid",
    "ArgumentsRefused",
    "AsyncGate",
    "AsyncGuarded",
    "Attachment",
    "CallRefused",
    "Cancelled",
    "ChangesRequested",
    "ConfigurationError",
    "Conflict",
    "Decision",
    "Expired",
    "Forbidden",
    "Gate",
    "GateError",
    "GateUnavailable",
    "GatedRun",
    "Guarded",
    "InvalidRequest",
    "NotFound",
    "Outcome",
    "PendingReview",
    "Redemption",
    "RedemptionLost",
    "RedemptionRefused",
    "Refused",
    "Rejected",
    "Review",
    "Rule",
    "Unauthenticated",
    "UnexpectedAnswer",
    "WaitStopped",
    "WebhookEvent",
    "WebhookRefused",
    "WebhookVerifier",
    "payload_digest",
    "verify_approval",
]
