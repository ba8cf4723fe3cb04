"""What lies between a gate and PostgreSQL: passes everything on but notifications, and notes what is asked.

Speaks version 3 of PostgreSQL's protocol, unencrypted: a message is a letter, its length and its body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from chaos.proxy import Filter, Proxy
from gate.tests.network import passing
from gate.tests.ports import free_port

QUERY, PARSE, BIND, EXECUTE = b"Q", b"P", b"B", b"E"
PLAIN: Final = "?sslmode=disable&gssencmode=disable"


@dataclass(slots=True)
class Messages:
    """Cuts what a client sends into messages."""

    _startup: bool = True
    """The first one has no letter."""
    _rest: bytes = b""

    def cut(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Letters and whole messages, as far as they are complete."""
        self._rest += data
        while True:
            head = 0 if self._startup else 1
            if len(self._rest) < head + 4:
                return
            end = head + int.from_bytes(self._rest[head : head + 4])
            if len(self._rest) < end:
                return
            letter = b"" if self._startup else self._rest[:1]
            message, self._rest, self._startup = self._rest[:end], self._rest[end:], False
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


@dataclass(eq=False)
class Wire(Proxy):
    """``asked``: every statement in order, with the connection that it came over."""

    asked: list[tuple[int, str]] = field(default_factory=list)
    _connections: Iterator[int] = field(default_factory=count)

    @property
    def lost(self) -> int:
        """How many notifications did not arrive because of it."""
        return self.counts["lost"]

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}{PLAIN}"

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

    def asks(self) -> Filter:
        connection, messages = next(self._connections), Messages()
        statements = Statements(lambda one: self.asked.append((connection, one)))

        def noted(data: bytes) -> bytes:
            for letter, message in messages.cut(data):
                statements.note(letter, message)
            return data

        return noted


@contextmanager
def wire(host: str, port: int) -> Iterator[Wire]:
    """In front of the server at this address."""
    made = Wire(free_port(), port, host, reads_postgresql=True, loses_notifications=True)
    with passing(made):
        yield made
