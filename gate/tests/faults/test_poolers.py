"""The guide to PgBouncer: its own commands, with passwords, and a failover behind it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psycopg
import pytest
from gate.tests.docs.pages import blocks, page
from gate.tests.docs.shells import block, shell
from gate.tests.faults.crowd import RESUME_SECONDS, TRIES, untrue
from gate.tests.faults.sites import SOUND, site
from gate.tests.outbox import until
from gate.tests.pooler import PROGRAM, answers_at
from gate.tests.ports import free_port
from gate.tests.postgres import USER, as_user, require, unprivileged
from gate.tests.replication import Pair, pair
from gate.tests.tries import mostly_within_async

GUIDE: Final = "docs/how-to/pgbouncer.md"
SECRET: Final = "pass %wörd"
RULES: Final = "host gate gate 127.0.0.1/32 scram-sha-256\nhost gate pooler 127.0.0.1/32 scram-sha-256\n"


@dataclass(slots=True)
class Machine:
    """One of the servers and its PgBouncer."""

    servers: Pair
    number: int
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        return self.servers.folder / f"pooler-{self.number}"

    @property
    def named(self) -> dict[str, str]:
        return {
            "HOST": "127.0.0.1",
            "PORT": str(self.servers.ports[self.number]),
            "NEW_HOST": "127.0.0.1",
            "NEW_PORT": str(self.servers.ports[1]),
            "LISTEN": "127.0.0.1",
            "FOLDER": str(self.folder),
            "POOLER_PASSWORD": SECRET,
        }

    def guide(self, part: str) -> str:
        text = block(GUIDE, part).replace("6432", str(self.port))
        return shell(text, self.servers.folder, self.named, programs=self.servers.programs, user=as_user())

    def start(self) -> None:
        self.folder.mkdir()
        if os.getuid() == 0:
            shutil.chown(self.folder, *unprivileged())
        self.guide("pgbouncer.ini <<END")
        command = block(GUIDE, "pgbouncer -q").strip()
        with (self.folder / "log").open("wb") as output:
            self.process = subprocess.Popen(
                ["bash", "-euc", f"exec {command}"],
                stdout=output,
                stderr=output,
                env=self.named | {"PATH": f"{PROGRAM.parent}:/usr/bin:/bin"},
                **as_user(),
            )

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)


@contextmanager
def machines(servers: Pair) -> Iterator[tuple[Machine, Machine]]:
    made = Machine(servers, 0), Machine(servers, 1)
    ask_for_passwords(servers)
    made[0].guide("CREATE ROLE pooler")
    with ExitStack() as stack:
        for machine in made:
            stack.callback(machine.end)
            machine.start()
        yield made


def ask_for_passwords(servers: Pair) -> None:
    with psycopg.connect(servers.url(0, user=USER).partition("?")[0]) as connection:
        connection.execute(f"ALTER ROLE gate PASSWORD '{SECRET}'".encode())
    for number in (0, 1):
        file = servers.data[number] / "pg_hba.conf"
        file.write_text(RULES + file.read_text())
        servers.ask(number, "SELECT pg_reload_conf()")


def url(*ports: int) -> str:
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    return f"postgresql://gate:{quote(SECRET)}@{hosts}/gate"


def is_read_only(address: str) -> bool:
    with psycopg.connect(address, autocommit=True) as connection:
        return connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)


@pytest.mark.slow
async def test_gates_go_on_behind_poolers_after_a_failover_and_nothing_that_was_told_is_lost(tmp_path: Path) -> None:
    require(PROGRAM)
    await mostly_within_async(RESUME_SECONDS, lambda: seconds_to_resume(tmp_path), TRIES)


async def seconds_to_resume(folder: Path) -> float:
    """By itself, or after the guide's command, whichever took longer."""
    with pair(15) as servers, machines(servers) as (one, two):
        await until(lambda: answers_at(one.port) and answers_at(two.port))
        listening = {"STACKSONA_LISTEN_URL": url(*servers.ports)}
        async with site(url(one.port, two.port), gates=1, **listening) as place:
            with place.gate(url(one.port)) as (port, _):  # where one pooler stands for all servers
                place.ports.append(port)
                async with place.crowd() as crowd:
                    await crowd.busy()
                    assert is_read_only(url(two.port))  # its pooler goes on saying so after the promotion
                    servers.kill(0)
                    await crowd.noticed()
                    for name in ("alone_two", "promote"):
                        await asyncio.to_thread(servers.guide, name)
                    since = time.monotonic()
                    found = await crowd.resumed(since, 0)
                    assert crowd.decided(1, since) == []
                    await asyncio.to_thread(one.guide, "RECONNECT")
                    given = time.monotonic()
                    led = await crowd.resumed(given, 1)
                    await crowd.busy(given)
            assert await place.log_verdicts(folder) == SOUND
        assert untrue(crowd.history, servers.url(1, user=USER)) == []
    print(f"decided again {found:.1f} s after the promotion, {led:.1f} s after RECONNECT")  # noqa: T201
    assert crowd.strange == []
    return max(found, led)


def test_the_guide_has_no_commands_that_are_not_run_here() -> None:
    run = ("CREATE ROLE pooler", "pgbouncer.ini <<END", "pgbouncer -q", "RECONNECT")
    assert [text for text in blocks(page(GUIDE), "sh") if not any(part in text for part in run)] == []
