"""Who sees what: a workspace's choice of what is masked, and threads, entries and texts as one person may see them.

What agents read, and what is bound, signed and redeemed, is never masked: none of that goes through here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final

import msgspec
from msgspec.structs import replace as changed

from stacksona_gate.domain.audit import Actor, Entry
from stacksona_gate.domain.canonical import canonicalize
from stacksona_gate.domain.errors import FieldError, Invalid
from stacksona_gate.domain.people import ADMIN, ROLES, User
from stacksona_gate.domain.redaction import (
    HIDDEN,
    HIDDEN_OBJECT,
    EditRefused,
    Finder,
    MaskedText,
    Masker,
    Path,
    Shown,
)
from stacksona_gate.domain.requests import Attachment, Note, Outcome, Request, Review, Revision, TaskEvent, ThreadFilter
from stacksona_gate.domain.sensitive import BUILT_IN, BY_DEFAULT, Span
from stacksona_gate.domain.status import BY_REVIEWER
from stacksona_gate.policy.patterns import MAX_PATTERN, PatternRefused, compile_spans
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.thread_view import ThreadView
from stacksona_gate.service.workspace_settings import change_setting, encoded
from stacksona_gate.store.base import Tx

SETTING: Final = "redaction"
PATHS_MOST: Final = 200
PATH_MOST: Final = 500
"""Characters of a path."""
OWN_MOST: Final = 50
NAME_MOST: Final = 100
REVEAL_MOST: Final = 1_000
DIGEST_HIDDEN: Final = "hidden"
"""Stands for the digest of a payload with masked values: who knows all but a few digits could find them by it."""


class OwnPattern(msgspec.Struct, frozen=True):
    """A workspace's own pattern, in RE2's syntax."""

    name: str
    pattern: str


class Redaction(msgspec.Struct, frozen=True):
    """What a workspace masks, and for whom it does not. ``reveal_to`` holds roles and ids of users."""

    paths: tuple[str, ...] = ()
    patterns: tuple[str, ...] = BY_DEFAULT
    own: tuple[OwnPattern, ...] = ()
    reveal_to: tuple[str, ...] = (ADMIN,)


def read_redaction(tx: Tx, tenant_id: str) -> Redaction:
    """The workspace's choice, or what holds until it makes one. Raises msgspec.MsgspecError for a damaged one."""
    return _read(tx.tenants.get_setting(tenant_id, SETTING))


def change_redaction(tx: Tx, env: Environment, actor: Actor, tenant_id: str, redaction: Redaction) -> Redaction:
    """Holds for whatever is read after the commit. Raises Invalid."""
    check(redaction)
    known = {user.id for user in tx.people.list_users(tenant_id)} | ROLES
    unknown = [one for one in redaction.reveal_to if one not in known]
    if unknown:
        raise _invalid("reveal_to", f"{unknown[0][:100]!r} is neither a role nor a user's id")
    try:
        before = read_redaction(tx, tenant_id)
    except msgspec.MsgspecError:
        before = Redaction(patterns=())
    change_setting(tx, env, actor, tenant_id, SETTING, before, redaction)
    return redaction


def check(redaction: Redaction) -> None:
    """Raises Invalid naming the field."""
    counts = (("paths", PATHS_MOST), ("own", OWN_MOST), ("reveal_to", REVEAL_MOST), ("patterns", len(BUILT_IN)))
    for field, most in counts:
        if len(getattr(redaction, field)) > most:
            raise _invalid(field, f"at most {most}")
    for path in redaction.paths:
        if not path or len(path) > PATH_MOST or not all(path.split(".")):
            raise _invalid("paths", "keys of the payload with dots between, like customer.email or items.*.card")
    for name in redaction.patterns:
        if name not in BUILT_IN:
            raise _invalid("patterns", f"one of {', '.join(BUILT_IN)}")
    for number, own in enumerate(redaction.own):
        _check_own(own, number)


def _check_own(own: OwnPattern, number: int) -> None:
    if not own.name.strip() or len(own.name) > NAME_MOST:
        raise _invalid(f"own[{number}].name", f"1 to {NAME_MOST} characters")
    if len(own.pattern) > MAX_PATTERN:
        raise _invalid(f"own[{number}].pattern", f"at most {MAX_PATTERN} characters")
    try:
        compile_spans(own.pattern)
    except PatternRefused as error:
        raise _invalid(f"own[{number}].pattern", str(error)) from None


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(f"{field}: {message}", errors=(FieldError(field, message),))


_DECODER: Final = msgspec.json.Decoder(Redaction)


def _read(text: str | None) -> Redaction:
    return Redaction() if text is None else _DECODER.decode(text)


@lru_cache(maxsize=256)
def _compiled(text: str | None) -> tuple[Redaction, tuple[Finder, ...], tuple[Path, ...]]:
    redaction = _read(text)
    own = (_own_finder(compile_spans(one.pattern)) for one in redaction.own)
    finders = (*(BUILT_IN[name] for name in redaction.patterns), *own)
    return redaction, finders, tuple(tuple(path.split(".")) for path in redaction.paths)


def _own_finder(places: Callable[[str], Iterator[tuple[int, int]]]) -> Finder:
    def find(plain: str, text: str) -> Iterator[Span]:
        yield from (Span(*place) for place in places(text))
        if plain is not text:
            yield from (Span(*place) for place in places(plain))

    return find


# What one reader sees


class Redactor:
    """Masks for one reader. Whoever may see everything gets everything back as it was."""

    def __init__(self, make: Callable[[], Masker] | None, *, hides_all: bool = False) -> None:
        """``make`` None: nothing is masked. ``hides_all``: the workspace's choice could not be read."""
        self._make = make
        self._hides_all = hides_all
        self._masker = None if make is None else make()
        self._digest_is_safe = False

    @property
    def masks(self) -> bool:
        """Whether this reader is one that things are masked for."""
        return self._masker is not None or self._hides_all

    def fresh(self) -> Redactor:
        """For another thread or entry: placeholders are numbered anew."""
        return Redactor(self._make, hides_all=self._hides_all)

    def text(self, text: str) -> str:
        """Words of an agent or of the gate."""
        if self._hides_all:
            return MaskedText(HIDDEN)
        return text if self._masker is None else self._masker.text(text)

    def said(self, text: str) -> str:
        """Words of a person: by patterns only. Were they hidden where they repeat what a path hides, whoever may not
        see that could write down guesses and look which of them is hidden."""
        if self._hides_all:
            return MaskedText(HIDDEN)
        return text if self._masker is None else self._masker.leaf(text)

    def texts(self, listed: str) -> str:
        """A JSON list or object of texts, as JSON."""
        return self._json(listed, by_path=False).text

    def payload(self, payload: str) -> Shown:
        """A payload, as JSON: paths apply too."""
        return self._json(payload, by_path=True)

    def digest(self, payload_digest: str) -> str:
        """A payload's digest; hidden unless nothing of the thread's payloads is."""
        return payload_digest if not self.masks or self._digest_is_safe else DIGEST_HIDDEN

    def value(self, name: str, value: object, *, is_said: bool = False) -> object:
        """A private value of an audit entry, as this reader may see it; the same object when nothing is masked.

        ``is_said``: it is an entry about what a person said.
        """
        if not self.masks:
            return value
        if self._masker is None:
            return HIDDEN
        if name == "payload_digest":
            return self.digest(value) if isinstance(value, str) else HIDDEN
        if isinstance(value, str):
            shown = self.said(value) if is_said else self._masker.text(value)
            return value if shown is value else str(shown)
        return self._masker.value(value, by_path=name == "payload")

    def private(self, private: Mapping[str, object], *, is_said: bool = False) -> dict[str, object]:
        """What lies beside an entry's leaf. A masked value is withheld with its salt, which would help to guess it."""
        if not self.masks:
            return dict(private)
        # The payload first: the words beside it may repeat what a path hides in it.
        ordered = sorted(private, key=lambda name: name != "payload")
        try:
            return {name: self._kept(name, private[name], is_said=is_said) for name in ordered}
        except Exception:
            return {name: {"redacted": True} for name in private}

    def entry(self, entry: Entry) -> Entry:
        """An audit entry; its leaf stays as it is."""
        if not self.masks:
            return entry
        try:
            private = self.private(msgspec.json.decode(entry.private), is_said=entry.actor_kind == "user")
            return changed(entry, private=canonicalize(private).decode())
        except Exception:
            return changed(entry, private="{}")

    def _kept(self, name: str, kept: object, *, is_said: bool) -> object:
        if not isinstance(kept, dict) or "value" not in kept:
            return {"redacted": True}
        shown = self.value(name, kept["value"], is_said=is_said)
        if shown is kept["value"]:
            return kept
        return {"redacted": True, "shown": shown}

    def _json(self, text: str, *, by_path: bool) -> Shown:
        if self._hides_all:
            hidden = HIDDEN_OBJECT if text.startswith("{") else canonicalize([HIDDEN]).decode()
            return Shown(MaskedText(hidden), ("",), is_whole=True)
        if self._masker is None:
            return Shown(text, ())
        shown = self._masker.json(text, by_path=by_path)
        if shown.is_whole and not text.startswith("{"):
            return replace(shown, text=MaskedText(canonicalize([HIDDEN]).decode()))
        return shown

    # Whole things

    def thread(self, view: ThreadView) -> ThreadView:
        """A thread with everything that was said about it."""
        if not self.masks:
            return view
        revisions, payload = self._versions(view.revisions, view.request)
        return replace(
            view,
            request=self._request(view.request, payload),
            revisions=tuple(revisions),
            reviews=tuple(self._review(review) for review in view.reviews),
            notes=tuple(self._note(note) for note in view.notes),
            events=tuple(self._event(event) for event in view.events),
            outcomes=tuple(self._outcome(outcome) for outcome in view.outcomes),
            attachments=tuple(self._attachment(file) for file in view.attachments),
            entries=tuple(self.entry(entry) for entry in view.entries),
            masked=payload.places,
            is_masked=True,
        )

    def listed(self, request: Request) -> Request:
        """A thread as its folder lists it."""
        if not self.masks:
            return request
        one = self.fresh()
        return one._request(request, one._looked_at((request.payload,))[0])

    def restored(
        self, revisions: tuple[Revision, ...], request: Request, edited: dict[str, object]
    ) -> dict[str, object]:
        """A payload as this reader edited it, with what they cannot see put back. Raises EditRefused."""
        if not self.masks:
            return edited
        if self._masker is None:
            raise EditRefused("the payload is hidden from you: somebody who may see it can edit it")
        for revision in revisions:
            self.payload(revision.payload)
        return self._masker.restored(request.payload, edited)

    def _versions(self, revisions: tuple[Revision, ...], request: Request) -> tuple[list[Revision], Shown]:
        """Payloads before words: words that repeat what a path hides are masked too."""
        *earlier, newest = self._looked_at((*(revision.payload for revision in revisions), request.payload))
        pairs = zip(revisions, earlier, strict=True)
        return [self._revision(revision, shown) for revision, shown in pairs], newest

    def _looked_at(self, payloads: tuple[str, ...]) -> list[Shown]:
        shown = [self.payload(payload) for payload in payloads]
        self._digest_is_safe = not any(one.places for one in shown)
        return shown

    def _request(self, request: Request, payload: Shown) -> Request:
        return changed(
            request,
            subject=self.text(request.subject),
            preview=self._maybe(request.preview),
            summary=self.texts(request.summary),
            payload=payload.text,
            payload_digest=self.digest(request.payload_digest),
            metadata=self.texts(request.metadata),
            message=self.said(request.message) if request.reason_code == BY_REVIEWER else self.text(request.message),
            feedback=None if request.feedback is None else self.said(request.feedback),
            workflow_name=self._maybe(request.workflow_name),
            task_label=self._maybe(request.task_label),
        )

    def _revision(self, revision: Revision, payload: Shown) -> Revision:
        return replace(
            revision,
            subject=self.text(revision.subject),
            preview=self._maybe(revision.preview),
            summary=self.texts(revision.summary),
            payload=payload.text,
            payload_digest=self.digest(revision.payload_digest),
            message=self.text(revision.message),
        )

    def _review(self, review: Review) -> Review:
        return replace(review, message=self.said(review.message))

    def _note(self, note: Note) -> Note:
        return replace(note, text=self.said(note.text))

    def _event(self, event: TaskEvent) -> TaskEvent:
        payload = self.payload(event.payload).text
        return replace(event, event_type=self.text(event.event_type), summary=self.text(event.summary), payload=payload)

    def _outcome(self, outcome: Outcome) -> Outcome:
        digest = None if outcome.payload_digest is None else self.digest(outcome.payload_digest)
        return replace(outcome, detail=self._maybe(outcome.detail), payload_digest=digest)

    def _attachment(self, file: Attachment) -> Attachment:
        return replace(file, name=self.text(file.name))

    def _maybe(self, text: str | None) -> str | None:
        return None if text is None else self.text(text)


def for_person(tx: Tx, user: User) -> Redactor:
    """What this person sees."""
    return _redactor(tx, user.tenant_id, (user.role, user.id))


def for_others(tx: Tx, tenant_id: str) -> Redactor:
    """What everybody may see: for notifications and logs, whose readers are not known."""
    return _redactor(tx, tenant_id, ())


def _redactor(tx: Tx, tenant_id: str, reader: tuple[str, ...]) -> Redactor:
    try:
        redaction, finders, paths = _compiled(tx.tenants.get_setting(tenant_id, SETTING))
    except (msgspec.MsgspecError, ValueError, KeyError):
        return Redactor(None, hides_all=True)
    if any(one in redaction.reveal_to for one in reader) or not (finders or paths):
        return Redactor(None)
    return Redactor(lambda: Masker(finders, paths))


def preview(redaction: Redaction, payload: dict[str, object], text: str) -> tuple[Shown, str]:
    """What somebody without the right would see of a sample. Raises Invalid."""
    check(redaction)
    _, finders, paths = _compiled(encoded(redaction))
    masker = Masker(finders, paths)
    shown = masker.json(canonicalize(payload).decode(), by_path=True)
    return shown, str(masker.text(text))


def still_matches(request: Request, where: ThreadFilter) -> bool:
    """Whether what is looked for is in what the reader may see: a search must not confirm a masked value."""
    if not where.text:
        return True
    looked_for = where.text.lower()
    columns = (request.subject, request.task_id, request.tool_name, request.thread_id or "")
    return any(looked_for in column.lower() for column in columns)
