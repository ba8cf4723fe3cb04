"""The bridge's own endpoints: what is asked here is asked of the gate, as the bridge's agent."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from stacksona import ActionRequest, AsyncGate, Decision, GateError, PendingReview
from starlette.requests import Request
from starlette.responses import Response

from stacksona_bridge import fields, signatures
from stacksona_bridge.http import Holds, caller_of, read_call, reply
from stacksona_bridge.problems import gate_faults, invalid, problem_of
from stacksona_bridge.settings import Config

_INNER = frozenset({"etag"})


@dataclass(frozen=True)
class Decisions:
    """``draining`` is set when the process is told to end: whoever waits is answered with what is known."""

    config: Config
    gate: AsyncGate
    holds: Holds
    draining: asyncio.Event

    async def ask(self, request: Request) -> Response:
        """``POST /decisions``"""
        caller = caller_of(request, self.config.callers)
        raw = await read_call(request)
        asked = fields.read_as(raw, fields.Ask)
        seconds = fields.waiting_time(asked.wait)
        with gate_faults():
            decision = await self.gate.request_decision(self._question(caller, asked, _key(request)))
        if decision.is_pending and seconds:
            decision = await self._waited(request, decision, seconds)
        return decision_reply(decision)

    async def look(self, request: Request) -> Response:
        """``GET /decisions/{thread_id}``"""
        caller_of(request, self.config.callers)
        seconds = fields.waiting_time(_one(request, "wait") or 0)
        with gate_faults():
            decision = await self.gate.get_decision(thread_id=request.path_params["thread_id"])
        if decision.is_pending and not decision.revision_requested and seconds:
            decision = await self._waited(request, decision, seconds)
        return decision_reply(decision)

    async def redeem(self, request: Request) -> Response:
        """``POST /approvals/validate``"""
        caller_of(request, self.config.callers)
        asked = fields.read_as(await read_call(request), fields.Redeem)
        with gate_faults():
            redemption = await self.gate.validate_approval(
                asked.signature,
                task_id=asked.task_id,
                tool_name=asked.tool_name,
                payload=asked.payload,
                payload_digest=asked.payload_digest,
            )
        return reply({"valid": True, **vars(redemption)})

    async def tell(self, request: Request) -> Response:
        """``POST /events``"""
        caller_of(request, self.config.callers)
        told = fields.read_as(await read_call(request), fields.Event)
        if told.event_type == "revision":
            return await self._revise(told)
        if any(one is not None for one in (told.subject, told.preview, told.summary, told.attachments)):
            raise invalid("event_type", "subject, preview, summary and attachments go with a revision only")
        with gate_faults():
            event_id = await self.gate.log_event(
                told.task_id, told.event_type, told.event_summary, payload=told.payload, thread_id=told.thread_id
            )
        return reply({"event_id": event_id}, 201)

    async def _revise(self, told: fields.Event) -> Response:
        if told.thread_id is None:
            raise invalid("thread_id", "a revision is of a thread")
        with gate_faults():
            decision = await self.gate.log_revision(
                told.task_id,
                told.thread_id,
                subject=told.subject,
                preview=told.preview,
                summary=told.summary,
                payload=told.payload,
                files=None if told.attachments is None else fields.files(told.attachments),
            )
        return decision_reply(decision)

    async def report(self, request: Request) -> Response:
        """``POST /outcomes``"""
        caller_of(request, self.config.callers)
        told = fields.read_as(await read_call(request), fields.Outcome)
        with gate_faults():
            outcome = await self.gate.report_outcome(
                told.task_id,
                told.status,
                request_id=told.request_id,
                thread_id=told.thread_id,
                detail=told.detail,
                payload_digest=told.payload_digest,
            )
        return reply({name: value for name, value in vars(outcome).items() if value is not None}, 201)

    def _question(self, caller: str, asked: fields.Ask, key: str | None) -> ActionRequest:
        """Metadata that says where to resume is signed: see ``resuming``."""
        return ActionRequest(
            asked.task_id,
            asked.tool_name,
            asked.subject,
            asked.payload,
            workflow_name=asked.workflow_name,
            task_label=asked.task_label,
            risk_level=asked.risk_level,
            preview=asked.preview,
            summary=asked.summary,
            metadata=self._signed(asked),
            attachments=fields.files(asked.attachments),
            expires_in=asked.expires_in,
            idempotency_key=_idempotency_key(caller, asked, key),
        )

    def _signed(self, asked: fields.Ask) -> dict[str, str]:
        metadata = dict(asked.metadata)
        metadata.pop(signatures.WAKE_SIGNATURE, None)  # nobody else's
        resuming = signatures.chosen(signatures.WAKE_FIELDS, metadata)
        if self.config.signing_keys and any(resuming.values()):
            metadata[signatures.WAKE_SIGNATURE] = signatures.signature(
                self.config.signing_keys, signatures.WAKE, asked.task_id, asked.tool_name, resuming
            )
        return metadata

    async def _waited(self, request: Request, known: Decision, seconds: int) -> Decision:
        """The decision after at most ``seconds``; sooner when the caller hangs up or the process is told to end."""
        assert known.thread_id is not None  # noqa: S101 - the client has checked it
        async with self.holds.one():
            wait = self.gate.wait_for_decision(known.thread_id, timeout=seconds)
            try:
                return await unless_over(request, self.draining, wait) or known
            except PendingReview as pending:
                return pending.decision or known
            except GateError as error:
                problem = problem_of(error)
                problem.more["thread_id"] = known.thread_id
                raise problem from error


async def unless_over[T](request: Request, draining: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """What ``work`` gives; None when the caller hung up or the process is to end: ``work`` is then cancelled."""
    task = asyncio.ensure_future(work)
    others = [asyncio.ensure_future(_gone(request)), asyncio.ensure_future(draining.wait())]
    try:
        await asyncio.wait([task, *others], return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for one in (task, *others):
            one.cancel()
        await asyncio.gather(task, *others, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def decision_reply(decision: Decision) -> Response:
    """The decision as the gate answers it, headers included."""
    body = {name: value for name, value in vars(decision).items() if value is not None and name not in _INNER}
    headers = {"X-Gate-Decision": decision.status}
    if decision.thread_id is not None:
        headers["X-Gate-Thread-Id"] = decision.thread_id
    if decision.approval_token is not None:
        headers["X-Gate-Approval-Token"] = decision.approval_token
    return reply(body | {"decision": decision.status}, 200, headers)


def _key(request: Request) -> str | None:
    given = request.headers.getlist("idempotency-key")
    if len(given) > 1 or (given and not 1 <= len(given[0]) <= 200):
        raise invalid("Idempotency-Key", "is there once, with 1 to 200 characters")
    return given[0] if given else None


def _idempotency_key(caller: str, asked: fields.Ask, given: str | None) -> str:
    """Of each caller its own. Without one that is given, the same question is the same thread."""
    question = msgspec.structs.replace(asked, wait=0)
    what: object = ["key", given] if given is not None else ["question", msgspec.to_builtins(question)]
    return hashlib.sha256(msgspec.json.encode([caller, what], order="deterministic")).hexdigest()


def _one(request: Request, name: str) -> str | None:
    found: Mapping[str, str] = request.query_params
    if len(request.query_params.multi_items()) > len(found) or set(found) - {name}:
        raise invalid("query", f"takes {name}, once, and nothing else")
    return found.get(name)
