"""Reading decisions back, and redeeming approvals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from stacksona_gate.api.agent.bodies import ValidateBody, read_as, read_fields
from stacksona_gate.api.agent.context import Context, bearer, decision_headers
from stacksona_gate.api.agent.requests import decision_body, polled_reply
from stacksona_gate.api.errors import problem
from stacksona_gate.api.http import ENCODER, EVENT_STREAM, Call, Events, Held, Reply, problem_reply
from stacksona_gate.domain.approvals import Redeemed
from stacksona_gate.domain.canonical import digest
from stacksona_gate.domain.errors import GateError, Invalid
from stacksona_gate.domain.requests import ThreadFilter
from stacksona_gate.domain.status import STATUSES
from stacksona_gate.domain.times import parse_rfc3339, rfc3339_or_none
from stacksona_gate.service.approvals import Attempt, redeem, redeemer
from stacksona_gate.service.decisions import (
    HeldDecision,
    Selector,
    hold_decision,
    list_decisions,
    read_decision,
    stream_decision,
)
from stacksona_gate.service.directory import Caller
from stacksona_gate.service.holds import Holds
from stacksona_gate.service.kept_answers import Polled

PAYLOAD_TYPE = "application/vnd.stacksona.payload+json"
_SELECTORS = ("thread_id", "request_id", "task_id")
_LIMIT_MOST = 200


async def get_decision(context: Context, call: Call) -> Reply | Held:
    """A decision as it stands; with `wait` the answer is held while it is pending and already known to the caller."""
    caller, selector, seconds = await _asked(context, call)
    known = call.header(b"if-none-match")
    if seconds is None:
        return _unless_known(await read_decision(context.gate, caller, selector), known)
    call.route = "wait"
    agent_id = caller.as_agent().id
    context.holds.enter(agent_id)
    try:
        held = await hold_decision(
            context.gate, caller, selector, seconds=seconds, known=_etag(known), draining=context.draining
        )
    except BaseException:
        context.holds.leave(agent_id)
        raise
    if isinstance(held, HeldDecision):
        return _HeldAnswer(context.holds, agent_id, held)
    context.holds.leave(agent_id)
    return polled_reply(held)


async def _asked(context: Context, call: Call) -> tuple[Caller, Selector, int | None]:
    """Who asks for what: as last read, since reading holds it against what is stored. So does a refusal, here."""
    caller = await context.caller(call, current=False)
    try:
        return _question(call, caller)
    except GateError:
        return _question(call, await context.caller(call))


def _question(call: Call, caller: Caller) -> tuple[Caller, Selector, int | None]:
    caller.as_agent()
    query = call.query()
    return caller, selector_of(query), wait_of(query)


class _HeldAnswer:
    """A decision on its way to an agent, held. Before it leaves, the key is held against what is stored by then."""

    __slots__ = ("_agent_id", "_held", "_holds")

    def __init__(self, holds: Holds, agent_id: str, held: HeldDecision) -> None:
        self._holds = holds
        self._agent_id = agent_id
        self._held = held

    def arm(self, due: Callable[[bool], None]) -> None:
        self._held.arm(due)

    async def look(self) -> Reply | None:
        polled = await self._held.look()
        return None if polled is None else polled_reply(polled)

    def close(self) -> None:
        self._held.close()
        self._holds.leave(self._agent_id)


def _unless_known(polled: Polled, known: str | None) -> Reply:
    if known is not None and polled.etag in (part.strip().removeprefix("W/") for part in known.split(",")):
        return Reply(b"", 304, headers=((b"etag", polled.etag.encode()),))
    return polled_reply(polled)


def _etag(known: str | None) -> str | None:
    return None if known is None else known.strip().removeprefix("W/")


async def stream_decisions(context: Context, call: Call) -> Events | Reply:
    """The same as server-sent events, until the final status."""
    caller = await context.caller(call)
    agent = caller.as_agent()
    selector = selector_of(call.query())
    await read_decision(context.gate, caller, selector)  # an unknown id is a 404, not an empty stream
    if call.scope["method"] == "HEAD":
        return Reply(b"", content_type=EVENT_STREAM)
    context.holds.require_place(agent.id)  # a full house is a 429 here, not an event later
    return Events(_events(context, caller, bearer(call), selector, agent.id))


async def _events(
    context: Context, caller: Caller, key: str, selector: Selector, agent_id: str
) -> AsyncIterator[bytes]:
    with context.holds.place(agent_id):
        async for polled in stream_decision(context.gate, caller, selector, context.draining):
            (await context.gate.directory.caller(key)).as_agent()
            if polled is None:
                yield b""
                continue
            identity = polled.etag.strip('"').encode()
            yield b"event: decision\nid: " + identity + b"\ndata: " + decision_body(polled.answer) + b"\n\n"


async def list_threads(context: Context, call: Call) -> Reply:
    """The agent's own threads, oldest first: for scheduled checks and for catching up.

    A page that is asked for with ``limit=1`` has the headers of its decision, for workflows that cannot parse.
    """
    caller = await context.caller(call)
    agent = caller.as_agent()
    where, limit = _filter(agent.id, call.query(), context.gate.env.now())
    found = await list_decisions(context.gate, caller, where)
    bodies = [decision_body(polled.answer) for _, polled in found[:limit]]
    more = str(found[limit - 1][0]).encode() if len(found) > limit else None
    cursor = b"null" if more is None else b'"' + more + b'"'
    headers = decision_headers(found[0][1].answer) if limit == 1 and found else []
    if more is not None:
        headers.append((b"x-gate-next-cursor", more))
    return Reply(b'{"threads":[' + b",".join(bodies) + b'],"next_cursor":' + cursor + b"}", headers=tuple(headers))


def _filter(agent_id: str, query: dict[str, str], now: int) -> tuple[ThreadFilter, int]:
    """The filter asks for one more than the page has, to know whether there is a next one."""
    limit = whole(query, "limit", 1, _LIMIT_MOST) or 50
    status = query.get("status") or None
    if status is not None and status not in STATUSES:
        raise Invalid("status is allow, reject, pending_review, approved or rejected", code="invalid_status")
    redeemed = query.get("redeemed") or None
    if redeemed not in (None, "true", "false"):
        raise Invalid("redeemed is true or false", code="invalid_redeemed")
    if query.get("redeemable") not in (None, "true"):
        raise Invalid("redeemable is true, or not sent", code="invalid_redeemable")
    where = ThreadFilter(
        status=status,
        agent_ids=(agent_id,),
        tool_name=query.get("tool") or None,
        redeemed=None if redeemed is None else redeemed == "true",
        redeemable_at=now if "redeemable" in query else None,
        since=_moment(query),
        after=whole(query, "cursor", 0, 2**62),
        oldest_first=True,
        limit=limit + 1,
    )
    return where, limit


def _moment(query: dict[str, str]) -> int | None:
    since = query.get("since")
    if not since:
        return None
    try:
        return parse_rfc3339(since)
    except (ValueError, OverflowError):
        raise Invalid("since is a time such as 2026-11-24T21:12:00Z", code="invalid_since") from None


def selector_of(query: dict[str, str]) -> Selector:
    """Raises Invalid unless exactly one id is given."""
    given = {name: query[name] for name in _SELECTORS if name in query}
    if len(given) != 1:
        raise Invalid("name exactly one of thread_id, request_id and task_id", code="one_id")
    return Selector(**given)


def wait_of(query: dict[str, str]) -> int | None:
    return whole(query, "wait", 1, 60)


def whole(query: dict[str, str], name: str, least: int, most: int) -> int | None:
    """A whole number of the query. Raises Invalid."""
    text = query.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 19 or not least <= int(text) <= most:
        raise Invalid(f"{name} is a whole number from {least} to {most}", code=f"invalid_{name}")
    return int(text)


async def validate_approval(context: Context, call: Call) -> Reply:
    """Redeems an approval token: succeeds once, ever. A refusal uses nothing up."""
    caller = await redeeming_caller(context, call)
    try:
        raw = await read_fields(call)
        await context.take_turn(call, caller)
        body = read_as(raw, ValidateBody)
    except GateError:
        await context.caller(call)  # a refusal that rests on no write holds the key against what is stored
        raise
    attempt = Attempt(body.task_id, body.signature, body.tool_name, _digest(body))
    result = await redeem(context.gate, caller, attempt)
    if isinstance(result, Redeemed):
        return _redeemed(result, call)
    made = problem(403, "approval_refused", _EXPLANATIONS[result.reason], call.request_id)
    made.valid, made.reason = False, result.reason
    return problem_reply(made)


async def redeeming_caller(context: Context, call: Call) -> Caller:
    """Who redeems, as last read: nothing is redeemed unless that still holds. A refusal rests on what holds now."""
    caller = await context.caller(call, current=False)
    try:
        redeemer(caller)
    except GateError:
        return await context.caller(call)
    return caller


def _digest(body: ValidateBody) -> str | None:
    """The digest to hold against the approval; two that disagree match nothing."""
    computed = None if body.payload is None else digest(body.payload)
    if computed is not None and body.payload_digest is not None and computed != body.payload_digest:
        return "contradiction"
    return computed or body.payload_digest


def _redeemed(result: Redeemed, call: Call) -> Reply:
    request = result.request
    accept = call.header(b"accept") or ""
    if PAYLOAD_TYPE in (part.partition(";")[0].strip() for part in accept.split(",")):
        return Reply(request.payload.encode(), content_type=PAYLOAD_TYPE.encode()).written()
    answer = {
        "valid": True,
        "status": request.status,
        "thread_id": request.thread_id,
        "request_id": request.id,
        "task_id": request.task_id,
        "tool_name": request.tool_name,
        "payload_digest": request.payload_digest,
        "redeemed_at": rfc3339_or_none(request.redeemed_at),
    }
    known = ENCODER.encode(answer)
    return Reply(known[:-1] + b',"payload":' + request.payload.encode() + b"}").written()


_EXPLANATIONS = {
    "already_used": "this approval was redeemed before: ask again if the action is to run once more",
    "expired": "this token or its approval is over: read the decision again for a fresh token, or ask again",
    "wrong_task": "this approval is for another task_id",
    "wrong_tool": "this approval is for another tool",
    "wrong_agent": "this approval was given to another agent",
    "payload_mismatch": "this is not the payload that was approved: run exactly what was approved, or ask again",
    "payload_required": "send tool_name and payload, or payload_digest: this approval is bound to both",
    "bad_signature": "this is no token of this gate, or it was changed",
    "revoked": "this approval was revoked: ask again",
    "unknown": "there is no such approval",
}
