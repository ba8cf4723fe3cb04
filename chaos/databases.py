"""The database that is tested: an SQLite file, or a PostgreSQL server of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import apsw
import psycopg
from gate.tests.ports import free_port
from gate.tests.postgres import USER, PostgresServer, wheel_programs
from gate.tests.replication import Pair, kill_server

from chaos.disk import Disk
from chaos.shim import Shim

SETTINGS: Final = {"max_wal_size": "128MB", "min_wal_size": "32MB", "shared_buffers": "64MB"}
START_SECONDS: Final = 10.0
UNWELL_SECONDS: Final = 3.0
NAME: Final = "gate"

Row = tuple[Any, ...]


class Database(Protocol):
    """What the nodes share."""

    kind: str
    shims: list[Shim]
    """Of the processes that write to the disk, when those are not the nodes."""

    @property
    def url(self) -> str: ...

    def look(self) -> None:
        """Starts it again when it is gone and ought to be there."""

    def rows(self, sql: str) -> list[Row]:
        """What is in it, read without a gate."""

    def run(self, sql: str) -> None:
        """Changes it by hand."""


@dataclass(eq=False)
class SQLiteFile:
    """Of several processes."""

    path: Path
    shims: list[Shim]
    kind: str = "sqlite"

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def look(self) -> None:
        """A file is always there."""

    def rows(self, sql: str) -> list[Row]:
        return self._execute(sql)

    def run(self, sql: str) -> None:
        self._execute(sql)

    def _execute(self, sql: str) -> list[Row]:
        connection = apsw.Connection(str(self.path))
        connection.set_busy_timeout(10_000)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()


@dataclass(eq=False)
class PostgresDatabase:
    """One server."""

    server: PostgresServer
    shims: list[Shim]
    kind: str = "postgresql"
    is_wanted: bool = False
    unwell_since: float | None = None
    """When it was found to run and to take no connections."""

    @property
    def url(self) -> str:
        return self.address(self.server.port)

    def address(self, port: int) -> str:
        """Without TLS, so that the proxies can read along."""
        return f"postgresql://{USER}@127.0.0.1:{port}/{NAME}?sslmode=disable&gssencmode=disable"

    def make(self) -> None:
        self.server.make()
        self.start()
        with psycopg.connect(self.server.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{NAME}" ENCODING UTF8 TEMPLATE template0')

    def start(self) -> None:
        """Starts it, and waits until it answers or ends. Raises RuntimeError when it does neither."""
        self.is_wanted, self.unwell_since = True, None
        self.server.launch()
        end = time.monotonic() + START_SECONDS
        while self.is_running:
            if self.answers():
                return
            if time.monotonic() > end:
                raise RuntimeError("PostgreSQL does not come up")
            time.sleep(0.05)

    @property
    def is_running(self) -> bool:
        return self.server.process is not None and self.server.process.poll() is None

    def look(self) -> None:
        """It may end again at once, while its disk is full: the next look tries again."""
        if self.is_wanted and (not self.is_running or self._is_unwell()):
            self._kill_all()
            self.start()

    def _is_unwell(self) -> bool:
        """Whether it has refused everybody for some time, as after a recovery that its disk did not let it finish."""
        if self.answers():
            self.unwell_since = None
            return False
        if self.unwell_since is None:
            self.unwell_since = time.monotonic()
        return time.monotonic() - self.unwell_since > UNWELL_SECONDS

    def answers(self) -> bool:
        with suppress(psycopg.OperationalError), psycopg.connect(self.server.url(), connect_timeout=2):
            return True
        return False

    def kill(self) -> None:
        """As when the machine loses its power, except that the disk keeps what the system was told to write."""
        self.is_wanted = False
        self._kill_all()

    def _kill_all(self) -> None:
        process = self.server.process
        if process is not None:
            with suppress(OSError, IndexError, ValueError):  # it is gone by itself
                kill_server(self.server.data)
            process.kill()
            process.wait(30)

    def rows(self, sql: str) -> list[Row]:
        with psycopg.connect(self.server.url(NAME), autocommit=True) as connection:
            return connection.execute(sql.encode()).fetchall()

    def run(self, sql: str) -> None:
        with psycopg.connect(self.server.url(NAME), autocommit=True) as connection:
            connection.execute(sql.encode())


class _Turned(Pair):
    """``turned``: the second server is the primary, and what the guide calls the first one."""

    turned = False

    @property
    def data(self) -> tuple[Path, Path]:
        one, two = self.folder / "one", self.folder / "two"
        return (two, one) if self.turned else (one, two)

    def turn(self) -> None:
        self.turned = not self.turned
        self.ports = self.ports[::-1]


@dataclass(eq=False)
class PostgresPair:
    """A primary and its synchronous standby, made and moved by the guide's own commands."""

    pair: _Turned
    url: str
    """Of both of them, in the order of their beginning."""
    shims: list[Shim] = field(default_factory=list)
    kind: str = "pair"
    promotions: int = 0

    def look(self) -> None:
        """Nothing takes them down but promotions."""

    def lose(self) -> None:
        """The primary, for good."""
        self.pair.kill(0)

    def promote(self, promoted: Callable[[], object]) -> None:
        """The standby; the old primary comes back as the new one's. ``promoted`` is told in between."""
        for name in ("alone_two", "promote"):
            self.pair.guide(name)
        if self.pair.ask(1, "SELECT pg_is_in_recovery()") == "False":
            self.promotions += 1
            promoted()
        for name in ("rewind", "wait_again"):
            self.pair.guide(name)
        self.pair.turn()

    def rows(self, sql: str) -> list[Row]:
        with self._connected() as connection:
            return connection.execute(sql.encode()).fetchall()

    def run(self, sql: str) -> None:
        with self._connected() as connection:
            connection.execute(sql.encode())

    def _connected(self) -> psycopg.Connection[Row]:
        return psycopg.connect(self.pair.url(user=USER), autocommit=True)


@contextmanager
def postgres_pair(disk: Disk) -> Iterator[PostgresPair]:
    """Replicating, gone at the end."""
    folder = disk.folder / "pair"
    folder.mkdir()
    pair = _Turned(wheel_programs(), folder)
    try:
        pair.make()
        yield PostgresPair(pair, pair.url())
    finally:
        pair.remove()


@contextmanager
def sqlite_file(disk: Disk) -> Iterator[SQLiteFile]:
    yield SQLiteFile(disk.folder / "gate.db", [])


@contextmanager
def postgres(disk: Disk, shim: Shim) -> Iterator[PostgresDatabase]:
    """A server on the disk, gone at the end."""
    folder = disk.folder / "pg"
    folder.mkdir()
    server = PostgresServer(
        wheel_programs(), folder, port=free_port(), settings=dict(SETTINGS), variables=shim.environment()
    )
    made = PostgresDatabase(server, [shim])
    try:
        made.make()
        yield made
    finally:
        made.kill()
        server.remove()
