"""People decide: review, claim, note; and what they look at while they do."""

from __future__ import annotations

from dataclasses import dataclass, replace

from msgspec.structs import replace as changed

from stacksona_gate.domain import status
from stacksona_gate.domain.agents import Agent
from stacksona_gate.domain.audit import Actor
from stacksona_gate.domain.canonical import canonicalize, digest
from stacksona_gate.domain.errors import Conflict, Forbidden, Invalid, NotFound
from stacksona_gate.domain.people import User, may_read, may_review
from stacksona_gate.domain.requests import (
    CLAIM_LASTS,
    Attachment,
    Note,
    Request,
    Review,
    ThreadFilter,
)
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.redaction import Redactor, for_person, still_matches
from stacksona_gate.service.thread_view import ThreadView as ThreadView
from stacksona_gate.service.threads import expire, judged, payload_of, record, write
from stacksona_gate.service.timing import read_timing
from stacksona_gate.store.base import Tx

COUNT_MOST = 1000
"""Folders count no further than this."""
EVENTS_MOST = 200


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person says about the revision they saw. ``payload`` only with ``approve``: edit and approve."""

    verdict: str
    message: str
    revision: int
    payload: dict[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of a folder."""

    request: Request
    agent: Agent


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a folder; ``next_cursor`` None: the last one."""

    threads: tuple[Listed, ...]
    next_cursor: str | None


def list_threads(tx: Tx, user: User, where: ThreadFilter) -> Page:
    """A page of what this person may see, as they may see it. ``where.before`` is the cursor of the page before."""
    agents = {agent.id: agent for agent in tx.agents.list_all(user.tenant_id)}
    seen = readable_agents(user, agents)
    wanted = seen if where.agent_ids is None else tuple(a for a in where.agent_ids if seen is None or a in seen)
    found = _find_shown(tx, for_person(tx, user), user.tenant_id, replace(where, agent_ids=wanted))
    listed = tuple(Listed(request, agents[request.agent_id]) for request in found[: where.limit])
    more = len(found) > where.limit
    return Page(listed, str(listed[-1].request.seq) if more else None)


def _find_shown(tx: Tx, redactor: Redactor, tenant_id: str, where: ThreadFilter) -> list[Request]:
    """One thread more than ``where.limit``, if there are. What a search found only in masked words is left out."""
    most, shown = where.limit + 1, list[Request]()
    while len(shown) < most:
        found = tx.requests.list_threads(tenant_id, replace(where, limit=most))
        masked = (redactor.listed(request) for request in found)
        shown += [request for request in masked if not redactor.masks or still_matches(request, where)]
        if len(found) < most:
            break
        seen = found[-1].seq
        where = replace(where, after=seen) if where.oldest_first else replace(where, before=seen)
    return shown[:most]


def count_folders(tx: Tx, user: User) -> dict[str, int]:
    """How many threads each folder has, up to COUNT_MOST."""
    agents = {agent.id: agent for agent in tx.agents.list_all(user.tenant_id)}
    return tx.requests.count_folders(user.tenant_id, readable_agents(user, agents), most=COUNT_MOST)


def readable_agents(user: User, agents: dict[str, Agent]) -> tuple[str, ...] | None:
    """Ids of the agents whose threads this person sees; None: all of them."""
    seen = tuple(agent.id for agent in agents.values() if may_read(user, agent))
    return None if len(seen) == len(agents) else seen


def find_thread(tx: Tx, user: User, thread_id: str) -> tuple[Request, Agent]:
    """A thread that this person may see, held for the transaction. Raises NotFound."""
    request = tx.requests.lock_thread(user.tenant_id, thread_id)
    agent = None if request is None else tx.agents.find(user.tenant_id, request.agent_id)
    if request is None or agent is None or not may_read(user, agent):
        raise NotFound("there is no such thread")
    return request, agent


def view_thread(tx: Tx, user: User, thread_id: str, redactor: Redactor | None = None) -> ThreadView:
    """The thread as this person may see it, or as ``redactor`` shows it. Raises NotFound."""
    request, agent = find_thread(tx, user, thread_id)
    talk, tenant_id = tx.conversation, request.tenant_id
    claimed_by = None if request.claimed_by is None else tx.people.find_user(tenant_id, request.claimed_by)
    entries = tx.audit.list_entries(tenant_id, request_id=request.id, limit=1000)
    view = ThreadView(
        request,
        agent,
        claimed_by,
        tuple(tx.requests.list_revisions(tenant_id, request.id)),
        tuple(talk.list_reviews(tenant_id, request.id)),
        tuple(talk.list_notes(tenant_id, request.id)),
        tuple(talk.list_events(tenant_id, agent.id, request.task_id, EVENTS_MOST)),
        tuple(talk.list_outcomes(tenant_id, request.id)),
        tuple(talk.list_attachments(tenant_id, request.id)),
        tuple(entry for _, entry in reversed(entries)),
        may_review(user, agent) and request.is_pending,
        outcome_within=read_timing(tx, tenant_id).outcome_within,
    )
    return (redactor or for_person(tx, user)).thread(view)


def find_attachment(tx: Tx, user: User, thread_id: str, attachment_id: str) -> Attachment:
    """A file of a thread that this person may see, with its data, under the name that they may see. Raises NotFound."""
    request, _ = find_thread(tx, user, thread_id)
    attachment = tx.conversation.find_attachment(user.tenant_id, attachment_id)
    if attachment is None or attachment.request_id != request.id:
        raise NotFound("there is no such attachment")
    redactor = for_person(tx, user)
    redactor.payload(request.payload)  # the name may repeat what a path hides
    return replace(attachment, name=redactor.text(attachment.name))


def review(tx: Tx, env: Environment, user: User, thread_id: str, verdict: Verdict) -> Request | Conflict:
    """Records a verdict and what follows from it.

    Returns a Conflict when the thread's time turns out to be over: that it expired is committed with the answer.
    Raises NotFound, Forbidden, Conflict (decided, or another revision than the one seen), Invalid (policy refuses the
    edited payload).
    """
    request, agent = _reviewable(tx, user, thread_id)
    if request.is_overdue(env.now()):
        expire(tx, env, request)
        return Conflict("this thread expired before your decision: nothing was approved", code="already_decided")
    _require_open(request, verdict.revision)
    if verdict.verdict == "approve":
        return _approve(tx, env, user, agent, request, verdict)
    if verdict.payload is not None:
        raise Invalid("an edited payload goes with approve only")
    if verdict.verdict == "reject":
        return _reject(tx, env, user, request, verdict)
    return _request_changes(tx, env, user, request, verdict)


def _reviewable(tx: Tx, user: User, thread_id: str) -> tuple[Request, Agent]:
    request, agent = find_thread(tx, user, thread_id)
    fresh = tx.people.find_user(user.tenant_id, user.id)
    if fresh is None or not may_review(fresh, agent):
        raise Forbidden("you may read this thread and not decide it: reviewers and admins decide")
    return request, agent


def _require_open(request: Request, seen_revision: int) -> None:
    if not request.is_pending:
        raise Conflict(f"this thread is already decided: {request.status}", code="already_decided")
    if request.revision != seen_revision:
        raise Conflict(
            f"the agent has sent revision {request.revision} since you opened {seen_revision}: look at it first",
            code="revision_moved",
        )


def _approve(tx: Tx, env: Environment, user: User, agent: Agent, request: Request, verdict: Verdict) -> Request:
    content = request if verdict.payload is None else _edited(tx, env, user, request, verdict.payload)
    now = env.now()
    approved = changed(
        content,
        status=status.after(request.status, "approve"),
        reason_code=status.BY_REVIEWER,
        message=verdict.message,
        decided_at=now,
        revision_requested=False,
        approved_by=1,
        generation=agent.generation,
        approval_id=env.id("apr_", now) if agent.signed_approvals else None,
        approval_expires_at=now + request.approval_valid_for if agent.signed_approvals else None,
    )
    write(tx, env, request, approved)
    _record_review(tx, env, user, approved, verdict, "thread.approved")
    return approved


def _edited(tx: Tx, env: Environment, user: User, request: Request, edited: dict[str, object]) -> Request:
    """The request with the reviewer's payload as a revision of its own; the agent's is kept.

    What is masked for this reviewer comes back as it was. Raises Invalid for placeholders that are not where they were.
    """
    redactor = for_person(tx, user)
    payload = redactor.restored(tuple(tx.requests.list_revisions(request.tenant_id, request.id)), request, edited)
    if digest(payload) == request.payload_digest:
        return request
    content = changed(
        request,
        revision=request.revision + 1,
        payload=canonicalize(payload).decode(),
        payload_digest=digest(payload),
        edited=True,
    )
    looked_at = judged(tx, env, content)
    if not looked_at.is_pending:
        raise Invalid(f"policy refuses the edited payload: {redactor.text(looked_at.message)}", code="refused_by_rule")
    tx.requests.archive_revision(request, env.now())
    return looked_at


def _reject(tx: Tx, env: Environment, user: User, request: Request, verdict: Verdict) -> Request:
    rejected = changed(
        request,
        status=status.after(request.status, "reject"),
        reason_code=status.BY_REVIEWER,
        message=verdict.message,
        decided_at=env.now(),
        revision_requested=False,
    )
    write(tx, env, request, rejected)
    _record_review(tx, env, user, rejected, verdict, "thread.rejected")
    return rejected


def _request_changes(tx: Tx, env: Environment, user: User, request: Request, verdict: Verdict) -> Request:
    if not verdict.message.strip():
        raise Invalid("say which changes you ask for: the agent gets your message")
    asked = changed(
        request,
        status=status.after(request.status, "request_changes"),
        revision_requested=True,
        feedback=verdict.message,
    )
    write(tx, env, request, asked)
    _record_review(tx, env, user, asked, verdict, "thread.changes_requested")
    return asked


def _record_review(tx: Tx, env: Environment, user: User, request: Request, verdict: Verdict, event: str) -> None:
    now = env.now()
    tx.conversation.insert_review(
        request.tenant_id,
        Review(
            env.id("rev_", now), request.id, request.revision, user.id, user.name, verdict.verdict, verdict.message, now
        ),
    )
    private: dict[str, object] = {"message": verdict.message, "payload_digest": request.payload_digest}
    if request.edited and verdict.verdict == "approve":
        private["payload"] = payload_of(request.payload)
    record(tx, env, request, event, actor=Actor("user", user.id), private=private)


def claim(tx: Tx, env: Environment, user: User, thread_id: str) -> Request:
    """Says «I am on it». Raises Conflict while somebody else's claim is fresh."""
    request, _ = _reviewable(tx, user, thread_id)
    if not request.is_pending:
        raise Conflict(f"this thread is already decided: {request.status}", code="already_decided")
    if request.claimed_by == user.id:
        return request
    if request.claimed_by is not None and env.now() < (request.claimed_at or 0) + CLAIM_LASTS:
        holder = tx.people.find_user(user.tenant_id, request.claimed_by)
        name = "somebody" if holder is None else holder.name
        raise Conflict(f"{name} is on it: it is free again 15 minutes after they took it", code="claimed")
    claimed = changed(request, claimed_by=user.id, claimed_at=env.now())
    write(tx, env, request, claimed)
    record(tx, env, claimed, "thread.claimed", actor=Actor("user", user.id))
    return claimed


def release(tx: Tx, env: Environment, user: User, thread_id: str) -> Request:
    """Takes one's claim back; an admin may take back anybody's."""
    request, _ = _reviewable(tx, user, thread_id)
    if request.claimed_by is None:
        return request
    if not request.is_pending:
        raise Conflict(f"this thread is already decided: {request.status}", code="already_decided")
    if request.claimed_by != user.id and user.role != "admin":
        raise Forbidden("this claim is somebody else's: they or an admin can release it")
    released = changed(request, claimed_by=None, claimed_at=None)
    write(tx, env, request, released)
    record(tx, env, released, "thread.released", actor=Actor("user", user.id))
    return released


def add_note(tx: Tx, env: Environment, user: User, thread_id: str, text: str) -> Note:
    """A word among reviewers. Auditors read and do not write."""
    request, agent = find_thread(tx, user, thread_id)
    if not may_review(user, agent):
        raise Forbidden("you may read this thread and not write on it")
    now = env.now()
    note = Note(env.id("not_", now), request.id, user.id, user.name, text, now)
    tx.conversation.insert_note(user.tenant_id, note)
    record(tx, env, request, "thread.noted", actor=Actor("user", user.id), private={"note": text})
    return note
