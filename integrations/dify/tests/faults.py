"""A faulty network between engine and gate: every call passes, except the one that the test names."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Final
from urllib.parse import urlsplit

from live import serving

LIE: Final = b'{"status":"allow","valid":true,"decision":"approved","approval_token":"eyJhbGciOiJub25lIn0.e30."}'
PAYLOAD: Final = "application/vnd.stacksona.payload+json"
SLOW_SECONDS: Final = 0.7


def _answer(status: int, body: bytes = b"{}", *headers: tuple[str, str]) -> bytes:
    fields = [*headers, ("content-length", str(len(body)))]
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"HTTP/1.1 {status} Fault\r\n{head}\r\n".encode() + body


JSON: Final = ("content-type", "application/json")
HTML: Final = ("content-type", "text/html")

INSTEAD: Final[dict[str, bytes]] = {
    # The gate is not reached; this is answered in its place.
    "nothing": b"",
    "garbage": b"\x00\xff\x16\x03garbage" * 40,
    "no-http": b"220 smtp ready\r\n",
    "401": _answer(401, b'{"status":401}', JSON),
    "404": _answer(404),
    "429": _answer(429, b"{}", ("retry-after", "1")),
    "500": _answer(500, LIE, JSON),
    "502-page": _answer(502, b"<html>bad gateway", HTML),
    "503": _answer(503, b"{}"),
    "login-page": _answer(200, b"<html>sign in", HTML),
    "empty": _answer(200, b""),
    "no-content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "a-lie-in-the-body": _answer(200, LIE, JSON),
    "a-list": _answer(200, b"[1]", JSON),
    "a-number": _answer(200, b"1", JSON),
    "no-token": _answer(200, LIE, JSON, ("x-gate-decision", "allow")),
    "another-word": _answer(200, LIE, JSON, ("x-gate-decision", "ALLOW")),
    "approved": _answer(200, LIE, JSON, ("x-gate-decision", "approved")),
    "rejected": _answer(200, LIE, JSON, ("x-gate-decision", "rejected")),
    "forged-token": _answer(
        200,
        LIE,
        JSON,
        ("x-gate-decision", "allow"),
        ("x-gate-approval-token", "eyJhbGciOiJub25lIn0.e30."),
        ("x-gate-payload-digest", "sha-256:" + "0" * 64),
        ("x-gate-task-id", "task"),
        ("x-gate-request-id", "req"),
    ),
    "yes": _answer(200, LIE, JSON, ("x-gate-decision", "yes")),
    "empty-payload": _answer(200, b"", ("content-type", PAYLOAD)),
}
_REDIRECTS: Final = {
    "endless-redirect": (307, ""),
    "redirect-to-a-page": (302, "/elsewhere"),
    "redirect-post": (308, "/elsewhere"),
}
AFTER: Final = ("cut", "half", "half-without-length", "half-a-chunk", "headers-only", "500-after")
"""The gate is reached, and has done it; its answer is damaged on the way."""
SLOW: Final = "slow"
KINDS: Final = (*INSTEAD, *_REDIRECTS, *AFTER)


@dataclass(slots=True)
class Fault:
    """What goes wrong, with which call, how often (None: always)."""

    call: str
    kind: str
    times: int | None = None
    struck: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def strikes(self, call: str) -> bool:
        with self.lock:
            if call != self.call or (self.times is not None and self.struck >= self.times):
                return False
            self.struck += 1
            return True


def call_of(method: str, target: str) -> str:
    """The template's node that makes this call."""
    path, _, query = target.partition("?")
    if path.endswith("/requests"):
        return "gate"
    if path.endswith("/validate"):
        return "redeem"
    if path.endswith("/outcomes"):
        return "report"
    if path.endswith("/threads"):
        return "list"
    return "poll" if "wait=" in query else "read"


class _Proxy(BaseHTTPRequestHandler):
    """Passes calls on to the gate, one connection each."""

    gate_url: str
    fault: Fault

    def do_GET(self) -> None:
        self.close_connection = True
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            self.wfile.write(self._answer(body))
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the engine has gone

    do_POST = do_GET

    def _answer(self, body: bytes) -> bytes:
        kind = self.fault.kind
        if self.path.startswith("/elsewhere"):
            return _answer(200, b"<html>not a gate", HTML)
        if not self.fault.strikes(call_of(self.command, self.path)):
            return self._whole(body)
        if kind == SLOW:
            time.sleep(SLOW_SECONDS)
            return self._whole(body)
        if kind in AFTER:
            return damaged(kind, self._whole(body))
        if kind in _REDIRECTS:
            status, location = _REDIRECTS[kind]
            return _answer(status, b"", ("location", location or self.path))
        return INSTEAD[kind]

    def _whole(self, body: bytes) -> bytes:
        gate = urlsplit(self.gate_url)
        connection = http.client.HTTPConnection(gate.hostname or "", gate.port, timeout=90)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            fields = [one for one in answer.getheaders() if one[0].lower() not in _FRAMING]
            return _answer(answer.status, answer.read(), *fields)
        finally:
            connection.close()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def faulty(gate_url: str, fault: Fault) -> Iterator[str]:
    """Stands before the gate. Yields the address to use in place of the gate's."""
    with serving(type("Proxy", (_Proxy,), {"gate_url": gate_url, "fault": fault})) as port:
        yield f"http://127.0.0.1:{port}"


_FRAMING: Final = ("content-length", "transfer-encoding", "connection", "date", "server")


def damaged(kind: str, answer: bytes) -> bytes:
    """An answer of the gate as it arrives."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    unframed = b"\r\n".join(line for line in lines if not line.lower().startswith(b"content-length"))
    half = body[: len(body) // 2]
    # The half that still looks like a whole object.
    object_like = body[: body.rfind(b"}", 0, len(body) - 1) + 1] or half
    return {
        "cut": b"",
        "headers-only": head + b"\r\n",
        "half": head + b"\r\n\r\n" + half,
        "half-without-length": unframed + b"\r\n\r\n" + object_like,
        "half-a-chunk": unframed + b"\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n" % len(body) + half,
        "500-after": _answer(500, body),
    }[kind]


@contextmanager
def hanging() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def nobody() -> Iterator[str]:
    """An address where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
