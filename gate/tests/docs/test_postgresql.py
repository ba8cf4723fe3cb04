"""The guide to PostgreSQL, from an empty server to a gate that answers, and from SQLite to there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
import pytest
from gate.tests.cli.processes import COMMAND, ask, call, running
from gate.tests.docs.pages import blocks, page
from gate.tests.docs.shells import block, shell
from gate.tests.factories import ROOT_SECRET, TENANT, SQLiteDatabase, world
from gate.tests.ports import free_port
from gate.tests.postgres import PostgresServer, programs

from stacksona_gate.service.log import seal_now

pytestmark = pytest.mark.slow

GUIDE: Final = "docs/how-to/postgresql.md"
PASSWORD: Final = "a secret of the database"
RULES: Final = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
CONNECTIONS_MOST: Final = 12
"""Promised to whoever sets ``max_connections``."""
RUN: Final = ("CREATE ROLE gate", "openssl", "stacksona-gate serve", "pg_stat_activity", "db copy", "install -m 600")


@dataclass(frozen=True, slots=True)
class Desk:
    """A server, and the folder in which somebody follows the guide."""

    server: PostgresServer
    folder: Path

    @property
    def named(self) -> dict[str, str]:
        return {
            "HOST": "127.0.0.1",
            "PORT": str(self.server.port),
            "HOME": str(self.folder),
            "GATE_PASSWORD": PASSWORD,
        }

    def guide(self, part: str) -> str:
        return self.shell(block(GUIDE, part))

    def shell(self, text: str) -> str:
        return shell(text, self.folder, self.named, programs=self.server.programs)

    def gate(self, command: str) -> str:
        """A command of the gate, after the settings of the block that serves."""
        settings = block(GUIDE, "stacksona-gate serve").partition("stacksona-gate")[0]
        return self.shell(f"{settings}{command}")

    def ask(self, sql: str, user: str = "postgres") -> str:
        url = f"postgresql://{user}@127.0.0.1:{self.server.port}/gate"
        with psycopg.connect(url, password=PASSWORD, autocommit=True) as connection:
            row = connection.execute(sql.encode()).fetchone()
        return "" if row is None else str(row[0])


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(PostgresServer(programs(18)), tmp_path)
    try:
        made.server.make()
        (made.server.data / "pg_hba.conf").write_text(RULES)
        made.server.start()
        made.guide("CREATE ROLE gate")
        yield made
    finally:
        made.server.remove()


def test_from_an_empty_server_to_a_gate_that_answers_within_its_connections(desk: Desk) -> None:
    desk.guide("openssl")
    port = free_port()
    text = (
        block(GUIDE, "stacksona-gate serve")
        .replace("8420", str(port))
        .replace(f"{'stacksona-gate'} serve", "exec $0 serve")
    )
    path = f"{Path(COMMAND).parent}:{desk.server.programs}:/usr/bin:/bin"
    with running("env", "-C", str(desk.folder), "bash", "-euc", text, COMMAND, **desk.named, PATH=path) as process:
        process.line("Stacksona Gate on", str(port))
        key = json.loads(desk.gate("stacksona-gate agent create refund-agent --json"))["key"]
        for number in range(20):
            assert ask(port, key, task=f"task-{number}")["status"] == "pending_review"
        assert call(port, "GET", "/api/agent/threads", key)[0] == 200
        assert 0 < int(desk.guide("pg_stat_activity")) <= CONNECTIONS_MOST
    assert PASSWORD not in "".join(process.lines + process.errors)


def test_the_role_may_do_nothing_but_work_in_its_own_database(desk: Desk) -> None:
    may = "SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls FROM pg_roles"
    assert desk.ask(f"{may} WHERE rolname = 'gate'") == "False"
    desk.shell(
        "psql -q -h $HOST -p $PORT -U postgres -d gate -c \"CREATE ROLE stranger LOGIN PASSWORD '$GATE_PASSWORD'\""
    )
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        desk.ask("SELECT 1", "stranger")


async def test_a_workspace_moves_from_sqlite_and_goes_on_with_its_root_secret(desk: Desk) -> None:
    async with world(SQLiteDatabase(str(desk.folder / "gate.db"))) as w:
        await w.approved()
        saved = await seal_now(w.gate, TENANT)
    (desk.folder / "gate.db.key").write_bytes(ROOT_SECRET)
    (desk.folder / "saved.checkpoint").write_text(saved.note)
    copy = block(GUIDE, "db copy")
    assert "verified: the sealed log of workspace default" in desk.gate(copy)
    desk.guide("install -m 600")
    assert "support-bot" in desk.gate("stacksona-gate agent list")
    desk.gate("stacksona-gate audit export --out whole.jsonl")
    assert "sound" in desk.gate("stacksona-gate audit verify whole.jsonl --checkpoint saved.checkpoint")


def test_the_guide_has_no_commands_that_are_not_run_here() -> None:
    assert [text for text in blocks(page(GUIDE), "sh") if not any(part in text for part in RUN)] == []
