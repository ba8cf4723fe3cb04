"""Somebody who is called: keeps what came, and answers only once it is told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from gate.tests.cli.processes import PATIENCE


@dataclass(slots=True)
class Receiver:
    """``calls``: path and webhook-id of each, with its body; ``answered``: the same of those that got an answer."""

    port: int = 0
    calls: list[tuple[str, str, bytes]] = field(default_factory=list)
    answered: list[tuple[str, str, bytes]] = field(default_factory=list)
    answers: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def ids(self, path: str) -> set[str]:
        return {one for where, one, _ in list(self.calls) if where == f"/{path}"}

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        call = (handler.path, handler.headers.get("webhook-id", ""), body)
        self.calls.append(call)
        if not self.answers.wait(PATIENCE):
            return
        handler.send_response(204)
        handler.end_headers()
        self.answered.append(call)


@contextmanager
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            with suppress(OSError):  # who called was killed
                made.take(self)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield made
        finally:
            made.answers.set()
            server.shutdown()
