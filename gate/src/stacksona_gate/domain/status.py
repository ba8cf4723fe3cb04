"""The five statuses, why each was given, and which moves exist."""

from __future__ import annotations

from typing import Final

ALLOW: Final = "allow"
REJECT: Final = "reject"
PENDING_REVIEW: Final = "pending_review"
APPROVED: Final = "approved"
REJECTED: Final = "rejected"

STATUSES: Final = frozenset({ALLOW, REJECT, PENDING_REVIEW, APPROVED, REJECTED})
MAY_RUN: Final = frozenset({ALLOW, APPROVED})
"""An action runs on these and on nothing else."""

BY_RULE: Final = "rule"
BY_DEFAULT: Final = "default"
BY_REVIEWER: Final = "reviewer"
EXPIRED: Final = "expired"
CANCELLED: Final = "cancelled"
AGENT_PAUSED: Final = "agent_paused"
RULE_ERROR: Final = "rule_error"
TOOL_UNKNOWN: Final = "tool_unknown"
OVER_BUDGET: Final = "over_budget"

REASON_CODES: Final = frozenset(
    {BY_RULE, BY_DEFAULT, BY_REVIEWER, EXPIRED, CANCELLED, AGENT_PAUSED, RULE_ERROR, TOOL_UNKNOWN, OVER_BUDGET}
)

TRANSITIONS: Final[dict[tuple[str, str], str]] = {
    (PENDING_REVIEW, "approve"): APPROVED,
    (PENDING_REVIEW, "reject"): REJECTED,
    (PENDING_REVIEW, "request_changes"): PENDING_REVIEW,
    (PENDING_REVIEW, "revise"): PENDING_REVIEW,
    (PENDING_REVIEW, "refuse"): REJECTED,
    (PENDING_REVIEW, "expire"): REJECTED,
    (PENDING_REVIEW, "cancel"): REJECTED,
    (PENDING_REVIEW, "pause"): REJECTED,
}
"""Every move there is. A decided request never moves again."""


class IllegalMove(Exception):
    """A move that the table does not have. Callers check the status first; reaching this is a fault."""


def after(status: str, move: str) -> str:
    """The status that follows. Raises IllegalMove."""
    try:
        return TRANSITIONS[status, move]
    except KeyError:
        raise IllegalMove(f"no {move} from {status}") from None
