"""Content rests encrypted: what a stolen file shows, and what changing the key does."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from gate.tests.factories import ROOT_SECRET, TENANT, Database, SQLiteDatabase, World, sqlite_database, world

from stacksona_gate.domain.errors import Unavailable
from stacksona_gate.domain.requests import Note
from stacksona_gate.main import build_gate
from stacksona_gate.service import reviews, tasks, threads
from stacksona_gate.service.data_keys import rewrite_content, rotate_data_key
from stacksona_gate.service.requests import Ask, File, IdempotencyKey
from stacksona_gate.service.secrets import RootSecret
from stacksona_gate.service.tasks import EventReport, OutcomeReport
from stacksona_gate.store.base import Tx
from stacksona_gate.store.content import Content
from stacksona_gate.store.rows import MARK
from stacksona_gate.store.sqlite_connection import SQLiteRows

MARKS = (
    "payload-mark",
    "preview-mark",
    "summary-mark",
    "metadata-mark",
    "attachment-mark",
    "attachment-name-mark",
    "feedback-mark",
    "revision-mark",
    "note-mark",
    "event-mark",
    "event-payload-mark",
    "message-mark",
    "outcome-mark",
)


async def talk(w: World) -> str:
    """A thread that has something of everything. Returns its id."""
    ask = Ask(
        "issue_refund",
        "A refund",
        preview="preview-mark",
        summary=("summary-mark",),
        payload={"amount": 500, "to": "payload-mark"},
        metadata={"run": "metadata-mark"},
        attachments=(File("attachment-name-mark.txt", "text/plain", b"attachment-mark" * 100),),
    )
    answer = await w.ask(ask=ask, idempotency=IdempotencyKey("a" * 64, "b" * 64))
    thread_id = answer.thread_id or ""
    await w.review(answer, "request_changes", message="feedback-mark")
    caller = await w.caller()
    change = threads.Change(payload={"amount": 501, "to": "revision-mark"})
    await w.write(lambda tx: threads.revise(tx, w.env, caller, "task-1", thread_id, change))
    await w.write(lambda tx: reviews.add_note(tx, w.env, w.reviewer, thread_id, "note-mark"))
    event = EventReport("task.started", "event-mark", {"at": "event-payload-mark"}, None)
    await w.write(lambda tx: tasks.log_event(tx, w.env, caller, "task-1", event, None))
    await w.write(
        lambda tx: reviews.review(tx, w.env, w.reviewer, thread_id, reviews.Verdict("approve", "message-mark", 2))
    )
    report = OutcomeReport("failed", thread_id=thread_id, detail="outcome-mark")
    await w.write(lambda tx: tasks.report_outcome(tx, w.env, caller, "task-1", report, None))
    return thread_id


def files_of(path: str) -> dict[str, bytes]:
    """The database and what lies beside it, the root secret aside."""
    folder = Path(path).parent
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.endswith(".key")}


@pytest.fixture
def own_database() -> Any:
    with sqlite_database() as made:
        yield made


async def test_a_stolen_file_and_its_log_show_no_content(own_database: SQLiteDatabase) -> None:
    async with world(own_database) as w:
        await talk(w)
        found = files_of(own_database.path)
    assert [(name, mark) for name, data in found.items() for mark in MARKS if mark.encode() in data] == []


async def test_what_is_stored_was_there_to_be_found(own_database: SQLiteDatabase) -> None:
    """The subject rests in clear, as docs say: the same search finds it."""
    async with world(own_database) as w:
        await talk(w)
        found = files_of(own_database.path)
    assert any(b"A refund" in data for data in found.values())


async def everything(w: World, thread_id: str) -> list[Any]:
    def read(tx: Tx) -> list[Any]:
        view = reviews.view_thread(tx, w.admin, thread_id)
        file = tx.conversation.find_attachment(TENANT, view.attachments[0].id)
        replay = tx.replays.find(TENANT, "a" * 64, w.env.now())
        entries = tx.audit.list_entries(TENANT, limit=1000)
        return [
            view.request,
            view.revisions,
            view.reviews,
            view.notes,
            view.events,
            view.outcomes,
            view.attachments,
            file,
            replay,
            entries,
        ]

    return await w.read(read)


async def test_another_process_reads_what_was_written(database: Database) -> None:
    async with world(database) as w:
        thread_id = await talk(w)
        told = await everything(w, thread_id)
        other = database.open()
        try:
            await build_gate(other, w.env, RootSecret(ROOT_SECRET))
            assert await other.read(lambda tx: tx.requests.find_thread(TENANT, thread_id)) == told[0]
        finally:
            other.close()


async def test_nothing_changes_for_readers_when_the_key_does(w: World) -> None:
    thread_id = await talk(w)
    told = await everything(w, thread_id)
    await rotate_data_key(w.gate, TENANT)
    assert (await everything(w, thread_id))[:-1] == told[:-1]


async def test_the_log_is_as_it_was_when_the_key_changed(w: World) -> None:
    thread_id = await talk(w)
    told = await everything(w, thread_id)
    await rotate_data_key(w.gate, TENANT)
    entries = (await everything(w, thread_id))[-1]
    assert entries[1:] == told[-1]
    assert entries[0][1].event == "data_key.rotated"


async def test_old_keys_are_forgotten_once_nothing_needs_them(own_database: SQLiteDatabase) -> None:
    async with world(own_database) as w:
        await talk(w)
        assert await rotate_data_key(w.gate, TENANT) == 1
        rows = SQLiteRows(own_database.path, read_only=True)
        assert len(rows.all("SELECT id FROM data_keys WHERE tenant_id = $1", TENANT)) == 1
        rows.close()


async def test_a_rotation_that_was_interrupted_leaves_everything_readable(w: World) -> None:
    thread_id = await talk(w)
    told = await everything(w, thread_id)
    await w.write(lambda tx: tx.contents.new_key(TENANT, w.env.now()))
    await w.write(lambda tx: tx.contents.rewrite(TENANT, 0, None, 1))
    assert (await everything(w, thread_id))[:-1] == told[:-1]


async def test_a_rotation_forgets_no_key_that_another_one_still_needs(w: World) -> None:
    thread_id = await talk(w)
    told = await everything(w, thread_id)
    first = await w.write(lambda tx: tx.contents.new_key(TENANT, w.env.now()))
    await rewrite_content(w.gate, TENANT)
    await w.write(lambda tx: tx.contents.new_key(TENANT, w.env.now()))
    await w.write(lambda tx: tx.contents.drop_retired(TENANT, first.id))
    other = w.database.open()
    try:
        await build_gate(other, w.env, RootSecret(ROOT_SECRET))
        assert await other.read(lambda tx: tx.requests.find_thread(TENANT, thread_id)) == told[0]
    finally:
        other.close()


async def test_content_from_before_it_was_encrypted_is_read_and_rewritten(own_database: SQLiteDatabase) -> None:
    async with world(own_database) as w:
        thread_id = await talk(w)
        told = await everything(w, thread_id)
        note = Note("not_old", told[0].id, w.admin.id, "Ada", "an old note-mark", w.env.now())
        rows = SQLiteRows(own_database.path)
        rows.begin()
        rows.run(
            "INSERT INTO notes (tenant_id, id, request_id, user_id, author, text, created_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7)",
            TENANT,
            note.id,
            note.request_id,
            note.user_id,
            note.author,
            note.text,
            note.created_at,
        )
        rows.execute("COMMIT")
        assert (await everything(w, thread_id))[3][-1] == note
        await rewrite_content(w.gate, TENANT)
        assert rows.one("SELECT text FROM notes WHERE id = 'not_old'")[0].startswith(MARK)  # type: ignore[index]
        rows.close()
        assert (await everything(w, thread_id))[3][-1] == note


async def test_a_key_that_was_made_in_a_unit_that_failed_is_not_used(w: World) -> None:
    def unit(tx: Tx) -> None:
        tx.contents.new_key(TENANT, w.env.now())
        tx.conversation.insert_note(TENANT, Note("not_1", "req", "usr", "Ada", "never", w.env.now()))
        raise Unavailable("undone")

    with pytest.raises(Unavailable):
        await w.write(unit)
    await w.write(
        lambda tx: tx.conversation.insert_note(TENANT, Note("not_2", "req", "usr", "Ada", "kept", w.env.now()))
    )
    other = w.database.open()
    try:
        await build_gate(other, w.env, RootSecret(ROOT_SECRET))
        notes = await other.read(lambda tx: tx.conversation.list_notes(TENANT, "req"))
    finally:
        other.close()
    assert [note.text for note in notes] == ["kept"]


async def test_another_process_writes_with_the_new_key_at_once(w: World) -> None:
    other = w.database.open()
    try:
        gate = await build_gate(other, w.env, RootSecret(ROOT_SECRET))
        note = Note("not_1", "req", "usr", "Ada", "before", w.env.now())
        await other.write(lambda tx: tx.conversation.insert_note(TENANT, note))
        await rotate_data_key(w.gate, TENANT)
        after = Note("not_2", "req", "usr", "Ada", "after", w.env.now())
        await gate.store.write(lambda tx: tx.conversation.insert_note(TENANT, after))
        notes = await w.read(lambda tx: tx.conversation.list_notes(TENANT, "req"))
    finally:
        other.close()
    assert [one.text for one in notes] == ["before", "after"]


async def test_what_was_written_to_one_place_does_not_open_in_another(own_database: SQLiteDatabase) -> None:
    async with world(own_database) as w:
        thread_id = await talk(w)
        rows = SQLiteRows(own_database.path)
        rows.begin()
        rows.run("UPDATE notes SET text = (SELECT message FROM reviews LIMIT 1)")
        rows.execute("COMMIT")
        rows.close()
        request = await w.read(lambda tx: tx.requests.find_thread(TENANT, thread_id))
        with pytest.raises(Unavailable, match="does not open"):
            await w.read(lambda tx: tx.conversation.list_notes(TENANT, request.id if request else ""))


async def test_a_store_that_is_locked_writes_no_content(own_database: SQLiteDatabase) -> None:
    store = own_database.open()
    try:
        with pytest.raises(Unavailable, match="not unlocked"):
            await store.write(
                lambda tx: tx.conversation.insert_note(TENANT, Note("not_1", "req", "usr", "Ada", "text", 1))
            )
    finally:
        store.close()


class _Wrapping:
    """Keys in the open: only nonces are looked at."""

    def __init__(self) -> None:
        self.given = 0

    def wrap(self, value: bytes, purpose: str) -> str:
        return base64.b64encode(value).decode()

    def unwrap(self, wrapped: str, purpose: str) -> bytes:
        return base64.b64decode(wrapped)

    def randomness(self, count: int) -> bytes:
        self.given += 1
        return bytes([self.given]) * count

    def now(self) -> int:
        return 1


def test_no_nonce_is_used_twice(own_database: SQLiteDatabase) -> None:
    own_database.open().close()
    content = Content()
    content.unlock(_Wrapping())
    rows = SQLiteRows(own_database.path, content=content)
    rows.execute("PRAGMA foreign_keys = OFF")
    heads = [content.seal_bytes(rows, "t", "notes.text", b"same")[:25] for _ in range(1000)]
    rows.close()
    assert len(set(heads)) == 1000
