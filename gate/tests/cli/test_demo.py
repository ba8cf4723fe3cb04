"""The demo, served by the real command, and its agent over HTTP."""

from __future__ import annotations

import asyncio
import json
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from gate.tests.cli.processes import COMMAND, Json, Running, ask, call, made, running, send, serving
from gate.tests.ports import free_port

from stacksona_gate.config import read_settings
from stacksona_gate.main import opened
from stacksona_gate.service.people import get_user
from stacksona_gate.service.reviews import Verdict, review
from stacksona_gate.service.secrets import password_matches

pytestmark = pytest.mark.slow

TENANT = "default"
REVIEWER = "reviewer@example.com"
GUIDE = """\
curl -X POST "$STACKSONA_GATE_URL/api/agent/tasks/task-refund-8821/requests"   -H "Authorization: Bearer \
$STACKSONA_API_KEY"   -H "Content-Type: application/json"   -d '{
    "workflow_name": "Customer Support",
    "task_label": "Refund request for order #8821",
    "tool_name": "issue_refund",
    "subject": "Issue a $500 refund to customer cus_99",
    "risk_level": "high",
    "payload": { "amount": 500, "currency": "usd", "customer_id": "cus_99" }
  }'
"""


@contextmanager
def demo(database: str, port: int) -> Iterator[Running]:
    with running(COMMAND, "demo", "--port", str(port), "--database", database) as process:
        process.line("Stacksona Gate demo", str(port))
        yield process


def decide(database: str, thread_id: str, verdict: str = "approve", payload: Json | None = None) -> None:
    """The demo's reviewer decides, in this process."""

    async def run() -> None:
        async with opened(read_settings({}, database_url=database)) as gate:
            said = Verdict(verdict, f"I {verdict}", 1, payload)
            await gate.store.write(lambda tx: review(tx, gate.env, get_user(tx, TENANT, REVIEWER), thread_id, said))

    asyncio.run(run())


def can_sign_in(database: str, email: str, password: str) -> bool:
    async def run() -> bool:
        async with opened(read_settings({}, database_url=database)) as gate:
            user = await gate.store.read(lambda tx: get_user(tx, TENANT, email))
            return password_matches(user.password_hash, password)

    return asyncio.run(run())


def thread_in(line: str) -> str:
    found = re.search(r"THR-\w{26}", line)
    assert found, line
    return found[0]


def test_the_demo_from_the_first_question_to_the_refused_second_redemption(database: str) -> None:
    with demo(database, free_port()) as gate:
        gate.line("refund of 40 usd", ": allow (rule Small refunds")
        gate.line("approval redeemed, refunded 40 usd")
        gate.line("outcome reported: executed")
        pending = gate.line("refund of 500 usd", ": pending_review", "decide at http://")
        gate.line("refund of 9000 usd", ": reject (rule Large refunds", "not refunded")
        assert not any("refunded 500" in line or "refunded 9000" in line for line in gate.lines)
        decide(database, thread_in(pending))
        gate.line("refund of 500 usd", ': approved (reviewer): "I approve"')
        gate.line("approval redeemed, refunded 500 usd to cus_99")
        gate.line("outcome reported: executed")
        gate.line("second redemption", "refused: already_used")
        assert gate.end() == 0
        assert gate.errors == []


def test_what_a_reviewer_rejects_is_not_refunded_and_what_they_edit_is_refunded_so(database: str) -> None:
    port = free_port()
    with demo(database, port) as gate:
        decide(database, thread_in(gate.line("refund of 500 usd", "decide at")), "reject")
        gate.line("refund of 500 usd", ': rejected (reviewer): "I reject"')
        gate.line("  not refunded")
        gate.end()
    with demo(database, port) as gate:
        edited = {"amount": 120, "currency": "usd", "customer_id": "cus_99"}
        decide(database, thread_in(gate.line("refund of 500 usd", "decide at")), payload=edited)
        gate.line("refund of 120 usd", ": approved (reviewer, edited by the reviewer)")
        gate.line("refunded 120 usd to cus_99")
        gate.end()
        assert not any("refunded 500" in line for line in gate.lines)


def test_started_again_the_demo_keeps_its_data_and_lets_people_in_with_what_it_prints(database: str) -> None:
    port = free_port()
    with demo(database, port) as gate:
        old = gate.line("agent key").split()[-1]
        thread = thread_in(gate.line("refund of 500 usd", "decide at"))
        gate.end(signal.SIGTERM)
    with demo(database, port) as gate:
        password, admin_password = gate.line("reviewer  ").split()[-1], gate.line("admin  ").split()[-1]
        key = gate.line("agent key").split()[-1]
        gate.line("asked before this start, pending_review: refund of 500 usd")
        fresh = gate.line("refund of 500 usd", "decide at")
        assert thread_in(fresh) != thread
        status = [call(port, "GET", f"/api/agent/decisions?thread_id={thread}", one)[0] for one in (old, key)]
        assert status == [401, 200]
        decide(database, thread)
        gate.line("refund of 500 usd", ": approved")
        gate.line("refunded 500 usd")
    assert can_sign_in(database, REVIEWER, password)
    assert can_sign_in(database, "admin@example.com", admin_password)


def test_without_a_database_named_the_demo_keeps_its_data_in_this_folder(tmp_path: Path) -> None:
    with running(COMMAND, "demo", "--port", str(free_port())) as gate:
        gate.line("outcome reported")
        assert gate.end() == 0
    assert {"gate.db", "gate.db.key"} <= {path.name for path in (tmp_path / ".demo").iterdir()}
    assert [path.name for path in tmp_path.iterdir()] == [".demo"]


def test_the_guides_example_runs_as_printed(database: str) -> None:
    port = free_port()
    with demo(database, port) as gate:
        gate.line("The demo agent asks")
        text = "\n".join(gate.lines)
        printed = text[text.index("export STACKSONA_GATE_URL") : text.index("The demo agent asks")]
        assert printed.partition("\n\n")[2].startswith(GUIDE)
        answers = [by_hand(port, printed)]
        if shutil.which("curl"):
            done = subprocess.run(["sh", "-c", printed], capture_output=True, text=True, timeout=60, check=True)
            answers.append(json.loads(done.stdout))
    assert {answer["status"] for answer in answers} == {"pending_review"}
    assert {answer["task_id"] for answer in answers} == {"task-refund-8821"}


def by_hand(port: int, printed: str) -> Json:
    """What curl sends for the printed lines, byte by byte."""
    words = shlex.split(printed)
    variables = dict(word.split("=", 1) for word in words if word.startswith("STACKSONA_"))
    path, authorization, body = words[words.index("POST") + 1], words[words.index("-H") + 1], words[-1]
    assert path.removeprefix("$STACKSONA_GATE_URL") == "/api/agent/tasks/task-refund-8821/requests"
    key = authorization.replace("$STACKSONA_API_KEY", variables["STACKSONA_API_KEY"]).partition(": ")[2]
    headers = {"Authorization": key, "Content-Type": "application/json"}
    status, answer = send(port, "POST", path.removeprefix("$STACKSONA_GATE_URL"), headers, body.encode())
    assert status == 200
    return answer


def ask_until_killed(port: int, key: str, answers: list[Json]) -> None:
    """Notes every answer that came back whole."""
    number = 0
    try:
        while True:
            number += 1
            answers.append(ask(port, key, task=f"task-{number}", amount=(40, 500, 9000)[number % 3]))
    except (OSError, ValueError, AssertionError):
        return


def test_answers_given_stay_true_when_the_gate_is_killed_and_who_waits_comes_back(database: str) -> None:
    port = free_port()
    key = str(made("agent", "create", "teller", "--database", database)["key"])
    environment = {"STACKSONA_GATE_URL": f"http://127.0.0.1:{port}", "STACKSONA_API_KEY": key}
    answers: list[Json] = []
    with (
        demo(database, port) as gate,
        running(sys.executable, "-m", "stacksona_gate.demo.agent", **environment) as agent,
    ):
        thread = thread_in(agent.line("refund of 500 usd", "decide at"))
        asking = threading.Thread(target=ask_until_killed, args=(port, key, answers))
        asking.start()
        asking.join(random.uniform(0.05, 1.5))  # noqa: S311 - any moment will do
        gate.end(signal.SIGKILL)
        asking.join(60)
        decide(database, thread)
        with serving(database, port):
            agent.line("refund of 500 usd", ": approved")
            agent.line("refunded 500 usd")
            agent.line("second redemption", "already_used")
            kept = [call(port, "GET", f"/api/agent/decisions?request_id={one['request_id']}", key) for one in answers]
    assert [(status, body.get("status")) for status, body in kept] == [(200, one["status"]) for one in answers]
