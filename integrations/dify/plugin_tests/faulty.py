"""Something between the plugin and the gate that does what networks, proxies and broken servers do."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from integrations.dify.plugin_tests.local import PATIENCE

SLOW: Final = 3.0
"""Seconds between the bytes of an answer that never ends in time."""


class Way(ThreadingHTTPServer):
    """Passes calls on to the gate, or does what its fault says. ``reached``: paths that got to the gate."""

    daemon_threads = True

    def __init__(self, gate: str, fault: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.gate = gate
        self.fault = fault
        self.reached: list[str] = []
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gave up is no news."""


class Handler(BaseHTTPRequestHandler):
    server: Way
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.close_connection = True
        (FAULTS | PARTS)[self.server.fault](self)

    do_GET = do_POST = do_PATCH = do_DELETE = answer

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def put(self, status: int, body: bytes, kind: str = "application/json", **headers: str) -> None:
        self.begin(status, len(body), {"Content-Type": kind, **headers})
        self.wfile.write(body)

    def begin(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("X-Request-Id", self.headers.get("X-Request-Id", "none"))
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def passed(self) -> tuple[int, dict[str, str], bytes]:
        """What the gate answers."""
        self.server.reached.append(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection(self.server.gate.removeprefix("http://"), timeout=PATIENCE)
        try:
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            kept = ("content-type", "etag", "x-gate-decision")
            return answer.status, {n: v for n, v in answer.getheaders() if n.lower() in kept}, answer.read()
        finally:
            connection.close()


def well(handler: Handler) -> None:
    status, headers, body = handler.passed()
    handler.begin(status, len(body), headers)
    handler.wfile.write(body)


def half(handler: Handler) -> None:
    """The gate did it; half of its answer arrives."""
    status, headers, body = handler.passed()
    handler.begin(status, len(body), headers)
    handler.wfile.write(body[: len(body) // 2])


def cut(handler: Handler) -> None:
    """Half of the JSON, as if it were all."""
    status, headers, body = handler.passed()
    handler.begin(status, len(body) // 2, headers)
    handler.wfile.write(body[: len(body) // 2])


def hang(handler: Handler) -> None:
    handler.server.over.wait(PATIENCE)


def slow(handler: Handler) -> None:
    status, headers, body = handler.passed()
    handler.begin(status, len(body), headers)
    for byte in body:
        if handler.server.over.wait(SLOW):
            return
        handler.wfile.write(bytes([byte]))


def permitted(handler: Handler) -> None:
    """A word that the gate does not have, in an answer that is good otherwise."""
    status, _, body = handler.passed()
    handler.put(status, body.replace(b'"allow"', b'"permitted"').replace(b'"valid":true', b'"valid":1'))


def another(handler: Handler) -> None:
    """An allow that is the answer to somebody else's question."""
    status, _, body = handler.passed()
    handler.put(status, body.replace(b'"task_id":"', b'"task_id":"other-').replace(b'"amount":40', b'"amount":4000'))


FAULTS: Final[dict[str, Callable[[Handler], None]]] = {
    "well": well,
    "half": half,
    "cut": cut,
    "hang": hang,
    "slow": slow,
    "permitted": permitted,
    "another": another,
    "500": lambda handler: handler.put(500, b"oops", "text/plain"),
    "503": lambda handler: handler.put(503, b"<html>no backend</html>", "text/html"),
    "garbage": lambda handler: handler.put(200, b"\x00\xff{{{"),
    "empty": lambda handler: handler.put(200, b""),
    "allow": lambda handler: handler.put(200, b'{"status":"allow","valid":true,"may_run":true}'),
    "page": lambda handler: handler.put(200, b"<html>allow</html>", "text/html"),
    "redirect": lambda handler: handler.put(307, b"", Location=handler.server.gate + handler.path),
}


def no_secret(handler: Handler) -> None:
    """The address is taken, the secret cannot be had."""
    if handler.path.endswith("/webhook-secret"):
        handler.put(500, b"oops", "text/plain")
    else:
        well(handler)


def first_change_lost(handler: Handler) -> None:
    """The gate changed the agent, and its first answer is cut."""
    is_first = handler.command == "PATCH" and "PATCH" not in handler.server.reached
    if is_first:
        handler.server.reached.append("PATCH")
    (half if is_first else well)(handler)


PARTS: Final[dict[str, Callable[[Handler], None]]] = {"no_secret": no_secret, "first_change_lost": first_change_lost}
"""Faults of one call among many."""


@contextmanager
def way(gate: str, fault: str) -> Iterator[Way]:
    """The server, until the test is over."""
    server = Way(gate, fault)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join(PATIENCE)
        server.server_close()
