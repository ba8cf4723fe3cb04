"""How the pages say things: states, reasons, times, events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from stacksona_gate.domain import reminders, status
from stacksona_gate.domain.requests import Request
from stacksona_gate.domain.times import DAY, HOUR, MINUTE, SECOND, rfc3339
from stacksona_gate.service.reviews import COUNT_MOST

FOLDERS: Final = {"new": "New", "reviewing": "Reviewing", "approved": "Approved", "rejected": "Rejected"}
EMPTY: Final = {
    "new": "Nothing waits for a decision.",
    "reviewing": "Nobody has taken anything on.",
    "approved": "Nothing was approved yet.",
    "rejected": "Nothing was rejected yet.",
}
RULE_TYPES: Final = {
    "upper_limit": "upper limit",
    "lower_limit": "lower limit",
    "between": "range",
    "contains": "contains",
    "regex": "pattern",
}
VERDICTS: Final = {"approve": "approved", "reject": "rejected", "request_changes": "asked for changes to"}
OUTCOMES: Final = {
    "executed": "says it ran the action",
    "failed": "says the action failed",
    "skipped": "says it skipped the action",
}
FLAGS: Final = {
    "not_approved": "The agent says that it ran this action without an approval.",
    "not_redeemed": "The agent says that it ran this action, and never redeemed its approval.",
    "other_payload": "The agent says that it ran another payload than the one approved.",
    "executed_again": "The agent says that it ran this action more than once.",
}
OUTCOME_STATES: Final = {
    "awaiting": "no outcome reported yet",
    "unknown": "no outcome reported: unknown whether it ran",
    "executed": "reported as executed",
    "failed": "reported as failed",
    "skipped": "reported as skipped",
}
_ATTENTION: Final = {"waiting_long": "Waiting long", "expires_soon": "Expires soon"}
EVENTS: Final = {
    "thread.opened": "asked for a decision",
    "thread.revised": "sent a new revision",
    "thread.approved": "approved it",
    "thread.rejected": "rejected it",
    "thread.changes_requested": "asked for changes",
    "thread.expired": "rejected it: nobody decided in time",
    "thread.cancelled": "cancelled it",
    "thread.agent_paused": "rejected it: its agent was paused",
    "thread.claimed": "took it on",
    "thread.released": "let go of it",
    "thread.reminded": "reminded the reviewers: it waits long",
    "thread.escalated": "escalated it: it expires soon",
    "thread.noted": "wrote a note",
    "thread.exported": "exported it",
    "approval.redeemed": "redeemed the approval",
    "approval.refused": "was refused a redemption",
    "task.event": "reported an event",
    "outcome.reported": "reported an outcome",
    "webhook.delivered": "told its agent by webhook",
    "webhook.dead": "gave up telling its agent by webhook",
    "webhook.replayed": "sent a webhook again",
}
APPROVALS: Final = {
    "open": "not used yet",
    "redeemed": "used",
    "revoked": "revoked: the agent was paused after it was given",
    "expired": "expired unused",
}
_REASONS: Final[Mapping[str, str]] = {
    status.BY_RULE: "A rule sent it here.",
    status.BY_DEFAULT: "No rule matched, and this tool is reviewed by default.",
    status.TOOL_UNKNOWN: "No policy covers this tool yet. An admin can write one.",
    status.RULE_ERROR: "A rule could not be evaluated, so that a person must look.",
    status.OVER_BUDGET: "A budget is used up.",
}
_ENDED: Final[Mapping[str, str]] = {
    status.BY_REVIEWER: "by a reviewer",
    status.BY_RULE: "by a rule",
    status.EXPIRED: "nobody decided in time",
    status.CANCELLED: "cancelled by its agent",
    status.AGENT_PAUSED: "its agent was paused",
}
_DONE: Final[Mapping[str, tuple[str, Callable[[Request], bool]]]] = {
    "approve": ("Approved. The agent may run it now.", lambda one: one.status == status.APPROVED),
    "reject": ("Rejected. The agent must not run it.", lambda one: one.status == status.REJECTED),
    "request_changes": ("The agent was asked for changes.", lambda one: one.revision_requested),
    "note": ("Your note is kept. Agents never see notes.", lambda one: True),
    "claim": ("You are on it.", lambda one: one.is_pending and one.claimed_by is not None),
    "release": ("It is free for others again.", lambda one: one.is_pending and one.claimed_by is None),
}
_UNITS: Final = ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (SECOND, "s"))


def reason(code: str) -> str:
    """Why policy sent an action to people."""
    return _REASONS.get(code, "Policy sent it here.")


def ended(code: str) -> str:
    """How a decided thread came to its end."""
    return _ENDED.get(code, code)


def state(request: Request, now: int) -> str:
    """A thread's state in a word or three."""
    if request.is_overdue(now):
        return "Time is over"
    if request.is_pending:
        return "Changes asked for" if request.revision_requested else "Waiting"
    return "Approved" if request.status == status.APPROVED else "Rejected"


def attention(request: Request, now: int) -> str:
    """What is said of a thread whose reviewers were reminded; empty for any other."""
    return "" if request.is_overdue(now) else _ATTENTION.get(reminders.attention(request) or "", "")


def done(what: str, request: Request) -> str | None:
    """What a form has done, said only where the thread shows it: the word comes from an address anybody can write."""
    said, holds = _DONE.get(what, ("", None))
    return said if holds is not None and holds(request) else None


def duration(microseconds: int) -> str:
    """``23 h``, ``5 min``: the largest unit, rounded down; nothing below a second."""
    for unit, name in _UNITS:
        if microseconds >= unit:
            return f"{microseconds // unit} {name}"
    return "0 s"


def moment(at: int) -> str:
    """``24 Nov 2026, 21:12:05 UTC`` in digits that sort: ``2026-11-24 21:12:05 UTC``."""
    return rfc3339(at // SECOND * SECOND).replace("T", " ").replace("Z", " UTC")


def counted(number: int) -> str:
    """Folders are counted up to a limit."""
    return f"{COUNT_MOST}+" if number >= COUNT_MOST else str(number)


def unknown_outcomes(count: int) -> str:
    """What the inbox says of them."""
    if count == 1:
        return "One approval was used, and nobody said what became of the action."
    return f"{counted(count)} approvals were used, and nobody said what became of the actions."


def size(count: int) -> str:
    """A file's size."""
    return f"{count:,} bytes" if count < 10_000 else f"{count / 1000:,.0f} kB"
