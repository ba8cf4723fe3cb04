"""What a node puts out: every variable every time, each of its type, so that no branch meets one that is missing."""

from __future__ import annotations

import json
from typing import Any, Final

from stacksona import Decision, Redemption

OPEN: Final = (None, "open")
"""States in which an approval can be redeemed; None: the agent has no signed approvals, or the state was not asked."""

Outputs = dict[str, Any]


def may_run(decision: Decision) -> bool:
    """Whether it is ``allow`` or ``approved`` and the approval is neither used nor withdrawn."""
    return decision.may_run and decision.approval_state in OPEN


def decision_outputs(decision: Decision) -> Outputs:
    """Token and payload are there only where the action may run: nothing downstream can run on a payload without."""
    is_open = may_run(decision)
    payload = (decision.payload or {}) if is_open else {}
    return {
        "status": decision.status,
        "may_run": is_open,
        "is_pending": decision.is_pending,
        "reason_code": decision.reason_code,
        "message": decision.message,
        "rule_name": "" if decision.rule is None else decision.rule.name,
        "task_id": decision.task_id,
        "request_id": decision.request_id,
        "thread_id": decision.thread_id or "",
        "tool_name": decision.tool_name or "",
        "approval_token": (decision.approval_token or "") if is_open else "",
        "approval_state": decision.approval_state or "",
        "payload": payload,
        "payload_json": as_json(payload) if is_open else "",
        "payload_digest": decision.payload_digest,
        "edited": decision.edited,
        "revision_requested": decision.revision_requested,
        "feedback": decision.feedback or "",
        "review_url": decision.review_url or "",
        "expires_at": decision.expires_at or "",
        "decided_at": decision.decided_at or "",
    }


def redemption_outputs(redemption: Redemption) -> Outputs:
    """Of the one redemption that the gate called valid."""
    return {
        "status": redemption.status,
        "may_run": True,
        "task_id": redemption.task_id,
        "request_id": redemption.request_id,
        "thread_id": redemption.thread_id or "",
        "tool_name": redemption.tool_name,
        "payload": redemption.payload,
        "payload_json": as_json(redemption.payload),
        "payload_digest": redemption.payload_digest,
        "redeemed_at": redemption.redeemed_at,
    }


def as_json(value: dict[str, Any]) -> str:
    """The object as JSON text, to be handed on as a whole body."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
