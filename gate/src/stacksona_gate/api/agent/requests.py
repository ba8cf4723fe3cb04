"""Asking: requests, their revisions and events, cancellation, outcomes."""

from __future__ import annotations

from typing import Final

from stacksona_gate.api.agent.bodies import (
    BODY_WITH_FILES_MOST,
    EventBody,
    OutcomeBody,
    RequestBody,
    decoded_files,
    read_as,
    read_fields,
    unknown_fields,
)
from stacksona_gate.api.agent.context import Context, decision_headers, idempotency_of, task_of
from stacksona_gate.api.http import Call, Header, Reply, json_reply, shown
from stacksona_gate.domain.decisions import RETRY_AFTER
from stacksona_gate.domain.errors import Conflict, Invalid
from stacksona_gate.domain.requests import Request
from stacksona_gate.domain.status import EXPIRED, PENDING_REVIEW
from stacksona_gate.domain.times import SECOND, rfc3339
from stacksona_gate.service.decisions import Selector, read_decision
from stacksona_gate.service.directory import Caller
from stacksona_gate.service.kept_answers import Polled
from stacksona_gate.service.requests import Answer, Ask, IdempotencyKey, require_room, submit
from stacksona_gate.service.tasks import EventReport, OutcomeReport, log_event, report_outcome, revise_once
from stacksona_gate.service.threads import Change, cancel

DECIDED: Final = "already_decided"


async def create_request(context: Context, call: Call) -> Reply:
    """Asks whether an action may run. The answer is 200 whatever it is; run the action only on `allow`."""
    caller = await acting_caller(context, call)
    agent = caller.as_acting_agent()
    context.limit_rate(agent)
    task_id = task_of(call)
    raw = await read_fields(call, limit=BODY_WITH_FILES_MOST)
    await context.take_turn(call, caller)
    body = read_as(raw, RequestBody)
    warnings = unknown_fields(raw.fields, RequestBody)
    key = idempotency_of(call, agent, raw.content_type, raw.content)
    answer = await submit(context.gate, caller, task_id, ask_of(body, warnings), key)
    context.count(call, answer)
    return decision_reply(answer)


async def acting_caller(context: Context, call: Call) -> Caller:
    """Who asks, as last read: a decision is written only if that still holds. A refusal rests on what holds now."""
    caller = await context.caller(call, current=False)
    if caller.agent is not None and caller.agent.state == "active" and caller.agent.api_access:
        return caller
    return await context.caller(call)


def ask_of(body: RequestBody, warnings: tuple[str, ...]) -> Ask:
    return Ask(
        tool_name=body.tool_name,
        subject=body.subject,
        risk_level=body.risk_level,
        workflow_name=body.workflow_name,
        task_label=body.task_label,
        preview=body.preview,
        summary=tuple(body.summary or ()),
        payload=body.payload or {},
        metadata=body.metadata or {},
        attachments=decoded_files(body.attachments) if body.attachments else (),
        expires_in=body.expires_in,
        warnings=warnings,
    )


def decision_reply(answer: Answer, *more: Header) -> Reply:
    """A decision with its headers; the token joins the body here. It goes out in one piece."""
    headers = [*decision_headers(answer), *more]
    if answer.status == PENDING_REVIEW:
        headers.append((b"retry-after", str(RETRY_AFTER).encode()))
    return Reply(decision_body(answer), headers=tuple(headers)).written()


def polled_reply(polled: Polled) -> Reply:
    """A decision read back. Kept with the decision, and with it forgotten: a token is for one second's readers."""
    if not isinstance(polled.sent, Reply):
        polled.sent = decision_reply(polled.answer, (b"etag", polled.etag.encode()))
    return polled.sent


def decision_body(answer: Answer) -> bytes:
    approval_expires_at = answer.request.approval_expires_at
    if answer.token is None or approval_expires_at is None:
        return answer.body
    expires = rfc3339(approval_expires_at // SECOND * SECOND)
    return answer.body[:-1] + f',"approval_token":"{answer.token}","approval_expires_at":"{expires}"}}'.encode()


async def create_event(context: Context, call: Call) -> Reply:
    """Puts an event on the reviewer's timeline; with `event_type: revision`, makes the next revision of a thread."""
    caller = await context.caller(call)
    agent = caller.as_acting_agent()
    task_id = task_of(call)
    raw = await read_fields(call, limit=BODY_WITH_FILES_MOST)
    await context.take_turn(call, caller)
    body = read_as(raw, EventBody)
    key = idempotency_of(call, agent, raw.content_type, raw.content)
    await require_room(context.gate, agent.tenant_id, key)
    if body.event_type == "revision":
        return await _revise(context, caller, task_id, body, key)
    report = EventReport(body.event_type, body.event_summary or "", body.payload or {}, body.thread_id)
    gate = context.gate
    event_id = await gate.store.write(lambda tx: log_event(tx, gate.env, caller, task_id, report, key))
    return json_reply({"event_id": event_id}, 201)


async def _revise(context: Context, caller: Caller, task_id: str, body: EventBody, key: IdempotencyKey | None) -> Reply:
    if body.thread_id is None:
        raise Invalid("a revision needs the thread_id of a pending thread", code="thread_id_missing")
    change = Change(
        subject=body.subject,
        preview=body.preview,
        summary=None if body.summary is None else tuple(body.summary),
        payload=body.payload,
        attachments=None if body.attachments is None else decoded_files(body.attachments),
    )
    if change == Change():
        raise Invalid("a revision changes subject, preview, summary, payload or attachments", code="nothing_to_revise")
    gate, thread_id = context.gate, body.thread_id
    _require_in_time(
        await gate.store.write(lambda tx: revise_once(tx, gate.env, caller, task_id, thread_id, change, key))
    )
    return await _current(context, caller, thread_id)


def _require_in_time(request: Request | None) -> None:
    """Raises Conflict when the thread turned out to be over; that it expired is committed by then."""
    if request is not None and request.reason_code == EXPIRED:
        raise Conflict("this thread expired before this call: ask again if the action is still wanted", code=DECIDED)


async def _current(context: Context, caller: Caller, thread_id: str) -> Reply:
    """The thread after a change of it."""
    polled = await shown(read_decision(context.gate, caller, Selector(thread_id=thread_id)))
    return polled_reply(polled)


async def cancel_request(context: Context, call: Call) -> Reply:
    """Takes a pending question back: it is `rejected` with `reason_code: cancelled` for good."""
    caller = await context.caller(call)
    caller.as_acting_agent()
    task_id, thread_id = task_of(call), call.path["thread_id"]
    await context.take_turn(call, caller)
    gate = context.gate
    _require_in_time(await gate.store.write(lambda tx: cancel(tx, gate.env, caller, task_id, thread_id)))
    return await _current(context, caller, thread_id)


async def create_outcome(context: Context, call: Call) -> Reply:
    """Reports what became of the action."""
    caller = await context.caller(call)
    agent = caller.as_acting_agent()
    task_id = task_of(call)
    raw = await read_fields(call)
    await context.take_turn(call, caller)
    body = read_as(raw, OutcomeBody)
    if (body.request_id is None) == (body.thread_id is None):
        raise Invalid("name the request_id or the thread_id, one of them", code="one_id")
    report = OutcomeReport(body.status, body.request_id, body.thread_id, body.detail, body.payload_digest)
    key = idempotency_of(call, agent, raw.content_type, raw.content)
    gate = context.gate
    outcome_id, flag = await gate.store.write(lambda tx: report_outcome(tx, gate.env, caller, task_id, report, key))
    return json_reply({"outcome_id": outcome_id, "flag": flag}, 201)
