"""A disk that is full, read-only, broken or stuck: nothing is allowed, nothing half-done stays, and it passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import apsw
import pytest
from gate.tests.factories import PATIENCE, Clock, SQLiteDatabase, World, unique, world
from gate.tests.store.disks import Disk

from stacksona_gate.domain.errors import Unavailable, Unknown
from stacksona_gate.service.requests import Answer
from stacksona_gate.store.sqlite import SQLiteStore

FAULTS = {
    "full": ("write", apsw.FullError),
    "broken": ("write", apsw.IOError),
    "read-only": ("write", apsw.ReadOnlyError),
    "losing syncs": ("sync", apsw.IOError),
}


@dataclass(frozen=True, slots=True)
class OnDisk(SQLiteDatabase):
    """A database on a disk that can fail."""

    disk: str

    def open(self, clock: Clock | None = None) -> SQLiteStore:
        store = SQLiteStore(self.path, commit_seconds=2.0, vfs=self.disk)
        store.start()
        return store


@pytest.fixture
def disk() -> Iterator[Disk]:
    made = Disk(unique("disk"))
    yield made
    made.unregister()


@pytest.fixture
async def w(disk: Disk, tmp_path: Path) -> AsyncIterator[World]:
    async with world(OnDisk(str(tmp_path / "gate.db"), disk.name)) as made:
        yield made


async def ask_many(w: World, count: int = 20) -> list[Answer | BaseException]:
    """Half of them would be allowed."""
    asked = (w.ask(100 + 400 * (number % 2), task=f"task-{number}") for number in range(count))
    return await asyncio.gather(*asked, return_exceptions=True)


async def count_requests(w: World) -> int:
    return len([entry for entry in await w.entries() if entry.event in ("request.decided", "thread.opened")])


@pytest.mark.parametrize("fault", FAULTS)
async def test_every_caller_is_told_that_nothing_was_decided_while_the_disk_is(
    w: World, disk: Disk, fault: str
) -> None:
    with disk.failing_at(*FAULTS[fault]):
        results = await ask_many(w)
    assert {type(result) for result in results} == {Unavailable}


@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_is_written_while_the_disk_is(w: World, disk: Disk, fault: str) -> None:
    with disk.failing_at(*FAULTS[fault]):
        await ask_many(w)
    assert await count_requests(w) == 0


@pytest.mark.parametrize("fault", FAULTS)
async def test_decisions_go_on_once_the_disk_is_no_longer(w: World, disk: Disk, fault: str) -> None:
    with disk.failing_at(*FAULTS[fault]):
        await ask_many(w)
    results = await ask_many(w)
    assert [isinstance(result, Answer) for result in results] == [True] * 20


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_redemption_that_could_not_be_written_used_nothing_up(w: World, disk: Disk, fault: str) -> None:
    answer = await w.approved()
    with disk.failing_at(*FAULTS[fault]), pytest.raises(Unavailable):
        await w.redeem(answer)
    assert (await w.stored(answer)).redeemed_at is None


async def test_watchers_hear_nothing_of_a_commit_that_failed(w: World, disk: Disk) -> None:
    heard: list[object] = []
    stop = w.store.watch(heard.extend)
    with disk.failing_at("sync", apsw.IOError):
        await ask_many(w)
    stop()
    assert heard == []


async def test_what_another_process_did_while_the_disk_could_not_be_read_is_heard_of_later(
    w: World, disk: Disk
) -> None:
    heard = asyncio.Event()
    w.store.watch(lambda changes: heard.set())
    other = SQLiteDatabase(w.database.path).open()  # type: ignore[attr-defined]
    with disk.failing_at("read", apsw.IOError):
        await other.write(lambda tx: tx.tenants.bump_config(w.tenant_id))
        assert await asyncio.to_thread(disk.failed.wait, PATIENCE)
    await asyncio.wait_for(heard.wait(), PATIENCE)
    other.close()


async def test_reads_fail_closed_while_the_disk_cannot_be_read_and_work_afterwards(w: World, disk: Disk) -> None:
    await ask_many(w, 4)
    fresh = SQLiteStore(str(w.database.path), vfs=disk.name)  # type: ignore[attr-defined]
    fresh.start()
    with disk.failing_at("read", apsw.IOError), pytest.raises(Unavailable):
        await fresh.read(lambda tx: tx.agents.list_all(w.tenant_id))
    assert await fresh.read(lambda tx: tx.agents.list_all(w.tenant_id)) == [w.agent]
    fresh.close()


async def test_a_stuck_sync_answers_no_caller_with_a_decision(w: World, disk: Disk) -> None:
    with disk.stuck():
        results = await asyncio.wait_for(ask_many(w), PATIENCE)
    assert {type(result) for result in results} == {Unknown}


async def test_callers_behind_a_stuck_sync_are_told_that_theirs_was_not_decided_and_it_is_not(
    w: World, disk: Disk
) -> None:
    with disk.stuck():
        first = asyncio.create_task(w.ask(100))
        await asyncio.to_thread(disk.waiting.wait, PATIENCE)
        with pytest.raises(Unavailable, match="was not decided"):
            await w.ask(100, task="behind")
        with pytest.raises(Unknown, match="may or may not"):
            await first
    await w.write(lambda tx: None)
    tasks = {entry.leaf.partition('"task":"')[2].partition('"')[0] for entry in await w.entries("request.decided")}
    assert "behind" not in tasks


async def test_a_retry_after_a_stuck_sync_finds_the_one_decision_there_is(w: World, disk: Disk) -> None:
    with disk.stuck(), pytest.raises(Unavailable):
        await w.ask(100, idempotency="once")
    retried = await w.ask(100, idempotency="once")
    assert (retried.status, await count_requests(w)) == ("allow", 1)


async def test_decisions_go_on_after_a_stuck_sync(w: World, disk: Disk) -> None:
    with disk.stuck():
        await ask_many(w)
    results = await ask_many(w)
    assert [isinstance(result, Answer) for result in results] == [True] * 20


async def test_opening_a_file_reads_no_more_however_long_its_log_is(disk: Disk, tmp_path: Path) -> None:
    read: list[int] = []
    for length in (10, 500):
        path = str(tmp_path / f"{length}.db")
        async with world(SQLiteDatabase(path)) as w:
            await asyncio.gather(*(w.ask(task=f"task-{number}") for number in range(length)))
        disk.reads = 0
        fresh = OnDisk(path, disk.name).open()
        await fresh.write(lambda tx: None)
        fresh.close()
        read.append(disk.reads)
    assert read[1] < 2 * read[0]
