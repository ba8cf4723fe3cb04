"""Versions of the tables: nodes that start together, a node of the version before, and one that is too old."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
import pytest
from gate.tests.cli.processes import PATIENCE, call, until
from gate.tests.nodes.site import POLICY, Site, site_of
from gate.tests.tries import mostly_within

from stacksona_gate.store import migrate
from stacksona_gate.store.migrate import Migration, all_migrations
from stacksona_gate.store.postgres import MIGRATION_WAIT_MILLISECONDS, PostgresStore

pytestmark = pytest.mark.slow
SLOWEST: Final = 4 * MIGRATION_WAIT_MILLISECONDS / 1000
"""Seconds that a decision may take beside a migration: once its turn, and what a busy machine takes."""
BLOCKED_SECONDS: Final = 4.0


def test_nodes_that_start_together_on_an_empty_database_make_its_tables_once() -> None:
    with site_of(empty=True) as site:
        nodes = [site.begin(name) for name in ("first", "second")]
        for node in nodes:
            node.process.line("Stacksona Gate on", str(node.port))
        with psycopg.connect(site.url) as connection:
            applied = [row[0] for row in connection.execute("SELECT number FROM migrations ORDER BY number")]
        assert applied == [one.number for one in all_migrations()]
        assert [call(node.port, "GET", "/readyz")[0] for node in nodes] == [200, 200]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with site_of() as made:
        made.start("old", STACKSONA_DRAIN_SECONDS="0")
        made.nodes["first"] = made.nodes["old"]
        made.first.done("PUT", "policy", made.admin, POLICY)
        yield made


@contextmanager
def deciding(site: Site) -> Iterator[list[float]]:
    """A caller of the old node, as long as the block runs: how long each answer took."""
    _, key = site.agent()
    took, is_over = list[float](), threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            begun = time.monotonic()
            assert site.first.ask(key, 100)[1]["status"] == "allow"
            took.append(time.monotonic() - begun)

    callers = [threading.Thread(target=ask) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        until(lambda: True if len(took) > 20 else None)
        yield took
        count = len(took)
        until(lambda: True if len(took) > count + 20 else None)
    finally:
        is_over.set()
        for caller in callers:
            caller.join(PATIENCE)


@contextmanager
def reading(site: Site, table: str, seconds: float) -> Iterator[None]:
    """Somebody else's long transaction on a table."""
    with psycopg.connect(site.url) as connection:
        connection.execute(f"LOCK TABLE {table} IN ACCESS SHARE MODE")
        timer = threading.Timer(seconds, connection.rollback)
        timer.start()
        yield
        timer.join()


def test_the_old_node_decides_while_a_new_one_changes_the_tables_and_after(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = list(all_migrations())
    monkeypatch.setattr(migrate, "all_migrations", lambda: known)

    def take() -> float:
        number = known[-1].number + 1
        name = f"{number:04}_more.sql"
        known.append(Migration(number, name, f"ALTER TABLE requests ADD COLUMN more{number} TEXT;"))
        with deciding(site) as took, reading(site, "requests", BLOCKED_SECONDS):
            begun = time.monotonic()
            store = PostgresStore(site.url)
            assert store.migrate() == [name]
            store.close()
            waited = time.monotonic() - begun
        assert waited >= BLOCKED_SECONDS - 0.5  # it had to wait for its table
        return max(took)

    mostly_within(SLOWEST, take)


def test_a_database_that_is_newer_than_the_program_is_refused_and_says_so() -> None:
    with site_of() as site:
        with psycopg.connect(site.url, autocommit=True) as connection:
            connection.execute("INSERT INTO migrations (number, name) VALUES (999, '0999_future.sql')")
        node = site.begin("first")
        assert node.process.process.wait(PATIENCE) == 1
        node.process.end()
        assert "migration 999, which this version does not know: upgrade the gate" in node.process.errors[-1]
