"""A database moves into another: nothing is lost, nothing changes, and the gate goes on there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import apsw
import psycopg
import pytest
from gate.tests.factories import (
    TENANT,
    Database,
    PostgresDatabase,
    SQLiteDatabase,
    World,
    second_tenant,
    sqlite_database,
    world,
)
from gate.tests.postgres import postgres_database
from gate.tests.service.test_exports import exported, parsed, verdicts
from gate.tests.store.test_content import talk
from gate.tests.store.test_webhooks import a_delivery, put, put_endpoint

from stacksona_gate.domain.approvals import Redeemed, Refused
from stacksona_gate.domain.errors import Conflict, GateError, Invalid
from stacksona_gate.domain.people import PersonalToken, Session
from stacksona_gate.domain.tenants import OperatorKey
from stacksona_gate.domain.webhooks import Attempt, Notice
from stacksona_gate.main import build_gate, copy_database
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.log import seal_now
from stacksona_gate.service.requests import Answer
from stacksona_gate.store import migrate
from stacksona_gate.store.base import Tx
from stacksona_gate.store.copying import MIGRATIONS, copy
from stacksona_gate.store.rows import Row
from stacksona_gate.store.sqlite_copying import SQLiteSide

Made = AbstractContextManager[Database]
PAIRS: dict[str, tuple[Callable[[], Made], Callable[[], Made]]] = {
    "sqlite to 18": (sqlite_database, lambda: postgres_database(empty=True)),
    "sqlite to 15": (sqlite_database, lambda: postgres_database(15, empty=True)),
    "sqlite to 18 with tables": (sqlite_database, postgres_database),
    "18 to sqlite": (postgres_database, sqlite_database),
    "18 in partitions to sqlite": (lambda: postgres_database(partitioned=True), sqlite_database),
    "15 to 18": (lambda: postgres_database(15), lambda: postgres_database(empty=True)),
    "sqlite to sqlite": (sqlite_database, sqlite_database),
}
LATER = migrate.Migration(
    9000,
    "9000_later.sql",
    "CREATE TABLE zz_parents (id TEXT PRIMARY KEY, flag INTEGER NOT NULL);"
    "CREATE TABLE aa_children (seq {serial}, parent TEXT NOT NULL REFERENCES zz_parents (id), data {blob})",
)
"""Its tables are not in the order in which they can be filled."""
KNOWN = migrate.all_migrations()
TABLES = (
    "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
    " AND relnamespace = CAST('public' AS REGNAMESPACE)"
)
ODD = "quote ' double \" backslash \\ tab \t line \n null \\N brace {NULL} § 審査 🜁 \x01 end"


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Database, Database]]:
    """Two databases; the second is empty."""
    with ExitStack() as stack:
        first, second = PAIRS[request.param]
        yield stack.enter_context(first()), stack.enter_context(second())


@pytest.fixture
def moving() -> Iterator[tuple[SQLiteDatabase, PostgresDatabase]]:
    with sqlite_database() as source, postgres_database(empty=True) as target:
        yield source, target


def quietly(line: str) -> None:
    """Progress, which nobody reads here."""


def run(database: Database, sql: str) -> None:
    if isinstance(database, PostgresDatabase):
        with psycopg.connect(database.url) as connection:
            connection.execute("SET lock_timeout = 100")
            connection.execute(sql.encode())
    else:
        assert isinstance(database, SQLiteDatabase)
        with closing(apsw.Connection(database.path)) as connection:
            connection.execute(sql)


def rows_of(database: Database) -> dict[str, list[str]]:
    """Every row of every table, in an order of its own, read without the program."""
    if isinstance(database, PostgresDatabase):
        return _postgres_rows(database.url)
    assert isinstance(database, SQLiteDatabase)
    with closing(apsw.Connection(database.path)) as connection:
        found: dict[str, list[str]] = {}
        for (table,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            columns = sorted(row[1] for row in connection.execute(f"PRAGMA table_info({table})"))
            rows = connection.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()  # noqa: S608
            found[str(table)] = sorted(map(repr, rows))
        return found


def _postgres_rows(url: str) -> dict[str, list[str]]:
    with psycopg.connect(url) as connection:
        found = {}
        for (table,) in connection.execute(TABLES).fetchall():
            sql = "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND table_schema = 'public'"
            columns = sorted(row[0] for row in connection.execute(sql, [table]))
            rows = connection.execute(f"SELECT {', '.join(columns)} FROM {table}".encode()).fetchall()  # noqa: S608
            found[table] = sorted(map(repr, rows))
        return found


async def lived_in(w: World) -> None:
    """Leaves rows in every table: see the test that says so."""
    await talk(w)
    await w.ask(tool="unheard_of", task="task-9")
    await w.new_verifier()
    await second_tenant(w)
    now, rita = w.env.now(), w.reviewer.id

    def people(tx: Tx) -> None:
        tx.people.insert_session(Session(TENANT, "s" * 64, rita, "csrf", now, now + 10**12))
        tx.people.insert_token(PersonalToken(TENANT, "tok_1", rita, ODD, "h" * 64, now, None))
        tx.people.insert_setup_code("other", "c" * 64, now)
        tx.people.insert_failure(TENANT, "account:ada@example.com", now)
        tx.tenants.set_setting(TENANT, "odd", ODD)
        tx.agents.update(replace(w.agent, reviewers=(rita,)))
        tx.leases.take("seal default", "nobody", now, 0)
        tx.nodes.say("node_1", "{}", now, 0)
        tx.installations.insert_operator_key(OperatorKey("opk_1", ODD, "h" * 64, "so_ab…", now, None))
        tx.installations.tell_demands("node_1", {"w default": 3}, now=now, until=now)
        tx.notices.insert(Notice(0, TENANT, "ntc_1", "test", ODD, "{}", now))
        tx.webhooks.insert_attempt(Attempt(TENANT, "msg_1", 1, now, 5, None, "refused", ODD))

    await w.write(people)
    await put_endpoint(w)
    await put(w, *(a_delivery(number) for number in range(3)))
    await seal_now(w.gate, TENANT)
    await w.ask(100, task="task-unsealed")


@asynccontextmanager
async def moved(w: World, target: Database) -> AsyncIterator[World]:
    """The world of a source that was closed, on the target."""
    store = target.open()
    try:
        gate = await build_gate(store, Environment(clock=w.clock), w.gate.root)
        yield replace(w, gate=gate, database=target)
    finally:
        store.close()


async def test_every_row_of_every_table_is_the_same_afterwards(pair: tuple[Database, Database]) -> None:
    source, target = pair
    async with world(source) as w:
        await lived_in(w)
    before = rows_of(source)
    copied = copy_database(source.url, target.url, quietly)
    assert rows_of(target) == before
    assert {name: contents.rows for name, contents in copied.tables.items()} == {
        name: len(rows) for name, rows in before.items() if name != MIGRATIONS
    }


async def test_the_world_that_is_moved_has_rows_in_every_table() -> None:
    with sqlite_database() as source:
        async with world(source) as w:
            await lived_in(w)
        assert [table for table, rows in rows_of(source).items() if not rows] == []


async def both(w: World) -> tuple[Answer, Answer]:
    """One approved, with its token, and one that waits."""
    return await w.approved(task="task-a"), await w.ask(task="task-b")


async def test_the_gate_goes_on_where_it_was(pair: tuple[Database, Database]) -> None:
    source, target = pair
    async with world(source) as w:
        await lived_in(w)
        approved, waiting = await both(w)
    copy_database(source.url, target.url, quietly)
    async with moved(w, target) as w:
        assert isinstance(await w.redeem(approved, task="task-a"), Redeemed)
        assert isinstance(await w.redeem(approved, task="task-a"), Refused)
        assert (await w.review(waiting)).status == "approved"
        again = await w.ask(100, task="task-c")
        assert (await w.stored(again)).seq > (await w.stored(waiting)).seq


async def test_the_log_goes_on_and_extends_what_was_signed_before(
    pair: tuple[Database, Database], tmp_path: Path
) -> None:
    source, target = pair
    async with world(source) as w:
        await lived_in(w)
        before = await exported(w)
        assert verdicts(tmp_path, before) == (0, 0)
    copy_database(source.url, target.url, quietly)
    async with moved(w, target) as w:
        await w.ask(100, task="task-c")
        after = await exported(w)
    saved = parsed(before)[0]
    assert parsed(after)[0]["size"] > saved["size"]
    assert verdicts(tmp_path, after, saved=saved["checkpoint"]) == (0, 0)


# What it refuses, and that nothing is there then


async def used(database: Database) -> World:
    async with world(database) as w:
        await w.ask()
        await seal_now(w.gate, TENANT)
    return w


def is_untouched(target: Database) -> bool:
    return [table for table, rows in rows_of(target).items() if rows and table != MIGRATIONS] == []


async def test_a_target_with_rows_is_refused_before_its_tables_are_touched(
    pair: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = pair
    await used(source)
    await used(target)
    before = rows_of(target)
    monkeypatch.setattr(migrate, "all_migrations", lambda: [*KNOWN, LATER])
    with pytest.raises(Conflict, match="not empty"):
        copy_database(source.url, target.url, quietly)
    assert rows_of(target) == before


@pytest.mark.parametrize("end", ["source", "target"])
async def test_a_gate_that_still_runs_is_in_the_way(pair: tuple[Database, Database], end: str) -> None:
    source, target = pair
    w = await used(source)
    async with moved(w, source if end == "source" else target):
        with pytest.raises(Conflict, match="stop"):
            copy_database(source.url, target.url, quietly)


async def test_nobody_writes_to_the_source_meanwhile(pair: tuple[Database, Database]) -> None:
    source, target = pair
    await used(source)
    told: list[str] = []

    def write_now(line: str) -> None:
        if not told:
            told.append(line)
            with pytest.raises((apsw.BusyError, psycopg.errors.LockNotAvailable)):
                run(source, "UPDATE tenants SET name = 'changed'")

    copy_database(source.url, target.url, write_now)
    assert told
    assert rows_of(target)["tenants"] == rows_of(source)["tenants"]


Moving = tuple[SQLiteDatabase, PostgresDatabase]


async def spoiled(moving: Moving, sql: str) -> tuple[str, str]:
    """The addresses of a source that was changed by hand, and of the target."""
    await used(moving[0])
    with closing(apsw.Connection(moving[0].path)) as connection:
        connection.execute(sql)
    return moving[0].url, moving[1].url


SPOILED = {
    "UPDATE requests SET subject = 'a' || char(0)": r"requests\.subject where seq is 1 holds the character U\+0000",
    "UPDATE audit SET leaf_index = 'three'": r"audit\.leaf_index where seq is 1 holds str, not int",
    "UPDATE users SET name = x'6162'": r"users\.name where id is '.*' holds bytes, not str",
    "UPDATE users SET name = CAST(x'ff' AS TEXT)": "table users holds a text that is not UTF-8",
    "UPDATE audit SET leaf = '{}' WHERE seq = 2": "does not fit its checkpoint",
    "UPDATE log_leaves SET leaf_index = NULL WHERE seq = 2": "has no entry",
    "DELETE FROM checkpoints WHERE size > 3": "beyond its newest checkpoint",
    "DELETE FROM migrations WHERE number = 6": "lacks 0006_by_index.sql",
    "INSERT INTO migrations VALUES (9999, 'later')": "upgrade the gate",
    "ALTER TABLE tenants ADD COLUMN extra TEXT": "differ in tables or columns .*: tenants",
    "CREATE TABLE extra (id BIGINT)": "differ in tables or columns .*: extra",
    "PRAGMA ignore_check_constraints = ON; UPDATE users SET role = 'king'": "violates check constraint",
}


@pytest.mark.parametrize("sql", SPOILED)
async def test_what_cannot_be_kept_whole_is_not_kept_at_all(moving: Moving, sql: str) -> None:
    source, target = await spoiled(moving, sql)
    with pytest.raises(GateError, match=SPOILED[sql]):
        copy_database(source, target, quietly)
    assert is_untouched(moving[1])


async def test_the_value_that_does_not_fit_is_not_quoted(moving: Moving) -> None:
    source, target = await spoiled(moving, "UPDATE requests SET subject = 'secret' || char(0)")
    with pytest.raises(Invalid) as refused:
        copy_database(source, target, quietly)
    assert "secret" not in refused.value.detail


class Careless(SQLiteSide):
    """Changes one text on its way."""

    def write(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        super().write(table, columns, (tuple("Eve" if cell == "Ada" else cell for cell in row) for row in rows))


async def test_a_target_that_reads_differently_is_found() -> None:
    with sqlite_database() as source, sqlite_database() as target:
        await used(source)
        target.open().close()
        with (
            closing(SQLiteSide(source.path)) as first,
            closing(Careless(target.path)) as second,
            pytest.raises(Conflict, match="table users does not read the same"),
        ):
            copy(first, second, quietly)
        assert is_untouched(target)


def test_a_source_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with postgres_database(empty=True) as target, pytest.raises(GateError, match="no database"):
        copy_database(f"sqlite:///{tmp_path}/gate.db", target.url, quietly)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_gates_is_said(moving: Moving) -> None:
    with closing(apsw.Connection(moving[0].path)) as connection:
        connection.execute("CREATE TABLE mine (id INTEGER)")
    with pytest.raises(Conflict, match="no gate's database"):
        copy_database(moving[0].url, moving[1].url, quietly)


# What later versions add


async def test_a_table_that_a_later_migration_adds_is_copied_too(
    pair: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "all_migrations", lambda: [*KNOWN, LATER])
    source, target = pair
    await used(source)
    run(source, "INSERT INTO zz_parents (id, flag) VALUES ('p', 1)")
    run(source, "INSERT INTO aa_children (parent, data) VALUES ('p', NULL)")
    copied = copy_database(source.url, target.url, quietly)
    assert {copied.tables["aa_children"].rows, copied.tables["zz_parents"].rows} == {1}
    assert rows_of(target) == rows_of(source)
