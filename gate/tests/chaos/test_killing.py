"""A PostgreSQL that is killed as by a loss of power: nothing of it lives on and stands in the way of the next one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psycopg
import pytest
from gate.tests.postgres import PostgresServer, programs, started
from gate.tests.replication import kill_server, working_in

pytestmark = pytest.mark.slow
TIMES = 5


def test_nothing_of_a_server_lives_on_that_is_killed_while_it_lets_callers_in() -> None:
    over = threading.Event()

    def call(url: str) -> None:
        while not over.is_set():
            with suppress(psycopg.OperationalError), psycopg.connect(url, connect_timeout=2):
                pass

    with started(PostgresServer(programs(18))) as server, ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            pool.submit(call, server.url())
        try:
            for _ in range(TIMES):
                kill_server(server.data)
                assert working_in(server.data) == []
                server.stop()  # asks what became of it: as long as nobody did, its number is not free
                server.start()
        finally:
            over.set()
