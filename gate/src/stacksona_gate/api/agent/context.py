"""What the agent API needs besides the gate: keys from headers, limits, counts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from stacksona_gate.api.http import Call
from stacksona_gate.domain.agents import Agent
from stacksona_gate.domain.audit import UNKNOWN
from stacksona_gate.domain.errors import GateError, Invalid, OverLimit, Unauthenticated, Unavailable
from stacksona_gate.domain.ids import FIRST_TENANT, is_task_id
from stacksona_gate.service.decisions import DrainFlag
from stacksona_gate.service.directory import Caller
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.holds import Holds
from stacksona_gate.service.requests import Answer, IdempotencyKey, idempotency_key

_FLOODS: Final = {"unauthenticated", "malformed", "invalid", "too_large", "unsupported_media_type"}


@dataclass(slots=True)
class Context:
    """The running API."""

    gate: Gate
    holds: Holds
    draining: DrainFlag = field(default_factory=DrainFlag)
    look: asyncio.Future[Any] | None = None
    """What metrics count in the database, while they do."""

    async def caller(self, call: Call, *, current: bool = True) -> Caller:
        """Whose key the call carries. Counted the first time; calls without a body wait for their turn here too.

        Raises Unauthenticated, Forbidden, OverLimit.
        """
        caller = await self.gate.directory.caller(bearer(call), current=current)
        if call.tenant_id is None:
            call.tenant_id = caller.tenant_id
            most = caller.configuration.limits.requests_per_second
            if most is not None:
                self.gate.quotas.take_call(caller.tenant_id, most)
            if call.scope["method"] != "POST" and await self.take_turn(call, caller):
                return await self.gate.directory.caller(bearer(call), current=current)
        return caller

    async def take_turn(self, call: Call, caller: Caller) -> bool:
        """Waits for the workspace's turn, after the body is there: a slow one takes up nobody's place.

        Says whether it waited: what was looked up before may no longer hold. Raises OverLimit.
        """
        turns, tenant_id = self.gate.turns, caller.tenant_id
        waited = await turns.enter(tenant_id)
        call.left = partial(turns.leave, tenant_id)
        return waited

    async def refused(self, call: Call, error: GateError) -> None:
        """Counts refusals that callers can cause at will; at most one audit row a minute per cause."""
        if isinstance(error, OverLimit):
            cause = error.code
        elif error.kind in _FLOODS:
            cause = error.kind
        else:
            return
        gate, now = self.gate, self.gate.env.now()
        # Each workspace's refusals are in its own log; those of nobody in the first one's.
        tenant_id = call.tenant_id or FIRST_TENANT
        stands_for = gate.refusals.count(f"calls.{cause}", tenant_id, now)
        call.leave()
        if stands_for:
            await self._record_refusals(call, tenant_id, cause, stands_for, now)
        elif isinstance(error, OverLimit):
            await gate.pace.hold(tenant_id)

    async def _record_refusals(self, call: Call, tenant_id: str, cause: str, stands_for: int, now: int) -> None:
        gate = self.gate
        private = {"stands_for": stands_for, "address": call.peer}
        entry = gate.env.entry(
            "calls.refused",
            tenant_id=tenant_id,
            at=now,
            actor=UNKNOWN,
            objects={},
            private=private,
            reason_code=cause,
        )
        try:
            await gate.store.write(lambda tx: tx.audit.append(entry), holds=True)
        except Unavailable:
            return  # the caller's refusal stands without its row; there is nothing to undo

    def count(self, call: Call, answer: Answer) -> None:
        """A decision was made."""
        call.about = {"request_id": answer.request.id, "thread_id": answer.thread_id}
        self.gate.env.measures.decisions[answer.status, answer.request.reason_code] += 1

    def limit_rate(self, agent: Agent) -> None:
        """Raises OverLimit when the agent asked as often as it may."""
        if agent.requests_per_second:
            self.gate.quotas.take_ask(agent.tenant_id, agent.id, agent.requests_per_second)


def bearer(call: Call, wanted: str = "the agent's key: Authorization: Bearer sg_…") -> str:
    """The key of ``Authorization: Bearer …``. ``wanted``: what to send. Raises Unauthenticated."""
    value = call.header(b"authorization")
    if value is None:
        raise Unauthenticated(f"send {wanted}")
    scheme, _, key = value.partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise Unauthenticated("the Authorization header is malformed: send Bearer and the key")
    return key.strip()


def task_of(call: Call) -> str:
    """The task of the path. Raises Invalid."""
    task_id = call.path["task_id"]
    if not is_task_id(task_id):
        raise Invalid("a task id has 1 to 200 of the characters A-Z a-z 0-9 . _ : -", code="invalid_id")
    return task_id


def idempotency_of(call: Call, agent: Agent, content_type: str, content: bytes) -> IdempotencyKey | None:
    """Raises Invalid for a key over 200 characters, or an empty one."""
    key = call.header(b"idempotency-key")
    if key is None:
        return None
    if not 1 <= len(key) <= 200:
        raise Invalid("an Idempotency-Key has 1 to 200 characters", code="invalid_idempotency_key")
    scope = call.scope
    return idempotency_key(agent.id, scope["method"], scope["path"], key, content_type, content)


def decision_headers(answer: Answer) -> list[tuple[bytes, bytes]]:
    """What a workflow branches on, redeems with and reports with, without parsing."""
    request = answer.request
    headers = [
        (b"x-gate-decision", answer.status.encode()),
        (b"x-gate-task-id", request.task_id.encode()),
        (b"x-gate-request-id", request.id.encode()),
        (b"x-gate-payload-digest", request.payload_digest.encode()),
    ]
    if answer.thread_id is not None:
        headers.append((b"x-gate-thread-id", answer.thread_id.encode()))
    if answer.token is not None:
        headers.append((b"x-gate-approval-token", answer.token.encode()))
    return headers
