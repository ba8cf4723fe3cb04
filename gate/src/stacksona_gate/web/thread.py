"""One thread: everything a reviewer needs to decide, put together."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Final

from starlette.requests import Request as Call
from starlette.responses import JSONResponse, Response

from stacksona_gate.domain.errors import Conflict, GateError
from stacksona_gate.domain.outcomes import outcome_state
from stacksona_gate.domain.people import User, may_review
from stacksona_gate.domain.requests import Attachment, Request, Revision, ThreadFilter, approval_state
from stacksona_gate.domain.status import PENDING_REVIEW
from stacksona_gate.service import reviews
from stacksona_gate.service.deliveries import DeliveryView
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.people import Person
from stacksona_gate.service.reviews import ThreadView
from stacksona_gate.service.transactions import Tx
from stacksona_gate.web import wording
from stacksona_gate.web.conversation import Said, Step, conversation, names_of, timeline
from stacksona_gate.web.inbox import find_person
from stacksona_gate.web.notices import outcome, sent
from stacksona_gate.web.pages import HEADERS, Pages
from stacksona_gate.web.payloads import Difference, Table, Value, differences, editable, key_values, table
from stacksona_gate.web.reasons import Why, why
from stacksona_gate.web.values import objects, texts
from stacksona_gate.web.visitors import signed_in

IMAGES: Final = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})


@dataclass(frozen=True, slots=True)
class Version:
    """The content of one revision."""

    number: int
    subject: str
    preview: str
    summary: tuple[str, ...]
    payload: str


@dataclass(frozen=True, slots=True)
class Changed:
    """What one revision changed. ``texts``: subject, preview and summary lines, where they differ."""

    number: int
    texts: tuple[tuple[str, str, str], ...]
    payload: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Typed:
    """What a person typed into a form that was refused, and why it was."""

    message: str = ""
    edited: str = ""
    note: str = ""
    error: GateError | None = None

    @property
    def is_stale(self) -> bool:
        """The thread moved on: what was on the page is not what would be decided."""
        return isinstance(self.error, Conflict) and self.error.code != "claimed"


@dataclass(frozen=True, slots=True)
class Content:
    """The page's words, made from a ThreadView."""

    why: Why
    summary: tuple[str, ...]
    metadata: tuple[tuple[str, str], ...]
    key_values: tuple[Value, ...]
    table: Table
    editable: str | None
    """None: too long to edit on a page."""
    revisions: tuple[int, ...]
    changed: Changed | None
    files: tuple[Attachment, ...]
    earlier_files: tuple[Attachment, ...]
    said: tuple[Said, ...]
    steps: tuple[Step, ...]
    approval: str | None
    outcome: str
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Read:
    view: ThreadView
    names: dict[str, str]
    next_waiting: Request | None
    may_write: bool
    sent: tuple[DeliveryView, ...]


class Threads:
    """``GET /inbox/{thread_id}`` and its ``/state``."""

    def __init__(self, gate: Gate, pages: Pages) -> None:
        self._gate = gate
        self._pages = pages

    async def show(self, request: Call) -> Response:
        person = await signed_in(self._gate, request)
        return await self.page(person, request, Typed())

    async def state(self, request: Call) -> Response:
        """What a page compares to know whether it still shows what is."""
        person = await signed_in(self._gate, request)
        view = await self._gate.store.scan(
            lambda tx: reviews.view_thread(tx, person.user, request.path_params["thread_id"])
        )
        answer = {
            "revision": view.request.revision,
            "status": view.request.status,
            "state": wording.state(view.request, self._gate.env.now()),
            "version": version_of(view),
        }
        return JSONResponse(answer, headers=HEADERS)

    async def page(self, person: Person, request: Call, typed: Typed, *, status: int = 200) -> Response:
        """The thread as it is now, with what a refused form held. Raises NotFound."""
        thread_id, now = request.path_params["thread_id"], self._gate.env.now()
        read = await self._gate.store.scan(lambda tx: _read(tx, person.user, thread_id, now))
        view = read.view
        return await self._pages.page(
            "thread.html",
            person,
            status=status,
            view=view,
            request=view.request,
            agent=view.agent,
            content=lambda: content(view, read.names, now, _number(request.query_params.get("revision"))),
            version=version_of(view),
            typed=typed,
            may_decide=view.may_review and not view.request.is_overdue(now),
            may_write=read.may_write,
            done=wording.done(request.query_params.get("done", ""), view.request),
            next_waiting=read.next_waiting,
            images=IMAGES,
            sent=read.sent,
            outcome=outcome,
            now=now,
        )


def _read(tx: Tx, user: User, thread_id: str, now: int) -> _Read:
    view = reviews.view_thread(tx, user, thread_id)
    people = {user_id: find_person(tx, user, user_id) for user_id in names_of(view)}
    names = {user_id: person.name for user_id, person in people.items() if person is not None}
    waiting = reviews.list_threads(tx, user, ThreadFilter(folder="new", oldest_first=True, limit=20)).threads
    others = (one.request for one in waiting if one.request.id != view.request.id and not one.request.is_overdue(now))
    deliveries = sent(tx, user, view.request.id)
    return _Read(view, names, next(others, None), may_review(user, view.agent), deliveries)


def content(view: ThreadView, names: dict[str, str], now: int, wanted: int | None) -> Content:
    """``wanted``: the revision whose changes are looked at; the newest one's otherwise."""
    request = view.request
    versions = _versions(view)
    numbers = tuple(version.number for version in versions[1:])
    return Content(
        why=why(view),
        summary=texts(request.summary),
        metadata=tuple(
            (key, value if isinstance(value, str) else str(value)) for key, value in objects(request.metadata).items()
        ),
        key_values=key_values(request.payload),
        table=table(request.payload),
        editable=editable(request.payload) if view.may_review else "",
        revisions=numbers,
        changed=_changed(versions, wanted if wanted in numbers else request.revision),
        files=tuple(file for file in view.attachments if file.revision == request.revision),
        earlier_files=tuple(file for file in view.attachments if file.revision != request.revision),
        said=conversation(view),
        steps=timeline(view, names),
        approval=approval_state(request, view.agent.generation, now),
        outcome=outcome_state(request, now, view.outcome_within),
        flags=tuple(dict.fromkeys(outcome.flag for outcome in view.outcomes if outcome.flag)),
    )


def _versions(view: ThreadView) -> list[Version]:
    """Oldest first, the one that holds now last."""
    kept: tuple[Revision | Request, ...] = (*view.revisions, view.request)
    return [Version(one.revision, one.subject, one.preview or "", texts(one.summary), one.payload) for one in kept]


def _changed(versions: list[Version], number: int) -> Changed | None:
    for before, after in pairwise(versions):
        if after.number == number:
            pairs = (
                ("Subject", before.subject, after.subject),
                ("Preview", before.preview, after.preview),
                ("Summary", "\n".join(before.summary), "\n".join(after.summary)),
            )
            moved = tuple(pair for pair in pairs if pair[1] != pair[2])
            return Changed(number, moved, differences(before.payload, after.payload))
    return None


def version_of(view: ThreadView) -> str:
    """Changes with everything that the page shows and a clock alone does not move."""
    request = view.request
    facts = (
        request.status,
        request.revision,
        request.revision_requested,
        request.claimed_by,
        request.redeemed_at,
        view.agent.generation,
        view.agent.name,
        len(view.entries),
        *(len(many) for many in (view.reviews, view.notes, view.events, view.outcomes)),
        view.events[-1].id if view.events else "",
        view.may_review,
        request.status == PENDING_REVIEW,
    )
    return sha256(repr(facts).encode()).hexdigest()[:24]


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 4 else None
