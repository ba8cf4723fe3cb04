"""Why policy sent a thread to people, also after people decided it."""

from __future__ import annotations

from dataclasses import dataclass

from stacksona_gate.domain import status
from stacksona_gate.domain.requests import Request
from stacksona_gate.service.reviews import ThreadView
from stacksona_gate.web import wording
from stacksona_gate.web.values import kept_text, objects


@dataclass(frozen=True, slots=True)
class Why:
    """``message`` is policy's, empty where no longer known; ``rule`` and ``type`` are empty without a rule."""

    reason: str
    message: str
    rule: str
    type: str
    policy_version: int


def why(view: ThreadView) -> Why:
    """A decided request holds the decision's reason: the one before it is in the entry that opened the thread."""
    request = view.request
    code, message = _asked(view)
    rule = {} if request.rule is None else objects(request.rule)
    if code not in (status.BY_RULE, status.RULE_ERROR):
        rule = {}
    kind = str(rule.get("type", ""))
    return Why(
        wording.reason(code),
        message,
        str(rule.get("name", "")),
        wording.RULE_TYPES.get(kind, kind),
        request.policy_version,
    )


def _asked(view: ThreadView) -> tuple[str, str]:
    request = view.request
    if request.is_pending or _was_refused_by_rule(request):
        return request.reason_code, request.message
    # Somebody who edits and approves archives what the agent asked: its reason is kept with it.
    if view.revisions and request.edited:
        return view.revisions[-1].reason_code, view.revisions[-1].message
    asked = [entry for entry in view.entries if entry.event in ("thread.opened", "thread.revised")]
    if not asked:
        return "", ""
    code = objects(asked[-1].leaf).get("reason_code", "")
    return str(code), kept_text(asked[-1].private, "message") or ""


def _was_refused_by_rule(request: Request) -> bool:
    return request.status == status.REJECTED and request.reason_code in (status.BY_RULE, status.TOOL_UNKNOWN)
