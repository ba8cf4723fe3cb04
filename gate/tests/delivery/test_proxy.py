"""Calls through the operator's outgoing proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from gate.tests.delivery.posting import BODY, HEADERS, SHORT, Names
from gate.tests.delivery.receivers import (
    OK,
    Authority,
    hangs,
    receiving,
    says,
)

from stacksona_gate.delivery.addresses import NOT_PUBLIC, AddressGuard
from stacksona_gate.delivery.sender import Sender


def through(port: int, *answers: Sequence[str], authority: Authority | None = None, user: str = "") -> Sender:
    guard = AddressGuard.of("127.0.0.0/8", "", Names(*answers))
    context = authority.trusting() if authority else None
    return Sender(guard, f"http://{user}127.0.0.1:{port}", context=context)


async def tunnels(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a proxy does after CONNECT, for one connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    host, port = head.split()[1].split(":")
    tunnels.asked = head  # type: ignore[attr-defined]
    there_reader, there_writer = await asyncio.open_connection(host, int(port))
    writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
    await asyncio.gather(_pipe(reader, there_writer), _pipe(there_reader, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    writer.close()


async def test_the_proxy_is_handed_the_checked_address_and_the_hosts_name_beside_it() -> None:
    async with receiving(says(OK)) as proxy:
        answer = await through(proxy.port).send("http://hooks.test:8080/hook?a=b", HEADERS, BODY)
    assert answer.delivered
    assert proxy.heads[0].startswith("POST http://127.0.0.1:8080/hook?a=b HTTP/1.1\r\n")
    assert proxy.headers()["host"] == "hooks.test:8080"
    assert proxy.bodies == [BODY]


async def test_an_ipv6_address_is_handed_to_the_proxy_in_brackets() -> None:
    async with receiving(says(OK)) as proxy:
        await through(proxy.port, ["2606:4700:4700::1111"]).send("http://hooks.test/", HEADERS, BODY)
    assert proxy.heads[0].startswith("POST http://[2606:4700:4700::1111]:80/ HTTP/1.1\r\n")


async def test_the_proxy_gets_its_user_and_the_receiver_does_not(authority: Authority) -> None:
    proxy = await asyncio.start_server(tunnels, "127.0.0.1", 0)
    async with proxy, receiving(says(OK), tls=authority.serving("hooks.test")) as receiver:
        port = proxy.sockets[0].getsockname()[1]
        sent_by = through(port, authority=authority, user="gate:secret@")
        answer = await sent_by.send(f"https://hooks.test:{receiver.port}/", HEADERS, BODY)
    assert answer.delivered
    asked: str = tunnels.asked  # type: ignore[attr-defined]
    assert asked.startswith(f"CONNECT 127.0.0.1:{receiver.port} HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic Z2F0ZTpzZWNyZXQ=\r\n" in asked
    assert receiver.names == ["hooks.test"]
    assert receiver.headers()["host"] == f"hooks.test:{receiver.port}"
    assert "proxy-authorization" not in receiver.headers()


async def test_the_guard_checks_before_the_proxy_is_asked() -> None:
    async with receiving(says(OK)) as proxy:
        answer = await through(proxy.port, ["10.0.0.1"]).send("https://hooks.test/", HEADERS, BODY)
    assert (answer.error, proxy.connections) == (NOT_PUBLIC, 0)


async def test_a_proxy_that_says_no_is_an_answer() -> None:
    refusing = await asyncio.start_server(refuses, "127.0.0.1", 0)
    async with refusing:
        port = refusing.sockets[0].getsockname()[1]
        answer = await through(port).send("https://hooks.test/", HEADERS, BODY)
    assert (answer.status, answer.error) == (None, "refused by the outgoing proxy")


async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 403 secret reason\r\nContent-Length: 0\r\n\r\n")
    writer.close()


async def test_a_proxy_that_is_not_there_is_said_to_be_it() -> None:
    answer = await through(1).send("https://hooks.test/", HEADERS, BODY)
    assert (answer.status, answer.error) == (None, "outgoing proxy: connection refused")


async def test_a_proxy_that_hangs_is_left_in_time() -> None:
    async with receiving(hangs) as proxy:
        answer = await through(proxy.port).send("http://hooks.test/", HEADERS, BODY, seconds=SHORT)
    assert (answer.status, answer.error) == (None, "timed out")
