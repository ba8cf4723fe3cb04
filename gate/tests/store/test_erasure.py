"""What is erased is gone from the file and its write-ahead log; what waits is not touched."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from gate.tests.factories import TENANT, SQLiteDatabase, World, thread_of, world

from stacksona_gate.service import tasks
from stacksona_gate.service.requests import Ask
from stacksona_gate.service.tasks import EventReport
from stacksona_gate.store.sqlite import SQLiteStore

NAME = "Zacharias Quellwasser"


async def erase(w: World, request_id: str) -> dict[str, int] | None:
    return await w.write(lambda tx: tx.erasure.erase_request(TENANT, request_id, w.clock.now))


def on_disk(path: str) -> bytes:
    return b"".join(file.read_bytes() for file in Path(path).parent.glob("gate.db*"))


async def test_a_subject_is_in_the_file_until_it_is_erased_and_scrubbed(tmp_path: Path) -> None:
    path = str(tmp_path / "gate.db")
    async with world(SQLiteDatabase(path)) as w:
        for number in range(200):
            await w.ask(10, task=f"before-{number}")
        answers = [await w.ask(ask=Ask("issue_refund", f"for {NAME}", payload={"amount": 10})) for _ in range(40)]
        for number in range(200):
            await w.ask(10, task=f"after-{number}")
        for answer in answers:
            await w.redeem(answer)
        assert NAME.encode() in on_disk(path)
        for answer in answers:
            assert await erase(w, answer.request.id) is not None
        assert SQLiteStore(path).scrub()
        assert NAME.encode() not in on_disk(path)


async def test_compacting_leaves_everything_readable(tmp_path: Path) -> None:
    path = str(tmp_path / "gate.db")
    async with world(SQLiteDatabase(path)) as w:
        answer = await w.ask(10)
        SQLiteStore(path).compact()
        assert SQLiteStore(path).scrub()
        assert (await w.stored(answer)).payload == '{"amount":10}'


async def test_scrubbing_says_when_a_reader_held_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stacksona_gate.store.sqlite.BUSY_MILLISECONDS", 50)
    path = str(tmp_path / "gate.db")
    async with world(SQLiteDatabase(path)) as w:
        await w.ask(10)

        def held(_tx: object) -> bool:
            _tx.requests.find(TENANT, "x")  # type: ignore[attr-defined]
            # Else the log may be in the file already, and who reads of that alone holds nothing back.
            with closing(apsw.Connection(path)) as other:
                other.execute("CREATE TABLE written_since (x)")
            return SQLiteStore(path).scrub()

        assert not await w.read(held)


async def test_what_waits_is_not_erased(w: World) -> None:
    pending, approved = await w.ask(500), await w.approved(600, task="task-2")
    assert await erase(w, pending.request.id) is None
    assert await erase(w, approved.request.id) is None
    assert (await w.stored(pending)).payload == '{"amount":500}'


async def test_nothing_is_erased_twice(w: World) -> None:
    answer = await w.ask(9000)
    assert await erase(w, answer.request.id) is not None
    assert await erase(w, answer.request.id) is None


async def test_open_pages_are_told(w: World) -> None:
    answer = await w.ask(500)
    await w.review(answer, "reject")
    changes: list[str] = []
    stop = w.store.watch(lambda seen: changes.extend(change.request_id for change in seen))
    await erase(w, answer.request.id)
    await w.read(lambda tx: None)
    stop()
    assert answer.request.id in changes


async def test_other_requests_of_the_task_keep_what_was_said_about_them(w: World) -> None:
    caller = await w.caller()
    first, second = await w.ask(500), await w.ask(600)
    for answer in (first, second):
        report = EventReport("note", "said", {"n": 1}, thread_of(answer))
        await w.write(lambda tx, r=report: tasks.log_event(tx, w.env, caller, "task-1", r, None))  # type: ignore[misc]
    await w.review(first, "reject")
    counts = await erase(w, first.request.id)
    events = await w.read(lambda tx: tx.conversation.list_events(TENANT, w.agent.id, "task-1", 9))
    assert counts is not None
    assert counts["events"] == 1
    assert [json.loads(event.payload) for event in events] == [{}, {"n": 1}]
    kept = [entry for entry in await w.entries() if entry.request_id == second.request.id]
    assert all(entry.private != "{}" for entry in kept)
