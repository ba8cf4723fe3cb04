"""Servers that are there and do not answer: nobody waits for one while the others wait for its turn."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from chaos.proxy import Filter, Proxy
from gate.tests.factories import PATIENCE
from gate.tests.network import passing
from gate.tests.nodes.wire import PLAIN, QUERY
from gate.tests.ports import free_port
from gate.tests.postgres import PostgresServer, programs, started

from stacksona_gate.domain.errors import Unavailable
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


def test_a_server_that_stops_once_it_has_let_us_in_is_given_up(server: PostgresServer) -> None:
    proxy = Silent(free_port(), server.port)
    store = PostgresStore(server.url().replace(f":{server.port}/", f":{proxy.port}/") + PLAIN)
    with ThreadPoolExecutor(1) as pool, passing(proxy):
        started = pool.submit(store.start)
        with pytest.raises(Unavailable):
            started.result(PATIENCE)
