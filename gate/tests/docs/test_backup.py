"""The guide to backups on PostgreSQL: its commands, one after the other, and what a gate and an auditor find then."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from gate.tests.docs.pages import blocks, page
from gate.tests.docs.shells import block, shell
from gate.tests.factories import ROOT_SECRET, TENANT, Clock, PostgresDatabase, World, world
from gate.tests.postgres import PostgresServer, as_user, programs
from gate.tests.replication import SETTINGS
from gate.tests.service.test_exports import exported, verdicts

from stacksona_gate.domain.approvals import Redeemed, Refused
from stacksona_gate.domain.errors import GateError
from stacksona_gate.main import build_gate
from stacksona_gate.service.environment import Environment, system_clock
from stacksona_gate.service.log import seal_now
from stacksona_gate.service.secrets import RootSecret

pytestmark = pytest.mark.slow

GUIDE = "docs/how-to/backup.md"
SOUND = (0, 0)
RUN = (
    "pg_dump",
    "createdb",
    "archive_command",
    "pg_basebackup",
    "pg_switch_wal",
    "recovery_target_time",
    "pg_is_in_recovery",
    "restored.jsonl",
)
"""A part of each block about PostgreSQL."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A server, and the folders that the guide names."""

    server: PostgresServer
    desk: Path

    @property
    def folder(self) -> Path:
        return self.server.folder

    def url(self, database: str = "gate") -> str:
        return f"postgresql://gate@127.0.0.1:{self.server.port}/{database}"

    def guide(self, part: str, **more: str) -> str:
        """One of the guide's blocks, as the user ``postgres`` would run it."""
        return self.shell(block(GUIDE, part), **more)

    def shell(self, text: str, **more: str) -> str:
        named = {
            "HOST": "127.0.0.1",
            "PORT": str(self.server.port),
            "DATA": str(self.server.data),
            **{name.upper(): str(self.folder / name) for name in ("archive", "backup", "restored")},
        }
        return shell(text, self.folder, named | more, programs=self.server.programs, user=as_user())

    def auditor(self, text: str, *, fails: int = 0) -> str:
        """A command of the gate, in a folder of its own."""
        given = {"STACKSONA_DATABASE_URL": self.url(), "STACKSONA_SECRET_KEY": ROOT_SECRET.decode()}
        return shell(text, self.desk, given, fails=fails)

    def ask(self, sql: str) -> str:
        url = f"postgresql://postgres@127.0.0.1:{self.server.port}/postgres"
        with psycopg.connect(url, autocommit=True) as connection:
            row = connection.execute(sql.encode()).fetchone()
        return "" if row is None else str(row[0])


@pytest.fixture
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    made = Machine(PostgresServer(programs(getattr(request, "param", 15))), tmp_path)
    try:
        made.server.make()
        with (made.server.data / "postgresql.conf").open("a") as file:
            file.write(SETTINGS)
        made.shell("mkdir $ARCHIVE")
        made.shell('pg_ctl -D $DATA -w -l $DATA.log -o "-p $PORT" start >/dev/null')
        made.shell("createuser -h $HOST -p $PORT -U postgres gate")
        made.shell("createdb -h $HOST -p $PORT -U postgres -O gate -E UTF8 -T template0 gate")
        yield made
    finally:
        for data in (made.server.data, made.folder / "restored"):
            if (data / "postmaster.pid").exists():
                made.shell(f"pg_ctl -D {data} -m immediate -w stop >/dev/null")
        shutil.rmtree(made.folder, ignore_errors=True)


@asynccontextmanager
async def again(w: World, url: str, secret: bytes = ROOT_SECRET) -> AsyncIterator[World]:
    """The world as a gate finds it that is started there."""
    database = PostgresDatabase(url)
    store = database.open()
    try:
        gate = await build_gate(store, Environment(clock=w.clock), RootSecret(secret))
        yield replace(w, gate=gate, database=database)
    finally:
        store.close()


@pytest.mark.parametrize("machine", [18, 15], indirect=True)
async def test_a_gate_goes_on_from_a_nightly_dump(machine: Machine) -> None:
    async with world(PostgresDatabase(machine.url())) as w:
        told = await w.ask(100)
        machine.guide("pg_dump")
        saved = await seal_now(w.gate, TENANT)
    machine.guide("createdb")
    async with again(w, machine.url("restored")) as restored:
        assert (await restored.stored(told)).status == "allow"
        await restored.ask(100, task="task-2")
        assert verdicts(machine.desk, await exported(restored), saved=saved.note) == SOUND


# On 15 only: pg_verifybackup of the wheel with 18 breaks off.
async def test_a_restored_moment_has_what_was_decided_before_it_and_an_auditor_sees_what_is_gone(
    machine: Machine,
) -> None:
    machine.guide("archive_command")
    machine.guide("pg_basebackup")
    async with world(PostgresDatabase(machine.url()), clock=Clock(system_clock())) as w:
        before, approved = await w.ask(100, task="before"), await w.approved(task="approved")
        early = await seal_now(w.gate, TENANT)
        moment = machine.ask("SELECT clock_timestamp()")
        after = await w.ask(100, task="after")
        assert isinstance(await w.redeem(approved, task="approved"), Redeemed)
        machine.auditor(
            "stacksona-gate audit key --out log.key; stacksona-gate audit checkpoint --out saved.checkpoint"
        )
    machine.guide("pg_switch_wal")
    machine.guide("recovery_target_time", MOMENT=moment)
    machine.guide("pg_is_in_recovery")

    with pytest.raises(GateError, match="root secret"):
        async with again(w, machine.url(), b"another secret, as long as it must be"):
            pass
    async with again(w, machine.url()) as w:
        assert (await w.stored(before)).status == "allow"
        assert await w.read(lambda tx: tx.requests.find(TENANT, after.request.id)) is None
        assert (await w.stored(approved)).redeemed_at is None
        await w.pause()
        await w.resume()
        refused = await w.redeem(approved, token=approved.token, task="approved")
        assert isinstance(refused, Refused)
        assert refused.reason == "revoked"
        assert verdicts(machine.desk, await exported(w), saved=early.note) == SOUND
        assert "BROKEN" in machine.auditor(block(GUIDE, "restored.jsonl"), fails=1)
        for number in range(20):
            await w.ask(100, task=f"later-{number}")
        shutil.move(machine.desk / "restored.jsonl", machine.desk / "first.jsonl")
        assert "BROKEN" in machine.auditor(block(GUIDE, "restored.jsonl"), fails=1)


def test_the_guide_has_no_commands_about_postgresql_that_are_not_run_here() -> None:
    about = page(GUIDE).partition("## PostgreSQL")[2]
    assert [text for text in blocks(about, "sh") if not any(part in text for part in RUN)] == []
