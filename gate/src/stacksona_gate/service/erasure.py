"""Erasing what requests said: entries, leaves, proofs and statuses stay, content does not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import msgspec

from stacksona_gate.domain import status
from stacksona_gate.domain.audit import COMMAND_LINE, Actor
from stacksona_gate.domain.canonical import canonicalize
from stacksona_gate.domain.errors import Conflict, GateError, Invalid, NotFound
from stacksona_gate.domain.people import User
from stacksona_gate.domain.reading import read_json
from stacksona_gate.domain.requests import Request, RequestState, TaskEvent
from stacksona_gate.domain.times import DAY
from stacksona_gate.policy.folding import Unfoldable, fold
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.threads import settle
from stacksona_gate.store.base import Idempotency, Tx

PAGE: Final = 200
"""Requests decrypted and looked through per step."""
BATCH: Final = 100
"""Requests erased per transaction."""
SUBJECT_LEAST: Final = 3
"""Characters of a subject: a shorter one would be found everywhere."""
FIELD_ROOTS: Final = ("payload", "metadata")
NAMELESS: Final = "erased user"
_REPLAYS_LAST: Final = 4
"""Days after which no kept answer is left."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased. ``counts`` by kind: revisions, notes, attachments and so on."""

    requests: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose data is looked for: a value, in one field or as whole words anywhere."""

    text: str
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """Where a subject was found: ids only. ``waiting``: what is pending, or approved and still to be redeemed."""

    requests: tuple[RequestState, ...]
    waiting: tuple[RequestState, ...]
    events: tuple[tuple[str, int], ...]
    """Events outside of any thread: id and time."""

    @property
    def is_empty(self) -> bool:
        return not (self.requests or self.waiting or self.events)


def erase_content(
    tx: Tx,
    env: Environment,
    actor: Actor,
    tenant_id: str,
    request_ids: Iterable[str],
    event: str,
    *,
    events_before: int | None = None,
    events: Sequence[tuple[str, int]] = (),
) -> Erased:
    """Erases final requests in this transaction and puts it on record: ids and counts, never what they said.

    ``events_before``: what their tasks' agents said before that time goes too; None: whenever it was said.
    """
    now, gone = env.now(), list[str]()
    counts: dict[str, int] = {}
    for request_id in request_ids:
        one = tx.erasure.erase_request(tenant_id, request_id, now)
        if one is None:
            continue
        gone.append(request_id)
        state = tx.erasure.find_state(tenant_id, request_id)
        if state is not None:
            one["events"] += tx.erasure.erase_events_of_task(state, now + 1 if events_before is None else events_before)
        for name, count in one.items():
            counts[name] = counts.get(name, 0) + count
    loose = sum(tx.erasure.erase_event(tenant_id, event_id, at) for event_id, at in events)
    counts["events"] = counts.get("events", 0) + loose
    if gone or loose:
        private: dict[str, object] = {
            "requests": gone,
            "counts": counts,
            "events": [event_id for event_id, _ in events],
        }
        tx.audit.append(env.entry(event, tenant_id=tenant_id, at=now, actor=actor, objects={}, private=private))
    return Erased(tuple(gone), counts)


# Whose data


def subject_of(text: str, named_field: str | None) -> Subject:
    """Raises Invalid for a subject that would be found everywhere, and for a field outside payload and metadata."""
    if not text.strip():
        raise Invalid("name whose data is to be erased: --subject TEXT")
    if named_field is None:
        if len(_folded(text).strip()) < SUBJECT_LEAST:
            raise Invalid(f"a subject of fewer than {SUBJECT_LEAST} characters needs --field: it is found everywhere")
        return Subject(text)
    path = tuple(named_field.split("."))
    if len(path) < 2 or path[0] not in FIELD_ROOTS or not all(path):
        raise Invalid("--field is a path like payload.customer_id or metadata.customer, * for any key or place")
    return Subject(text, path)


async def find_subject(gate: Gate, tenant_id: str, subject: Subject) -> Found:
    """Decrypts and looks through everything the workspace keeps, page by page."""
    matches = _Matches(subject)
    found, after, now = list[RequestState](), 0, gate.env.now()
    while True:
        page, last = await gate.store.scan(lambda tx, at=after: _page(tx, tenant_id, matches, at))  # type: ignore[misc]
        found += page
        if last is None:
            break
        after = last
    events = await _find_events(gate, tenant_id, matches)
    final = tuple(state for state in found if state.is_final(now))
    waiting = tuple(state for state in found if not state.is_final(now))
    return Found(final, waiting, events)


async def erase_subject(gate: Gate, tenant_id: str, found: Found, *, cancel_pending: bool) -> Erased:
    """Erases what ``find_subject`` found, a few requests per transaction. Raises Conflict while some are waiting.

    ``cancel_pending``: threads that wait are rejected as cancelled, and approvals that nobody redeemed end.
    """
    if found.waiting and not cancel_pending:
        raise Conflict(
            f"{len(found.waiting)} of these requests wait for people or for their agent: decide or redeem them first,"
            " or pass --cancel-pending"
        )
    total = Erased()
    ids = [state.id for state in (*found.requests, *found.waiting)]
    events = list(found.events)
    # First: what was erased is not found again after an end half way.
    await forget_replays(gate, tenant_id, frozenset(ids))
    for start in range(0, max(len(ids), 1), BATCH):
        unit = partial(_erase, env=gate.env, tenant_id=tenant_id, ids=ids[start : start + BATCH], events=events)
        total, events = _sum(total, await gate.store.write(unit)), []
    return total


def _erase(tx: Tx, env: Environment, tenant_id: str, ids: list[str], events: list[tuple[str, int]]) -> Erased:
    for request_id in ids:
        request = tx.requests.find(tenant_id, request_id)
        if request is not None:
            _end(tx, env, request)
    return erase_content(tx, env, COMMAND_LINE, tenant_id, ids, "content.erased", events=events)


def _end(tx: Tx, env: Environment, request: Request) -> None:
    """Nobody decides or redeems any more what is about to be erased."""
    if request.is_pending:
        reason = "cancelled: what it asked for was erased"
        settle(tx, env, request, "cancel", reason_code=status.CANCELLED, message=reason, actor=COMMAND_LINE)
    elif request.approval_id is not None and request.redeemed_at is None:
        ended = msgspec.structs.replace(request, approval_expires_at=env.now())
        tx.requests.update(ended, was_status=request.status, was_revision=request.revision)


def _sum(one: Erased, other: Erased) -> Erased:
    names = one.counts.keys() | other.counts.keys()
    counts = {name: one.counts.get(name, 0) + other.counts.get(name, 0) for name in sorted(names)}
    return Erased((*one.requests, *other.requests), counts)


async def forget_replays(gate: Gate, tenant_id: str, request_ids: frozenset[str]) -> None:
    """Empties the answers kept for callers that ask again. They still get the decision, and never a second thread."""
    after = (gate.env.now() // DAY - _REPLAYS_LAST, "")
    while request_ids:
        listed = await gate.store.scan(lambda tx, at=after: tx.erasure.list_replays(tenant_id, after=at, limit=PAGE))  # type: ignore[misc]
        emptied = [(day, kept.scope, text) for day, kept in listed if (text := _emptied(kept, request_ids)) is not None]
        if emptied:
            await gate.store.write(lambda tx, e=emptied: [tx.erasure.replace_replay(tenant_id, *one) for one in e])  # type: ignore[misc]
        if len(listed) < PAGE:
            return
        after = (listed[-1][0], listed[-1][1].scope)


def _emptied(kept: Idempotency, request_ids: frozenset[str]) -> str | None:
    if not kept.answer.startswith("{"):
        return None  # an id alone
    answer = msgspec.json.decode(kept.answer)
    if not isinstance(answer, dict) or answer.get("request_id") not in request_ids:
        return None
    answer |= {"message": "", "payload_digest": "", "metadata": {}, "warnings": [], "erased": True}
    return msgspec.json.encode(answer).decode()


# People of the gate


async def find_user(gate: Gate, tenant_id: str, email: str) -> str:
    """The id of the user to erase. Raises NotFound."""
    user = await gate.store.read(lambda tx: tx.people.find_user_by_email(tenant_id, email.strip().lower()))
    if user is None:
        raise NotFound("there is no user with this mail address")
    return user.id


async def erase_user(gate: Gate, tenant_id: str, email: str) -> str:
    """Takes a disabled user's name and mail address away, from their reviews and the log too. Returns the id.

    Raises NotFound, Conflict while they may sign in. The log goes first: after an end half way they are still found.
    """
    found = await gate.store.read(lambda tx: _disabled(tx, tenant_id, email))
    last = await _forget_entries(gate, tenant_id, found.id)

    def unit(tx: Tx) -> str:
        user = _disabled(tx, tenant_id, email)
        nobody = f"erased-{user.id}@erased.invalid"
        tx.people.update_user(replace(user, email=nobody, name=NAMELESS, password_hash="none"))  # noqa: S106 - no hash
        tx.people.delete_sessions_of(tenant_id, user.id)
        tx.people.delete_failures(tenant_id, user.email)
        tx.erasure.rename_author(tenant_id, user.id, NAMELESS)
        since = tx.erasure.list_entries_of_user(tenant_id, user.id, after=last, limit=PAGE)
        tx.erasure.erase_entries(tenant_id, since)
        now, objects = gate.env.now(), {"user": user.id}
        tx.audit.append(
            gate.env.entry("content.erased", tenant_id=tenant_id, at=now, actor=COMMAND_LINE, objects=objects)
        )
        tx.tenants.bump_config(tenant_id)
        return user.id

    return await gate.store.write(unit)


def _disabled(tx: Tx, tenant_id: str, email: str) -> User:
    user = tx.people.find_user_by_email(tenant_id, email.strip().lower())
    if user is None:
        raise NotFound("there is no user with this mail address")
    if user.state == "active":
        raise Conflict("this user may sign in: disable them first, then erase them")
    return user


async def _forget_entries(gate: Gate, tenant_id: str, user_id: str) -> int:
    """Returns the last entry's sequence number."""
    after = 0
    while True:
        seqs = await gate.store.scan(
            lambda tx, at=after: tx.erasure.list_entries_of_user(tenant_id, user_id, after=at, limit=PAGE)  # type: ignore[misc]
        )
        if seqs:
            await gate.store.write(lambda tx, s=seqs: tx.erasure.erase_entries(tenant_id, s))  # type: ignore[misc]
        after = seqs[-1] if seqs else after
        if len(seqs) < PAGE:
            return after


# Looking


class _Matches:
    """Whether a request, with all that was said about it, is about a subject."""

    def __init__(self, subject: Subject) -> None:
        self._path = subject.path
        self._exact = subject.text
        self._words = re.compile(rf"(?<!\w){re.escape(_folded(subject.text).strip())}(?!\w)")

    @property
    def by_field(self) -> bool:
        return bool(self._path)

    def says(self, text: str | None) -> bool:
        """Whole words, whatever their case and width."""
        return bool(text) and self._words.search(_folded(text or "")) is not None

    def holds(self, root: str, kept: str) -> bool:
        """A JSON text: the field's exact value, or the words in any key or value."""
        value = _read(kept)
        if value is None:
            return self.says(kept)
        if self._path:
            return self._path[0] == root and any(self._is(one) for one in _at(value, self._path[1:]))
        return any(self.says(text) for text in _texts(value))

    def _is(self, value: object) -> bool:
        if isinstance(value, str):
            return value == self._exact
        return not isinstance(value, dict | list) and canonicalize(value).decode() == self._exact


def _page(tx: Tx, tenant_id: str, matches: _Matches, after: int) -> tuple[list[RequestState], int | None]:
    listed = tx.erasure.list_requests(tenant_id, after=after, limit=PAGE)
    about = [request for request in listed if _is_about(tx, matches, request)]
    states = [tx.erasure.find_state(tenant_id, request.id) for request in about]
    found = [state for state in states if state is not None]
    return found, listed[-1].seq if len(listed) == PAGE else None


def _is_about(tx: Tx, matches: _Matches, request: Request) -> bool:
    kept = ((root, text) for one in _versions(tx, request) for root, text in one)
    if any(matches.holds(root, text) for root, text in kept):
        return True
    if matches.by_field:
        return False
    return any(matches.says(text) for text in _words(tx, request))


def _versions(tx: Tx, request: Request) -> Iterator[tuple[tuple[str, str], ...]]:
    yield ("payload", request.payload), ("metadata", request.metadata), ("summary", request.summary)
    if request.thread_id is not None:
        for revision in tx.requests.list_revisions(request.tenant_id, request.id):
            yield ("payload", revision.payload), ("summary", revision.summary)
    for event in _events_of(tx, request):
        yield (("payload", event.payload),)


def _words(tx: Tx, request: Request) -> Iterator[str | None]:
    tenant_id, talk = request.tenant_id, tx.conversation
    yield from (request.subject, request.preview, request.message, request.feedback, request.workflow_name)
    yield from (request.task_label, request.task_id)
    yield from (event.summary for event in _events_of(tx, request))
    yield from (outcome.detail for outcome in talk.list_outcomes(tenant_id, request.id))
    yield from (file.name for file in talk.list_attachments(tenant_id, request.id))
    if request.thread_id is None:
        return
    for revision in tx.requests.list_revisions(tenant_id, request.id):
        yield from (revision.subject, revision.preview, revision.message)
    yield from (review.message for review in talk.list_reviews(tenant_id, request.id))
    yield from (note.text for note in talk.list_notes(tenant_id, request.id))


def _events_of(tx: Tx, request: Request) -> list[TaskEvent]:
    if request.thread_id is None:
        return []
    events = tx.conversation.list_events(request.tenant_id, request.agent_id, request.task_id, 10_000)
    return [event for event in events if event.request_id == request.id]


async def _find_events(gate: Gate, tenant_id: str, matches: _Matches) -> tuple[tuple[str, int], ...]:
    found, after = list[tuple[str, int]](), 0
    while True:
        listed = await gate.store.scan(
            lambda tx, at=after: tx.erasure.list_loose_events(tenant_id, after=at, limit=PAGE)  # type: ignore[misc]
        )
        found += [
            (event.id, event.created_at)
            for _, event in listed
            if matches.holds("payload", event.payload) or (not matches.by_field and matches.says(event.summary))
        ]
        if len(listed) < PAGE:
            return tuple(found)
        after = listed[-1][0]


def _folded(text: str) -> str:
    try:
        return fold(text)
    except Unfoldable:
        return text.casefold()


def _read(text: str) -> object:
    try:
        return read_json(text.encode())
    except (GateError, UnicodeEncodeError):
        return None


def _at(value: object, path: tuple[str, ...]) -> Iterator[object]:
    """The values at a path; ``*`` is any key and any place of a list."""
    if not path:
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            if path[0] in ("*", key):
                yield from _at(item, path[1:])
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if path[0] in ("*", str(index)):
                yield from _at(item, path[1:])


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
    elif value is not None and not isinstance(value, bool):
        yield canonicalize(value).decode()
