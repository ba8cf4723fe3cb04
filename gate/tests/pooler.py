"""PgBouncer between the gate and PostgreSQL, as a pooler of transactions: on loopback, gone with the tests."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from gate.tests.factories import PATIENCE, PostgresDatabase
from gate.tests.ports import free_port
from gate.tests.postgres import (
    USER,
    address,
    as_user,
    environment,
    postgres_database,
    require,
    server,
    unprivileged,
)
from gate.tests.watchman import new_folder
from psycopg.conninfo import conninfo_to_dict

PROGRAM: Final = Path("/usr/sbin/pgbouncer")
SESSIONS: Final = 4
"""Sessions of the server per database: fewer than clients have connections, so that they are handed round."""


@dataclass(slots=True)
class Pooler:
    """As Debian's package has it; every database of one server, everybody as that server's user."""

    target: str
    """The server's address."""
    settings: dict[str, str] = field(default_factory=dict)
    folder: Path = field(default_factory=lambda: new_folder("gate-pooler-"))
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        file = self.folder / "pgbouncer.ini"
        file.write_text(self._text())
        if os.getuid() == 0:
            shutil.chown(self.folder, *unprivileged())
            shutil.chown(file, *unprivileged())
        with (self.folder / "log").open("ab") as output:
            self.process = subprocess.Popen(
                [str(PROGRAM), str(file)], stdout=output, stderr=output, env=environment(), **as_user()
            )
        deadline = time.monotonic() + PATIENCE
        while not answers_at(self.port):
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stop(self) -> None:
        """As a crash does: every connection through it ends."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _text(self) -> str:
        target = conninfo_to_dict(self.target)
        secret = f" password={target['password']}" if target.get("password") else ""
        given = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": "transaction",
            "default_pool_size": str(SESSIONS),
            "max_client_conn": "500",
            **self.settings,
        }
        databases = (
            f"* = host={target.get('host', '127.0.0.1')} port={target.get('port', 5432)}"
            f" user={target.get('user', USER)}{secret}"
        )
        lines = ["[databases]", databases, "[pgbouncer]", *(f"{name} = {value}" for name, value in given.items())]
        return "\n".join([*lines, ""])


def answers_at(port: int) -> bool:
    """Whether anybody listens at a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@cache
def pooler(version: int = 18) -> Pooler:
    """In front of the tests' server of this version; it runs until the tests end."""
    require(PROGRAM)
    made = Pooler(server(version))
    atexit.register(made.remove)
    made.start()
    return made


@contextmanager
def pooled_database(version: int = 18, *, listening: bool = False, empty: bool = False) -> Iterator[PostgresDatabase]:
    """A database that is reached through the pooler. ``listening``: with an address of its own to listen at."""
    with postgres_database(version, empty=empty) as direct:
        name = str(conninfo_to_dict(direct.url)["dbname"])
        url = pooler(version).url(name)
        yield PostgresDatabase(url, address(server(version), name) if listening else "")
