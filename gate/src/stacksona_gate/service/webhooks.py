"""The outbox: what is sent is written down in the transaction of what it tells, and sent from there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from stacksona_gate.domain import webhooks
from stacksona_gate.domain.audit import GATE, Actor
from stacksona_gate.domain.canonical import canonicalize
from stacksona_gate.domain.requests import Request
from stacksona_gate.domain.status import APPROVED
from stacksona_gate.domain.times import MINUTE, rfc3339, rfc3339_or_none
from stacksona_gate.domain.webhooks import Attempt, Delivery, Due, Endpoint, Result
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.notices import add_notice
from stacksona_gate.store.base import DELIVERIES, Tx
from stacksona_gate.telemetry.trace import CURRENT

__all__ = ["DELIVERIES"]  # for those who may not look into the store

SWITCHED_OFF: Final = "webhook.switched_off"
CLOCK_LEASE: Final = MINUTE


@dataclass(frozen=True, slots=True)
class Wanted:
    """An endpoint, and how many deliveries to take for it."""

    tenant_id: str
    endpoint_id: str
    most: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that this process has the lease of, and where it goes. ``secrets`` are wrapped; all of them sign."""

    delivery: Delivery
    url: str
    secrets: tuple[str, ...]


def announce(tx: Tx, env: Environment, before: Request | None, after: Request) -> None:
    """Puts what an agent with a webhook is to be told: its thread is decided, or changes were asked for."""
    event = event_of(before, after)
    if event is None:
        return
    endpoint = tx.webhooks.find_endpoint(after.tenant_id, after.agent_id)
    if endpoint is not None and endpoint.url is not None:
        put(tx, env, endpoint, event, decision_fields(event, after), about=after)


def announce_all(tx: Tx, env: Environment, ended: Sequence[Request]) -> None:
    """As ``announce`` for many threads that have just ended without an approval, in few statements."""
    agents = {(request.tenant_id, request.agent_id) for request in ended}
    endpoints = {agent: tx.webhooks.find_endpoint(*agent) for agent in agents}
    made = []
    for request in ended:
        endpoint = endpoints[request.tenant_id, request.agent_id]
        if endpoint is None or endpoint.url is None:
            continue
        fields = decision_fields(webhooks.REJECTED, request)
        if endpoint.is_on:
            made.append(_made(env, endpoint, webhooks.REJECTED, fields, request))
        else:
            put(tx, env, endpoint, webhooks.REJECTED, fields, about=request)
    if made:
        tx.webhooks.insert_all(made, env.shared_now(tx))


def event_of(before: Request | None, after: Request) -> str | None:
    """What a change of a thread is called; None for one that nobody is told of."""
    if after.thread_id is None:
        return None
    if not after.is_pending:
        if before is not None and not before.is_pending:
            return None
        return webhooks.APPROVED if after.status == APPROVED else webhooks.REJECTED
    asked_before = before is not None and before.revision_requested and before.feedback == after.feedback
    return webhooks.REVISION_REQUESTED if after.revision_requested and not asked_before else None


def decision_fields(event: str, request: Request) -> dict[str, object]:
    """A wake-up, never authority: no token, no payload and no digest is in it."""
    return {
        "event": event,
        "thread_id": request.thread_id,
        "request_id": request.id,
        "task_id": request.task_id,
        "tenant_id": request.tenant_id,
        "tool_name": request.tool_name,
        "workflow_name": request.workflow_name,
        "task_label": request.task_label,
        "decision": request.status,
        "message": request.feedback if event == webhooks.REVISION_REQUESTED else request.message,
        "reason_code": request.reason_code,
        "edited": request.edited,
        "metadata": json.loads(request.metadata),
        "decided_at": rfc3339_or_none(request.decided_at),
    }


def notify(tx: Tx, env: Environment, tenant_id: str, event: str, fields: Mapping[str, object]) -> None:
    """Puts an event for the workspace's own hook; nothing where there is none."""
    endpoint = tx.webhooks.find_endpoint(tenant_id, webhooks.WORKSPACE)
    if endpoint is not None and endpoint.url is not None:
        put(tx, env, endpoint, event, {"event": event, "tenant_id": tenant_id, "at": rfc3339(env.now()), **fields})


def put(
    tx: Tx,
    env: Environment,
    endpoint: Endpoint,
    event: str,
    fields: Mapping[str, object],
    *,
    about: Request | None = None,
) -> Delivery:
    """Writes a delivery down; older ones of its thread that still wait are superseded.

    For an endpoint that is switched off it is dead from the start: seen, and replayed when somebody wants it to be.
    """
    delivery = _made(env, endpoint, event, fields, about)
    if about is not None:
        tx.webhooks.supersede(delivery, env.shared_now(tx))
    tx.webhooks.insert(delivery)
    if not endpoint.is_on:
        record_delivery(tx, env, delivery, "webhook.dead", GATE, reason=webhooks.why_dead(delivery))
    return delivery


def _made(
    env: Environment,
    endpoint: Endpoint,
    event: str,
    fields: Mapping[str, object],
    request: Request | None,
) -> Delivery:
    now, is_on = env.now(), endpoint.is_on
    http_request_id, traceparent = _asked_in(request)
    return Delivery(
        0,
        endpoint.tenant_id,
        env.id("msg_", now),
        endpoint.id,
        None if request is None else request.id,
        None if request is None else request.thread_id,
        event,
        state=webhooks.PENDING if is_on else webhooks.DEAD,
        attempts=0,
        tries=0,
        created_at=now,
        # Not a time: a clock that is set back must not make it wait.
        due_at=0 if is_on else None,
        leased_until=None,
        fence=0,
        finished_at=None if is_on else now,
        http_request_id=http_request_id,
        traceparent=traceparent,
        body=canonicalize(dict(fields)).decode(),
    )


def _asked_in(request: Request | None) -> tuple[str | None, str | None]:
    """The call that a delivery goes back to: the one that opened the thread, whoever decided it, else this one."""
    if request is not None and request.http_request_id is not None:
        return request.http_request_id, request.traceparent
    trace = CURRENT.get()
    return (None, None) if trace is None else (trace.http_request_id, trace.traceparent)


def claim(tx: Tx, env: Environment, wanted: Sequence[Wanted], lasts: int) -> list[Claim]:
    """Takes deliveries that are due, for ``lasts`` microseconds: then somebody else may take them over."""
    now, claims = env.shared_now(tx), []
    for one in wanted:
        # Held: of a thread one delivery at a time is on its way, whichever process takes it.
        endpoint = tx.webhooks.lock_endpoint(one.tenant_id, one.endpoint_id)
        if endpoint is None or endpoint.url is None or not endpoint.is_on:
            continue
        secrets = secrets_of(endpoint, now)
        for taken in tx.webhooks.claim(one.tenant_id, one.endpoint_id, now, now + lasts, one.most):
            begun = replace(taken, fence=taken.fence + 1, attempts=taken.attempts + 1, leased_until=now + lasts)
            claims.append(Claim(begun, endpoint.url, secrets))
    return claims


def list_due(tx: Tx, env: Environment) -> tuple[list[Due], int]:
    """Endpoints with something pending, each with when it is due; and what time it is by the same clock."""
    return tx.webhooks.list_due(), env.shared_now(tx)


def clock_set(tx: Tx, env: Environment, holder: str, step: int) -> None:
    """Keeps waits as long as they were although the time of day was set by ``step`` microseconds; done once for all
    processes, as all of them go by one clock. Set forward, only what is on its way moves: a wait that ends early does
    no harm."""
    now = env.shared_now(tx)
    if tx.leases.take("clock", holder, now, CLOCK_LEASE) is not None:
        tx.webhooks.shift(step, min(now, now - step))


def secrets_of(endpoint: Endpoint, now: int) -> tuple[str, ...]:
    """The secrets that sign now, wrapped, the newest first."""
    overlaps = endpoint.previous_until is not None and now < endpoint.previous_until
    return tuple(filter(None, (endpoint.secret, endpoint.previous_secret if overlaps else None)))


def record_result(tx: Tx, env: Environment, delivery: Delivery, result: Result, sent_to: str) -> str:
    """Writes down what came of an attempt, and what follows from it. ``sent_to``: the address that was called.

    Returns ``delivered``, ``failed`` (it is sent again), ``dead`` or ``stale``: somebody else had taken it over, or it
    was given up meanwhile, so that the attempt is seen and changes nothing.
    """
    endpoint = tx.webhooks.lock_endpoint(delivery.tenant_id, delivery.endpoint_id)
    if endpoint is not None and endpoint.url != sent_to:
        result = replace(result, gone=False)  # the address before says nothing about the one that holds now
    now = env.shared_now(tx)
    settled = _settled(env, delivery, result, now)
    if endpoint is None or not tx.webhooks.settle(settled):
        tx.webhooks.insert_attempt(_attempt(delivery, _without_erased(tx, delivery, result)))
        return "stale"
    tx.webhooks.insert_attempt(_attempt(delivery, result))
    if settled.state == webhooks.DELIVERED:
        record_delivery(tx, env, settled, "webhook.delivered", GATE)
        if endpoint.failing_since is not None:
            tx.webhooks.put_endpoint(replace(endpoint, failing_since=None))
        return "delivered"
    _failed(tx, env, endpoint, settled, result, now)
    return "dead" if settled.state == webhooks.DEAD else "failed"


def _without_erased(tx: Tx, delivery: Delivery, result: Result) -> Result:
    """An answer may repeat what it answers: it goes with what was erased while the call was on its way."""
    kept = tx.webhooks.find(delivery.tenant_id, delivery.id)
    return result if kept is not None and kept.body else replace(result, answer="")


def _attempt(delivery: Delivery, result: Result) -> Attempt:
    error = None if result.error is None else result.error[: webhooks.ERROR_MOST]
    return Attempt(
        delivery.tenant_id,
        delivery.id,
        delivery.attempts,
        result.at,
        result.duration,
        result.status,
        error,
        result.answer,
    )


def _settled(env: Environment, delivery: Delivery, result: Result, now: int) -> Delivery:
    if result.is_success:
        return replace(delivery, state=webhooks.DELIVERED, due_at=None, leased_until=None, finished_at=now)
    tries = delivery.tries + 1
    chance = int.from_bytes(env.randomness(4)) / 2**32
    wait = webhooks.wait_after(tries, chance, result.retry_after)
    if wait is None or result.gone or delivery.event == webhooks.TEST:
        return replace(delivery, state=webhooks.DEAD, tries=tries, due_at=None, leased_until=None, finished_at=now)
    return replace(delivery, tries=tries, due_at=now + wait, leased_until=None)


def _failed(tx: Tx, env: Environment, endpoint: Endpoint, delivery: Delivery, result: Result, now: int) -> None:
    if delivery.state == webhooks.DEAD:
        record_delivery(tx, env, delivery, "webhook.dead", GATE, reason=webhooks.why_dead(delivery))
    if result.gone:
        switch_off(tx, env, endpoint, "it answered 410 Gone", GATE)
        return
    if delivery.event == webhooks.TEST:
        return
    if delivery.state == webhooks.DEAD:
        text = "A webhook was given up after its last attempt. Dead deliveries can be replayed."
        add_notice(tx, env, delivery.tenant_id, "webhook.dead", text, about(endpoint))
    failing = replace(endpoint, failing_since=endpoint.failing_since or now)
    if webhooks.must_switch_off(failing, now):
        switch_off(tx, env, failing, "nothing was delivered for five days", GATE)
    elif endpoint.failing_since is None:
        tx.webhooks.put_endpoint(failing)


def give_back(tx: Tx, env: Environment, delivery: Delivery, result: Result) -> None:
    """Ends an attempt that was broken off here: seen, no rung of the ladder, due at once for whoever comes next."""
    tx.webhooks.insert_attempt(_attempt(delivery, result))
    tx.webhooks.settle(replace(delivery, due_at=0, leased_until=None))


def switch_off(tx: Tx, env: Environment, endpoint: Endpoint, because: str, actor: Actor) -> Endpoint:
    """Sends nothing more to an endpoint until somebody switches it on: what waits is dead, and admins are told."""
    now = env.now()
    off = replace(endpoint, switched_off_at=now, switched_off_because=because)
    tx.webhooks.put_endpoint(off)
    dead = tx.webhooks.give_up(endpoint.tenant_id, endpoint.id, now)
    private: dict[str, object] = {"reason": because, "deliveries_dead": dead}
    record(tx, env, endpoint, SWITCHED_OFF, actor, private)
    text = f"A webhook was switched off: {because}. Deliveries are kept as dead until it is switched on again."
    add_notice(tx, env, endpoint.tenant_id, SWITCHED_OFF, text, about(endpoint))
    if endpoint.kind != webhooks.WORKSPACE:
        fields = {"agent_id": endpoint.id, "reason": because, "deliveries_dead": dead}
        notify(tx, env, endpoint.tenant_id, SWITCHED_OFF, fields)
    return off


def about(endpoint: Endpoint) -> dict[str, str]:
    """An endpoint as an audit entry or a notice names it."""
    return {"endpoint": endpoint.id} if endpoint.kind == webhooks.WORKSPACE else {"agent": endpoint.id}


def record(
    tx: Tx, env: Environment, endpoint: Endpoint, event: str, actor: Actor, private: Mapping[str, object]
) -> None:
    """An audit entry about an endpoint."""
    tenant_id, objects = endpoint.tenant_id, about(endpoint)
    tx.audit.append(env.entry(event, tenant_id=tenant_id, at=env.now(), actor=actor, objects=objects, private=private))


def record_delivery(
    tx: Tx, env: Environment, delivery: Delivery, event: str, actor: Actor, *, reason: str | None = None
) -> None:
    objects = {"delivery": delivery.id, "endpoint": delivery.endpoint_id}
    if delivery.request_id is not None:
        objects["request"] = delivery.request_id
    if delivery.thread_id is not None:
        objects["thread"] = delivery.thread_id
    private = {"event": delivery.event, "attempts": delivery.attempts, "reason": reason}
    tx.audit.append(
        env.entry(event, tenant_id=delivery.tenant_id, at=env.now(), actor=actor, objects=objects, private=private)
    )
