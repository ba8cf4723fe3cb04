"""Taking audit entries out, with what proves them: the whole log, a time range, a thread, a request.

An export is recorded first and everything is sealed then, so that each export is covered by its own checkpoint.
Entries are read in pages over the sealed part of the log, which never changes: memory stays bounded, and no page
holds up a decision.
"""

from __future__ import annotations

import asyncio
import base64
import csv
import io
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from stacksona_gate.domain import merkle
from stacksona_gate.domain.audit import Actor, Entry
from stacksona_gate.domain.checkpoints import Checkpoint, open_checkpoint
from stacksona_gate.domain.errors import Conflict, Invalid, Malformed, NotFound
from stacksona_gate.domain.people import User
from stacksona_gate.domain.requests import Attachment, Request
from stacksona_gate.domain.spreadsheets import cell
from stacksona_gate.domain.times import rfc3339, rfc3339_or_none
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.log import LogBroken, consistency, root_of, seal_now
from stacksona_gate.service.log_keys import signer_of, verifier_keys
from stacksona_gate.service.redaction import Redactor
from stacksona_gate.service.reviews import ThreadView, find_thread, view_thread
from stacksona_gate.service.threads import record
from stacksona_gate.store.base import Tx

FORMAT: Final = "stacksona-audit-1"
PAGE: Final = 100
"""Entries per read: a payload has up to 256 KB, so a page has at most a few tens of megabytes."""
FILES_MOST: Final = 128 * 1024 * 1024
"""Bytes of attachments in one thread's export."""
HASHES_KEPT: Final = 4096
TILES_KEPT: Final = 64
TRIES: Final = 5
END_OF_TIME: Final = 2**62

Form = Literal["jsonl", "csv"]
RedactorOf = Callable[[Tx], Redactor]
"""Whose eyes an export is for, looked up anew for every page."""


class LogConsistency(msgspec.Struct):
    """That the log extends the earlier one of `from` entries (RFC 6962 section 2.1.2)."""

    since: int = msgspec.field(name="from")
    proof: list[str]


class LogHeader(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What an export is of, and the signed checkpoint that its entries are proven against."""

    format: Literal["stacksona-audit-1"]
    kind: Literal["tenant", "range", "thread"]
    origin: str
    tenant: str
    size: int
    entries: int
    checkpoint: str
    public_key: str
    exported_at: str
    since: str | None = msgspec.field(name="from", default=None)
    to: str | None = None
    thread_id: str | None = None
    request_id: str | None = None
    consistency: LogConsistency | None = None


class ExportedEntry(msgspec.Struct):
    """An audit entry. `leaf` is the exact text that the log's tree holds; `proof` leads from it to the root.

    `private` has the committed values with their salts; a withheld one is `{"redacted": true}`, an erased one is
    missing.
    """

    index: int
    leaf: str
    private: dict[str, Any]
    proof: list[str] | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Selection:
    """What is taken out: one thread or request, or a time range (``until`` exclusive); nothing set: everything."""

    since: int | None = None
    until: int | None = None
    thread_id: str | None = None
    request_id: str | None = None

    @property
    def kind(self) -> Literal["tenant", "range", "thread"]:
        if self.thread_id is not None:
            return "thread"
        return "tenant" if (self.since, self.until, self.request_id) == (None, None, None) else "range"


@dataclass(frozen=True, slots=True)
class Taking:
    """An export about to be written: its header, and where its entries are."""

    header: LogHeader
    tenant_id: str
    selection: Selection
    request: Request | None
    first: int
    last: int
    """The highest index that can be part of it; below ``first``: there is none."""


@dataclass(frozen=True, slots=True)
class Export:
    """A thread as it was handed out. The export's own entry is the last of the thread's entries."""

    view: ThreadView
    exported_by: User
    exported_at: int
    log: LogHeader
    entries: tuple[ExportedEntry, ...]
    files: tuple[Attachment, ...] | None = None
    """With their data; None: only named."""


# Recording


def record_export(tx: Tx, env: Environment, actor: Actor, tenant_id: str, selection: Selection, form: str) -> Selection:
    """Records who takes what out. Returns what is taken: a request with a thread is its thread. Raises NotFound."""
    request = _request_of(tx, tenant_id, selection)
    if request is not None:
        event = "audit.exported" if request.thread_id is None else "thread.exported"
        record(tx, env, request, event, actor=actor, private={"format": form})
        return Selection(request_id=request.id, thread_id=request.thread_id)
    private = {
        "kind": selection.kind,
        "format": form,
        "from": rfc3339_or_none(selection.since),
        "to": rfc3339_or_none(selection.until),
    }
    entry = env.entry(
        "audit.exported", tenant_id=tenant_id, at=env.now(), actor=actor, objects={"tenant": tenant_id}, private=private
    )
    tx.audit.append(entry)
    return selection


def _request_of(tx: Tx, tenant_id: str, selection: Selection) -> Request | None:
    if selection.thread_id is not None:
        found = tx.requests.find_thread(tenant_id, selection.thread_id)
        return found or _missing(f"there is no thread {selection.thread_id!r}")
    if selection.request_id is not None:
        found = tx.requests.find(tenant_id, selection.request_id)
        return found or _missing(f"there is no request {selection.request_id!r}")
    return None


def _missing(detail: str) -> Any:
    raise NotFound(detail)


def export_thread(tx: Tx, env: Environment, user: User, thread_id: str, form: str) -> None:
    """Records that this person takes a thread out, and in which form. Raises NotFound.

    Whoever may read a thread may export it: it shows nothing that its page does not.
    """
    request, _ = find_thread(tx, user, thread_id)
    record(tx, env, request, "thread.exported", actor=Actor("user", user.id), private={"format": form})


# Opening


async def open_export(gate: Gate, tenant_id: str, selection: Selection, saved: str | None = None) -> Taking:
    """Seals what is committed so far, and says what is to be written. ``saved``: the text of an earlier checkpoint,
    which the export is to prove that the log extends.

    Raises Invalid for a saved checkpoint that is none of this log, Conflict when the log does not extend it, NotFound,
    Unavailable.
    """
    checkpoint = await seal_now(gate, tenant_id)
    return await gate.store.scan(lambda tx: _opened(tx, gate.env.now(), tenant_id, selection, checkpoint, saved))


def _opened(
    tx: Tx, now: int, tenant_id: str, selection: Selection, checkpoint: Checkpoint, saved: str | None
) -> Taking:
    request = _request_of(tx, tenant_id, selection)
    first, last, count = _extent(tx, tenant_id, selection, request, checkpoint.size)
    header = LogHeader(
        format=FORMAT,
        kind=selection.kind,
        origin=checkpoint.origin,
        tenant=tenant_id,
        size=checkpoint.size,
        entries=count,
        checkpoint=checkpoint.note,
        public_key=str(signer_of(tx, tenant_id, checkpoint.note)),
        exported_at=rfc3339(now),
        since=rfc3339_or_none(selection.since),
        to=rfc3339_or_none(selection.until),
        thread_id=selection.thread_id,
        request_id=None if request is None or selection.thread_id else request.id,
        consistency=None if saved is None else _consistency(tx, tenant_id, saved, checkpoint),
    )
    return Taking(header, tenant_id, selection, request, first, last)


def _extent(tx: Tx, tenant_id: str, selection: Selection, request: Request | None, size: int) -> tuple[int, int, int]:
    """First and last index, and how many entries there are."""
    if request is not None:
        indexes = [index for index, _ in _of_request(tx, tenant_id, request, size)]
        return (indexes[0], indexes[-1], len(indexes)) if indexes else (0, -1, 0)
    if selection.kind == "tenant":
        return 0, size - 1, size
    since, until = _span(selection)
    span = tx.log.span_between(tenant_id, since, until, below=size)
    if span is None:
        return 0, -1, 0
    return *span, tx.log.count_sealed_between(tenant_id, since, until, below=size)


def _span(selection: Selection) -> tuple[int, int]:
    return selection.since or 0, END_OF_TIME if selection.until is None else selection.until


def _of_request(tx: Tx, tenant_id: str, request: Request, size: int) -> list[tuple[int, Entry]]:
    """All of a request's entries: revisions, reviews and events are limited, so these are few."""
    found: list[tuple[int, Entry]] = []
    page = PAGE
    while page == PAGE:
        start = found[-1][0] + 1 if found else 0
        more = tx.log.list_sealed_of_request(
            tenant_id, request.id, request.created_at, start=start, below=size, limit=PAGE
        )
        page = len(more)
        found += more
    return found


def _consistency(tx: Tx, tenant_id: str, saved: str, checkpoint: Checkpoint) -> LogConsistency:
    try:
        old = open_checkpoint(saved, verifier_keys(tx, tenant_id))
    except (Malformed, Invalid) as error:
        raise Invalid(f"the saved checkpoint is none of this log: {error.detail}") from None
    if old.size > checkpoint.size:
        raise Conflict(
            f"the saved checkpoint has {old.size} entries and the log {checkpoint.size}: its tail was cut, or an old"
            " backup restored. Export without --since to see what is there"
        )
    if root_of(tx, tenant_id, old.size) != old.root:
        raise Conflict(
            f"the log's first {old.size} entries are not those of the saved checkpoint: history was changed or forked."
            " Export without --since to see what is there"
        )
    return LogConsistency(old.size, _base64(consistency(tx, tenant_id, old.size, checkpoint.size)))


# Writing


@dataclass(frozen=True, slots=True)
class Pace:
    """How an export is read. ``page``: entries per read; ``rest``: seconds of pause for each second of reading."""

    page: int
    rest: float


ALONE: Final = Pace(PAGE, 0.0)
"""In a process of its own."""
BESIDE_DECISIONS: Final = Pace(16, 2.0)
"""In a server: a page takes a millisecond or two of the interpreter, and decisions have the rest of the time."""


async def written(
    gate: Gate, taking: Taking, form: Form, redactor_of: RedactorOf | None = None, pace: Pace = ALONE
) -> AsyncGenerator[bytes]:
    """The export's bytes, page by page; pages are made beside the event loop.

    Raises LogBroken when there are not as many entries as the header says: what was written until then is no export.
    """
    yield _head(taking.header, form)
    pages = _Pages(taking, form, redactor_of, pace.page)
    while pages.start <= taking.last:
        began = gate.env.monotonic()
        text = await gate.store.scan(pages.next)
        if not text:
            break
        yield text
        if pace.rest:
            await asyncio.sleep((gate.env.monotonic() - began) * pace.rest)
    if pages.count != taking.header.entries:
        raise LogBroken(f"the log has {pages.count} entries where {taking.header.entries} were counted: it was damaged")


class _Pages:
    """Reads an export's pages one after the other."""

    def __init__(self, taking: Taking, form: Form, redactor_of: RedactorOf | None, page: int) -> None:
        self._taking, self._form, self._redactor_of, self._page = taking, form, redactor_of, page
        self._prover = _Prover(taking.header)
        self.start = taking.first
        self.count = 0

    def next(self, tx: Tx) -> bytes:
        """The next page's bytes; empty at the end."""
        listed = self._listed(tx)
        if not listed:
            return b""
        self.start = listed[-1][0] + 1
        self.count += len(listed)
        if self._form == "csv":
            return b"".join(_row(index, entry) for index, entry in listed)
        redactor = None if self._redactor_of is None else self._redactor_of(tx)
        fresh = (entry if redactor is None else redactor.fresh().entry(entry) for _, entry in listed)
        entries = self._prover.exported(tx, [(index, entry) for (index, _), entry in zip(listed, fresh, strict=True)])
        return b"".join(_ENCODER.encode(entry) + b"\n" for entry in entries)

    def _listed(self, tx: Tx) -> list[tuple[int, Entry]]:
        taking, start, limit = self._taking, self.start, self._page
        tenant_id, below, request = taking.tenant_id, taking.last + 1, taking.request
        if request is not None:
            return tx.log.list_sealed_of_request(
                tenant_id, request.id, request.created_at, start=start, below=below, limit=limit
            )
        if taking.selection.kind == "tenant":
            return tx.log.list_sealed(tenant_id, start, limit, below=below)
        since, until = _span(taking.selection)
        return tx.log.list_sealed_between(tenant_id, since, until, start=start, below=below, limit=limit)


def _head(header: LogHeader, form: Form) -> bytes:
    if form == "jsonl":
        return _ENCODER.encode(header) + b"\n"
    root = header.checkpoint.split("\n")[2]
    told = (
        f"# {header.format} {header.origin} size {header.size} root {root} entries {header.entries}"
        f" exported {header.exported_at}; a table proves nothing by itself: export JSON Lines to verify"
    )
    return _csv([told]) + _csv(CSV_COLUMNS)


class _Prover:
    """Proves entries against one checkpoint. Hashes are kept from page to page: below its size a tree never changes."""

    def __init__(self, header: LogHeader) -> None:
        self._header = header
        self._tx: Tx | None = None
        self._tiles = 0
        self._node = self._new_node()

    def exported(self, tx: Tx, entries: list[tuple[int, Entry]]) -> list[ExportedEntry]:
        self._tx = tx
        if self._tiles > TILES_KEPT:
            self._node, self._tiles = self._new_node(), 0
        return [ExportedEntry(index, entry.leaf, _as_is(entry.private), self._proof(index)) for index, entry in entries]

    def _new_node(self) -> merkle.Node:
        return lru_cache(HASHES_KEPT)(merkle.tile_nodes(self._tile))

    def _tile(self, level: int, number: int) -> bytes:
        self._tiles += 1
        return b"" if self._tx is None else self._tx.log.find_tile(self._header.tenant, level, number)

    def _proof(self, index: int) -> list[str] | UnsetType:
        if self._header.kind == "tenant":
            return UNSET
        try:
            return _base64(merkle.inclusion_proof(self._node, index, self._header.size))
        except ValueError as error:
            raise LogBroken(f"the sealed log was changed from outside or damaged: {error}") from None


def _base64(hashes: list[bytes]) -> list[str]:
    return [base64.b64encode(one).decode() for one in hashes]


def _as_is(text: str) -> Any:
    """Stored JSON, byte for byte as it is stored."""
    return msgspec.Raw(text.encode())


_ENCODER: Final = msgspec.json.Encoder()


# CSV


_OBJECTS: Final = ("request", "thread", "task", "agent", "tool")
CSV_COLUMNS: Final = [
    "index",
    "leaf_hash",
    "id",
    "at",
    "event",
    "actor_kind",
    "actor_id",
    "status",
    "reason_code",
    "policy_version",
    *_OBJECTS,
    "other_objects",
]


def _row(index: int, entry: Entry) -> bytes:
    leaf = msgspec.json.decode(entry.leaf, type=dict[str, Any])
    objects: dict[str, str] = dict(leaf["objects"])
    named = [objects.pop(name, "") for name in _OBJECTS]
    rest = " ".join(f"{name}={value}" for name, value in objects.items())
    hashed = merkle.leaf_hash(entry.leaf.encode()).hex()
    said = [leaf.get(name, "") for name in ("status", "reason_code", "policy_version")]
    return _csv(
        [index, hashed, leaf["id"], leaf["at"], leaf["event"], entry.actor_kind, entry.actor_id, *said, *named, rest]
    )


def _csv(cells: list[Any]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(one if isinstance(one, int) else cell(one) for one in cells)
    return line.getvalue().encode()


# A thread as one document


async def take_thread(
    gate: Gate,
    reader: User,
    thread_id: str,
    *,
    redactor_of: RedactorOf,
    saved: str | None = None,
    with_files: bool = False,
) -> Export:
    """A thread with everything said about it, and its sealed entries, as one state of both. Raises as open_export.

    ``reader``: who it is for; that the export is recorded is the caller's business.
    """
    for remaining in range(TRIES, 0, -1):
        taking = await open_export(gate, reader.tenant_id, Selection(thread_id=thread_id), saved)
        taken = await gate.store.scan(
            lambda tx, taking=taking: _taken(tx, gate.env.now(), reader, taking, redactor_of(tx), with_files)  # type: ignore[misc]
        )
        if remaining == 1 or _is_whole(taken):
            return taken
    raise AssertionError("the loop returns")


def _is_whole(taken: Export) -> bool:
    """Whether the newest thing that happened to the thread is sealed: otherwise it would be told and not proven."""
    newest = taken.view.entries[-1].leaf if taken.view.entries else None
    return newest is None or (bool(taken.entries) and taken.entries[-1].leaf == newest)


def _taken(tx: Tx, now: int, reader: User, taking: Taking, redactor: Redactor, with_files: bool) -> Export:
    view = view_thread(tx, reader, taking.header.thread_id or "", redactor)
    listed = _of_request(tx, taking.tenant_id, view.request, taking.header.size)
    # Placeholders are numbered over all entries, as they are over the thread around them.
    entries = _Prover(taking.header).exported(tx, [(index, redactor.entry(entry)) for index, entry in listed])
    files = _files(tx, view) if with_files else None
    return Export(view, reader, now, taking.header, tuple(entries), files)


def _files(tx: Tx, view: ThreadView) -> tuple[Attachment, ...]:
    if sum(file.size for file in view.attachments) > FILES_MOST:
        raise Invalid("the attachments are too many for one document: export the thread without their data")
    tenant_id = view.request.tenant_id
    found = (tx.conversation.find_attachment(tenant_id, file.id) for file in view.attachments)
    return tuple(file for file in found if file is not None)
