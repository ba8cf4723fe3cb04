"""``outcomes`` on the command line."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from gate.tests.cli.conftest import Shell
from gate.tests.factories import ROOT_SECRET, SQLiteDatabase, world


@pytest.fixture
def used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database in which an approval was used long ago. Its request's id."""
    monkeypatch.setenv("STACKSONA_SECRET_KEY", ROOT_SECRET.decode())

    async def use() -> str:
        async with world(SQLiteDatabase(str(tmp_path / "gate.db"))) as w:
            w.clock.advance(-3650 * 86_400)
            answer = await w.ask(100)
            await w.redeem(answer)
            return answer.request.id

    return asyncio.run(use())


def test_unknown_outcomes_are_a_table_for_people(shell: Shell, used: str) -> None:
    printed = shell.done("outcomes", "unknown")
    assert printed.split() == ["2016-11-28T12:00:00Z", "support-bot", "issue_refund", "task-1", used]


def test_unknown_outcomes_are_json_for_programs(shell: Shell, used: str) -> None:
    (found,) = shell.json("outcomes", "unknown")
    assert (found["request_id"], found["thread_id"], found["redeemed_at"]) == (used, None, "2016-11-28T12:00:00Z")


def test_none_is_said(shell: Shell) -> None:
    assert "no unknown outcomes" in shell.done("outcomes", "unknown")
    assert shell.json("outcomes", "unknown") == []
