"""``audit export``: files that are whole, private and sound, and what the command line refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from gate.tests.cli.conftest import Shell
from gate.tests.cli.processes import COMMAND, ask, call, command, made, serving
from gate.tests.ports import free_port
from gate.tests.verify.mutations import CHANGES, mutated
from gate.tests.verify.verifiers import SCRIPT, independent, ours

FORMS = ["export.jsonl", "thread.jsonl", "thread.json", "thread.html"]


@pytest.fixture
def used(shell: Shell) -> Shell:
    for name in ("bot", "other", "third"):
        shell.done("agent", "create", name)
    return shell


def test_the_whole_log_is_written_for_its_owner_alone_and_is_sound(used: Shell, tmp_path: Path) -> None:
    told = used.json("audit", "export", "--out", "all.jsonl")
    header = json.loads(Path("all.jsonl").read_text().split("\n")[0])
    assert (told["kind"], told["entries"]) == ("tenant", header["size"])
    assert os.stat("all.jsonl").st_mode & 0o777 == 0o600
    assert [name for name in os.listdir(tmp_path) if "partial" in name] == []
    assert (ours("all.jsonl").code, independent("all.jsonl").code) == (0, 0)


@pytest.mark.parametrize("change", CHANGES)
def test_one_change_to_the_file_is_found(used: Shell, change: str) -> None:
    used.done("audit", "export", "--out", "all.jsonl")
    Path("changed.jsonl").write_bytes(mutated(Path("all.jsonl").read_bytes(), change))
    assert (ours("changed.jsonl").code, independent("changed.jsonl").code) == (1, 1)


def test_the_export_is_in_the_log_before_it_is_written(used: Shell) -> None:
    used.done("audit", "export", "--out", "all.jsonl")
    last = json.loads(Path("all.jsonl").read_text().splitlines()[-1])
    leaf = json.loads(last["leaf"])
    assert (leaf["event"], leaf["actor"]["kind"]) == ("audit.exported", "command_line")


def test_a_time_range_is_sound(used: Shell) -> None:
    used.done("audit", "export", "--out", "range.jsonl", "--from", "2026-01-01", "--to", "2999-01-01T00:00:00+01:00")
    assert (ours("range.jsonl").code, independent("range.jsonl").code) == (0, 0)


def test_a_later_export_extends_an_earlier_checkpoint(used: Shell) -> None:
    used.done("audit", "export", "--out", "early.jsonl")
    header = json.loads(Path("early.jsonl").read_text().split("\n")[0])
    Path("saved").write_text(header["checkpoint"])
    used.done("audit", "export", "--out", "late.jsonl", "--from", "2026-01-01", "--since", "saved")
    both = [one("late.jsonl", "--checkpoint", "saved").code for one in (ours, independent)]
    assert both == [0, 0]


def test_a_file_that_is_there_stays_unless_forced(used: Shell) -> None:
    Path("all.jsonl").write_text("mine")
    assert "--force" in used.refused("audit", "export", "--out", "all.jsonl")
    assert Path("all.jsonl").read_text() == "mine"
    listed = used.stored(lambda tx: tx.audit.list_entries("default"))
    assert "audit.exported" not in [entry.event for _, entry in listed]
    used.done("audit", "export", "--out", "all.jsonl", "--force")
    assert ours("all.jsonl").code == 0


def test_an_export_that_fails_leaves_no_file(used: Shell, tmp_path: Path) -> None:
    used.refused("audit", "export", "--out", "thread.json", "--thread", "THR-x")
    assert [name for name in os.listdir(tmp_path) if "thread" in name] == []


def test_a_folder_that_is_not_there_is_said(used: Shell) -> None:
    assert "nowhere/all.jsonl" in used.refused("audit", "export", "--out", "nowhere/all.jsonl")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--thread", "THR-x", "--from", "2026-01-01"],
        ["--thread", "THR-x", "--request", "req_x"],
        ["--format", "html"],
        ["--format", "pdf"],
        ["--from", "yesterday"],
        ["--since", "no-such-file"],
        ["--attachments"],
    ],
)
def test_what_cannot_be_meant_is_a_usage_error_and_records_nothing(used: Shell, arguments: list[str]) -> None:
    used.refused("audit", "export", "--out", "x.jsonl", *arguments, code=2)
    listed = used.stored(lambda tx: tx.audit.list_entries("default"))
    assert "audit.exported" not in [entry.event for _, entry in listed]


def test_a_table_is_said_to_prove_nothing(used: Shell) -> None:
    assert "proves nothing" in used.done("audit", "export", "--out", "all.csv")
    assert Path("all.csv").read_text().startswith("# stacksona-audit-1 ")


def test_every_form_of_a_thread_is_written_beside_a_server_and_sound_without_it(database: str, tmp_path: Path) -> None:
    port = free_port()
    key = made("agent", "create", "bot", "--database", database)["key"]
    with serving(database, port):
        thread = ask(port, key)["thread_id"]
        for name in FORMS:
            which = ["--thread", thread] if name.startswith("thread") else []
            done = command("audit", "export", "--out", str(tmp_path / name), *which, "--database", database)
            assert done.returncode == 0, done.stderr
        assert call(port, "GET", f"/api/agent/decisions?thread_id={thread}", key)[1]["status"] == "pending_review"
    for name in FORMS:
        alone = subprocess.run([COMMAND, "audit", "verify", name], cwd=tmp_path, capture_output=True, check=False)
        other = subprocess.run([sys.executable, str(SCRIPT), name], cwd=tmp_path, capture_output=True, check=False)
        assert (alone.returncode, other.returncode) == (0, 0), (alone.stdout, other.stdout)


def test_masked_values_are_withheld_when_that_is_asked_for(database: str, tmp_path: Path) -> None:
    port = free_port()
    key = made("agent", "create", "bot", "--database", database)["key"]
    with serving(database, port):
        body = {"tool_name": "pay", "subject": "Pay", "payload": {"card": "4111 1111 1111 1111"}}
        thread = call(port, "POST", "/api/agent/tasks/t-1/requests", key, body)[1]["thread_id"]
    for name in ("masked.jsonl", "masked.html"):
        target = str(tmp_path / name)
        done = command("audit", "export", "--out", target, "--thread", thread, "--redacted", "--database", database)
        assert done.returncode == 0, done.stderr
        assert "4111 1111 1111 1111" not in Path(target).read_text()
        assert (ours(target).code, independent(target).code) == (0, 0)
    whole = str(tmp_path / "whole.json")
    command("audit", "export", "--out", whole, "--thread", thread, "--database", database)
    assert "4111 1111 1111 1111" in Path(whole).read_text()
