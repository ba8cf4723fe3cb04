"""The bridge and the gate as processes of their own, with the gate's own webhooks between them."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gate.tests.cli.processes import COMMAND, Running, call, command, made, running
from gate.tests.ports import free_port
from integrations.bridge.tests.fake_dify import KEY, FakeDify, FakeForm, FakeRun, dify
from integrations.bridge.tests.house import APPS, SIGNING, TOKEN
from integrations.bridge.tests.polling import until
from integrations.bridge.tests.test_gatekeeper import until_answered

pytestmark = pytest.mark.slow

BRIDGE = str(Path(sys.executable).with_name("stacksona-bridge"))
PATIENCE = 60.0


@dataclass
class Street:
    """A gate with two agents whose webhooks go to the bridge, and who may decide."""

    dify: FakeDify
    gate: int
    port: int
    agent: dict[str, Any]
    keeper: dict[str, Any]
    token: str
    database: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "BRIDGE_GATE_URL": f"http://127.0.0.1:{self.gate}",
            "BRIDGE_GATE_KEY": self.agent["key"],
            "BRIDGE_WEBHOOK_SECRETS": self.agent["webhook_secret"],
            "BRIDGE_CALLERS": f"shop:{TOKEN}",
            "BRIDGE_DIFY_URL": self.dify.url,
            "BRIDGE_DIFY_APPS": json.dumps({"refunds": APPS["refunds"]}),
            "BRIDGE_SIGNING_KEYS": SIGNING,
            "BRIDGE_GATEKEEPER_KEY": self.keeper["key"],
            "BRIDGE_GATEKEEPER_WEBHOOK_SECRETS": self.keeper["webhook_secret"],
            "BRIDGE_HOLD_SECONDS": "0",
            "BRIDGE_LOG_LEVEL": "debug",
        }

    @contextmanager
    def bridge(self) -> Iterator[Running]:
        with running(BRIDGE, "serve", "--port", str(self.port), **self.environment) as process:
            process.line("Stacksona Bridge on", str(self.port))
            yield process

    async def call(self, port: int, method: str, path: str, key: str, body: object = None) -> tuple[int, Any]:
        return await asyncio.to_thread(call, port, method, path, key, body)

    async def asked(self, **fields: object) -> Any:
        body = {"tool_name": "issue_refund", "subject": "Refund", "payload": {"amount": 500}, **fields}
        path = "/api/agent/tasks/task-1/requests"
        status, answer = await self.call(self.gate, "POST", path, self.agent["key"], body)
        assert (status, answer["status"]) == (200, "pending_review")
        return answer

    async def review(self, thread_id: str, verdict: str = "approve") -> None:
        said = {"verdict": verdict, "revision": 1, "message": "looked"}
        path = f"/api/review/threads/{thread_id}/reviews"
        status, answer = await self.call(self.gate, "POST", path, self.token, said)
        assert status == 200, answer

    async def waiting(self) -> str | None:
        """A thread that people have to look at."""
        _, found = await self.call(self.gate, "GET", "/api/review/threads?folder=new", self.token)
        return next((str(one["thread_id"]) for one in found["threads"]), None)

    async def attempts(self, least: int) -> list[int | None] | None:
        """Statuses of the attempts of all deliveries, once there are that many."""
        listed = await asyncio.to_thread(made_list, self.database)
        statuses = [one["status"] for delivery in listed for one in delivery["attempts"]]
        return statuses if len(statuses) >= least else None


def made_list(database: str) -> list[dict[str, Any]]:
    rows = json.loads(command("webhooks", "list", "--database", database, "--json").stdout)
    return [made("webhooks", "show", row["id"], "--database", database) for row in rows]


@pytest.fixture
async def street(tmp_path: Path) -> AsyncIterator[Street]:
    database, gate, port = f"sqlite:///{tmp_path}/gate.db", free_port(), free_port()
    hook = f"http://127.0.0.1:{port}/webhooks/gate"
    agents = [made("agent", "create", name, "--webhook", hook, "--database", database) for name in ("bot", "keeper")]
    mail = ["rita@example.com", "--database", database]
    command("user", "create", *mail, "--role", "admin", "--password-stdin", given="correct horse battery staple\n")
    token = made("token", "create", *mail)["token"]
    serve = (COMMAND, "serve", "--port", str(gate), "--database", database)
    async with dify() as fake:
        with running(*serve, STACKSONA_ALLOWED_NETWORKS="127.0.0.0/8") as server:
            server.line("Stacksona Gate on")
            yield Street(fake, gate, port, agents[0], agents[1], token, database)


def waits(run: FakeRun) -> dict[str, str]:
    told = {"resume": "human_input", "run_id": run.id, "user": run.user, "node": "pause"}
    return {f"dify_{name}": value for name, value in told.items()}


async def test_dify_is_down_and_the_gates_own_retries_finish_the_job(street: Street) -> None:
    run = street.dify.add(FakeForm("pause", ("decided",)))
    asked = await street.asked(metadata=waits(run))
    street.dify.down = 503
    with street.bridge():
        await street.review(asked["thread_id"])
        async with asyncio.timeout(PATIENCE):
            await street.dify.refused.wait()
        street.dify.down = None
        assert await until_answered(run) == ("decided", "user-1", {})
        assert await until(lambda: street.attempts(2), PATIENCE) == [503, 200]


async def test_a_bridge_that_was_restarted_meanwhile_finishes_a_kept_form(street: Street) -> None:
    form = FakeForm("approval", ("approve", "decline"), {"amount": "500", "currency": "usd"})
    street.dify.starting = lambda key, said: FakeRun(key, said["user"], [form])
    start = {"inputs": {}, "response_mode": "blocking", "user": "user-1"}
    with street.bridge() as first:
        status, answer = await street.call(street.port, "POST", "/v1/workflows/run", TOKEN, start)
        assert (status, answer["data"]["status"]) == (200, "paused")
        assert form.token not in json.dumps(answer)
        assert await asyncio.to_thread(first.end, signal.SIGTERM) == 0
    await street.review(await until(street.waiting))
    with street.bridge() as second:
        run = next(iter(street.dify.runs.values()))
        assert await until_answered(run) == ("approve", "user-1", {"amount": "500", "currency": "usd"})
        assert await asyncio.to_thread(second.end, signal.SIGTERM) == 0
    logs = "".join(first.errors + second.errors)
    assert shown(logs, street) == []


def shown(logs: str, street: Street) -> list[str]:
    """Secrets that are in the logs."""
    environment = street.environment
    settings = [environment[f"BRIDGE_{name}"] for name in ("GATE_KEY", "WEBHOOK_SECRETS", "SIGNING_KEYS")]
    keeping = [environment[f"BRIDGE_GATEKEEPER_{name}"] for name in ("KEY", "WEBHOOK_SECRETS")]
    tokens = [form.token for run in street.dify.runs.values() for form in run.answered]
    return [one for one in [*settings, *keeping, *tokens, TOKEN, KEY] if one in logs]


async def test_a_bridge_told_to_end_answers_who_waits_and_ends_well(street: Street) -> None:
    body = {"task_id": "t", "tool_name": "issue_refund", "subject": "Refund", "payload": {"amount": 500}, "wait": 120}
    with street.bridge() as process:
        waiting = asyncio.create_task(street.call(street.port, "POST", "/decisions", TOKEN, body))
        await until(street.waiting)
        assert await asyncio.to_thread(process.end, signal.SIGTERM) == 0
        status, answer = await waiting
    assert (status, answer["status"]) == (200, "pending_review")


def test_settings_that_cannot_be_used_end_it_with_their_name() -> None:
    with running(BRIDGE, "serve", BRIDGE_GATE_URL="http://127.0.0.1:1", BRIDGE_GATE_KEY="sg_x") as process:
        assert process.process.wait(PATIENCE) == 2
        assert process.end() == 2
    assert "BRIDGE_CALLERS is missing" in "".join(process.errors)
