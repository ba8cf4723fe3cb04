"""The wire, spoken to with plain sockets: a real server on a loopback port, limits small enough to reach."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
import uvicorn
from gate.tests.api.sockets import (
    CHUNKED,
    GET,
    PATIENCE,
    POST,
    Application,
    Tight,
    Unhurried,
    Wire,
    problem,
    read_all,
    read_until,
    serving,
    statuses,
)
from uvicorn.server import ServerState


@pytest.fixture(scope="module")
def tight_server() -> Iterator[Wire]:
    with serving(Tight, idle_seconds=5) as wire:
        yield wire


@pytest.fixture(scope="module")
def unhurried_server() -> Iterator[Wire]:
    with serving(Unhurried, idle_seconds=1) as wire:
        yield wire


@pytest.fixture
def hasty(tight_server: Wire) -> Wire:
    vars(tight_server.application).update(vars(Application()))
    return tight_server


@pytest.fixture
def wire(unhurried_server: Wire) -> Wire:
    vars(unhurried_server.application).update(vars(Application()))
    return unhurried_server


# Time


def test_a_connection_that_says_nothing_is_closed(hasty: Wire) -> None:
    assert hasty.say() == b""


def test_a_head_that_does_not_end_is_dropped(hasty: Wire) -> None:
    assert hasty.say(b"GET / HTTP/1.1\r\nHost: ga") == b""


@pytest.mark.parametrize(("start", "drop"), [(b"GET / HTTP/1.1\r\n", b"A"), (b"", b"\r\n"), (CHUNKED, b"1\r\na\r\n")])
def test_dripping_bytes_do_not_keep_a_connection(hasty: Wire, start: bytes, drop: bytes) -> None:
    with hasty.connect() as client:
        client.sendall(start)
        client.settimeout(0.02)
        assert any(is_closed_after(client, drop) for _ in range(int(PATIENCE / 0.02)))


def is_closed_after(client: socket.socket, drop: bytes) -> bool:
    try:
        client.sendall(drop)
        return client.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_a_body_that_does_not_end_is_dropped(hasty: Wire) -> None:
    assert hasty.say(POST + b"Content-Length: 10\r\n\r\nabc") == b""
    assert hasty.application.gone.wait(PATIENCE)


def test_a_body_that_does_not_end_is_dropped_on_a_used_connection_too(hasty: Wire) -> None:
    with hasty.connect() as client:
        client.sendall(GET)
        read_until(client, b"GET / 0")
        client.settimeout(3)  # the idle time is five
        client.sendall(POST + b"Content-Length: 10\r\n\r\nabc")
        assert read_all(client) == b""


def test_an_idle_connection_is_closed(wire: Wire) -> None:
    with wire.connect() as client:
        client.sendall(GET)
        read_until(client, b"GET / 0")
        assert read_all(client) == b""


def test_a_chunked_body_that_does_not_end_is_dropped(hasty: Wire) -> None:
    assert hasty.say(CHUNKED + b"3\r\nabc\r\n") == b""


def test_a_long_answer_is_not_cut(hasty: Wire) -> None:
    with hasty.connect() as client:
        client.sendall(b"POST /held HTTP/1.1\r\nHost: gate\r\nContent-Length: 3\r\n\r\na")
        assert hasty.application.started.wait(PATIENCE)
        client.sendall(b"bc")
        assert read_until(client, b"held").startswith(b"HTTP/1.1 200")


def test_a_head_begun_during_a_long_answer_gets_its_time_afterwards(hasty: Wire) -> None:
    with hasty.connect() as client:
        client.sendall(b"GET /held HTTP/1.1\r\nHost: gate\r\n\r\nGET /next HTTP/1.1\r\n")
        read_until(client, b"held")
        client.sendall(b"Host: gate\r\n\r\n")
        assert read_until(client, b"GET /next 0")


def test_a_head_begun_during_a_long_answer_is_dropped_when_it_stays_open(hasty: Wire) -> None:
    said = hasty.say(b"GET /held HTTP/1.1\r\nHost: gate\r\n\r\nGET /next HTTP/1.1\r\n")
    assert said.endswith(b"held")


def test_a_client_that_reads_nothing_is_dropped_and_fills_no_memory(hasty: Wire) -> None:
    with hasty.connect() as client:
        client.sendall(b"GET /flood HTTP/1.1\r\nHost: gate\r\n\r\n")
        assert hasty.application.gone.wait(PATIENCE)
    assert hasty.application.sent < 50_000_000


class Draining(asyncio.Transport):
    """A client that takes a little at each look, and then nothing."""

    def __init__(self, unsent: list[int]) -> None:
        super().__init__()
        self.unsent = unsent
        self.aborted = asyncio.Event()

    def get_write_buffer_size(self) -> int:
        return self.unsent.pop(0)

    def abort(self) -> None:
        self.aborted.set()


async def test_a_slow_reader_is_kept_until_it_stops_reading() -> None:
    config = uvicorn.Config(Application(), lifespan="off", log_config=None)
    protocol = Tight(config, ServerState(), {})
    transport = Draining([90, 80, 80, 70, 70, 70])
    protocol.write_seconds = 0.01
    protocol.connection_made(transport)
    protocol.pause_writing()
    await asyncio.wait_for(transport.aborted.wait(), PATIENCE)
    protocol.connection_lost(ConnectionResetError())
    assert transport.unsent == []


# Size


def test_an_endless_header_is_refused_while_it_is_read(wire: Wire) -> None:
    raw = wire.say(b"GET / HTTP/1.1\r\nHost: gate\r\nX: ", b"a" * 4096)
    assert problem(raw, 400)["code"] == "malformed"


def test_an_endless_request_line_is_refused(wire: Wire) -> None:
    assert problem(wire.say(b"GET /" + b"a" * 4096), 400)["code"] == "malformed"


def test_a_complete_head_over_the_limit_is_refused(wire: Wire) -> None:
    problem(wire.say(b"GET / HTTP/1.1\r\nHost: gate\r\nX: " + b"a" * 4096 + b"\r\n\r\n"), 400)


def test_a_head_just_within_the_limit_is_served(wire: Wire) -> None:
    padding = Unhurried.header_limit - len(b"GET / HTTP/1.1\r\nHost: gate\r\nConnection: close\r\nX: \r\n\r\n")
    raw = wire.say(b"GET / HTTP/1.1\r\nHost: gate\r\nConnection: close\r\nX: " + b"a" * padding + b"\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("name", [b"X-%d", b"X"])
def test_too_many_header_fields_are_refused(wire: Wire, name: bytes) -> None:
    fields = b"".join((name % number if b"%" in name else name) + b": 1\r\n" for number in range(21))
    problem(wire.say(b"GET / HTTP/1.1\r\nHost: gate\r\n" + fields + b"\r\n"), 400)


def test_a_body_at_the_limit_is_served(wire: Wire) -> None:
    with wire.connect() as client:
        client.sendall(POST + b"Content-Length: 10000\r\n\r\n" + b"a" * 10000)
        assert read_until(client, b"POST / 10000")


def test_a_declared_body_over_the_limit_is_refused_before_any_of_it(wire: Wire) -> None:
    raw = wire.say(POST + b"Content-Length: 104857600\r\n\r\n")
    assert problem(raw, 413)["code"] == "too_large"
    assert not wire.application.started.is_set()


def test_a_declared_body_over_the_limit_is_not_invited(wire: Wire) -> None:
    problem(wire.say(POST + b"Content-Length: 104857600\r\nExpect: 100-continue\r\n\r\n"), 413)


def test_a_chunked_body_over_the_limit_is_refused_while_it_is_read(wire: Wire) -> None:
    raw = wire.say(CHUNKED, *[b"3e8\r\n" + b"a" * 1000 + b"\r\n"] * 11)
    problem(raw, 413)
    assert wire.application.gone.wait(PATIENCE)


def test_an_endless_body_is_refused_without_reading_it_all(wire: Wire) -> None:
    with wire.connect() as client:
        client.sendall(CHUNKED)
        assert flood(client, b"10000\r\n" + b"a" * 65536 + b"\r\n", 1600) < 800
        problem(read_all(client), 413)


def flood(client: socket.socket, piece: bytes, times: int) -> int:
    """How many pieces could be sent before the server hung up."""
    for sent in range(times):
        try:
            client.sendall(piece)
        except ConnectionError:
            return sent
    return times


@pytest.mark.parametrize("endless", [b"3;" + b"a" * 5000, b"0\r\n" + b"X: " + b"a" * 5000])
def test_bytes_around_the_chunks_are_bounded_too(wire: Wire, endless: bytes) -> None:
    with wire.connect() as client:
        client.sendall(CHUNKED)
        assert wire.application.started.wait(PATIENCE)
        client.sendall(endless)
        problem(read_all(client), 400)


def test_trailers_never_reach_the_headers_of_the_application(wire: Wire) -> None:
    with wire.connect() as client:
        client.sendall(CHUNKED + b"3\r\nabc\r\n0\r\nAuthorization: Bearer sg_x\r\n\r\n")
        read_until(client, b"POST / 3")
    assert b"authorization" not in dict(wire.application.headers[0])


def test_a_body_refused_after_an_early_answer_only_closes(wire: Wire) -> None:
    with wire.connect() as client:
        client.sendall(b"POST /early HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\n")
        read_until(client, b"early")
        client.sendall(b"4e20\r\n" + b"a" * 20000)
        assert read_all(client) == b""


# Ambiguity

SMUGGLING = {
    "length and chunked": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a list of lengths": POST + b"Content-Length: 3, 4\r\n\r\nabcd",
    "a signed length": POST + b"Content-Length: +3\r\n\r\nabc",
    "a negative length": POST + b"Content-Length: -3\r\n\r\nabc",
    "an empty length": POST + b"Content-Length: \r\n\r\nabc",
    "a huge length": POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "a space before the colon": POST + b"Content-Length : 3\r\n\r\nabc",
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding before chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding after chunked": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a control character in chunked": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded line": b"GET / HTTP/1.1\r\nHost: gate\r\nX: a\r\n b\r\n\r\n",
    "a folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\nHost: gate\n\n",
    "a bare carriage return": b"GET / HTTP/1.1\r\nHost: gate\r\nX: a\rY: b\r\n\r\n",
    "a null in a value": b"GET / HTTP/1.1\r\nHost: gate\r\nX: a\0b\r\n\r\n",
    "a null in a name": b"GET / HTTP/1.1\r\nHost: gate\r\nX\0: a\r\n\r\n",
    "a null in the path": b"GET /\0 HTTP/1.1\r\nHost: gate\r\n\r\n",
    "a line without a colon": b"GET / HTTP/1.1\r\nHost: gate\r\nX\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: gate\r\nHost: other\r\n\r\n",
    "two keys": b"GET / HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n",
    "the same key twice": b"GET / HTTP/1.1\r\nHost: gate\r\nAuthorization: a\r\nAuthorization: a\r\n\r\n",
    "two types": POST + b"Content-Type: a/b\r\nContent-Type: c/d\r\nContent-Length: 1\r\n\r\na",
    "two idempotency keys": POST + b"Idempotency-Key: a\r\nIdempotency-Key: b\r\nContent-Length: 1\r\n\r\na",
    "a host with a space": b"GET / HTTP/1.1\r\nHost: ga te\r\n\r\n",
    "a host with a path": b"GET / HTTP/1.1\r\nHost: gate/x\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\nHost: gate\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a tunnel": b"CONNECT gate:443 HTTP/1.1\r\nHost: gate\r\n\r\n",
    "a path that is none": b"GET http://gate HTTP/1.1\r\nHost: gate\r\n\r\n",
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "nulls": b"\0" * 64,
}


@pytest.mark.parametrize("raw", SMUGGLING.values(), ids=SMUGGLING.keys())
def test_what_can_be_read_in_two_ways_is_refused(wire: Wire, raw: bytes) -> None:
    said = wire.say(raw)
    assert problem(said, 400)["code"] == "malformed"
    assert statuses(said) == [400]
    assert not wire.application.started.is_set()


def test_a_bad_chunk_withdraws_the_call_from_the_application(wire: Wire) -> None:
    with wire.connect() as client:
        client.sendall(CHUNKED + b"3\r\nabc\r\n")
        assert wire.application.started.wait(PATIENCE)
        client.sendall(b"zz\r\n")
        problem(read_all(client), 400)
    assert wire.application.gone.wait(PATIENCE)
    assert wire.application.bodies == []


# What keeps working


def test_one_connection_serves_many_requests(wire: Wire) -> None:
    with wire.connect() as client:
        for size in (0, 5, 9000):
            client.sendall(POST + b"Content-Length: %d\r\n\r\n" % size + b"a" * size)
            assert read_until(client, b"POST / %d" % size)


def test_a_request_in_single_bytes_is_served(wire: Wire) -> None:
    with wire.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in POST + b"Content-Length: 3\r\n\r\nabc":
            client.sendall(bytes([byte]))
        assert read_until(client, b"POST / 3")


def test_pipelined_requests_are_answered_in_order(wire: Wire) -> None:
    with wire.connect() as client:
        client.sendall(POST + b"Content-Length: 3\r\n\r\nabc" + CHUNKED + b"2\r\nde\r\n0\r\n\r\n" + GET)
        said = read_until(client, b"GET / 0")
    assert said.index(b"POST / 3") < said.index(b"POST / 2") < said.index(b"GET / 0")


def test_a_head_behind_a_large_body_is_not_counted_with_it(wire: Wire) -> None:
    with wire.connect() as client:
        client.sendall(POST + b"Content-Length: 9000\r\n\r\n" + b"a" * 9000 + GET[:20])
        read_until(client, b"POST / 9000")
        client.sendall(GET[20:])
        assert read_until(client, b"GET / 0")


def test_too_many_unanswered_requests_are_refused_after_the_answers(wire: Wire) -> None:
    said = wire.say(GET * 8)
    assert statuses(said) == [200] * 6 + [400]


def test_garbage_behind_a_held_request_waits_for_its_answer(wire: Wire) -> None:
    said = wire.say(b"GET /held HTTP/1.1\r\nHost: gate\r\n\r\n\0\0\0\0")
    first, _, second = said.partition(b"held")
    assert first.startswith(b"HTTP/1.1 200")
    problem(second, 400)


def test_a_refused_body_behind_held_requests_waits_for_their_answers(wire: Wire) -> None:
    held = b"GET /held HTTP/1.1\r\nHost: gate\r\n\r\n"
    said = wire.say(held + GET + CHUNKED + b"zz\r\n")
    assert statuses(said) == [200, 200, 400]


def test_a_refused_body_behind_one_held_request_waits_for_its_answer(wire: Wire) -> None:
    said = wire.say(b"GET /held HTTP/1.1\r\nHost: gate\r\n\r\n" + CHUNKED + b"zz\r\n")
    assert statuses(said) == [200, 400]


@pytest.mark.parametrize(("before", "behind"), [(b"", GET), (GET, GET), (GET, CHUNKED + b"zz\r\n")])
def test_a_stream_amid_a_pipeline_learns_that_its_client_left(wire: Wire, before: bytes, behind: bytes) -> None:
    with wire.connect() as client:
        client.sendall(before + b"GET /stream HTTP/1.1\r\nHost: gate\r\n\r\n" + behind)
        read_until(client, b"hello")
    assert wire.application.gone.wait(PATIENCE)


def test_a_client_that_asks_first_is_told_to_continue(wire: Wire) -> None:
    with wire.connect() as client:
        client.sendall(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert read_until(client, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"abc")
        assert read_until(client, b"POST / 3")


@pytest.mark.parametrize("upgrade", [b"websocket", b"h2c"])
def test_an_upgrade_is_ignored_and_loses_no_body(wire: Wire, upgrade: bytes) -> None:
    asked = POST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: " + upgrade + b"\r\nContent-Length: 3\r\n\r\nabc"
    with wire.connect() as client:
        client.sendall(asked + asked + GET)
        said = read_until(client, b"GET / 0")
    assert said.count(b"HTTP/1.1 200") == 3
    assert wire.application.bodies == [b"abc", b"abc", b""]


def test_http_1_0_without_a_host_is_served(wire: Wire) -> None:
    assert wire.say(b"GET / HTTP/1.0\r\n\r\n").endswith(b"GET / 0")
