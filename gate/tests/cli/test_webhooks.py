"""``webhooks listen``, as a process on loopback, and what it makes of hostile text."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from gate.tests.cli.conftest import Shell
from gate.tests.cli.processes import COMMAND, PATIENCE, Running, running
from gate.tests.ports import free_port

from stacksona_gate.cli.webhooks import Delivery, json_line, lines
from stacksona_gate.delivery.signatures import signed_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
BODY = b'{"event":"decision.approved","message":"40 \xe2\x82\xac"}'
HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202e\u200b\u2028end"


@contextmanager
def listening(*options: str, **environment: str) -> Iterator[tuple[Running, int]]:
    port = free_port()
    with running(COMMAND, "webhooks", "listen", "--port", str(port), *options, **environment) as listener:
        until_open(port)
        yield listener, port


def until_open(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "nobody listens"
            time.sleep(0.02)


def deliver(port: int, secret: str = SECRET, body: bytes = BODY, *, late: int = 0) -> int:
    headers = signed_headers([secret], "whd_1", (time.time_ns() // 1000) - late * 1_000_000, body)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("POST", "/hook", body, {"Content-Type": "application/json", **headers})
        return connection.getresponse().status
    finally:
        connection.close()


def raw(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as wire:
        wire.sendall(request)
        wire.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: wire.recv(65_536), b""))


@pytest.mark.slow
def test_a_delivery_is_printed_with_its_signature_good() -> None:
    with listening(STACKSONA_WEBHOOK_SECRET=SECRET) as (listener, port):
        listener.line(f"Listening on http://127.0.0.1:{port}")
        assert deliver(port) == 200
        listener.line("POST /hook")
        listener.line("webhook-id: whd_1")
        assert listener.line("signature").strip().startswith("webhook-signature: v1,")
        assert listener.line("signature") == "  signature good"
        assert listener.line("message") == '    "message": "40 €"'
        assert listener.end() == 0
        assert SECRET not in "".join(listener.lines + listener.errors)


@pytest.mark.slow
def test_a_bad_signature_is_printed_with_its_cause() -> None:
    with listening("--secret", SECRET) as (listener, port):
        deliver(port, OTHER)
        listener.line("signature bad: no signature matches")
        deliver(port, late=301)
        listener.line("signature bad: webhook-timestamp is over five minutes old")


@pytest.mark.slow
def test_two_secrets_are_good_while_one_replaces_the_other() -> None:
    with listening(STACKSONA_WEBHOOK_SECRET=f"{OTHER} {SECRET}") as (listener, port):
        deliver(port, SECRET)
        listener.line("signature good")
        deliver(port, OTHER)
        listener.line("signature good")


@pytest.mark.slow
def test_json_is_one_line_per_delivery_and_nothing_else() -> None:
    with listening("--json", "--status", "503", STACKSONA_WEBHOOK_SECRET=SECRET) as (listener, port):
        assert deliver(port) == 503
        assert deliver(port, OTHER, b"no json") == 503
        good, bad = json.loads(listener.line("")), json.loads(listener.line(""))
    assert (good["path"], good["signature"], good["body"]["message"]) == ("/hook", "good", "40 €")
    assert good["headers"]["webhook-id"] == "whd_1"
    assert (bad["signature"], bad["body"]) == ("bad", "no json")
    assert bad["reason"].startswith("no signature matches")


@pytest.mark.slow
def test_without_a_secret_it_says_that_nothing_is_checked() -> None:
    with listening() as (listener, port):
        listener.line("Signatures are not checked: set STACKSONA_WEBHOOK_SECRET")
        deliver(port)
        listener.line("signature not checked")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST / HTTP/1.1\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1000001\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"501"),
    ],
)
def test_what_is_no_delivery_is_refused_and_not_printed(request_bytes: bytes, status: bytes) -> None:
    with listening("--json") as (listener, port):
        assert raw(port, request_bytes).split()[1] == status
        deliver(port)
        assert json.loads(listener.line(""))["headers"]["webhook-id"] == "whd_1"


def test_a_malformed_secret_is_refused_and_not_repeated(shell: Shell) -> None:
    said = shell.refused("webhooks", "listen", "--secret", "whsec_not a secret")
    assert said == "the secret in --secret or STACKSONA_WEBHOOK_SECRET is not whsec_ and base 64\n"


def test_a_port_that_is_taken_is_said(shell: Shell) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = shell.refused("webhooks", "listen", "--port", str(taken.getsockname()[1]))
    assert "choose another --port" in said


@pytest.mark.parametrize("status", ["199", "600", "ok"])
def test_a_status_that_ends_no_delivery_is_a_usage_error(shell: Shell, status: str) -> None:
    assert "--status" in shell.refused("webhooks", "listen", "--status", status, code=2)


@pytest.mark.parametrize(
    "body",
    [HOSTILE.encode(), json.dumps({HOSTILE: [HOSTILE]}).encode(), b"\xff\x1b[2J", b"[" * 99_999, b'{"a":"\\ud800"}'],
)
def test_hostile_text_reaches_no_terminal(body: bytes) -> None:
    delivery = Delivery(0, "/" + HOSTILE, {"user-agent": HOSTILE}, body, None, False)
    assert all(line.isprintable() and line.encode() for line in lines(delivery))
    assert json_line(delivery).isascii()
    assert json_line(delivery).isprintable()


def test_letters_of_any_language_are_printed_as_they_are() -> None:
    delivery = Delivery(0, "/", {}, '{"message":"ja, für Łukasz: 40 €, 了解"}'.encode(), None, False)
    assert '    "message": "ja, für Łukasz: 40 €, 了解"' in lines(delivery)
