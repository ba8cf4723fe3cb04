"""The end of the server, moment by moment. Whole processes under load: nodes/test_draining.py."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from gate.tests.api.agent.calls import Api
from gate.tests.api.agent.test_held import until
from gate.tests.api.agent.test_wire import Served, body_of, served
from gate.tests.factories import PATIENCE

from stacksona_gate.api.server import refuse_newcomers

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: gate\r\n\r\n"
READY = HEALTH.replace(b"healthz", b"readyz")


type Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(gate: Served, count: int) -> AsyncIterator[list[Connection]]:
    """So many connections that the server has taken."""
    made = [await asyncio.open_connection("127.0.0.1", gate.port) for _ in range(count)]
    await until(lambda: len(gate.server.server_state.connections) == count)
    try:
        yield made
    finally:
        for _, writer in made:
            writer.close()
            await writer.wait_closed()


async def asked(connection: Connection, request: bytes = HEALTH) -> bytes:
    """The head of the answer."""
    reader, writer = connection
    writer.write(request)
    head, _ = await body_of(reader)
    return head


async def test_a_request_that_comes_while_the_server_ends_is_its_connections_last(api: Api) -> None:
    async with served(api) as gate, connected(gate, 2) as (fresh, used):
        await asked(used)
        gate.server.should_exit = True
        await until(lambda: api.context.draining.is_set and not gate.server.servers[0].is_serving())
        heads = [await asked(one) for one in (fresh, used)]
        ends = [await asyncio.wait_for(reader.read(), PATIENCE) for reader, _ in (fresh, used)]
    assert [head.split()[1] for head in heads] == [b"200", b"200"]
    assert all(b"connection: close" in head.lower() for head in heads)
    assert ends == [b"", b""]


async def test_a_connection_on_which_nothing_more_comes_ends_soon(api: Api) -> None:
    async with served(api) as gate, connected(gate, 1) as [(reader, _)]:
        gate.server.should_exit = True
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""


async def test_during_the_notice_calls_are_answered_and_only_readiness_is_off(api: Api) -> None:
    async with served(api) as gate, connected(gate, 2) as (first, second):
        gate.server.notice_seconds = 600
        gate.server.handle_exit(signal.SIGTERM, None)
        await until(lambda: api.context.draining.is_announced)
        heads = [await asked(first, READY), await asked(second)]
        decision, is_draining = await api.ask(amount=100), api.context.draining.is_set
        gate.server.handle_exit(signal.SIGTERM, None)
        gate.server._captured_signals.clear()  # else it would be passed on to the tests themselves
    assert [head.split()[1] for head in heads] == [b"503", b"200"]
    assert all(b"connection: close" in head.lower() for head in heads)
    assert (decision["status"], is_draining) == ("allow", False)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can let somebody finish and nobody begin")
def test_who_is_connected_is_let_in_and_who_is_not_stays_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as first, socket.socket() as second:
        first.connect(listening.getsockname())
        refuse_newcomers(listening)
        second.settimeout(0.3)
        with pytest.raises(TimeoutError):
            second.connect(listening.getsockname())
        first.sendall(b"still here")
        taken, _ = listening.accept()
        with taken:
            assert taken.recv(100) == b"still here"
