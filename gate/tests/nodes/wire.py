"""What lies between a gate and PostgreSQL: passes everything on but notifications, and notes what is asked.

Speaks version 3 of PostgreSQL's protocol, unencrypted: a message is a letter, its length and its body.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

NOTIFICATION: Final = b"A"
QUERY, PARSE, BIND, EXECUTE = b"Q", b"P", b"B", b"E"
PLAIN: Final = "?sslmode=disable&gssencmode=disable"


@dataclass(slots=True)
class Messages:
    """Cuts a stream of bytes into messages."""

    startup: bool
    """The first message of a client has no letter."""
    _rest: bytes = b""

    def cut(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Letters and whole messages, as far as they are complete."""
        self._rest += data
        while True:
            head = 0 if self.startup else 1
            if len(self._rest) < head + 4:
                return
            end = head + int.from_bytes(self._rest[head : head + 4])
            if len(self._rest) < end:
                return
            letter = b"" if self.startup else self._rest[:1]
            message, self._rest, self.startup = self._rest[:end], self._rest[end:], False
            yield letter, message


@dataclass(slots=True)
class Statements:
    """What one client asks for, statement by statement."""

    told: Callable[[str], None]
    _prepared: dict[bytes, str] = field(default_factory=dict)
    _bound: str = ""

    def note(self, letter: bytes, message: bytes) -> None:
        body = message[5:]
        if letter == QUERY:
            self.told(body.rstrip(b"\0").decode())
        elif letter == PARSE:
            name, text, _ = body.split(b"\0", 2)
            self._prepared[name] = text.decode()
        elif letter == BIND:
            self._bound = self._prepared[body.split(b"\0", 2)[1]]
        elif letter == EXECUTE:
            self.told(self._bound)


@dataclass(slots=True)
class Wire:
    """``lost``: how many notifications did not arrive because of it. ``asked``: every statement in order, with the
    connection that it came over."""

    port: int
    asked: list[tuple[int, str]] = field(default_factory=list)
    lost: int = 0
    _sockets: list[socket.socket] = field(default_factory=list)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}{PLAIN}"

    def cut(self) -> None:
        """Ends every connection."""
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def transactions(self, part: str) -> list[list[str]]:
        """The statements of each committed transaction that has one with ``part`` in it, without its begin and end."""
        found, running = list[list[str]](), dict[int, list[str]]()
        for connection, statement in list(self.asked):
            if statement.startswith("BEGIN"):
                running[connection] = []
            elif statement == "COMMIT":
                done = running.pop(connection, [])
                found += [done] if any(part in one for one in done) else []
            else:
                running.setdefault(connection, []).append(statement)
        return found

    def _join(self, client: socket.socket, server: socket.socket) -> None:
        self._sockets += [client, server]
        for pump in (self._ask, self._answer):
            threading.Thread(target=pump, args=(client, server), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        messages, statements = Messages(startup=True), Statements(lambda one: self.asked.append((id(client), one)))
        for data in _received(client):
            for letter, message in messages.cut(data):
                statements.note(letter, message)
            server.sendall(data)
        _end(server)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        messages = Messages(startup=False)
        for data in _received(server):
            cut = list(messages.cut(data))
            self.lost += sum(letter == NOTIFICATION for letter, _ in cut)
            with suppress(OSError):
                client.sendall(b"".join(message for letter, message in cut if letter != NOTIFICATION))
        _end(client)


def _received(source: socket.socket) -> Iterator[bytes]:
    with suppress(OSError):
        while data := source.recv(65536):
            yield data


def _end(target: socket.socket) -> None:
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def wire(host: str, port: int) -> Iterator[Wire]:
    """In front of the server at this address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        made = Wire(listening.getsockname()[1])
        threading.Thread(target=_accept, args=(made, listening, (host, port)), daemon=True).start()
        try:
            yield made
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            made.cut()
            for one in made._sockets:
                one.close()


def _accept(made: Wire, listening: socket.socket, target: tuple[str, int]) -> None:
    with suppress(OSError):
        while True:
            client, _ = listening.accept()
            server = socket.create_connection(target)
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made._join(client, server)
