"""``erase`` and ``retention`` on a database that no server runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from gate.tests.cli.conftest import Shell

from stacksona_gate.config import read_settings
from stacksona_gate.domain.times import DAY
from stacksona_gate.main import opened
from stacksona_gate.service import requests
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.requests import Answer, Ask

NAME = "Zacharias Quellwasser"
POLICY = """\
version: 1
tools:
  refund: {default: allow}
  wire: {default: review}
"""


class Office(Shell):
    """A shell and an agent that asks."""

    key = ""

    def ask(self, tool: str, subject: str, payload: dict[str, object] | None = None, *, days_ago: int = 0) -> Answer:
        async def work(gate: Gate) -> Answer:
            now = gate.env.now() - days_ago * DAY
            object.__setattr__(gate.env, "clock", lambda: now)
            caller = await gate.directory.caller(self.key)
            return await requests.submit(gate, caller, "task-1", Ask(tool, subject, payload=payload or {}), None)

        return self.on_gate(work)

    def on_gate[T](self, work: Callable[[Gate], Awaitable[T]]) -> T:
        async def run() -> T:
            async with opened(read_settings({}, database_url=self.database)) as gate:
                return await work(gate)

        return asyncio.run(run())

    def on_disk(self) -> bytes:
        path = Path(self.database.removeprefix("sqlite:///"))
        return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


@pytest.fixture
def office(database: str, tmp_path: Path) -> Office:
    made = Office(database)
    (tmp_path / "policy.yaml").write_text(POLICY)
    made.done("policy", "apply", "policy.yaml")
    made.key = made.json("agent", "create", "bot", "--no-signed-approvals")["key"]
    return made


def test_without_yes_only_ids_are_listed(office: Office) -> None:
    answer = office.ask("refund", f"for {NAME}", {"id": "C-7"})
    said = office.done("erase", "--subject", NAME)
    assert answer.request.id in said
    assert NAME not in said
    assert "Nothing was erased" in said
    assert NAME.encode() in office.on_disk()


def test_with_yes_the_name_is_gone_from_the_file_and_its_write_ahead_log(office: Office) -> None:
    answer = office.ask("refund", f"for {NAME}")
    other = office.ask("refund", "for somebody else")
    told = office.json("erase", "--subject", NAME, "--yes")
    assert (told["requests"], told["write_ahead_log_emptied"]) == ([answer.request.id], True)
    assert NAME.encode() not in office.on_disk()
    stored = office.stored(lambda tx: tx.requests.find("default", other.request.id))
    assert stored is not None
    assert stored.subject == "for somebody else"
    assert office.json("erase", "--subject", NAME)["requests"] == []


def test_it_says_what_it_cannot_reach(office: Office) -> None:
    office.ask("refund", f"for {NAME}")
    assert "backups" in office.done("erase", "--subject", NAME, "--yes")


def test_a_field_names_whose_requests_they_are(office: Office) -> None:
    mine = office.ask("refund", "a", {"customer_id": "C-7"})
    office.ask("refund", "about C-7", {"customer_id": "C-77"})
    listed = office.json("erase", "--subject", "C-7", "--field", "payload.customer_id")
    assert listed["requests"] == [mine.request.id]


def test_a_thread_that_waits_is_refused_unless_it_may_be_cancelled(office: Office) -> None:
    waits = office.ask("wire", f"to {NAME}")
    assert office.json("erase", "--subject", NAME)["waiting"] == [waits.request.id]
    refused = office.refused("erase", "--subject", NAME, "--yes")
    assert str(waits.thread_id) in refused
    assert NAME not in refused
    told = office.json("erase", "--subject", NAME, "--yes", "--cancel-pending", "--compact")
    assert told["requests"] == [waits.request.id]
    assert NAME.encode() not in office.on_disk()


def test_the_log_names_neither_the_subject_nor_a_person(office: Office) -> None:
    office.ask("refund", f"for {NAME}")
    office.done("erase", "--subject", NAME, "--yes")
    entries = office.stored(lambda tx: tx.audit.list_entries("default", limit=1000))
    assert entries[0][1].event == "content.erased"
    assert not [entry.event for _, entry in entries if NAME in entry.leaf + entry.private]


@pytest.mark.parametrize(
    "arguments",
    [(), ("--subject", "abc", "--user", "a@b.c"), ("--user", "a@b.c", "--field", "payload.x")],
)
def test_a_call_that_does_not_say_what_to_erase_is_a_usage_error(office: Office, arguments: tuple[str, ...]) -> None:
    office.refused("erase", *arguments, code=2)


def test_a_short_subject_is_refused(office: Office) -> None:
    assert "--field" in office.refused("erase", "--subject", "ab")


def test_a_user_is_erased_once_they_may_not_sign_in(office: Office) -> None:
    user = office.json(
        "user", "create", "rita@example.com", "--role", "reviewer", "--password-stdin", given="correct horse 1"
    )
    assert office.json("erase", "--user", "rita@example.com") == {"user": user["id"], "erased": False}
    assert "disable them first" in office.refused("erase", "--user", "rita@example.com", "--yes")


def test_retention_is_set_shown_and_run(office: Office) -> None:
    old = office.ask("refund", f"for {NAME}", days_ago=40)
    young = office.ask("refund", "for somebody")
    assert office.json("retention", "show") == {"retention_days": 0}
    assert office.json("retention", "run") == {"expired": 0}
    assert office.json("retention", "set", "30") == {"retention_days": 30}
    assert office.json("retention", "run") == {"expired": 1}
    gone, kept = (
        office.stored(lambda tx, one=answer: tx.requests.find("default", one.request.id))  # type: ignore[misc]
        for answer in (old, young)
    )
    assert (gone.subject, kept.subject) == ("erased", "for somebody")
