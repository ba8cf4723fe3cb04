"""PostgreSQL servers that Patroni keeps up, with one etcd: made by the guide's own commands, on loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg
from gate.tests.docs.pages import blocks, page
from gate.tests.ports import free_port
from gate.tests.postgres import DEBIAN, as_user, environment, require, shell, unprivileged
from gate.tests.replication import kill_server
from gate.tests.watchman import new_folder

PAGE: Final = "docs/how-to/patroni.md"
NAMES: Final = ("etcd", "configuration", "patroni", "list", "database", "strict", "switchover")
"""The guide's commands in their order, after the first block, which names everything."""
PATIENCE: Final = 90.0
SECRETS: Final = {"SUPERUSER_PASSWORD": "super-1", "REPLICATION_PASSWORD": "copy-1", "GATE_PASSWORD": "gate-1"}


@dataclass(slots=True)
class Cluster:
    """Two servers; etcd has one member, as nobody here loses it."""

    folder: Path = field(default_factory=lambda: new_folder("gate-patroni-"))
    etcd_ports: tuple[int, int] = field(default_factory=lambda: (free_port(), free_port()))
    ports: tuple[int, int] = field(default_factory=lambda: (free_port(), free_port()))
    rest: tuple[int, int] = field(default_factory=lambda: (free_port(), free_port()))
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"postgresql://gate:{SECRETS['GATE_PASSWORD']}@{hosts}/gate?target_session_attrs=read-write"

    def administrators_url(self, number: int) -> str:
        return f"postgresql://postgres:{SECRETS['SUPERUSER_PASSWORD']}@127.0.0.1:{self.ports[number]}/gate"

    def make(self) -> None:
        if os.getuid() == 0:
            shutil.chown(self.folder, *unprivileged())
        for number in (0, 1):
            self.shell(number, "mkdir -p $FOLDER $SOCKETS")
            self.guide(number, "configuration")
        self.begin("etcd", 0, "etcd")
        for number in (0, 1):
            self.start(number)
            self.wait_for(number, ("Leader", "Sync Standby")[number])
        self.guide(0, "database")

    def start(self, number: int) -> None:
        self.begin(f"patroni-{number}", number, "patroni")

    def begin(self, name: str, number: int, command: str) -> None:
        """One of the guide's commands that go on until they are ended."""
        text = self.text(command)
        assert "\n" not in text.replace("\\\n", "")
        with (self.folder / f"{name}.log").open("ab") as output:
            self.processes[name] = subprocess.Popen(
                ["bash", "-euc", f"exec {text}"],
                stdout=output,
                stderr=output,
                cwd="/",
                env=self.named(number),
                start_new_session=True,
                **as_user(),
            )

    def guide(self, number: int, name: str) -> str:
        """Runs one of the guide's commands on a machine; what it printed."""
        return self.shell(number, self.text(name))

    def text(self, name: str) -> str:
        text = blocks(page(PAGE), "sh")[1:][NAMES.index(name)].strip()
        client, peer = map(str, self.etcd_ports)
        return text.replace(":2379", f":{client}").replace(":2380", f":{peer}")

    def named(self, number: int) -> dict[str, str]:
        """The guide's first block, for this machine."""
        client, peer = self.etcd_ports
        own = self.folder / f"pg{number}"
        return {
            **environment(),
            "PATH": f"{DEBIAN}:/usr/bin:/usr/sbin:/bin",
            "HOME": str(own),
            "NAME": f"pg{number}",
            "ADDRESS": "127.0.0.1",
            "LEADER": "127.0.0.1",
            "MEMBERS": f"pg0=http://127.0.0.1:{peer}",
            "ETCD": f"127.0.0.1:{client}",
            "PORT": str(self.ports[number]),
            "REST": str(self.rest[number]),
            "NETWORK": "127.0.0.1/32",
            "FOLDER": str(own),
            "SOCKETS": str(own / "s"),
            "PROGRAMS": str(DEBIAN),
            **SECRETS,
        }

    def shell(self, number: int, text: str) -> str:
        """Raises what went wrong."""
        return shell(text, self.named(number))

    def members(self) -> dict[int, dict[str, Any]]:
        """What ``patronictl list`` says of each server."""
        listed = json.loads(self.shell(0, f"{self.text('list')} -f json"))
        return {int(one["Member"].removeprefix("pg")): one for one in listed}

    def wait_for(self, number: int, role: str) -> None:
        """Until a server runs in this role."""
        deadline = time.monotonic() + PATIENCE
        while not self._is(number, role):
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.2)

    def _is(self, number: int, role: str) -> bool:
        with suppress(RuntimeError):
            one = self.members().get(number, {})
            return one.get("Role") == role and one.get("State") in ("running", "streaming")
        return False

    def takes_writes(self, number: int) -> bool:
        """As the server itself says."""
        with suppress(psycopg.OperationalError):
            url = self.administrators_url(number)
            with psycopg.connect(url, connect_timeout=2, autocommit=True) as connection:
                return connection.execute("SELECT NOT pg_is_in_recovery()").fetchone() == (True,)
        return False

    def kill(self, number: int) -> None:
        """The machine: Patroni and the server with all its processes, at once."""
        patroni = self.processes[f"patroni-{number}"]
        data = self.folder / f"pg{number}/data"
        kill_server(data, patroni.pid)
        patroni.wait(30)
        (data / "postmaster.pid").unlink(missing_ok=True)

    def logs(self) -> str:
        return "".join(f"{file.name}:\n{file.read_text()[-3000:]}\n" for file in self.folder.glob("*.log"))

    def remove(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Replicating, with the gate's database."""
    require(Path("/usr/bin/patroni"), Path("/usr/bin/etcd"), DEBIAN / "postgres")
    made = Cluster()
    try:
        made.make()
        yield made
    finally:
        made.remove()
