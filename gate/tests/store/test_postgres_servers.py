"""Servers that are there and do not answer: nobody waits for one while the others wait for its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from chaos.proxy import Filter, Proxy
from gate.tests.factories import PATIENCE, PostgresDatabase, World, world
from gate.tests.network import network, passing
from gate.tests.nodes.wire import PLAIN, QUERY
from gate.tests.outbox import until
from gate.tests.ports import free_port
from gate.tests.postgres import PostgresServer, programs, started

from stacksona_gate.domain.errors import Invalid, Unavailable
from stacksona_gate.store.postgres import PostgresStore

pytestmark = pytest.mark.slow


class Silent(Proxy):
    """Lets a client connect and swallows what it asks then, as a server that stops in that moment."""

    def asks(self) -> Filter:
        return lambda data: b"" if data[:1] == QUERY else data


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with started(PostgresServer(programs(18))) as made:
        yield made


def by_way_of(port: int, server: PostgresServer) -> str:
    return server.url().replace(f":{server.port}/", f":{port}/") + PLAIN


def test_a_server_that_stops_once_it_has_let_us_in_is_given_up(server: PostgresServer) -> None:
    proxy = Silent(free_port(), server.port)
    store = PostgresStore(by_way_of(proxy.port, server))
    with ThreadPoolExecutor(1) as pool, passing(proxy):
        started = pool.submit(store.start)
        with pytest.raises(Unavailable):
            started.result(PATIENCE)


def set_to(server: PostgresServer, setting: str, value: str) -> None:
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute(f"ALTER SYSTEM SET {setting} = {value}".encode())
        admin.execute("SELECT pg_reload_conf()")


async def is_told(w: World) -> bool:
    """Whether an agent that asks is told a decision, and not that there is none."""
    try:
        await w.ask()
    except Unavailable:
        return False
    return True


async def is_told_nothing(w: World) -> bool:
    return not await is_told(w)


@pytest.mark.parametrize("setting", ["synchronous_commit", "fsync"])
def test_no_gate_starts_on_a_server_that_tells_commits_before_they_are_on_disk(
    server: PostgresServer, setting: str
) -> None:
    set_to(server, setting, "off")
    with pytest.raises(Invalid, match="before they are on disk"):
        PostgresStore(server.url() + PLAIN).start()


@pytest.mark.parametrize("setting", ["synchronous_commit", "fsync"])
async def test_nothing_is_told_once_a_server_tells_commits_before_they_are_on_disk(
    server: PostgresServer, setting: str
) -> None:
    async with world(PostgresDatabase(server.url() + PLAIN)) as w:
        set_to(server, setting, "off")
        await until(lambda: is_told_nothing(w))
        set_to(server, setting, "on")
        await until(lambda: is_told(w))


async def test_a_store_closes_though_a_server_that_hangs_was_asked_for_something_long(server: PostgresServer) -> None:
    with network(server.port) as way:
        store = PostgresStore(by_way_of(way.port, server))
        await asyncio.to_thread(store.start)
        await store.scan(lambda tx: tx.tenants.list_all())
        way.hold()
        asking = asyncio.create_task(store.scan(lambda tx: tx.tenants.list_all()))
        await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.to_thread(store.close), 3 * PATIENCE)
        with pytest.raises(Unavailable):
            await asking
