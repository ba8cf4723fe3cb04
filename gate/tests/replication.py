"""Two PostgreSQL servers, one the synchronous standby of the other, made and moved by the guide's own commands."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg
from gate.tests.docs.pages import blocks, page
from gate.tests.factories import PATIENCE
from gate.tests.ports import free_port
from gate.tests.postgres import USER, programs, shell, unprivileged
from gate.tests.watchman import new_folder

PAGE: Final = "docs/how-to/failover.md"
NAMES: Final = ("setup", "standby", "wait", "state", "alone_two", "promote", "rewind", "wait_again", "alone_one")
"""The guide's commands in their order, after the first block, which names the servers."""
SETTINGS: Final = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 100
logging_collector = off
"""


@dataclass(slots=True)
class Pair:
    """Of one version; nothing is started yet."""

    programs: Path
    folder: Path = field(default_factory=lambda: new_folder("gate-pair-"))
    ports: tuple[int, int] = field(default_factory=lambda: (free_port(), free_port()))

    @property
    def data(self) -> tuple[Path, Path]:
        return self.folder / "one", self.folder / "two"

    def url(self, *numbers: int, user: str = "gate", database: str = "gate") -> str:
        """The address with these servers; with both, if none is named."""
        hosts = ",".join(f"127.0.0.1:{self.ports[number]}" for number in numbers or (0, 1))
        return f"postgresql://{user}@{hosts}/{database}?target_session_attrs=read-write"

    def make(self) -> None:
        if os.getuid() == 0:
            shutil.chown(self.folder, *unprivileged())
        self.shell(f"initdb -D $ONE_DATA -U {USER} -A trust -E UTF8 --locale=C -N >/dev/null")
        with (self.data[0] / "postgresql.conf").open("a") as file:
            file.write(SETTINGS)
        self.shell('pg_ctl -D $ONE_DATA -w -l $ONE_DATA.log -o "-p $ONE_PORT" start >/dev/null')
        for name in ("setup", "standby", "wait"):
            self.guide(name)

    def guide(self, name: str) -> str:
        """Runs one of the guide's commands, as it stands there; what it printed."""
        return self.shell(blocks(page(PAGE), "sh")[1:][NAMES.index(name)])

    def shell(self, text: str) -> str:
        """Raises what went wrong."""
        named = {
            "ONE": "127.0.0.1",
            "TWO": "127.0.0.1",
            "ONE_PORT": str(self.ports[0]),
            "TWO_PORT": str(self.ports[1]),
            "ONE_DATA": str(self.data[0]),
            "TWO_DATA": str(self.data[1]),
            "PGUSER": USER,
            "PGDATABASE": USER,
            "PATH": f"{self.programs}:{os.environ['PATH']}",
        }
        return shell(text, named)

    def ask(self, number: int, sql: str) -> str:
        """What a query says, as an administrator, directly at one of the servers."""
        url = self.url(number, user=USER).partition("?")[0]
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            row = connection.execute(sql.encode()).fetchone()
        return "" if row is None else str(row[0])

    def signal(self, number: int, what: signal.Signals) -> None:
        """To a server and all its processes."""
        for process in processes_of(self.data[number]):
            with suppress(ProcessLookupError):
                os.kill(process, what)

    def kill(self, number: int) -> None:
        """As when the machine loses its power, except that the disk keeps what the system was told to write."""
        kill_server(self.data[number])
        # After a restart of the machine the number is nobody's. Here it may be a zombie's, which a server respects.
        (self.data[number] / "postmaster.pid").unlink(missing_ok=True)

    def start(self, number: int) -> None:
        name = ("ONE", "TWO")[number]
        log = self.data[number].with_suffix(".log")
        try:
            self.shell(f'pg_ctl -D ${name}_DATA -w -l ${name}_DATA.log -o "-p ${name}_PORT" start >/dev/null')
        except RuntimeError as error:
            raise RuntimeError(f"{error}{log.read_text()[-2000:]}") from None

    def remove(self) -> None:
        for number in (0, 1):
            with suppress(FileNotFoundError, IndexError, ValueError):
                self.kill(number)
        shutil.rmtree(self.folder, ignore_errors=True)


def processes_of(data: Path) -> list[int]:
    """Of the server that runs on a folder, the first before the others: all of them work in it."""
    first = _first_of(data)
    return [first, *(process for process in working_in(data) if process != first)]


def _first_of(data: Path) -> int:
    return int((data / "postmaster.pid").read_text().splitlines()[0])


def kill_server(data: Path, *others: int) -> None:
    """All of it, and others, at one moment: none does anything while the rest die. Returns when they are gone.

    The first stands still before its children are listed. One that it started meanwhile would live on, wait for locks
    that nobody is left to give, and keep the folder from every server to come.
    """
    first = _first_of(data)
    with suppress(ProcessLookupError):
        os.kill(first, signal.SIGSTOP)
    _wait_while(lambda: _state(first) not in "TZ")
    _kill_all([*others, *processes_of(data)])


def _kill_all(processes: Sequence[int]) -> None:
    for what in (signal.SIGSTOP, signal.SIGKILL):
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, what)
    # A server does not start where they still are.
    _wait_while(lambda: any(_state(process) != "Z" for process in processes))


def _wait_while(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _state(process: int) -> str:
    """Z where it ended: it is listed as a zombie until somebody asks about it, if at all."""
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def working_in(folder: Path) -> list[int]:
    """Processes whose folder it is."""
    found, wanted = [], str(folder.resolve())
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                if os.readlink(process / "cwd") == wanted:
                    found.append(int(process.name))
    return found


@contextmanager
def pair(version: int) -> Iterator[Pair]:
    """Replicating."""
    made = Pair(programs(version))
    try:
        made.make()
        yield made
    finally:
        made.remove()
