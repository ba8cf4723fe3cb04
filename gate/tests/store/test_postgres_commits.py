"""What is told of a commit that PostgreSQL itself is not sure of."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest
from gate.tests.cli.processes import until
from gate.tests.factories import world
from gate.tests.postgres import PostgresServer, postgres_database, programs, rows_at, started

from stacksona_gate.domain.errors import Conflict, Unknown
from stacksona_gate.service.requests import Ask
from stacksona_gate.store.postgres_connection import HELD
from stacksona_gate.store.postgres_transactions import Line, Patience

pytestmark = pytest.mark.slow


@pytest.fixture
def alone() -> Iterator[PostgresServer]:
    """A server whose commits wait for a standby that there is not."""
    with started(PostgresServer(programs(18), settings={"synchronous_standby_names": "nobody"})) as server:
        yield server


def test_a_commit_whose_wait_for_the_standby_was_cancelled_may_or_may_not_stand(alone: PostgresServer) -> None:
    def cancelled() -> bool | None:
        waiting = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        return admin.execute(waiting).fetchone() == (True,) or None

    with (
        closing(Line(lambda: rows_at(alone.url()), Patience())) as line,
        psycopg.connect(alone.url(), autocommit=True) as admin,
        ThreadPoolExecutor(1) as pool,
    ):
        admin.execute("SET synchronous_commit = local")
        admin.execute("CREATE TABLE kept (number BIGINT)")
        told = pool.submit(line.transact, HELD, lambda rows, tx: rows.run("INSERT INTO kept VALUES (1)"))
        until(cancelled)
        with pytest.raises(Unknown, match="may or may not have been decided"):
            told.result(60)


async def test_the_log_does_not_quote_a_row_that_was_refused(caplog: pytest.LogCaptureFixture) -> None:
    with postgres_database() as database, psycopg.connect(database.url, autocommit=True) as admin:
        async with world(database) as w:
            admin.execute("ALTER TABLE requests ADD CONSTRAINT no_more CHECK (FALSE) NOT VALID")
            with pytest.raises(Conflict):
                await w.ask(ask=Ask("issue_refund", "Zacharias Quellwasser", payload={"amount": 1}))
    assert "no_more" in caplog.text
    assert "Zacharias" not in caplog.text
