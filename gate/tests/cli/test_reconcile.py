"""``reconcile``: exit codes, what is printed, what is written, and a real server beside it."""

from __future__ import annotations

import csv
import json
import os
import resource
import subprocess
from pathlib import Path
from typing import Any

import pytest
from gate.tests.cli.conftest import Shell
from gate.tests.cli.processes import COMMAND, ask, command, made, redeem, serving
from gate.tests.growth import ratio
from gate.tests.ports import free_port

POLICY = "version: 1\ntools:\n  issue_refund:\n    default: allow\n"


@pytest.fixture
def empty(shell: Shell) -> Shell:
    shell.done("agent", "create", "bot")
    return shell


def log(tmp_path: Path, text: str | bytes, name: str = "log.csv") -> str:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def test_a_log_that_agrees_is_exit_code_0(empty: Shell, tmp_path: Path) -> None:
    assert "0 findings" in empty.done("reconcile", log(tmp_path, "request_id\n"))


def test_a_finding_is_exit_code_1_and_says_its_line(empty: Shell, tmp_path: Path) -> None:
    result = empty("reconcile", log(tmp_path, "request_id\nreq_x\n"))
    assert result.exit_code == 1
    assert "executed without approval: 1\n  line 2: req_x: the gate has no such request" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-file.csv"],
        ["log.csv", "--map", "amount=nowhere"],
        ["log.csv", "--map", "nonsense"],
        ["log.csv", "--format", "xml"],
        ["log.csv", "--since", "yesterday"],
        ["broken.jsonl"],
        ["log.txt"],
        ["log.csv", "--out", "there.csv"],
    ],
)
def test_what_cannot_be_compared_is_exit_code_2_and_prints_no_result(
    empty: Shell, tmp_path: Path, arguments: list[str]
) -> None:
    for name, text in (("log.csv", "request_id\nreq_x\n"), ("log.txt", ""), ("there.csv", "kept")):
        log(tmp_path, text, name)
    log(tmp_path, '{"request_id": "a", "request_id": "b"}', "broken.jsonl")
    said = empty.refused("reconcile", *arguments, code=2)
    assert said
    assert (tmp_path / "there.csv").read_text() == "kept"


def test_a_database_that_cannot_be_opened_is_no_finding(tmp_path: Path) -> None:
    broken = log(tmp_path, "this is no database at all", "gate.db")
    Shell(f"sqlite:///{broken}").refused("reconcile", log(tmp_path, "request_id\n"), code=2)


def test_json_is_one_value_with_counts_and_findings(empty: Shell, tmp_path: Path) -> None:
    result = empty("reconcile", log(tmp_path, "request_id\nreq_x\n\nreq_y\n"), "--json")
    value = json.loads(result.stdout)
    assert (value["executions"], value["counts"]["executed_without_approval"]) == (2, 2)
    assert [one["line"] for one in value["findings"]] == [2, 4]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "＝", "'"])
def test_no_cell_that_is_written_can_run_in_a_spreadsheet(empty: Shell, tmp_path: Path, start: str) -> None:
    hostile = f"{start}HYPERLINK(1)"
    file = tmp_path / "log.jsonl"
    file.write_text(json.dumps({"request_id": "req_x", "tool": hostile}))
    assert empty("reconcile", str(file), "--out", "found.csv").exit_code == 1
    with open("found.csv", newline="") as written:
        (row,) = csv.DictReader(written)
    assert row["tool"] == "'" + hostile


def test_findings_are_written_whole_and_for_their_owner_alone(empty: Shell, tmp_path: Path) -> None:
    file = log(tmp_path, "request_id\nreq_x\n")
    assert empty("reconcile", file, "--out", "found.jsonl").exit_code == 1
    assert os.stat("found.jsonl").st_mode & 0o777 == 0o600
    assert json.loads(Path("found.jsonl").read_text())["request_id"] == "req_x"
    assert [name for name in os.listdir() if "partial" in name] == []


def test_force_overwrites_what_was_found_before(empty: Shell, tmp_path: Path) -> None:
    file = log(tmp_path, "request_id\nreq_x\n")
    log(tmp_path, "old", "found.jsonl")
    assert empty("reconcile", file, "--out", "found.jsonl", "--force").exit_code == 1
    assert "req_x" in Path("found.jsonl").read_text()


def test_what_a_log_holds_moves_no_cursor(empty: Shell, tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text(json.dumps({"request_id": "req\x1b[2Jx\u202e"}))
    printed = empty("reconcile", str(file)).stdout
    assert "\x1b" not in printed
    assert "\u202e" not in printed


def test_people_see_fifty_of_a_kind_and_where_the_rest_is(empty: Shell, tmp_path: Path) -> None:
    rows = "".join(f"req_{i}\n" for i in range(60))
    printed = empty("reconcile", log(tmp_path, "request_id\n" + rows)).stdout
    assert printed.count("no such request") == 50
    assert "and 10 more" in printed


def test_a_log_is_compared_beside_a_running_server(database: str, tmp_path: Path) -> None:
    port = free_port()
    command("policy", "apply", log(tmp_path, POLICY, "policy.yaml"), "--database", database)
    key = made("agent", "create", "bot", "--database", database)["key"]
    with serving(database, port):
        answers: list[dict[str, Any]] = [ask(port, key, task=f"task-{i}", amount=i + 1) for i in range(3)]
        for i, answer in enumerate(answers):
            assert redeem(port, key, answer["approval_token"], amount=i + 1, task=f"task-{i}")[0] == 200
        text = f"ref,sum\n{answers[0]['request_id']},1.00\n{answers[1]['request_id']},20\n"
        done = command(
            *("reconcile", log(tmp_path, text), "--map", "request_id=ref,amount=sum"),
            *("--tool", "issue_refund", "--json", "--database", database),
        )
    counts = json.loads(done.stdout)["counts"]
    assert done.returncode == 1
    assert (counts["executed_with_other_arguments"], counts["approved_and_never_executed"]) == (1, 1)


@pytest.mark.slow
def test_two_hundred_thousand_lines_take_little_memory_and_linear_time(empty: Shell, tmp_path: Path) -> None:
    def seconds(lines: int) -> float:
        file = log(tmp_path, "request_id,amount\n" + "".join(f"req_{i:026d},{i}\n" for i in range(lines)))
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        limited = (
            f"ulimit -v 1500000; exec {COMMAND} --database {empty.database} reconcile {file} --out found.jsonl --force"
        )
        done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, timeout=900, check=False)
        assert (done.returncode, f"{lines:,} executions" in done.stdout) == (1, True), done.stderr
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before

    # Four times the lines: quadratic would be 16 times the time.
    assert ratio(lambda: seconds(200_000), lambda: seconds(50_000), below=8) < 8
