"""An agent asks: policy answers, or a thread opens. The hot path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from time import perf_counter
from typing import Final

import msgspec

from stacksona_gate.domain import status
from stacksona_gate.domain.audit import Actor
from stacksona_gate.domain.canonical import canonical_text, canonicalize
from stacksona_gate.domain.decisions import Answer as Answer, decision_object
from stacksona_gate.domain.errors import Conflict, Invalid, OverLimit, Unavailable
from stacksona_gate.domain.reminders import first_reminder
from stacksona_gate.domain.requests import Attachment, Request, approval_state
from stacksona_gate.domain.times import SECOND
from stacksona_gate.policy.evaluate import Question, Verdict
from stacksona_gate.service.directory import Caller
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.gate import Gate
from stacksona_gate.store.base import Idempotency, Mismatch, Replayed, Stored, Submission
from stacksona_gate.telemetry.trace import CURRENT

TRIES: Final = 8
"""How often a decision or a redemption is made anew because configuration moved under it."""

ENCODER: Final = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class File:
    """An attachment as it was sent, decoded."""

    name: str
    content_type: str
    data: bytes


class Ask(msgspec.Struct, frozen=True):
    """A question whose fields were checked. ``expires_in`` is seconds."""

    tool_name: str
    subject: str
    risk_level: str = "medium"
    workflow_name: str | None = None
    task_label: str | None = None
    preview: str | None = None
    summary: tuple[str, ...] = ()
    payload: dict[str, object] = {}
    metadata: dict[str, str] = {}
    attachments: tuple[File, ...] = ()
    expires_in: int | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """``scope`` and ``fingerprint`` are SHA-256 in hex."""

    scope: str
    fingerprint: str


def idempotency_key(agent_id: str, method: str, path: str, key: str, content_type: str, body: bytes) -> IdempotencyKey:
    """Scope and fingerprint of a call."""
    scope = "\n".join((agent_id, method, path, key))
    return IdempotencyKey(
        sha256(scope.encode("utf-8", "surrogatepass")).hexdigest(),
        sha256(content_type.encode("utf-8", "surrogatepass") + b"\n" + body).hexdigest(),
    )


async def submit(gate: Gate, caller: Caller, task_id: str, ask: Ask, key: IdempotencyKey | None) -> Answer:
    """Decides and records one request; returns after it is on disk.

    Raises Forbidden (paused), Unauthenticated (key replaced meanwhile), Invalid (idempotency key used for another
    body), OverLimit, Unavailable (nothing was decided).
    """
    for _ in range(TRIES):
        now = gate.env.now()
        caller.require_usable_key(now)
        request = decide(gate.env, caller, task_id, ask, now)
        await _require_place(gate, caller, request, key)
        body = ENCODER.encode(decision_object(request, public_url=gate.env.public_url, warnings=ask.warnings))
        # Signed before it is stored: a gate that cannot sign allows nothing.
        token = fresh_token(gate, request, request.generation, now)
        result = await gate.store.submit(_submission(gate.env, caller, request, ask, key, body, now))
        if isinstance(result, Stored):
            return Answer(request.status, request.thread_id, body, token, request)
        if isinstance(result, Replayed):
            return _replayed(gate, caller, result, now)
        if isinstance(result, Mismatch):
            raise Invalid(
                "this Idempotency-Key was used for another body: send the same body again, or a new key",
                code="idempotency_mismatch",
            )
        caller = await gate.directory.again(caller)
        caller.as_acting_agent()
    raise Unavailable("configuration keeps changing: nothing was decided, try again", retry_after=1)


async def _require_place(gate: Gate, caller: Caller, request: Request, key: IdempotencyKey | None) -> None:
    """Raises OverLimit where the workspace keeps, or waits for, as much as it may. A retry adds nothing to that: it is
    told what was decided, which may be what took up the last place."""
    most, tenant_id = caller.configuration.limits.pending_threads, request.tenant_id
    try:
        gate.quotas.require_room(tenant_id)
        if most is not None and request.thread_id is not None:
            await gate.quotas.open_thread(tenant_id, most)
    except OverLimit:
        if not await _is_retry(gate, tenant_id, key):
            raise


async def require_room(gate: Gate, tenant_id: str, key: IdempotencyKey | None) -> None:
    """Raises OverLimit where the workspace keeps as much as it may, and this is no retry."""
    try:
        gate.quotas.require_room(tenant_id)
    except OverLimit:
        if not await _is_retry(gate, tenant_id, key):
            raise


async def _is_retry(gate: Gate, tenant_id: str, key: IdempotencyKey | None) -> bool:
    now = gate.env.now()
    return key is not None and await gate.store.read(lambda tx: tx.replays.find(tenant_id, key.scope, now)) is not None


def decide(env: Environment, caller: Caller, task_id: str, ask: Ask, now: int) -> Request:
    """The request as it will be stored: policy's verdict, and what follows from it."""
    agent, verdict = caller.as_acting_agent(), _judged(env, caller, ask)
    payload, request_id = canonicalize(ask.payload), env.id("req_", now)
    pending = verdict.status == status.PENDING_REVIEW
    trace = CURRENT.get() if pending else None
    lasts, valid_for = _thread_lasts(env, caller, ask, verdict), _approval_lasts(env, verdict)
    signed = verdict.status == status.ALLOW and agent.signed_approvals
    # By position, which takes a sixth of the time that 43 names take.
    return Request(
        0,  # its seq is the store's
        agent.tenant_id,
        request_id,
        agent.id,
        task_id,
        env.id("THR-", now) if pending else None,
        ask.tool_name,
        ask.workflow_name,
        ask.task_label,
        ask.subject,
        ask.risk_level,
        ask.preview,
        ENCODER.encode(ask.summary).decode() if ask.summary else "[]",
        payload.decode(),
        "sha-256:" + sha256(payload).hexdigest(),
        ENCODER.encode(ask.metadata).decode() if ask.metadata else "{}",
        verdict.status,
        verdict.reason_code,
        verdict.message,
        None if verdict.rule is None else ENCODER.encode(verdict.rule).decode(),
        caller.configuration.tenant.policy_version,
        1,  # revision
        False,  # revision_requested
        None,  # feedback
        False,  # edited
        verdict.tool is not None and verdict.tool.strict_binding,
        now,
        None if pending else now,
        now + lasts if pending else None,
        1,  # required_approvals
        valid_for,
        None,  # claimed_by
        None,  # claimed_at
        # One approval per request, and no secret: the request's own ULID names it.
        "apr_" + request_id[4:] if signed else None,
        now + valid_for if signed else None,
        0,  # approved_by
        agent.generation,
        None,  # redeemed_at
        None,  # redeemed_by
        first_reminder(now, lasts, caller.configuration.timing.reminders) if pending else None,
        http_request_id=None if trace is None else trace.http_request_id,
        traceparent=None if trace is None else trace.traceparent,
    )


def _judged(env: Environment, caller: Caller, ask: Ask) -> Verdict:
    begun = perf_counter()
    verdict = caller.configuration.policy.evaluate(_question(ask))
    took = perf_counter() - begun
    env.measures.rule_seconds.observe(took)
    if env.spans is not None:
        env.spans.decided(CURRENT.get(), took, verdict.status, verdict.reason_code)
    return verdict


def _question(ask: Ask) -> Question:
    return Question(ask.tool_name, ask.payload, ask.risk_level, ask.workflow_name)


def _approval_lasts(env: Environment, verdict: Verdict) -> int:
    if verdict.tool is not None and verdict.tool.approval_valid_for is not None:
        return verdict.tool.approval_valid_for * SECOND
    return env.limits.approval_lasts


def _thread_lasts(env: Environment, caller: Caller, ask: Ask, verdict: Verdict) -> int:
    """The request's own time, else the tool's, else the agent's, else the installation's."""
    tool = None if verdict.tool is None else verdict.tool.expires_in
    agent = None if caller.agent is None else caller.agent.expires_in
    for seconds in (ask.expires_in, tool, agent):
        if seconds is not None:
            return seconds * SECOND
    return env.limits.thread_lasts


def fresh_token(gate: Gate, request: Request, generation: int, now: int) -> str | None:
    """A token, where the request has an approval that can still be redeemed."""
    return gate.keyring.sign(request, now) if approval_state(request, generation, now) == "open" else None


def _submission(
    env: Environment, caller: Caller, request: Request, ask: Ask, key: IdempotencyKey | None, body: bytes, now: int
) -> Submission:
    objects = {"agent": request.agent_id, "request": request.id, "task": request.task_id, "tool": request.tool_name}
    if request.thread_id is not None:
        objects["thread"] = request.thread_id
    files = stored_files(env, request, ask.attachments, now)
    entry = env.entry(
        "request.decided" if request.thread_id is None else "thread.opened",
        tenant_id=request.tenant_id,
        at=now,
        actor=Actor("agent", request.agent_id),
        objects=objects,
        canonical=_private(request, ask, files),
        policy_version=request.policy_version,
        status=request.status,
        reason_code=request.reason_code,
    )
    unknown = request.reason_code == status.TOOL_UNKNOWN
    return Submission(
        caller.config_version,
        request,
        (entry,),
        attachments=files,
        discovered=request.tool_name if unknown else None,
        discovered_most=env.limits.discovered_tools,
        idempotency=None if key is None else Idempotency(key.scope, key.fingerprint, body.decode()),
    )


def _private(request: Request, ask: Ask, files: tuple[Attachment, ...]) -> dict[str, bytes]:
    """What the log keeps beside the leaf, in RFC 8785 form. Absent values are not committed to."""
    private = {
        "payload": request.payload.encode(),
        "payload_digest": canonical_text(request.payload_digest),
        "subject": canonical_text(ask.subject),
        "message": canonical_text(request.message),
    }
    for name, text in (("workflow_name", ask.workflow_name), ("task_label", ask.task_label), ("preview", ask.preview)):
        if text is not None:
            private[name] = canonical_text(text)
    if ask.summary:
        private["summary"] = canonicalize(list(ask.summary))
    if ask.metadata:
        private["metadata"] = canonicalize(ask.metadata)
    if files:
        private["attachments"] = canonicalize(named_files(files))
    return private


def named_files(files: Sequence[Attachment]) -> list[dict[str, object]]:
    """Attachments as the log commits to them: their digests stand for what is in them."""
    return [
        {"name": file.name, "content_type": file.content_type, "size": file.size, "digest": file.digest}
        for file in files
    ]


def stored_files(env: Environment, request: Request, files: tuple[File, ...], now: int) -> tuple[Attachment, ...]:
    """Attachments of the request's current revision."""
    if not files:
        return ()
    return tuple(
        Attachment(
            env.id("att_", now),
            request.id,
            request.revision,
            position,
            file.name,
            file.content_type,
            len(file.data),
            "sha-256:" + sha256(file.data).hexdigest(),
            file.data,
        )
        for position, file in enumerate(files)
    )


def _replayed(gate: Gate, caller: Caller, replayed: Replayed, now: int) -> Answer:
    """The first decision again. Its token is signed afresh while the approval can still be redeemed."""
    first = msgspec.json.decode(replayed.answer)
    request = replayed.request
    agent = caller.as_acting_agent()
    if first["status"] == status.ALLOW and request.redeemed_at is None and request.generation != agent.generation:
        raise Conflict(
            "this was allowed before the agent was paused, and is revoked: ask again with a new Idempotency-Key",
            code="approval_revoked",
        )
    same = first["status"] == request.status
    token = fresh_token(gate, request, agent.generation, now) if same else None
    return Answer(first["status"], first.get("thread_id"), replayed.answer.encode(), token, request)
