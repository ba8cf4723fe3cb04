"""On real sockets: what a transport of our own cannot show. And where the key goes."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from sdk.python.tests.bench import COLOURS, Blocking, asked, bench
from sdk.python.tests.fake_gate import KEY, URL

from stacksona import AsyncGate, ConfigurationError, Gate, GateError, GateUnavailable, Unauthenticated, UnexpectedAnswer

THREAD = "THR-" + "0" * 26
Talk = Callable[[socket.socket], None]


@contextmanager
def listening(talk: Talk) -> Iterator[tuple[str, list[bytes]]]:
    """A server that says what ``talk`` says to each connection, and what it was sent."""
    heard: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                heard.append(connection.recv(65536))
                talk(connection)
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}", heard
    finally:
        server.close()


_OPEN: list[Gate] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while _OPEN:
        _OPEN.pop().close()


def client(colour: str, url: str) -> Any:
    if colour == "async":
        return Blocking(AsyncGate(url, KEY, timeout=0.3, patience=0.0))
    _OPEN.append(Gate(url, KEY, timeout=0.3, patience=0.0))
    return _OPEN[-1]


def drip(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n")
    for _ in range(2400):
        connection.sendall(b" ")
        time.sleep(0.05)


def flood(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")


def saying(answer: bytes) -> Talk:
    return lambda connection: connection.sendall(answer)


TALKS: dict[str, Talk] = {
    "nothing": lambda connection: None,
    "half a head": saying(b"HTTP/1.1 200 OK\r\ncontent-"),
    "half a body": saying(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"status"'),
    "no http": saying(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "compressed": saying(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}"
    ),
    "flood": flood,
    "hang": lambda connection: time.sleep(3),
}


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("talk", TALKS)
def test_whatever_answers_ends_in_an_error_of_this_package(colour: str, talk: str) -> None:
    with listening(TALKS[talk]) as (url, _), pytest.raises(GateUnavailable):
        client(colour, url).get_decision(thread_id=THREAD)


@pytest.mark.slow
@pytest.mark.parametrize("colour", COLOURS)
def test_bytes_that_drip_do_not_hold_a_call_for_ever(colour: str) -> None:
    began = time.monotonic()
    with listening(drip) as (url, _), pytest.raises(GateUnavailable):
        client(colour, url).get_decision(thread_id=THREAD)
    assert time.monotonic() - began < 60  # of two minutes


@pytest.mark.parametrize("colour", COLOURS)
def test_a_redirect_is_not_followed_and_the_key_stays(colour: str) -> None:
    with listening(saying(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")) as (evil, heard_there):
        head = f"HTTP/1.1 307 Temporary Redirect\r\nlocation: {evil}/x\r\ncontent-length: 0\r\n\r\n"
        with listening(saying(head.encode())) as (url, heard), pytest.raises(UnexpectedAnswer, match="redirect"):
            client(colour, url).request_decision(asked())
    assert len(heard) == 1
    assert heard_there == []


@pytest.mark.parametrize("colour", COLOURS)
def test_plain_http_uses_no_proxy_of_the_environment(colour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(lambda connection: None) as (proxy, heard_there), listening(lambda connection: None) as (url, heard):
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.setenv("ALL_PROXY", proxy)
        with pytest.raises(GateUnavailable):
            client(colour, url).get_decision(thread_id=THREAD)
    assert heard_there == []
    assert KEY.encode() in heard[0]


@pytest.mark.parametrize("colour", COLOURS)
def test_a_port_that_nobody_listens_on_says_so(colour: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(GateUnavailable, match="Connect"):
        client(colour, url).get_decision(thread_id=THREAD)


# The key


def test_the_key_is_in_no_repr_error_or_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    b = bench()
    shown = [repr(b.client), repr(vars(b.client))]
    for fault in ("", "unreachable", "internal_500", "garbage", "portal"):
        b.fails(always=fault)
        try:
            b.guarded(wait=0)(amount=500)
        except Exception as error:
            shown += [repr(error), str(error), repr(vars(error)), repr(error.__cause__), repr(error.__context__)]
    assert KEY not in "".join(shown) + caplog.text


@pytest.mark.parametrize("colour", COLOURS)
def test_a_key_that_somebody_echoes_is_taken_out(colour: str) -> None:
    body = f'{{"status":401,"code":"unauthenticated","detail":"what is Bearer {KEY}"}}'
    head = f"HTTP/1.1 401 No\r\ncontent-type: application/problem+json\r\nx-request-id: {KEY}\r\n"
    echo = saying(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
    with listening(echo) as (url, _), pytest.raises(Unauthenticated) as refused:
        client(colour, url).get_decision(thread_id=THREAD)
    assert "what is Bearer [key]" in str(refused.value)


def test_a_transports_error_with_the_key_in_it_is_shown_without() -> None:
    class Chatty(httpx2.BaseTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            raise RuntimeError(f"cannot send {request.headers['authorization']}")

    with pytest.raises(GateUnavailable) as away:
        Gate(URL, KEY, transport=Chatty(), patience=0).get_decision(thread_id=THREAD)
    assert "Bearer [key]" in str(away.value)


def test_the_public_keys_are_asked_for_without_the_key() -> None:
    b = bench()
    assert b.client.get_jwks() == {"keys": []}
    assert "authorization" not in b.faulty.sent[0].headers


# Settings


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKSONA_GATE_URL", "https://gate.example.com/base/")
    monkeypatch.setenv("STACKSONA_API_KEY", KEY)
    assert repr(Gate()) == "Gate(url='https://gate.example.com/base')"
    assert repr(AsyncGate(url="http://127.0.0.1:8420")) == "AsyncGate(url='http://127.0.0.1:8420')"


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("", KEY),
        (URL, ""),
        ("gate.example.com", KEY),
        ("ftp://gate.example.com", KEY),
        ("https://", KEY),
        ("https://user:secret@gate.example.com", KEY),
        ("https://gate.example.com?x=1", KEY),
        ("https://gate.example.com#x", KEY),
        ("https://gate.example.com:99999", KEY),
        (URL, "sg_a b"),
        (URL, "sg_a\r\nx-evil: 1"),
        (URL, "sg_é"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(url: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STACKSONA_GATE_URL", raising=False)
    monkeypatch.delenv("STACKSONA_API_KEY", raising=False)
    with pytest.raises(ConfigurationError) as refused:
        Gate(url, key)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("task_id", ["", "..", ".", "a/b", "../../validate", "a b", "a" * 201, "a\n", "%2e%2e", "ü"])
def test_a_task_id_that_leads_elsewhere_is_not_sent(task_id: str) -> None:
    b = bench()
    with pytest.raises(GateError, match="task_id"):
        b.client.request_decision(asked(task_id=task_id))
    with pytest.raises(GateError, match="task_id"):
        b.client.log_event(task_id, "e")
    assert b.faulty.sent == []


@pytest.mark.parametrize("thread_id", ["", "THR-1", "../../x", THREAD + "/..", THREAD.lower(), None])
def test_a_thread_id_that_is_none_is_not_sent(thread_id: Any) -> None:
    b = bench()
    for call in (b.client.wait_for_decision, lambda one: b.client.cancel("t", one), b.client.resume):
        with pytest.raises(GateError):
            call(thread_id)
    assert b.faulty.sent == []


@pytest.mark.parametrize(
    "changes",
    [
        {"tool_name": "no spaces"},
        {"subject": ""},
        {"subject": "a" * 501},
        {"subject": 5},
        {"preview": "a" * 20_001},
        {"payload": {"text": "a" * 300_000}},
        {"idempotency_key": "a\nb"},
        {"idempotency_key": ""},
        {"metadata": {"a": float("inf")}},
        {"expires_in": 2**60},
    ],
)
def test_a_question_beyond_the_gates_limits_is_not_sent(changes: dict[str, Any]) -> None:
    b = bench()
    if changes.get("idempotency_key") == "":
        b.client.request_decision(asked(**changes))  # none of its own: a fresh one
        assert b.faulty.sent[0].headers["idempotency-key"]
        return
    with pytest.raises(GateError):
        b.client.request_decision(asked(**changes))
    assert b.faulty.sent == []
