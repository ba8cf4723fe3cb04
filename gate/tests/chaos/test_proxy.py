"""The proxy between two ends: what it lets through, and what it does not."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from chaos.proxy import NotificationFilter, Proxy
from gate.tests.factories import PATIENCE
from gate.tests.ports import free_port

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def proxied() -> AsyncIterator[Proxy]:
    """In front of a server that says back what it hears."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.transport.abort()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = Proxy(free_port(), server.sockets[0].getsockname()[1])
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def connected(proxy: Proxy) -> AsyncIterator[Ends]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def heard(ends: Ends, said: bytes) -> bytes:
    reader, writer = ends
    writer.write(said)
    return await asyncio.wait_for(reader.readexactly(len(said)), PATIENCE)


async def held(proxy: Proxy) -> None:
    """Until something is."""
    async with asyncio.timeout(PATIENCE):
        while not proxy.counts["withheld"]:  # noqa: ASYNC110 - it has no event for it
            await asyncio.sleep(0.001)


async def test_what_is_said_arrives() -> None:
    async with proxied() as proxy, connected(proxy) as ends:
        assert await heard(ends, b"hello") == b"hello"


async def test_a_cut_ends_every_connection_and_takes_no_new_one() -> None:
    async with proxied() as proxy, connected(proxy) as ends:
        await heard(ends, b"hello")
        proxy.is_cut = True
        proxy.cut()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await heard(ends, b"again")
        async with connected(proxy) as anew:
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await heard(anew, b"anew")
        assert proxy.counts["cut"] == 1


async def test_what_is_held_arrives_later() -> None:
    async with proxied() as proxy, connected(proxy) as ends:
        await heard(ends, b"hello")
        proxy.hold()
        waiting = asyncio.create_task(heard(ends, b"again"))
        await held(proxy)
        assert not waiting.done()
        proxy.flow()
        assert await waiting == b"again"


async def test_half_open_is_silent_for_ever_and_new_connections_are_not() -> None:
    async with proxied() as proxy, connected(proxy) as ends:
        await heard(ends, b"hello")
        proxy.hold()
        proxy.flow(half_open=True)
        async with connected(proxy) as anew:
            assert await heard(anew, b"anew") == b"anew"
        ends[1].write(b"again")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ends[0].read(1), 0.2)


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


STREAM = message(b"Z", b"I") + message(b"A", b"\0\0\0\1channel\0text\0") + message(b"D", b"A row, and no notice")


@pytest.mark.parametrize("size", [1, 3, 7, len(STREAM)])
def test_notifications_alone_are_dropped_however_the_bytes_arrive(size: int) -> None:
    dropped: list[None] = []
    passing = NotificationFilter(lambda: True, lambda: dropped.append(None))
    passed = b"".join(passing(STREAM[place : place + size]) for place in range(0, len(STREAM), size))
    assert passed == message(b"Z", b"I") + message(b"D", b"A row, and no notice")
    assert len(dropped) == 1


def test_nothing_is_dropped_while_it_is_not_told_to() -> None:
    assert NotificationFilter(lambda: False, lambda: None)(STREAM) == STREAM
