"""Whom the sender takes for the receiver: certificates, and servers that have none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from gate.tests.delivery.posting import BODY, HEADERS, SHORT, Names
from gate.tests.delivery.receivers import (
    OK,
    Authority,
    Receiver,
    hangs,
    receiving,
    says,
)
from gate.tests.factories import PATIENCE

from stacksona_gate.delivery.addresses import AddressGuard
from stacksona_gate.delivery.sender import Answer, Sender

type Call = Callable[..., Awaitable[tuple[Answer, Receiver]]]


@pytest.fixture
def secure(authority: Authority) -> Call:
    """Calls ``https://hooks.test`` at a server with a certificate for the hosts given."""

    async def call(
        *hosts: str, url_host: str = "hooks.test", days: int = 1, trusting: bool = True
    ) -> tuple[Answer, Receiver]:
        context = authority.trusting() if trusting else None
        one = Sender(AddressGuard.of("127.0.0.0/8", "", Names()), context=context)
        async with receiving(says(OK), tls=authority.serving(*hosts, days=days)) as receiver:
            return await one.send(f"https://{url_host}:{receiver.port}/", HEADERS, BODY), receiver

    return call


async def test_a_certificate_for_the_host_is_accepted_and_the_host_is_named(secure: Call) -> None:
    answer, receiver = await secure("hooks.test")
    assert answer.delivered
    assert receiver.names == ["hooks.test"]
    assert receiver.headers()["host"] == f"hooks.test:{receiver.port}"


async def test_a_certificate_for_an_address_is_accepted_for_that_address(secure: Call) -> None:
    answer, _ = await secure("127.0.0.1", url_host="127.0.0.1")
    assert answer.delivered


@pytest.mark.parametrize(
    ("hosts", "more", "error"),
    [
        (("other.test",), {}, "TLS: the certificate is for another host"),
        (("127.0.0.1",), {}, "TLS: the certificate is for another host"),
        (("hooks.test",), {"url_host": "127.0.0.1"}, "TLS: the certificate is for another host"),
        (("hooks.test",), {"days": -1}, "TLS: the certificate has expired"),
        (("hooks.test",), {"trusting": False}, "TLS: the certificate is not trusted"),
    ],
)
async def test_another_certificate_is_refused_before_anything_is_sent(
    secure: Call, hosts: tuple[str, ...], more: dict[str, object], error: str
) -> None:
    answer, receiver = await secure(*hosts, **more)
    assert (answer.status, answer.error, receiver.bodies) == (None, error, [])


async def test_a_server_that_does_not_speak_tls_is_an_answer(authority: Authority) -> None:
    plain = await asyncio.start_server(greets, "127.0.0.1", 0)
    async with plain:
        one = Sender(AddressGuard.of("127.0.0.0/8", "", Names()), context=authority.trusting())
        answer = await one.send(f"https://hooks.test:{plain.sockets[0].getsockname()[1]}/", HEADERS, BODY)
    assert (answer.status, answer.error) == (None, "TLS: wrong version number")


async def greets(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)
    await writer.drain()
    writer.close()


async def test_a_handshake_that_hangs_is_left_in_time_and_its_connection_closed(authority: Authority) -> None:
    async with receiving(hangs) as receiver:
        one = Sender(AddressGuard.of("127.0.0.0/8", "", Names()), context=authority.trusting())
        answer = await one.send(f"https://hooks.test:{receiver.port}/", HEADERS, BODY, seconds=SHORT)
        await asyncio.wait_for(receiver.left.wait(), PATIENCE)
    assert (answer.status, answer.error) == (None, "timed out")
