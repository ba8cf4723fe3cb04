"""What only SQLite can do wrong: its pragmas, its log, its locks, its copies."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw
import pytest
from gate.tests.factories import PATIENCE, ROOT_SECRET, Clock, SQLiteDatabase, World, an_ask, sqlite_database, world
from gate.tests.processes import child

from stacksona_gate.domain.errors import Unavailable
from stacksona_gate.main import build_gate
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.requests import Ask
from stacksona_gate.service.secrets import RootSecret
from stacksona_gate.service.wakeups import CONFIGURATION
from stacksona_gate.store.base import Change
from stacksona_gate.store.migrate import all_migrations
from stacksona_gate.store.sqlite import CUT_SECONDS, LOG_MOST, SQLiteStore
from stacksona_gate.store.sqlite_connection import BUSY_MILLISECONDS, LOG_KEPT, SQLiteRows, turn

INITIAL = [migration.name for migration in all_migrations()]


SMALL = 1_000_000


@dataclass(frozen=True, slots=True)
class Tuned(SQLiteDatabase):
    """A database whose log counts as large, or as old, at another time than by default."""

    log_most: int = LOG_MOST
    cut_seconds: float = CUT_SECONDS

    def open(self, clock: Clock | None = None) -> SQLiteStore:
        store = SQLiteStore(self.path, log_most=self.log_most, cut_seconds=self.cut_seconds)
        store.start()
        return store


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Somebody reads the file for as long as this lasts."""
    with closing(apsw.Connection(path)) as reader:
        reader.execute("BEGIN").execute("SELECT COUNT(*) FROM audit").fetchall()
        yield


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "gate.db")


@asynccontextmanager
async def load(w: World, *, callers: int = 32) -> AsyncIterator[None]:
    """Agents that ask without a pause, 4 KB each."""
    going = True

    async def ask(number: int) -> None:
        while going:
            await w.ask(ask=big_ask(), task=f"task-{number}")

    tasks = [asyncio.create_task(ask(number)) for number in range(callers)]
    try:
        yield
    finally:
        going = False
        await asyncio.gather(*tasks)


def big_ask() -> Ask:
    return an_ask(payload={"amount": 100, "text": "x" * 4000})


def test_a_writing_connection_waits_for_the_disk_at_every_commit(path: str) -> None:
    rows = SQLiteRows(path)
    in_force = {name: rows.one(f"PRAGMA {name}") for name in ("journal_mode", "synchronous", "foreign_keys")}
    assert in_force == {"journal_mode": ("wal",), "synchronous": (2,), "foreign_keys": (1,)}


def test_a_writing_connection_leaves_the_log_to_the_checkpointer(path: str) -> None:
    assert SQLiteRows(path).one("PRAGMA wal_autocheckpoint") == (0,)


def test_a_reading_connection_cannot_write(path: str) -> None:
    SQLiteRows(path).run("CREATE TABLE things (id)")
    with pytest.raises(apsw.ReadOnlyError):
        SQLiteRows(path, read_only=True).run("INSERT INTO things VALUES (1)")


def test_a_writing_connection_gives_back_what_the_log_had_to_grow_to(path: str) -> None:
    assert SQLiteRows(path).one("PRAGMA journal_size_limit") == (LOG_KEPT,)


async def test_the_log_starts_over_while_agents_ask_without_a_pause(path: str) -> None:
    async with world(Tuned(path, log_most=SMALL)) as w, load(w):
        await asyncio.wait_for(grown(path, 30_000_000), PATIENCE)
        assert size(path + "-wal") < size(path)  # else it has every page several times


async def test_a_reader_that_stays_holds_no_decision_back(path: str) -> None:
    async with world(Tuned(path, log_most=SMALL)) as w:
        with reading(path):
            while size(path + "-wal") < 20 * SMALL:
                asked = [w.ask(ask=big_ask(), task=f"task-{number}") for number in range(8)]
                await asyncio.wait_for(asyncio.gather(*asked), 0.8 * BUSY_MILLISECONDS / 1000)


async def test_the_logs_file_is_cut_off_now_and_then_whatever_its_size(path: str) -> None:
    async with world(Tuned(path, cut_seconds=0)) as w:
        await w.ask()
        async with asyncio.timeout(PATIENCE):
            while size(path + "-wal"):  # noqa: ASYNC110 - a file has no event
                await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_scrubbing_holds_no_decision_back_while_somebody_reads(path: str) -> None:
    async with world(SQLiteDatabase(path)) as w:
        with reading(path):
            await w.ask()
            scrubbing = asyncio.create_task(asyncio.to_thread(SQLiteStore(path).scrub))
            while not scrubbing.done():
                await asyncio.wait_for(w.ask(), BUSY_MILLISECONDS / 2000)
    assert not await scrubbing


def size(path: str) -> int:
    return Path(path).stat().st_size


async def grown(path: str, least: int) -> None:
    """Returns once that much is in the file itself."""
    while size(path) < least:  # noqa: ASYNC110 - a file has no event
        await asyncio.sleep(0.05)


async def test_another_process_gets_its_turn_beside_a_busy_writer(path: str) -> None:
    async with world(SQLiteDatabase(path)) as w, load(w):
        other = w.database.open()
        try:
            for number in range(10):
                writing = other.write(lambda tx, n=number: tx.tenants.set_setting(w.tenant_id, "n", str(n)))  # type: ignore[misc]
                await asyncio.wait_for(writing, PATIENCE)
        finally:
            await asyncio.to_thread(other.close)


async def test_a_backup_ends_while_agents_ask_without_a_pause(path: str) -> None:
    async with world(Tuned(path, log_most=SMALL)) as w, load(w):
        await asyncio.wait_for(grown(path, 3_000_000), PATIENCE)
        store = SQLiteStore(path)
        await asyncio.wait_for(asyncio.to_thread(store.backup, path + ".copy"), 4 * PATIENCE)
    assert SQLiteRows(path + ".copy").one("PRAGMA integrity_check") == ("ok",)


async def test_a_backup_opens_as_a_gate_that_knows_the_keys_and_the_threads(path: str) -> None:
    async with world(SQLiteDatabase(path)) as w:
        answer = await w.ask()
        SQLiteStore(path).backup(path + ".copy")
        store = SQLiteStore(path + ".copy")
        store.start()
        restored = await build_gate(store, Environment(clock=Clock()), RootSecret(ROOT_SECRET))
        caller = await restored.directory.caller(w.key)
        found = await store.read(lambda tx: tx.requests.find(caller.tenant_id, answer.request.id))
        store.close()
    assert found is not None
    assert found.thread_id == answer.thread_id


async def test_a_backup_has_every_request_with_its_audit_entry(path: str) -> None:
    async with world(Tuned(path, log_most=SMALL)) as w, load(w):
        await asyncio.wait_for(grown(path, 2_000_000), PATIENCE)
        await asyncio.to_thread(SQLiteStore(path).backup, path + ".copy")
    rows = SQLiteRows(path + ".copy")
    orphans = "SELECT COUNT(*) FROM requests WHERE id NOT IN (SELECT request_id FROM audit WHERE request_id NOTNULL)"
    assert rows.one(orphans) == (0,)


def test_a_new_file_gets_every_migration(path: str) -> None:
    store = SQLiteStore(path)
    assert store.migrate() == INITIAL
    store.close()


def test_a_second_start_applies_nothing(path: str) -> None:
    SQLiteStore(path).migrate()
    assert SQLiteStore(path).migrate() == []


def test_a_database_of_a_newer_version_is_refused_and_left_alone(path: str) -> None:
    SQLiteStore(path).migrate()
    SQLiteRows(path).run("INSERT INTO migrations (number, name) VALUES (9999, '9999_later.sql')")
    with pytest.raises(Unavailable, match="9999"):
        SQLiteStore(path).start()


async def test_stores_that_start_at_once_on_a_new_file_apply_each_migration_once(tmp_path: Path) -> None:
    for number in range(10):
        stores = [SQLiteStore(str(tmp_path / f"{number}.db")) for _ in range(6)]
        applied = await asyncio.gather(*(asyncio.to_thread(store.migrate) for store in stores))
        assert sorted(applied) == [[], [], [], [], [], INITIAL]


@pytest.mark.slow
async def test_processes_that_start_at_once_on_a_new_file_apply_each_migration_once(path: str) -> None:
    assert sorted(await migrated_at_once(path)) == [[], [], [], INITIAL]


async def migrated_at_once(path: str) -> list[list[str]]:
    async with AsyncExitStack() as stack:
        started = [
            await stack.enter_async_context(child("gate.tests.store.other_process", f"sqlite:///{path}"))
            for _ in range(4)
        ]
        assert [await other.hear() for other in started] == ["ready"] * 4
        for other in started:
            await other.say(json.dumps(["migrate"]))
        return [json.loads(await other.hear() or '["died"]') for other in started]


async def test_after_closing_every_call_says_that_the_store_is_not_there() -> None:
    with sqlite_database() as database:
        store = database.open()
        store.close()
        for call in (store.read, store.scan, store.write):
            with pytest.raises(Unavailable):
                await call(lambda tx: tx.tenants.list_all())


def test_a_new_database_is_its_owners_alone(path: str) -> None:
    before = os.umask(0o022)
    try:
        SQLiteStore(path).migrate()
        rows = SQLiteRows(path)
        rows.begin()
        rows.execute("COMMIT")
        modes = {file.name: oct(file.stat().st_mode & 0o777) for file in Path(path).parent.iterdir()}
        rows.close()
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("gate.db", "gate.db-wal", "gate.db-shm", "gate.db-turn"), "0o600")


def test_an_existing_database_keeps_the_mode_that_its_operator_gave_it(path: str) -> None:
    SQLiteStore(path).migrate()
    os.chmod(path, 0o640)
    SQLiteStore(path).migrate()
    assert oct(os.stat(path).st_mode & 0o777) == "0o640"


async def test_what_another_process_changed_is_told_though_the_first_look_at_it_failed(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, told, select = list[str](), asyncio.Event(), SQLiteRows.all

    def fails_once(self: SQLiteRows, sql: str, *parameters: object) -> list[tuple[object, ...]]:
        if "config_version FROM tenants" in sql and not failed:
            failed.append(sql)
            raise apsw.IOError
        return select(self, sql, *parameters)

    async with world(SQLiteDatabase(path)) as w:
        w.store.watch(lambda changes: told.set() if Change(w.tenant_id, CONFIGURATION) in changes else None)
        monkeypatch.setattr(SQLiteRows, "all", fails_once)
        with closing(apsw.Connection(path)) as other:
            other.execute("UPDATE tenants SET config_version = config_version + 1")
        await asyncio.wait_for(told.wait(), PATIENCE)
    assert failed


@pytest.mark.parametrize(("mode", "of_turns"), [(0o644, 0o600), (0o660, 0o660), (0o600, 0o600)])
def test_whoever_may_write_the_database_may_take_turns_and_nobody_else(path: str, mode: int, of_turns: int) -> None:
    SQLiteRows(path).close()
    Path(path).chmod(mode)
    Path(path + "-turn").unlink()
    with turn(path):
        assert stat.S_IMODE(Path(path + "-turn").stat().st_mode) == of_turns


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_turns_belong_to_whom_the_database_belongs_though_root_came_first(path: str) -> None:
    SQLiteRows(path).close()
    os.chown(path, 65534, 65534)
    Path(path + "-turn").unlink()
    with turn(path):
        assert Path(path + "-turn").stat().st_uid == 65534
