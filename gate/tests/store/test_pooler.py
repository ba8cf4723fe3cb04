"""Behind a pooler of transactions, nothing rests on a session: neither what is prepared, nor locks, nor settings."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import psycopg
import pytest
from gate.tests.factories import PATIENCE, TENANT, Database, PostgresDatabase, World, beside, world
from gate.tests.pooler import Pooler, pooled_database
from gate.tests.postgres import postgres_database, rows_at, server
from psycopg.conninfo import conninfo_to_dict

from stacksona_gate.domain.approvals import Redeemed
from stacksona_gate.domain.errors import Unavailable
from stacksona_gate.store import postgres_changes
from stacksona_gate.store.base import Change

pytestmark = pytest.mark.slow


def pooled(url: str) -> bool:
    rows = rows_at(url)
    rows.close()
    return rows.pooled


def test_a_pooler_is_seen_and_a_server_is_not_taken_for_one() -> None:
    with pooled_database() as database:
        assert [pooled(database.url), pooled(server(18))] == [True, False]


@pytest.fixture
def one_session() -> Iterator[Database]:
    """A database whose pooler has a single session of the server for everybody."""
    with postgres_database() as direct:
        alone = Pooler(server(18), {"default_pool_size": "1"})
        try:
            alone.start()
            name = str(conninfo_to_dict(direct.url)["dbname"])
            yield PostgresDatabase(alone.url(name))
        finally:
            alone.remove()


async def all_kinds_of_work(w: World) -> object:
    """Decisions, reviews, redemptions, configuration and listings, often enough that drivers would prepare them."""
    for number in range(4):
        answer = await w.approved(task=f"task-{number}")
        redeemed = await w.redeem(answer, task=f"task-{number}")
        await w.rotate(overlap=3600)
        await w.store.scan(lambda tx: tx.requests.count_folders(TENANT, None, most=10))
    return redeemed


async def test_a_gate_works_on_a_single_session(one_session: Database) -> None:
    async with world(one_session) as w:
        assert isinstance(await all_kinds_of_work(w), Redeemed)


async def test_nothing_is_left_in_the_session(one_session: Database) -> None:
    async with world(one_session) as w:
        await all_kinds_of_work(w)
        with psycopg.connect(one_session.url, autocommit=True, prepare_threshold=None) as session:
            left = session.execute(
                "SELECT (SELECT COUNT(*) FROM pg_prepared_statements),"
                " (SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory'"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())),"
                " (SELECT COUNT(*) FROM pg_listening_channels()),"
                " current_setting('statement_timeout'), current_setting('idle_in_transaction_session_timeout')"
            ).fetchone()
    assert left == (0, 0, 0, "0", "0")


async def heard_by_another(w: World) -> asyncio.Future[None]:
    """Done once the first gate hears of what a second one did."""
    heard = asyncio.get_running_loop().create_future()

    def hear(changes: Sequence[Change]) -> None:
        if Change(TENANT, "") in changes and not heard.done():
            heard.set_result(None)

    w.store.watch(hear)
    async with beside(w) as other:
        await other.rotate()
        await asyncio.wait([heard], timeout=PATIENCE)
    return heard


async def test_without_an_address_to_listen_at_changes_are_looked_for() -> None:
    with pooled_database() as database:
        async with world(database) as w:
            assert (await heard_by_another(w)).done()


async def test_with_an_address_to_listen_at_changes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        postgres_changes, "LOOK_SECONDS", 600.0
    )  # longer than the test waits: only a notification helps
    with pooled_database(listening=True) as database:
        async with world(database) as w:
            assert (await heard_by_another(w)).done()


async def test_a_pooler_that_is_gone_is_said_and_one_that_is_back_is_used() -> None:
    with postgres_database() as direct:
        ours = Pooler(server(18))
        try:
            ours.start()
            database = PostgresDatabase(ours.url(str(conninfo_to_dict(direct.url)["dbname"])))
            async with world(database) as w:
                answer = await w.ask()
                ours.stop()
                with pytest.raises(Unavailable):
                    await w.ask(task="task-2")
                ours.start()
                assert (await w.review(answer)).status == "approved"
        finally:
            ours.remove()
