"""One call at a time, as text over a socket."""

from __future__ import annotations

import socket
from contextlib import closing

from bench.callers import content_length


class Connection:
    """A connection that stays open from call to call."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, text: str) -> tuple[int, bytes]:
        """Status and body of the answer."""
        self._socket.sendall(text.encode())
        received = b""
        while True:
            received += self._received()
            head, found, body = received.partition(b"\r\n\r\n")
            if found and len(body) >= content_length(head.lower()):
                return int(head.split(b" ", 2)[1]), body

    def _received(self) -> bytes:
        chunk = self._socket.recv(1 << 20)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        return chunk

    def close(self) -> None:
        self._socket.close()


def ask(port: int, text: str) -> tuple[int, bytes]:
    """One call on a connection of its own."""
    with closing(Connection(port)) as connection:
        return connection.ask(text)
