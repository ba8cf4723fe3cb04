"""A server of the wire protocol with limits small enough to reach, and plain sockets to speak to it."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn
from starlette.types import Receive, Scope, Send

from stacksona_gate.api.bodies import ClientGone, read_body
from stacksona_gate.api.protocol import GateProtocol

PATIENCE = 10.0
"""Seconds until a wait that should have ended fails its test."""
GET = b"GET / HTTP/1.1\r\nHost: gate\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: gate\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


class Tight(GateProtocol):
    header_limit = 2048
    header_fields = 20
    header_seconds = 0.4
    body_limit = 10_000
    body_seconds = 0.4
    write_seconds = 0.3
    pipeline_limit = 5
    linger_seconds = 0.3


class Unhurried(Tight):
    """For tests about sizes, so that no deadline can end them first."""

    header_seconds = body_seconds = write_seconds = linger_seconds = 60.0


@dataclass
class Application:
    """Answers by path, and remembers what became of each call."""

    bodies: list[bytes] = field(default_factory=list)
    headers: list[list[tuple[bytes, bytes]]] = field(default_factory=list)
    started: threading.Event = field(default_factory=threading.Event)
    gone: threading.Event = field(default_factory=threading.Event)
    sent: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        routes = {"/early": self.early, "/held": self.held, "/stream": self.stream, "/flood": self.flood}
        await routes.get(scope["path"], self.echo)(scope, receive, send)

    async def echo(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.started.set()
        try:
            body = await read_body(receive, 1 << 30)
        except ClientGone:
            self.gone.set()
            return
        self.bodies.append(body)
        self.headers.append(list(scope["headers"]))
        await answer(send, b"%s %s %d" % (scope["method"].encode(), scope["raw_path"], len(body)))

    async def early(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await answer(send, b"early")

    async def held(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """A long poll: more than twice as long as any deadline of ``Tight``."""
        self.started.set()
        await read_body(receive, 1 << 30)
        await asyncio.sleep(0.95)
        await answer(send, b"held")

    async def stream(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Server-sent events until the client leaves."""
        await read_body(receive, 1 << 30)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b": hello\n\n", "more_body": True})
        self.started.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone.set()

    async def flood(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """As much as the connection takes, until the client is gone."""
        await read_body(receive, 1 << 30)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        left = asyncio.ensure_future(receive())
        while not left.done():
            await send({"type": "http.response.body", "body": b"x" * 10_000, "more_body": True})
            self.sent += 10_000
            await asyncio.sleep(0)
        self.gone.set()


async def answer(send: Send, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@dataclass
class Wire:
    """A running server, and connections to it."""

    port: int
    application: Application

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def say(self, *parts: bytes) -> bytes:
        """Send the parts on one connection and read until the server closes it."""
        with self.connect() as client:
            for part in parts:
                client.sendall(part)
            return read_all(client)


def read_all(client: socket.socket) -> bytes:
    """Everything until the end; a reset ends it too. Fails by timeout when the server keeps the connection."""
    received = b""
    try:
        while data := client.recv(65536):
            received += data
    except ConnectionError:
        pass
    return received


def read_until(client: socket.socket, end: bytes) -> bytes:
    received = b""
    while end not in received:
        data = client.recv(65536)
        assert data, received
        received += data
    return received


def statuses(said: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", said)]


def problem(raw: bytes, status: int) -> dict[str, object]:
    """The one refusal in ``raw``, checked for what every refusal carries."""
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), raw
    fields = {name.lower(): value for name, _, value in (line.partition(b": ") for line in head.split(b"\r\n")[1:])}
    assert fields[b"content-type"] == b"application/problem+json"
    assert fields[b"cache-control"] == b"no-store"
    assert fields[b"connection"] == b"close"
    assert not [name for name in fields if name.startswith(b"x-gate")]
    parsed: dict[str, object] = json.loads(body)
    assert parsed["http_request_id"] == fields[b"x-request-id"].decode()
    assert parsed["status"] == status
    return parsed


@contextmanager
def serving(protocol: type[GateProtocol], *, idle_seconds: int) -> Iterator[Wire]:
    application = Application()
    config = uvicorn.Config(
        application, http=protocol, loop="uvloop", lifespan="off", log_config=None, timeout_keep_alive=idle_seconds
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Wire(listener.getsockname()[1], application)
        finally:
            server.should_exit = server.force_exit = True
            thread.join(PATIENCE)
    assert not thread.is_alive()
