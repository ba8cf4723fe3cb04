"""What happens to a thread besides people's reviews: revision, cancellation, expiry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import batched
from typing import Final

from msgspec.structs import replace as changed

from stacksona_gate.domain import status
from stacksona_gate.domain.audit import GATE, Actor, Entry
from stacksona_gate.domain.canonical import canonical_text, canonicalize, digest
from stacksona_gate.domain.errors import Conflict, Invalid, NotFound, Unauthenticated
from stacksona_gate.domain.reading import read_json
from stacksona_gate.domain.requests import MAX_REVISIONS, Attachment, Request
from stacksona_gate.policy.evaluate import Question
from stacksona_gate.service.directory import REPLACED, Caller, compiled_policy
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.requests import ENCODER, File, named_files, stored_files
from stacksona_gate.service.webhooks import announce, announce_all
from stacksona_gate.store.base import Tx

NOT_IN_TIME: Final = "nobody decided in time: not approved"
SETTLED_AT_ONCE: Final = 50
"""Threads per statement."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a new revision replaces; None keeps the value there is."""

    subject: str | None = None
    preview: str | None = None
    summary: tuple[str, ...] | None = None
    payload: dict[str, object] | None = None
    attachments: tuple[File, ...] | None = None


def require_acting(tx: Tx, env: Environment, caller: Caller) -> None:
    """Looks the key and its agent up again inside the transaction. Raises Unauthenticated, Forbidden."""
    agent = caller.as_acting_agent()
    tenant = tx.tenants.find(caller.tenant_id)
    if tenant is not None:
        tenant.require_active()
    key = tx.keys.find_by_hash(caller.key.hash)
    if key is None:
        raise Unauthenticated(REPLACED)
    fresh = replace(caller, key=key, agent=tx.agents.find(agent.tenant_id, agent.id))
    fresh.require_usable_key(env.now())
    fresh.as_acting_agent()


def own_thread(tx: Tx, caller: Caller, thread_id: str) -> Request:
    """The caller's thread, held until the transaction ends. Raises NotFound."""
    request = tx.requests.lock_thread(caller.tenant_id, thread_id)
    if request is None or request.agent_id != caller.as_agent().id:
        raise NotFound("there is no such thread")
    return request


def ended(request: Request, move: str, *, reason_code: str, message: str, now: int) -> Request:
    """A pending thread as it is after its end without an approval."""
    return changed(
        request,
        status=status.after(request.status, move),
        reason_code=reason_code,
        message=message,
        decided_at=now,
        revision_requested=False,
        remind_at=None,
    )


_ENDED: Final = {"expire": "thread.expired", "cancel": "thread.cancelled", "pause": "thread.agent_paused"}


def settle(
    tx: Tx, env: Environment, request: Request, move: str, *, reason_code: str, message: str, actor: Actor
) -> Request:
    """Ends a pending thread without an approval."""
    settled = ended(request, move, reason_code=reason_code, message=message, now=env.now())
    write(tx, env, request, settled)
    record(tx, env, settled, _ENDED.get(move, "thread.rejected"), actor=actor, private={"message": message})
    return settled


def settle_all(
    tx: Tx, env: Environment, requests: Sequence[Request], move: str, *, reason_code: str, message: str, actor: Actor
) -> None:
    """As ``settle`` for many pending threads that this transaction holds, in few statements."""
    now, said, event = env.now(), {"message": canonical_text(message)}, _ENDED.get(move, "thread.rejected")
    over = [ended(one, move, reason_code=reason_code, message=message, now=now) for one in requests]
    for some in batched(over, SETTLED_AT_ONCE):
        tx.requests.end(some)
        tx.audit.append_all([_entry(env, one, event, actor, now, canonical=said) for one in some])
        announce_all(tx, env, some)


def write(tx: Tx, env: Environment, before: Request, after: Request) -> None:
    """The one way in which a thread moves: its agent's webhook is put beside it. Raises Conflict when somebody was
    faster."""
    if not after.is_pending and after.remind_at is not None:
        after = changed(after, remind_at=None)
    if not tx.requests.update(after, was_status=before.status, was_revision=before.revision):
        raise Conflict("somebody changed this thread at the same time: read it again")
    announce(tx, env, before, after)


def record(
    tx: Tx, env: Environment, request: Request, event: str, *, actor: Actor, private: Mapping[str, object] | None = None
) -> None:
    """An audit entry about a thread as it now is."""
    tx.audit.append(_entry(env, request, event, actor, env.now(), private=private))


def _entry(
    env: Environment,
    request: Request,
    event: str,
    actor: Actor,
    at: int,
    *,
    private: Mapping[str, object] | None = None,
    canonical: Mapping[str, bytes] | None = None,
) -> Entry:
    """``private``, ``canonical``: as ``Environment.entry`` has them."""
    objects = {"agent": request.agent_id, "request": request.id, "task": request.task_id, "tool": request.tool_name}
    if request.thread_id is not None:
        objects["thread"] = request.thread_id
    return env.entry(
        event,
        tenant_id=request.tenant_id,
        at=at,
        actor=actor,
        objects=objects,
        private=private,
        canonical=canonical,
        policy_version=request.policy_version,
        status=request.status,
        reason_code=request.reason_code,
    )


def expire(tx: Tx, env: Environment, request: Request) -> Request:
    """Rejects a thread whose time is over."""
    return settle(tx, env, request, "expire", reason_code=status.EXPIRED, message=NOT_IN_TIME, actor=GATE)


def expire_all(tx: Tx, env: Environment, requests: Sequence[Request]) -> None:
    """As ``expire`` for many that this transaction holds."""
    settle_all(tx, env, requests, "expire", reason_code=status.EXPIRED, message=NOT_IN_TIME, actor=GATE)


def expire_overdue(tx: Tx, env: Environment, tenant_id: str, thread_id: str) -> Request | None:
    """The thread, rejected if its time is over. For readers: what they are told must be true."""
    request = tx.requests.lock_thread(tenant_id, thread_id)
    if request is not None and request.is_overdue(env.now()):
        return expire(tx, env, request)
    return request


def cancel(tx: Tx, env: Environment, caller: Caller, task_id: str, thread_id: str) -> Request:
    """The agent no longer wants an answer. Raises NotFound, Conflict when there is one already."""
    require_acting(tx, env, caller)
    request = own_thread(tx, caller, thread_id)
    if request.task_id != task_id:
        raise NotFound("there is no such thread in this task")
    if not request.is_pending:
        raise Conflict(f"this thread is already decided: {request.status}", code="already_decided")
    if request.is_overdue(env.now()):
        return expire(tx, env, request)
    actor = Actor("agent", request.agent_id)
    return settle(
        tx, env, request, "cancel", reason_code=status.CANCELLED, message="cancelled by its agent", actor=actor
    )


def revise(tx: Tx, env: Environment, caller: Caller, task_id: str, thread_id: str, change: Change) -> Request:
    """Makes the next revision: policy runs again, reviews so far are void. Never allows anything by itself.

    Raises NotFound, Conflict (not pending any more), Invalid (too many revisions).
    """
    require_acting(tx, env, caller)
    request = own_thread(tx, caller, thread_id)
    if request.task_id != task_id:
        raise NotFound("there is no such thread in this task")
    if request.is_overdue(env.now()):
        return expire(tx, env, request)
    if not request.is_pending:
        raise Conflict(f"this thread is already decided: {request.status}", code="already_decided")
    if request.revision >= MAX_REVISIONS:
        raise Invalid(f"a thread has at most {MAX_REVISIONS} revisions: cancel it and ask anew")
    revised = _revised(tx, env, request, change)
    tx.requests.archive_revision(request, env.now())
    write(tx, env, request, revised)
    files = _keep_files(tx, env, request, revised, change)
    actor = Actor("agent", request.agent_id)
    private = {
        "payload": payload_of(revised.payload),
        "payload_digest": revised.payload_digest,
        "subject": revised.subject,
        "message": revised.message,
        "attachments": named_files(files) if files else None,
    }
    record(tx, env, revised, "thread.revised", actor=actor, private=private)
    if revised.status == status.REJECTED:
        record(tx, env, revised, "thread.rejected", actor=GATE, private={"message": revised.message})
    return revised


def _revised(tx: Tx, env: Environment, request: Request, change: Change) -> Request:
    """The request with its new content and policy's new word on it."""
    payload = request.payload if change.payload is None else canonicalize(change.payload).decode()
    content = changed(
        request,
        revision=request.revision + 1,
        subject=request.subject if change.subject is None else change.subject,
        preview=request.preview if change.preview is None else change.preview,
        summary=request.summary if change.summary is None else ENCODER.encode(change.summary).decode(),
        payload=payload,
        payload_digest=digest(payload_of(payload)),
        revision_requested=False,
        feedback=None,
    )
    return judged(tx, env, content)


def judged(tx: Tx, env: Environment, request: Request) -> Request:
    """A pending request after today's policy looked at its content: it may be refused, never allowed."""
    tenant = tx.tenants.find(request.tenant_id)
    if tenant is None:
        raise NotFound("there is no such workspace")
    payload = payload_of(request.payload)
    question = Question(request.tool_name, payload, request.risk_level, request.workflow_name)
    verdict = compiled_policy(tx, tenant).evaluate(question)
    strict = request.strict_binding or (verdict.tool is not None and verdict.tool.strict_binding)
    looked_at = changed(request, policy_version=tenant.policy_version, strict_binding=strict)
    rule = None if verdict.rule is None else ENCODER.encode(verdict.rule).decode()
    if verdict.status == status.REJECT:
        return changed(
            looked_at,
            status=status.after(request.status, "refuse"),
            reason_code=verdict.reason_code,
            message=verdict.message,
            rule=rule,
            decided_at=env.now(),
        )
    if verdict.status == status.ALLOW:
        return looked_at
    return changed(looked_at, reason_code=verdict.reason_code, message=verdict.message, rule=rule)


def _keep_files(tx: Tx, env: Environment, before: Request, after: Request, change: Change) -> Sequence[Attachment]:
    """A revision without attachments of its own keeps those of the one before. Returns those it has."""
    if change.attachments is not None:
        files: Sequence[Attachment] = stored_files(env, after, change.attachments, env.now())
    else:
        files = [replace(file, id=env.id("att_", env.now()), revision=after.revision) for file in _files(tx, before)]
    tx.conversation.insert_attachments(after.tenant_id, files)
    return files


def _files(tx: Tx, request: Request) -> list[Attachment]:
    listed = tx.conversation.list_attachments(request.tenant_id, request.id)
    newest = [one.id for one in listed if one.revision == request.revision]
    found = (tx.conversation.find_attachment(request.tenant_id, attachment_id) for attachment_id in newest)
    return [file for file in found if file is not None]


def payload_of(text: str) -> dict[str, object]:
    """A payload as values: what was read strictly once is read the same way again."""
    value = read_json(text.encode())
    if not isinstance(value, dict):
        raise TypeError("a payload is an object")
    return value
