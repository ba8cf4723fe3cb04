"""What agents report: events on a task's timeline, and what became of an action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stacksona_gate.domain import status
from stacksona_gate.domain.audit import Actor
from stacksona_gate.domain.canonical import canonicalize
from stacksona_gate.domain.errors import Invalid, NotFound
from stacksona_gate.domain.requests import Outcome, Request, TaskEvent
from stacksona_gate.service.directory import Caller
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.notices import add_notice
from stacksona_gate.service.requests import IdempotencyKey
from stacksona_gate.service.threads import Change, record, require_acting, revise
from stacksona_gate.store.base import Idempotency, Tx

_NOT_COVERED: Final = "An agent reports an execution that its approval does not cover: see the flagged outcomes."


@dataclass(frozen=True, slots=True)
class EventReport:
    """Something that an agent says it does. ``payload`` is a JSON object."""

    event_type: str
    summary: str
    payload: dict[str, object]
    thread_id: str | None = None


@dataclass(frozen=True, slots=True)
class OutcomeReport:
    """What became of an action: ``executed``, ``failed`` or ``skipped``. One of the ids is set."""

    status: str
    request_id: str | None = None
    thread_id: str | None = None
    detail: str | None = None
    payload_digest: str | None = None


def replayed_id(tx: Tx, env: Environment, tenant_id: str, key: IdempotencyKey | None) -> str | None:
    """The id that an earlier call with this key was given. Raises Invalid when its body was another."""
    if key is None:
        return None
    kept = tx.replays.find(tenant_id, key.scope, env.now())
    if kept is None:
        return None
    if kept.fingerprint != key.fingerprint:
        raise Invalid(
            "this Idempotency-Key was used for another body: send the same body again, or a new key",
            code="idempotency_mismatch",
        )
    return kept.answer


def keep_id(tx: Tx, env: Environment, tenant_id: str, key: IdempotencyKey | None, given: str) -> None:
    if key is not None:
        tx.replays.insert(tenant_id, Idempotency(key.scope, key.fingerprint, given), env.now())


def revise_once(
    tx: Tx,
    env: Environment,
    caller: Caller,
    task_id: str,
    thread_id: str,
    change: Change,
    key: IdempotencyKey | None,
) -> Request | None:
    """As ``threads.revise``; None when the same call made its revision before. Raises Invalid for another body."""
    require_acting(tx, env, caller)
    if replayed_id(tx, env, caller.tenant_id, key) is not None:
        return None
    revised = revise(tx, env, caller, task_id, thread_id, change)
    keep_id(tx, env, caller.tenant_id, key, thread_id)
    return revised


def log_event(
    tx: Tx, env: Environment, caller: Caller, task_id: str, report: EventReport, key: IdempotencyKey | None
) -> str:
    """Puts an event on the task's timeline. Returns its id. Raises NotFound for somebody else's thread."""
    require_acting(tx, env, caller)
    earlier = replayed_id(tx, env, caller.tenant_id, key)
    if earlier is not None:
        return earlier
    agent, now = caller.as_agent(), env.now()
    request = None if report.thread_id is None else _own(tx, caller, task_id, None, report.thread_id)
    event = TaskEvent(
        env.id("evt_", now),
        agent.id,
        task_id,
        None if request is None else request.id,
        report.event_type,
        report.summary,
        canonicalize(report.payload).decode(),
        now,
    )
    tx.conversation.insert_event(agent.tenant_id, event)
    objects = {"agent": agent.id, "event": event.id, "task": task_id}
    if request is not None and request.thread_id is not None:
        objects |= {"request": request.id, "thread": request.thread_id}
    private = {"event_type": event.event_type, "summary": event.summary, "payload": report.payload}
    actor = Actor("agent", agent.id)
    tx.audit.append(
        env.entry("task.event", tenant_id=agent.tenant_id, at=now, actor=actor, objects=objects, private=private)
    )
    keep_id(tx, env, agent.tenant_id, key, event.id)
    return event.id


def report_outcome(
    tx: Tx, env: Environment, caller: Caller, task_id: str, report: OutcomeReport, key: IdempotencyKey | None
) -> tuple[str, str | None]:
    """Keeps what became of an action. Returns the outcome's id and its flag. Raises NotFound."""
    require_acting(tx, env, caller)
    request = _own(tx, caller, task_id, report.request_id, report.thread_id)
    earlier = replayed_id(tx, env, caller.tenant_id, key)
    if earlier is not None:
        given, _, kept_flag = earlier.partition(" ")
        return given, kept_flag or None
    now = env.now()
    flag = outcome_flag(tx, request, report)
    outcome = Outcome(
        env.id("out_", now),
        request.id,
        request.agent_id,
        report.status,
        report.detail,
        report.payload_digest,
        flag,
        now,
    )
    tx.conversation.insert_outcome(request.tenant_id, outcome)
    tx.requests.set_outcome(request.tenant_id, request.id, report.status)
    private = {
        "outcome": report.status,
        "detail": report.detail,
        "payload_digest": report.payload_digest,
        "flag": flag,
    }
    record(tx, env, request, "outcome.reported", actor=Actor("agent", request.agent_id), private=private)
    if flag is not None:
        add_notice(tx, env, request.tenant_id, "outcome.flagged", _NOT_COVERED, {"agent": request.agent_id})
    keep_id(tx, env, request.tenant_id, key, f"{outcome.id} {flag or ''}")
    return outcome.id, flag


def outcome_flag(tx: Tx, request: Request, report: OutcomeReport) -> str | None:
    """What is wrong with an outcome: only an execution can be."""
    if report.status != "executed":
        return None
    if request.status not in status.MAY_RUN:
        return "not_approved"
    if request.approval_id is not None and request.redeemed_at is None:
        return "not_redeemed"
    erased = request.erased_at is not None
    if not erased and report.payload_digest is not None and report.payload_digest != request.payload_digest:
        return "other_payload"
    earlier = tx.conversation.list_outcomes(request.tenant_id, request.id)
    if any(outcome.status == "executed" for outcome in earlier):
        return "executed_again"
    return None


def _own(tx: Tx, caller: Caller, task_id: str, request_id: str | None, thread_id: str | None) -> Request:
    """The caller's request of this task. Raises NotFound."""
    if request_id is not None:
        request = tx.requests.find(caller.tenant_id, request_id)
    else:
        request = tx.requests.find_thread(caller.tenant_id, thread_id or "")
    if request is None or request.agent_id != caller.as_agent().id or request.task_id != task_id:
        raise NotFound("there is no such request in this task")
    return request
