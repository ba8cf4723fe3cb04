"""Calls out, to real servers on loopback."""

from __future__ import annotations

import asyncio
import gzip
import logging
import re
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version

import pytest
from gate.tests.delivery.posting import BODY, CUT, HEAD, HEADERS, METADATA, SHORT, Names, answer_to, posted, sender
from gate.tests.delivery.receivers import (
    OK,
    Behaviour,
    hangs,
    hangs_after,
    keeps_saying,
    receiving,
    resets_after,
    says,
)
from gate.tests.factories import PATIENCE, START
from hypothesis import given, strategies as st

from stacksona_gate.delivery import connections
from stacksona_gate.delivery.addresses import NOT_PLAIN, NOT_PUBLIC, AddressGuard
from stacksona_gate.delivery.sender import NO_URL, REDIRECT, Sender, retry_after
from stacksona_gate.domain.times import SECOND

# What is sent


async def test_a_delivery_arrives_as_it_is() -> None:
    async with receiving(says(OK)) as receiver:
        answer = await posted(receiver, "/a%20b?c=d&e=%2F")
    assert (answer.status, answer.error, answer.body, answer.delivered) == (200, None, b"ok", True)
    assert receiver.heads[0].startswith("POST /a%20b?c=d&e=%2F HTTP/1.1\r\n")
    assert receiver.bodies == [BODY]
    assert receiver.headers() == {
        "host": f"hooks.test:{receiver.port}",
        "content-type": "application/json",
        "webhook-signature": "v1,c2VjcmV0",
        "user-agent": f"stacksona-gate/{version('stacksona-gate')}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "close",
        "content-length": str(len(BODY)),
    }


async def test_another_method_is_sent_with_its_body() -> None:
    async with receiving(says(OK)) as receiver:
        await sender().send(f"http://hooks.test:{receiver.port}/", {}, b"", method="PUT")
    assert receiver.heads[0].startswith("PUT / HTTP/1.1\r\n")


async def test_the_duration_is_measured_in_microseconds() -> None:
    answer = await answer_to(hangs, seconds=SHORT)
    assert SHORT * 1e6 <= answer.duration < SHORT * 1e6 * 20


async def test_no_cookie_is_kept() -> None:
    async with receiving(says(HEAD + b"Set-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n")) as receiver:
        one = sender()
        await posted(receiver, by=one)
        await posted(receiver, by=one)
    assert "cookie" not in receiver.heads[1].lower()


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with receiving(says(OK)) as receiver:
        assert (await posted(receiver)).delivered


# Where it goes


async def test_the_connection_goes_to_the_address_that_was_checked_and_the_name_is_asked_once() -> None:
    names = Names(["127.0.0.1"], ["127.0.0.9"])
    async with receiving(says(OK)) as receiver:
        answer = await posted(receiver, by=Sender(AddressGuard.of("127.0.0.1/32", "", names)))
    assert answer.delivered
    assert names.asked == ["hooks.test"]


async def test_a_name_that_is_rebound_between_calls_is_refused_and_not_called() -> None:
    one = sender(["127.0.0.1"], ["169.254.169.254"], allowed="127.0.0.0/8")
    async with receiving(says(OK)) as receiver:
        first, second = await posted(receiver, by=one), await posted(receiver, by=one)
    assert (first.delivered, second.error, receiver.connections) == (True, NOT_PUBLIC, 1)


async def test_the_library_looks_no_name_up_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rebinding that matters: the second look-up, of a client that was handed a name."""

    def look_up(*_: object, **__: object) -> None:
        raise AssertionError("somebody looked a name up")

    async with receiving(says(OK)) as receiver:
        await posted(receiver)  # what is looked up while loading is not meant
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
        assert (await posted(receiver)).delivered


async def test_no_connection_is_kept_for_the_next_call() -> None:
    async with receiving(keeps_alive) as receiver:
        one = sender()
        await posted(receiver, by=one)
        await posted(receiver, by=one)
    assert receiver.connections == 2


async def keeps_alive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)
    await reader.read()


async def test_the_next_address_is_tried_when_one_cannot_be_reached() -> None:
    async with receiving(says(OK)) as receiver:
        answer = await posted(receiver, by=sender(["127.0.0.2", "127.0.0.3", "127.0.0.1"]))
    assert answer.delivered


async def test_the_next_address_is_not_tried_once_something_was_sent() -> None:
    async with receiving(resets_after(b""), address="127.0.0.2") as first, receiving(says(OK)) as second:
        # Both on one port, so that one URL means both.
        other = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", first.port)
        async with other:
            answer = await posted(first, by=sender(["127.0.0.2", "127.0.0.1"]))
    assert (answer.status, answer.error) == (None, CUT)
    assert (first.connections, second.connections) == (1, 0)


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://10.0.0.1/", NOT_PUBLIC),
        (METADATA, NOT_PUBLIC),
        ("http://[::ffff:169.254.169.254]/", NOT_PUBLIC),
        ("http://[64:ff9b::7f00:1]/", NOT_PUBLIC),
        ("http://2130706433/", NOT_PLAIN),
        ("http://0x7f.1/", NOT_PLAIN),
        ("http://0177.0.0.1/", NO_URL),
        ("http://127.1/", NOT_PLAIN),
        ("http://localhost./", NOT_PLAIN),
        ("http://[fe80::1%25eth0]/", NOT_PLAIN),
        ("http://ex%61mple.com/", NOT_PLAIN),
        ("http://１２７.0.0.1/", NO_URL),
        ("http://10。0。0。1/", NOT_PUBLIC),
        ("http://user:password@hooks.test/", NO_URL),
        ("http://user@hooks.test/", NO_URL),
        ("http://127.0.0.1\\@hooks.test/", NO_URL),
        ("http:///hook", NO_URL),
        ("http://", NO_URL),
        ("", NO_URL),
        ("hooks.test/hook", NO_URL),
        ("//hooks.test/", NO_URL),
        ("ftp://hooks.test/", NO_URL),
        ("file:///etc/passwd", NO_URL),
        ("http://hooks.test:0/", NO_URL),
        ("http://hooks.test:65536/", NO_URL),
        ("http://hooks.test:-1/", NO_URL),
        ("http://hooks.test/\r\nX: y", NO_URL),
        ("http://hooks.test\t/", NO_URL),
        ("http://[::1/", NO_URL),
        ("http://\ud800/", NO_URL),
        ("http://" + "a" * 70_000, NO_URL),
    ],
)
async def test_an_address_that_must_not_be_called_is_refused(url: str, error: str) -> None:
    answer = await sender().send(url, HEADERS, BODY)
    assert (answer.status, answer.error, answer.delivered) == (None, error, False)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
async def test_a_redirect_is_a_failure_and_goes_nowhere(status: int) -> None:
    async with receiving(says(OK)) as trap:
        where = f"Location: http://127.0.0.1:{trap.port}/\r\nContent-Length: 0\r\n\r\n"
        answer = await answer_to(says(f"HTTP/1.1 {status} Go\r\n{where}".encode()))
    assert (answer.status, answer.error, answer.delivered) == (status, REDIRECT, False)
    assert trap.connections == 0


async def test_a_redirect_to_the_metadata_address_is_not_followed() -> None:
    answer = await answer_to(says(f"HTTP/1.1 302 Found\r\nLocation: {METADATA}\r\nContent-Length: 0\r\n\r\n".encode()))
    assert (answer.status, answer.error) == (302, REDIRECT)


# What comes back


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_two_hundred_and_its_kin_are_delivered(status: int) -> None:
    answer = await answer_to(says(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()))
    assert (answer.status, answer.error, answer.delivered, answer.gone) == (status, None, True, False)


@pytest.mark.parametrize("status", [400, 401, 404, 410, 429, 500, 503])
async def test_another_status_is_not_delivered(status: int) -> None:
    answer = await answer_to(says(f"HTTP/1.1 {status} X\r\nContent-Length: 3\r\n\r\nno!".encode()))
    assert (answer.status, answer.error, answer.delivered) == (status, None, False)
    assert (answer.body, answer.gone) == (b"no!", status == 410)


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000,
        b"Content-Length: 1024\r\n\r\n" + b"x" * 1024,
        b"Transfer-Encoding: chunked\r\n\r\n" + b"1388\r\n" + b"x" * 5000 + b"\r\n0\r\n\r\n",
        b"\r\n" + b"x" * 200_000,
    ],
    ids=["long", "just enough", "chunked", "until the end"],
)
async def test_the_first_kilobyte_of_the_body_is_kept(body: bytes) -> None:
    answer = await answer_to(says(HEAD + body))
    assert (answer.body, answer.error, answer.delivered) == (b"x" * 1024, None, True)


async def test_a_body_without_end_is_left_after_its_first_kilobyte() -> None:
    chunk = b"100\r\n" + b"x" * 256 + b"\r\n"
    answer = await answer_to(keeps_saying(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk))
    assert (answer.body, answer.error) == (b"x" * 1024, None)


async def test_a_compressed_body_is_kept_as_it_came() -> None:
    bomb = gzip.compress(bytes(10_000_000))
    length = f"Content-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    assert (await answer_to(says(HEAD + length + bomb))).body == bomb[:1024]


async def test_interim_answers_are_passed_over() -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    assert (await answer_to(says(b"HTTP/1.1 100 Continue\r\n\r\n", hint, OK))).delivered


# Those who take for ever, and those who send too much


FOREVER: dict[str, tuple[Behaviour, int | None]] = {
    "says nothing": (hangs, None),
    "stops in the status line": (hangs_after(b"HTTP/1.1 20"), None),
    "stops in the headers": (hangs_after(HEAD + b"X: y\r\n"), None),
    "stops in the body": (hangs_after(HEAD + b"Content-Length: 9\r\n\r\nabc"), 200),
    "drips its headers": (keeps_saying(HEAD, b"X: y\r\n", 0.02), None),
    "drips its body": (keeps_saying(HEAD + b"Content-Length: 999\r\n\r\n", b"x", 0.02), 200),
    "drips its chunks": (keeps_saying(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.02), 200),
    "drips interim answers": (keeps_saying(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.02), None),
}


@pytest.mark.parametrize(("behaviour", "status"), FOREVER.values(), ids=FOREVER)
async def test_who_takes_for_ever_is_left_in_time(behaviour: Behaviour, status: int | None) -> None:
    began = time.monotonic()
    answer = await answer_to(behaviour, seconds=SHORT)
    assert (answer.status, answer.error, answer.delivered) == (status, "timed out", False)
    assert time.monotonic() - began < PATIENCE


FLOODS: dict[str, Behaviour] = {
    "headers": keeps_saying(HEAD, b"X-Filler: " + b"y" * 1000 + b"\r\n"),
    "one header": keeps_saying(HEAD + b"X: ", b"y" * 1000),
    "a status line": keeps_saying(b"HTTP/1.1 200 ", b"y" * 1000),
    "interim answers": keeps_saying(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
    "chunk extensions": keeps_saying(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"y" * 1000),
    "trailers": keeps_saying(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 100),
}


@pytest.mark.parametrize("behaviour", FLOODS.values(), ids=FLOODS)
async def test_a_flood_is_left_soon(behaviour: Behaviour) -> None:
    answer = await answer_to(behaviour, seconds=60)
    assert answer.error in ("answer too large", "malformed answer")
    assert not answer.delivered
    assert answer.duration < 10 * SECOND


@pytest.mark.slow
async def test_many_calls_to_those_who_hang_delay_no_other() -> None:
    async with receiving(hangs) as stuck, receiving(says(OK)) as well:
        one = sender()
        waiting = [asyncio.create_task(posted(stuck, by=one, seconds=30)) for _ in range(50)]
        answers = await asyncio.gather(*(posted(well, by=one, seconds=10) for _ in range(50)))
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    assert all(answer.delivered for answer in answers)


async def test_a_call_that_is_cancelled_ends_at_once() -> None:
    async with receiving(hangs) as receiver:
        task = asyncio.create_task(posted(receiver, seconds=4 * PATIENCE))
        await asyncio.wait_for(receiver.arrived.wait(), PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, PATIENCE)


# Faults


FAULTS: dict[str, tuple[Behaviour, int | None, str]] = {
    "closes without a word": (says(b""), None, CUT),
    "resets without a word": (resets_after(b""), None, CUT),
    "closes in the headers": (says(HEAD + b"X: y"), None, CUT),
    "closes in the body": (says(HEAD + b"Content-Length: 9\r\n\r\nabc"), 200, CUT),
    "closes in a chunk": (says(HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\nabc"), 200, CUT),
    "resets in the body": (resets_after(HEAD + b"Content-Length: 9\r\n\r\nabc"), 200, CUT),
    "no HTTP": (says(b"220 mail.example.com ESMTP\r\n\r\n"), None, "malformed answer"),
    "TLS": (says(b"\x15\x03\x01\x00\x02\x02\x46"), None, "malformed answer"),
    "a status that is no number": (says(b"HTTP/1.1 abc OK\r\n\r\n"), None, "malformed answer"),
    "two lengths": (says(HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), None, "malformed answer"),
    "a length that is no number": (says(HEAD + b"Content-Length: -1\r\n\r\n"), None, "malformed answer"),
    "a null in a header": (says(HEAD + b"X: a\0b\r\n\r\n"), None, "malformed answer"),
    "another protocol": (
        says(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"),
        None,
        "malformed answer",
    ),
}


@pytest.mark.parametrize(("behaviour", "status", "error"), FAULTS.values(), ids=FAULTS)
async def test_a_fault_is_an_answer(behaviour: Behaviour, status: int | None, error: str) -> None:
    answer = await answer_to(behaviour)
    assert (answer.status, answer.error, answer.delivered) == (status, error, False)


async def test_nobody_listening_is_an_answer() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        answer = await sender().send(f"http://hooks.test:{reserved.getsockname()[1]}/", HEADERS, BODY)
    assert (answer.status, answer.error) == (None, "connection refused")


@pytest.mark.parametrize("headers", [{"X": "a\r\nY: b"}, {"X: y\r\nZ": "a"}, {"X": "é"}, {"": "a"}])
async def test_a_header_that_cannot_be_sent_is_an_answer(headers: dict[str, str]) -> None:
    async with receiving(says(OK)) as receiver:
        answer = await sender().send(f"http://hooks.test:{receiver.port}/", headers, BODY)
    assert (answer.status, answer.error, receiver.bodies) == (None, "not sent", [])


async def test_a_resolver_that_breaks_is_an_answer() -> None:
    async def broken(host: str, port: int) -> Sequence[str]:
        raise RuntimeError("secret")

    answer = await Sender(AddressGuard(resolver=broken)).send("http://hooks.test/", HEADERS, BODY)
    assert (answer.status, answer.error) == (None, "not sent")


async def test_neither_address_nor_signature_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with receiving(says(OK)) as receiver:
        await posted(receiver, "/path-that-is-a-secret")
    await sender().send("http://hooks.test:1/path-that-is-a-secret", HEADERS, BODY)
    assert not re.search("path-that-is-a-secret|c2VjcmV0|hooks.test", caplog.text)


# Retry-After


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 120 ", 120),
        ("86400", 86_400),
        ("86401", 86_400),
        ("9" * 19, 86_400),
        ("Thu, 26 Nov 2026 12:01:30 GMT", 90),
        ("Thursday, 26-Nov-26 12:01:30 GMT", 90),
        ("Thu Nov 26 12:01:30 2026", 90),
        ("Thu, 26 Nov 2026 11:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("+5", None),
        ("1e9", None),
        ("٥", None),
        ("soon", None),
        ("9" * 5000, None),
        ("Thu, 99 Nov 2026 12:00:00 GMT", None),
        ("Thu, 26 Nov 99999999 12:00:00 GMT", None),
        ("Thu, 26 Nov 2026 12:00:00 GMT" + " " * 100 + "x", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_nothing(text: str, seconds: int | None) -> None:
    assert retry_after(text, START) == seconds


@given(st.text())
def test_a_hostile_retry_after_is_nothing_or_within_a_day(text: str) -> None:
    wait = retry_after(text, START)
    assert wait is None or 0 <= wait <= 86_400


async def test_retry_after_is_read_from_the_answer() -> None:
    answer = await answer_to(says(b"HTTP/1.1 503 X\r\nrEtry-aFter: 7\r\nContent-Length: 0\r\n\r\n"))
    assert answer.retry_after == 7


async def test_an_answer_without_retry_after_asks_for_nothing() -> None:
    assert (await answer_to(says(OK))).retry_after is None


# The cost


@pytest.mark.slow
async def test_a_thousand_calls_take_a_few_times_what_their_connections_take() -> None:
    """Seconds, where a context for TLS or a look-up of its own for each call would make minutes of them."""
    async with receiving(says(OK)) as receiver:
        one = sender()

        async def call() -> bool:
            return (await posted(receiver, by=one, seconds=4 * PATIENCE)).delivered

        async def connection() -> bool:
            reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
            writer.write(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
            said = await reader.read()
            writer.close()
            return said == OK

        calls, connections = list[float](), list[float]()
        while len(calls) < 3 and not (calls and min(calls) < 20 * min(connections)):
            connections.append(await _seconds(connection))
            calls.append(await _seconds(call))
    assert min(calls) < 20 * min(connections)


async def _seconds(one: Callable[[], Awaitable[bool]]) -> float:
    """Of this process, for a thousand."""
    at_once = asyncio.Semaphore(32)

    async def in_turn() -> bool:
        async with at_once:
            return await one()

    began = time.process_time()
    assert all(await asyncio.gather(*(in_turn() for _ in range(1000))))
    return time.process_time() - began


def test_limits_are_what_the_documentation_says() -> None:
    assert (connections.BODY_MOST, connections.ANSWER_MOST, connections.CONNECT_SECONDS) == (1024, 131_072, 5.0)
