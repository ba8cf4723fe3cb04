"""What every test may ask for by name, and what holds after every test.

The tool ran only what a live approval covered, once for each: asserted from the tool's own log.
"""

from __future__ import annotations

import functools
import itertools
import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import engine
import httpx._transports.default
import pytest
from faults import hanging
from live import HASTY_SECONDS, Gate, Json, Tool, live_gate, live_tool

# Reading the machine's certificates for each of thousands of plain http calls is most of their time.
_default: Any = httpx._transports.default
_default.create_ssl_context = functools.lru_cache(_default.create_ssl_context)

ALLOWED: Final = 10
REVIEWED: Final = 500
REFUSED: Final = 9000
TOGETHER: Final = 24
HASTY: Final = "hasty"
"""An agent whose threads expire after half a minute, the shortest that the gate takes."""
_NUMBERS: Final = itertools.count(1)


def refund(amount: object = REVIEWED, **changes: object) -> Json:
    """Start inputs; each call another order."""
    inputs = {
        "order_id": f"order-{next(_NUMBERS)}",
        "amount": amount,
        "currency": "usd",
        "customer_id": "cus_99",
        "reason": "arrived broken",
    }
    return {**inputs, **changes}


@dataclass(slots=True)
class Site:
    """A gate, a tool, and runs of templates between them."""

    gate: Gate
    tool: Tool
    tasks: list[tuple[str, str]] = field(default_factory=list)
    """Task and agent of every run of this test."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(
        self,
        name: str,
        inputs: Json | None = None,
        *,
        run_id: str | None = None,
        agent: str = "",
        key: str | None = None,
        gate_url: str | None = None,
        tool_url: str | None = None,
        user: str = "dify-user",
        paused: engine.Run | None = None,
        action: str | None = None,
    ) -> engine.Run:
        """One run of a template, to its end or pause. ``paused`` and ``action`` go on with one."""
        run_id = run_id or self.new_task(agent)
        with self._lock:
            if (run_id, agent) not in self.tasks:
                self.tasks.append((run_id, agent))
        env = {
            "STACKSONA_GATE_URL": gate_url or self.gate.url,
            "STACKSONA_API_KEY": self.gate.keys[agent or self.gate.agent] if key is None else key,
            "TOOL_URL": tool_url or self.tool.url,
        }
        snapshot = None if paused is None else paused.snapshot
        return engine.run(name, env=env, inputs=inputs, run_id=run_id, user=user, snapshot=snapshot, action=action)

    def new_task(self, agent: str = "") -> str:
        """A run's id, remembered with its agent."""
        task = str(uuid.uuid4())
        with self._lock:
            self.tasks.append((task, agent))
        return task

    def redeemed(self) -> list[Json]:
        """Every approval of this test that was redeemed."""
        found = (self.gate.decision(task, agent) for task, agent in self.tasks)
        return [one for one in found if one is not None and one.get("approval_state") == "redeemed"]


def text(payload: object) -> str:
    return json.dumps(payload, sort_keys=True)


@pytest.fixture(scope="session")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with live_gate(tmp_path_factory.mktemp("gate")) as gate:
        yield gate


@pytest.fixture(scope="session")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(TOGETHER) as pool:
        yield pool


@pytest.fixture(scope="session", autouse=True)
def started_early(gate: Gate) -> Iterator[dict[str, Future[engine.Run]]]:
    """Runs that take half a minute without doing anything, begun before the first test and looked at by the last."""
    gate.make_agent(HASTY, expires_in=HASTY_SECONDS)
    with ThreadPoolExecutor(3) as pool, hanging() as nowhere:
        env = {"STACKSONA_GATE_URL": gate.url, "STACKSONA_API_KEY": gate.keys[HASTY], "TOOL_URL": "http://127.0.0.1:1/"}

        def begin(name: str, task: str, **changes: str) -> Future[engine.Run]:
            return pool.submit(engine.run, name, env={**env, **changes}, inputs=refund(), run_id=task)

        yield {
            "hanging": begin("gate-basic.yml", "hanging", STACKSONA_GATE_URL=nowhere),
            "waiting": begin("gate-wait.yml", "hasty-wait"),
            "asked": begin("gate-basic.yml", "hasty-basic"),
        }


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("late") is not None)


@pytest.fixture(autouse=True)
def site(gate: Gate) -> Iterator[Site]:
    """After every test: the tool was called only for redeemed approvals, once for each, with what was approved."""
    gate.agent = f"agent-{next(_NUMBERS)}"
    gate.make_agent(gate.agent)
    with live_tool() as tool:
        site = Site(gate, tool)
        yield site
        only_what_was_approved(site)


def only_what_was_approved(site: Site) -> None:
    """Raises AssertionError for a call of the tool that no redeemed approval covers, or that one covers twice."""
    approved = site.redeemed()
    assert all(one["status"] in ("allow", "approved") for one in approved)
    calls = Counter(text(json.loads(call.body)) for call in site.tool.calls)
    covered = Counter(text(one["payload"]) for one in approved)
    assert not calls - covered, "the tool ran what nobody approved, or ran it again"
    keys = Counter(call.headers.get("idempotency-key") for call in site.tool.calls)
    assert not [key for key, count in keys.items() if key is None or count > 1]
    assert not any("sg_" in text(call.headers) for call in site.tool.calls), "the tool was given the agent's key"


Together = Callable[[Iterable[Callable[[], Any]]], list[Any]]


@pytest.fixture
def together(pool: ThreadPoolExecutor) -> Together:
    """Runs all at once and gives their results in order."""

    def run(calls: Iterable[Callable[[], Any]]) -> list[Any]:
        futures: list[Future[Any]] = [pool.submit(call) for call in calls]
        return [future.result(120) for future in futures]

    return run
