"""The database that is tested: an SQLite file, or a PostgreSQL server of its own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import apsw
import psycopg
from gate.tests.postgres import DEBIAN, USER, PostgresServer, free_port, wheel_programs

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
    starts: int = 0
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
        self.starts += 1
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
        if process is None:
            return
        family = [process.pid, *children(process.pid)]
        for what in (signal.SIGSTOP, signal.SIGKILL):  # nobody commits anything while the others die
            for one in family:
                with suppress(ProcessLookupError):
                    os.kill(one, what)
        process.wait(30)
        end = time.monotonic() + START_SECONDS
        while any(Path(f"/proc/{one}/stat").exists() for one in family[1:]) and time.monotonic() < end:
            time.sleep(0.02)  # the next server would find their memory still in use

    def rows(self, sql: str) -> list[Row]:
        with psycopg.connect(self.server.url(NAME), autocommit=True) as connection:
            return connection.execute(sql.encode()).fetchall()

    def run(self, sql: str) -> None:
        with psycopg.connect(self.server.url(NAME), autocommit=True) as connection:
            connection.execute(sql.encode())


def children(parent: int) -> list[int]:
    """Processes that a process has started (Linux)."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    found.append(int(folder.name))
    return found


@contextmanager
def sqlite_file(disk: Disk) -> Iterator[SQLiteFile]:
    yield SQLiteFile(disk.folder / "gate.db", [])


@contextmanager
def postgres(disk: Disk, shim: Shim, *, version: int = 18) -> Iterator[PostgresDatabase]:
    """A server on the disk, gone at the end."""
    folder = disk.folder / "pg"
    folder.mkdir()
    programs = DEBIAN if version == 15 else wheel_programs()
    server = PostgresServer(programs, folder, port=free_port(), settings=dict(SETTINGS), variables=shim.environment())
    made = PostgresDatabase(server, [shim])
    try:
        made.make()
        yield made
    finally:
        made.kill()
        server.remove()
