"""Tables of PostgreSQL that become partitions while gates work on them, and partitions that are dropped."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from gate.tests.factories import PATIENCE, START, TENANT, PostgresDatabase, World, world
from gate.tests.postgres import partitions, postgres_database
from gate.tests.service.test_exports import exported, verdicts
from gate.tests.store.test_copying import TABLES, lived_in, rows_of
from gate.tests.store.test_webhooks import a_delivery

from stacksona_gate.domain.errors import Unavailable
from stacksona_gate.domain.ids import ulid
from stacksona_gate.domain.times import DAY
from stacksona_gate.domain.webhooks import DEAD_KEPT, DELIVERED_KEPT, Attempt, Delivery
from stacksona_gate.main import clear_out, tend_partitions
from stacksona_gate.service.log import seal_now
from stacksona_gate.store import migrate
from stacksona_gate.store.base import Idempotency, Tx
from stacksona_gate.store.postgres import PostgresStore
from stacksona_gate.store.postgres_connection import PostgresRows
from stacksona_gate.store.postgres_parting import DAYS_AHEAD
from stacksona_gate.store.postgres_parts import TABLES as PARTED, Parted

PARTITIONS = (
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent"
    " WHERE p.relkind = 'p' AND p.relname = %s ORDER BY 1"
)
RELEASED = 6
"""Migrations that databases have which were partitioned by the first version that could."""


@pytest.fixture(params=[15, 18])
def database(request: pytest.FixtureRequest) -> Iterator[PostgresDatabase]:
    """Not partitioned yet."""
    with postgres_database(request.param) as made:
        yield made


@pytest.fixture
def parted() -> Iterator[PostgresDatabase]:
    """In partitions of a few rows."""
    with postgres_database(partitioned=True) as made:
        yield made


@pytest.fixture
async def w(database: PostgresDatabase) -> AsyncIterator[World]:
    async with world(database) as made:
        yield made


def looked_up(database: PostgresDatabase, sql: str, *given: Any) -> list[Any]:
    with psycopg.connect(database.url, autocommit=True) as connection:
        return [row[0] for row in connection.execute(sql.encode(), given or None).fetchall()]


def run(database: PostgresDatabase, sql: str) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(sql.encode())


def parts(database: PostgresDatabase, table: str) -> list[str]:
    return looked_up(database, PARTITIONS, table)


def table_of(name: str) -> Parted:
    return next(each for each in PARTED if each.name == name)


def of_their_time(database: PostgresDatabase) -> None:
    """Deliveries of the tests have short ids, that sort behind those of all times; now they sort before."""
    run(database, "UPDATE deliveries SET id = 'msg_00' || substr(id, 5)")
    run(database, "UPDATE delivery_attempts SET delivery_id = 'msg_00' || substr(delivery_id, 5)")


# Becoming partitioned


async def test_everything_reads_the_same_when_tables_have_become_partitions(
    w: World, database: PostgresDatabase
) -> None:
    await lived_in(w)
    of_their_time(database)
    before = rows_of(database)
    await w.store.tend(w.clock.now, whatever_size=True)
    assert set(looked_up(database, "SELECT relname FROM pg_class WHERE relkind = 'p'")) == {t.name for t in PARTED}
    assert rows_of(database) == before


async def test_a_table_below_the_size_stays_as_it_is(w: World, database: PostgresDatabase) -> None:
    run(database, "ANALYZE")
    partitions(database.url, size=1000).tend(START)
    assert looked_up(database, "SELECT relname FROM pg_class WHERE relkind = 'p'") == []


async def test_a_table_past_the_size_is_partitioned_by_a_gate_that_runs(w: World, database: PostgresDatabase) -> None:
    for number in range(9):
        await w.ask(task=f"task-{number}")
    run(database, "ANALYZE")
    partitions(database.url, size=8).tend(START)
    assert set(looked_up(database, "SELECT relname FROM pg_class WHERE relkind = 'p'")) == {"audit", "requests"}


async def test_decisions_go_on_while_tables_become_partitions(w: World, database: PostgresDatabase) -> None:
    async def ask_on(over: asyncio.Event) -> int:
        asked = 0
        while not over.is_set():
            await w.ask(amount=500, task=f"task-{asked}")
            asked += 1
        return asked

    over = asyncio.Event()
    asking = asyncio.create_task(ask_on(over))
    while len(looked_up(database, "SELECT 1 FROM pg_class WHERE relkind = 'p'")) < len(PARTED):
        await asyncio.to_thread(partitions(database.url).tend, w.clock.now, whatever_size=True)
    over.set()
    asked = await asking
    assert asked > 0
    assert looked_up(database, "SELECT COUNT(*) FROM requests") == [asked]
    assert looked_up(database, "SELECT COUNT(*) FROM log_leaves") == looked_up(database, "SELECT COUNT(*) FROM audit")


async def test_no_row_is_looked_at_and_no_index_built_while_a_table_is_locked(
    w: World, database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lived_in(w)
    of_their_time(database)
    before = set(looked_up(database, "SELECT pg_relation_filenode(oid) FROM pg_class WHERE relname LIKE 'threads_%'"))
    monkeypatch.setenv("PGOPTIONS", "-c client_min_messages=debug1")
    told: list[str] = []
    kept = partitions(database.url)
    connect = kept._connect

    def listening() -> Any:
        rows = connect()
        rows.connection.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
        return rows

    kept._connect = listening
    kept.tend(START, whatever_size=True)
    implied = [line for line in told if "is implied by existing constraints" in line]
    assert {line.split('"')[1].rsplit("_to_")[0] for line in implied} == {table.name for table in PARTED}
    after = set(looked_up(database, "SELECT pg_relation_filenode(oid) FROM pg_class WHERE relname LIKE 'threads_%'"))
    assert before <= after


async def test_the_log_verifies_across_partitions_against_a_checkpoint_from_before(
    w: World, tmp_path: Path, database: PostgresDatabase
) -> None:
    await lived_in(w)
    saved = await seal_now(w.gate, TENANT)
    partitions(database.url, size=3).tend(w.clock.now, whatever_size=True)
    for number in range(20):
        await w.ask(task=f"later-{number}")
        partitions(database.url, size=3).tend(w.clock.now)
    await seal_now(w.gate, TENANT)
    assert len(parts(database, "audit")) > 3
    assert verdicts(tmp_path, await exported(w), saved=saved.note) == (0, 0)


async def test_a_round_that_was_interrupted_is_taken_up_whatever_the_size(w: World, database: PostgresDatabase) -> None:
    table = table_of("requests")
    bound = START // DAY + 2
    check = f"CHECK (id < {table.literal(bound)}) NOT VALID"
    run(database, f"ALTER TABLE requests ADD CONSTRAINT {table.partition(bound)} {check}")
    partitions(database.url, size=1000).tend(START)
    assert parts(database, "requests")[:2] == ["requests_rest", table.partition(bound)]


async def test_a_check_that_time_has_nearly_reached_is_taken_back(w: World, database: PostgresDatabase) -> None:
    table = table_of("requests")
    bound = START // DAY + 1
    run(database, f"ALTER TABLE requests ADD CONSTRAINT {table.partition(bound)} CHECK (id < {table.literal(bound)})")
    partitions(database.url, size=1000).tend(START)
    assert table.partition(bound) not in parts(database, "requests")
    w.clock.advance(86_400)
    await w.ask()


async def ask_in_a_time_to_come(w: World) -> None:
    """As with a clock that was wrong once."""
    w.clock.advance(900 * 86_400)
    await w.ask()
    w.clock.advance(-900 * 86_400)


async def test_a_table_with_rows_of_a_time_to_come_stays_whole_and_takes_new_ones(
    w: World, database: PostgresDatabase
) -> None:
    await ask_in_a_time_to_come(w)
    await w.store.tend(w.clock.now, whatever_size=True)
    assert parts(database, "requests") == []
    w.clock.advance(20 * 86_400)
    await w.ask(task="task-2")


async def test_a_check_that_cannot_be_taken_back_yet_is_taken_back_by_the_next_round(
    w: World, database: PostgresDatabase
) -> None:
    await ask_in_a_time_to_come(w)
    requests, bound = table_of("requests"), w.clock.now // DAY + DAYS_AHEAD
    check = f"ADD CONSTRAINT {requests.partition(bound)} CHECK ({requests.key} < {requests.literal(bound)}) NOT VALID"
    run(database, f"ALTER TABLE requests {check}")
    with psycopg.connect(database.url) as reader:
        reader.execute("LOCK TABLE requests IN ACCESS SHARE MODE")
        await w.store.tend(w.clock.now, whatever_size=True)
    await w.store.tend(w.clock.now, whatever_size=True)
    w.clock.advance(20 * 86_400)
    await w.ask(task="task-2")


async def test_of_two_processes_one_partitions(w: World, database: PostgresDatabase) -> None:
    both = [partitions(database.url), partitions(database.url)]
    await asyncio.gather(*(asyncio.to_thread(one.tend, START, whatever_size=True) for one in both))
    partitions(database.url).tend(START, whatever_size=True)
    assert len(looked_up(database, "SELECT 1 FROM pg_class WHERE relkind = 'p'")) == len(PARTED)
    await w.ask()


async def test_who_may_read_a_table_may_read_it_afterwards(w: World, database: PostgresDatabase) -> None:
    run(database, "GRANT SELECT ON requests TO PUBLIC")
    await w.store.tend(w.clock.now, whatever_size=True)
    assert looked_up(database, "SELECT CAST(relacl AS TEXT) LIKE '%=r/%' FROM pg_class WHERE relname = 'requests'") == [
        True
    ]


def test_later_migrations_fit_tables_in_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    known = migrate.all_migrations()
    with postgres_database(empty=True) as made:
        monkeypatch.setattr(migrate, "all_migrations", lambda: known[:RELEASED])
        store = PostgresStore(made.url)
        store.migrate()
        partitions(made.url).tend(START, whatever_size=True)
        monkeypatch.setattr(migrate, "all_migrations", lambda: known)
        assert store.migrate() == [migration.name for migration in known[RELEASED:]]
        store.close()
        with postgres_database() as whole:
            assert columns(made) == columns(whole)


def columns(database: PostgresDatabase) -> dict[str, set[str]]:
    return {
        table: set(
            looked_up(database, "SELECT column_name FROM information_schema.columns WHERE table_name = %s", table)
        )
        for table in looked_up(database, TABLES)
    }


# Going on


async def test_partitions_are_made_before_they_are_needed(parted: PostgresDatabase) -> None:
    for day in range(0, 40, 5):
        partitions(parted.url).tend(START + day * DAY)
        for table in PARTED:
            ends = [table.bound(name) for name in parts(parted, table.name) if not name.endswith("_rest")]
            at = START // DAY + day if table.days_most else 0
            assert max(ends) > at + 1


async def test_what_comes_before_its_partition_is_kept_and_becomes_one(parted: PostgresDatabase) -> None:
    async with world(parted) as w:
        w.clock.advance(200 * 86_400)
        answer = await w.ask()
        assert looked_up(parted, "SELECT COUNT(*) FROM requests_rest") == [1]
        await tend_partitions(w.gate)
        assert looked_up(parted, "SELECT COUNT(*) FROM requests_rest") == [0]
        assert (await w.review(answer)).status == "approved"
        await w.ask(task="task-2")
    assert looked_up(parted, "SELECT COUNT(*) FROM requests") == [2]


async def test_a_row_of_a_clock_that_was_wrong_stays_in_the_rest_and_stops_nothing(parted: PostgresDatabase) -> None:
    async with world(parted) as w:
        w.clock.advance(3000 * 86_400)
        await w.ask()
        w.clock.advance(-3000 * 86_400)
        await tend_partitions(w.gate)
        await w.ask(task="task-2")
    assert looked_up(parted, "SELECT COUNT(*) FROM requests_rest") == [1]


@pytest.mark.parametrize("by", ["id", "thread_id"])
async def test_a_look_up_by_id_touches_one_partition(parted: PostgresDatabase, by: str) -> None:
    asked: list[tuple[str, tuple[Any, ...]]] = []

    def look(tx: Tx) -> object:
        rows = tx.requests._rows  # type: ignore[attr-defined]
        one = rows.one

        def noted(sql: str, *given: Any) -> Any:
            asked.append((sql, given))
            return one(sql, *given)

        rows.one = noted
        try:
            return (
                tx.requests.find(TENANT, request_id) if by == "id" else tx.requests.find_thread(TENANT, thread_id or "")
            )
        finally:
            del rows.one

    partitions(parted.url).tend(START + 5 * DAY)
    async with world(parted) as w:
        answer = await w.ask()
        request_id, thread_id = answer.request.id, answer.thread_id
        assert await w.store.read(look) is not None
    [(sql, given)] = asked
    with psycopg.connect(parted.url, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
        connection.execute("SET plan_cache_mode = force_generic_plan")
        connection.execute(f"PREPARE looked AS {sql}".encode())
        values = ", ".join(f"'{value}'" for value in given)
        plan = [row[0] for row in connection.execute(f"EXPLAIN EXECUTE looked ({values})".encode())]
    scanned = [line for line in plan if "Scan" in line and " on requests" in line]
    assert len(scanned) == 1
    assert len(parts(parted, "requests")) > 2


async def test_a_gate_plans_once_for_all_partitions(parted: PostgresDatabase) -> None:
    store = parted.open()
    try:
        shown = await store.read(lambda tx: tx.requests._rows.one("SHOW plan_cache_mode"))  # type: ignore[attr-defined]
    finally:
        store.close()
    assert shown == ("force_generic_plan",)


async def test_no_question_of_a_gate_is_compiled_or_shared_out(parted: PostgresDatabase) -> None:
    store = parted.open()
    shown = []
    try:
        for setting in ("jit", "max_parallel_workers_per_gather"):
            shown += [await store.read(lambda tx, s=setting: tx.requests._rows.one(f"SHOW {s}"))]  # type: ignore[misc]
    finally:
        store.close()
    assert shown == [("off",), ("0",)]


async def test_a_gate_plans_so_from_the_round_in_which_it_learns_of_partitions(
    w: World, database: PostgresDatabase
) -> None:
    await w.ask()
    await asyncio.to_thread(partitions(database.url).tend, START, whatever_size=True)
    await w.store.tend(START)
    shown = await w.store.read(lambda tx: tx.requests._rows.one("SHOW plan_cache_mode"))  # type: ignore[attr-defined]
    assert shown == ("force_generic_plan",)


# What is over


def kept_answers(number: int) -> Idempotency:
    return Idempotency(f"scope-{number}", "fingerprint", '{"request_id":"req_1"}')


async def test_a_days_idempotency_keys_go_with_their_partition(parted: PostgresDatabase) -> None:
    first = next(name for name in parts(parted, "replays") if not name.endswith("_rest"))
    async with world(parted) as w:
        for day in range(6):
            at = START + day * DAY
            partitions(parted.url).tend(at)
            await w.write(lambda tx, at=at, day=day: tx.replays.insert(TENANT, kept_answers(day), at))  # type: ignore[misc]
        w.clock.advance(5 * 86_400)
        await clear_out(w.gate)
    days = looked_up(parted, "SELECT day FROM replays ORDER BY 1")
    assert days == [START // DAY + 4, START // DAY + 5]
    assert first not in parts(parted, "replays")
    assert looked_up(parted, "SELECT COALESCE(SUM(n_tup_del), 0) FROM pg_stat_user_tables") == [0]


def deliveries_of_the_past() -> list[Delivery]:
    """Made on one day, ended in different ways; the last of them was replayed lately."""
    made = []
    ends = ("delivered", "superseded", "dead", "pending", "delivered")
    for number, state in enumerate(ends):
        finished = None if state == "pending" else START + 2 * DAY
        one = replace(a_delivery(number), id=f"msg_{ulid(START, bytes([number] * 10))}", state=state)
        made.append(replace(one, due_at=0 if finished is None else None, finished_at=finished))
    made[-1] = replace(made[-1], finished_at=START + DELIVERED_KEPT)
    return made


async def after_clearing(database: PostgresDatabase, days: int) -> tuple[list[Any], list[Any]]:
    """Deliveries and attempts that are left when so many days have gone by."""
    async with world(database) as w:
        past = deliveries_of_the_past()

        def write(tx: Tx) -> None:
            for one in past:
                tx.webhooks.insert(one)
                tx.webhooks.insert_attempt(Attempt(TENANT, one.id, 1, START, 5, 200, None, "ok"))

        await w.write(write)
        w.clock.advance(days * 86_400)
        await clear_out(w.gate)
        await clear_out(w.gate)
    return (
        looked_up(database, "SELECT id FROM deliveries ORDER BY 1"),
        looked_up(database, "SELECT delivery_id FROM delivery_attempts ORDER BY 1"),
    )


@pytest.mark.parametrize("days", [1, 45, 100, 200])
async def test_dropping_leaves_what_deleting_leaves(parted: PostgresDatabase, days: int) -> None:
    with postgres_database() as plain:
        deleted = await after_clearing(plain, days)
    assert await after_clearing(parted, days) == deleted


async def test_deliveries_go_without_a_row_deleted(parted: PostgresDatabase) -> None:
    await after_clearing(parted, DEAD_KEPT // DAY + 100)
    assert looked_up(
        parted, "SELECT COALESCE(SUM(n_tup_del), 0) FROM pg_stat_user_tables WHERE relname LIKE 'deliver%'"
    ) == [0]


async def test_a_table_in_use_is_left_for_the_next_round(w: World, database: PostgresDatabase) -> None:
    with psycopg.connect(database.url) as reader:
        reader.execute("SELECT 1 FROM requests")
        await w.store.tend(w.clock.now, whatever_size=True)
        assert looked_up(database, "SELECT 1 FROM pg_class WHERE relname = 'requests' AND relkind = 'p'") == []
        await w.ask()
    await w.store.tend(w.clock.now, whatever_size=True)
    assert looked_up(database, "SELECT 1 FROM pg_class WHERE relname = 'requests' AND relkind = 'p'") == [1]


async def test_a_store_that_closes_waits_for_no_round_whichever_of_them_ends_first(parted: PostgresDatabase) -> None:
    kept, begun = partitions(parted.url), threading.Event()
    connect = kept._connect

    def slow() -> PostgresRows:
        rows = connect()

        def clock() -> int:
            begun.set()
            rows.one(f"SELECT pg_sleep({2 * PATIENCE})")
            return START

        rows._clock = clock
        return rows

    kept._connect = slow
    first = asyncio.create_task(asyncio.to_thread(kept.tend, START))
    assert await asyncio.to_thread(begun.wait, PATIENCE)
    kept._connect = connect
    await asyncio.to_thread(kept.tend, START)
    assert not first.done()
    kept.stop()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(first, PATIENCE)


def test_no_round_begins_once_the_store_closes(parted: PostgresDatabase) -> None:
    kept = partitions(parted.url)
    connect = kept._connect

    def while_it_closes() -> PostgresRows:
        kept.stop()
        return connect()

    kept._connect = while_it_closes
    with pytest.raises(Unavailable):
        kept.tend(START)
