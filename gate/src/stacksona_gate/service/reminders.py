"""Reviewers of threads that still wait are reminded, and before the end the thread is escalated."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from stacksona_gate.domain.audit import GATE
from stacksona_gate.domain.reminders import ESCALATED, REMINDED, Timing, next_step
from stacksona_gate.domain.requests import Request
from stacksona_gate.domain.times import rfc3339_or_none
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.redaction import for_others
from stacksona_gate.service.threads import record
from stacksona_gate.service.timing import read_timing
from stacksona_gate.service.webhooks import notify
from stacksona_gate.store.base import Tx

_EVENTS: Final = {REMINDED: "thread.reminded", ESCALATED: "thread.escalated"}


def remind_all(tx: Tx, env: Environment, due: Iterable[Request]) -> None:
    """Deals with reminders that are due, of any tenant; none of the threads is overdue.

    The audit entry of each is what open pages notice.
    """
    now, timings = env.now(), dict[str, Timing]()
    for request in due:
        timing = timings.get(request.tenant_id)
        if timing is None:
            timing = timings[request.tenant_id] = read_timing(tx, request.tenant_id)
        _remind(tx, env, request, timing.reminders, now)


def _remind(tx: Tx, env: Environment, request: Request, percents: tuple[int, ...], now: int) -> None:
    step = next_step(request, percents, now)
    reminders = request.reminders + (step.said is not None)
    if not tx.requests.set_reminder(request, step.remind_at, reminders) or step.said is None:
        return
    event = _EVENTS[step.said]
    record(tx, env, request, event, actor=GATE)
    notify(tx, env, request.tenant_id, event, told(tx, env, request))


def told(tx: Tx, env: Environment, request: Request) -> dict[str, object]:
    """What a receiver outside is told of a thread that waits: never its payload."""
    agent = tx.agents.find(request.tenant_id, request.agent_id)
    return {
        "thread_id": request.thread_id,
        "request_id": request.id,
        "task_id": request.task_id,
        "tool_name": request.tool_name,
        "agent_id": request.agent_id,
        "agent_name": None if agent is None else agent.name,
        "risk_level": request.risk_level,
        "subject": for_others(tx, request.tenant_id).listed(request).subject,
        "expires_at": rfc3339_or_none(request.expires_at),
        "review_url": f"{env.public_url}/inbox/{request.thread_id}",
    }
