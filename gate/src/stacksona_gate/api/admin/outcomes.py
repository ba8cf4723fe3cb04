"""What nobody knows the end of, and reports that do not fit."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from stacksona_gate.api.fields import CURSOR_MOST, PAGE, PAGE_MOST, chosen, tagged_reply, whole, whole_of
from stacksona_gate.api.http import Call, Reply
from stacksona_gate.api.people import PeopleContext
from stacksona_gate.api.review.answers import Named
from stacksona_gate.domain.errors import Invalid
from stacksona_gate.domain.times import rfc3339, rfc3339_or_none
from stacksona_gate.service.outcomes import Doubt, DoubtPage, list_flagged, list_unknown
from stacksona_gate.service.transactions import Tx

STATES = ("unknown", "flagged")


class DoubtfulOutcome(msgspec.Struct, kw_only=True):
    """A used approval without an outcome, or an outcome that cannot be as reported.

    `reported_at` and `reported` are null where nothing was reported.
    """

    state: Literal["unknown", "flagged"]
    request_id: str
    thread_id: str | None
    task_id: str
    agent: Named
    tool_name: str
    subject: str
    redeemed_at: str | None
    redeemed_by: str | None
    reported: Literal["executed", "failed", "skipped"] | None
    reported_at: str | None
    flag: Literal["not_approved", "not_redeemed", "other_payload", "executed_again"] | None


class DoubtfulOutcomePage(msgspec.Struct):
    """A page, newest first."""

    outcomes: list[DoubtfulOutcome]
    next_cursor: str | None


async def get_outcomes(context: PeopleContext, call: Call) -> Reply:
    """`unknown`: approvals that were used and whose outcome nobody reported in time. `flagged`: outcomes that cannot be
    as reported."""
    person = await context.auditor(call)
    query = call.query()
    state, limit = chosen(query, "state", STATES) or STATES[0], whole(query, "limit", 1, PAGE_MOST) or PAGE
    before, gate, tenant_id = _cursor(query.get("cursor"), state), context.gate, person.user.tenant_id

    def listed(tx: Tx) -> DoubtPage:
        if state == "flagged":
            return list_flagged(tx, tenant_id, person.user, before=before[0] if before else None, limit=limit)
        return list_unknown(tx, gate.env, tenant_id, person.user, before=before, limit=limit)

    page = await gate.store.scan(listed)
    return tagged_reply(DoubtfulOutcomePage([_outcome(doubt) for doubt in page.doubts], page.next_cursor))


def _cursor(text: str | None, state: str) -> tuple[int, int] | None:
    """The cursor's numbers: of what is unknown two, of what is flagged one. Raises Invalid."""
    if text is None:
        return None
    parts = text.split(".")
    if len(parts) != (2 if state == "unknown" else 1):
        raise Invalid("cursor is the next_cursor of a page of the same state", code="invalid_cursor")
    numbers = [whole_of(part, "cursor", 0, CURSOR_MOST) for part in parts]
    return numbers[0], numbers[-1]


def _outcome(doubt: Doubt) -> DoubtfulOutcome:
    request, outcome = doubt.request, doubt.outcome
    known: Any = (None, None) if outcome is None else (outcome.status, outcome.flag)
    return DoubtfulOutcome(
        state="unknown" if outcome is None else "flagged",
        request_id=request.id,
        thread_id=request.thread_id,
        task_id=request.task_id,
        agent=Named(doubt.agent.id, doubt.agent.name),
        tool_name=request.tool_name,
        subject=request.subject,
        redeemed_at=rfc3339_or_none(request.redeemed_at),
        redeemed_by=request.redeemed_by,
        reported=known[0],
        reported_at=None if outcome is None else rfc3339(outcome.created_at),
        flag=known[1],
    )
