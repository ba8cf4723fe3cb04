"""Agents that ask, wait and redeem, and people who review, at several gates; and what each of them was told."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
import psycopg
from gate.tests.outbox import until

CALL_SECONDS: Final = 25.0
POLL_SECONDS: Final = 10
PAUSE: Final = 0.05
PATIENCE: Final = 60.0
ENOUGH: Final = 25
"""Decisions per gate before a fault and after it."""
RESUME_SECONDS: Final = 5.0
"""Promised: so long after a promotion every gate decides again."""
TRIES: Final = 3
"""Of a whole failover, where one was slower than that."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """An answer that came in. ``do``: decided, polled, reviewed or redeemed."""

    do: str
    id: str
    """Of the request."""
    status: str
    asked: float
    came: float
    gate: int


@dataclass(slots=True)
class Crowd:
    """Everybody asks again until there is an answer; a question keeps its ``Idempotency-Key``."""

    ports: Sequence[int]
    key: str
    token: str
    agents: int = 2
    """Per gate."""
    history: list[Told] = field(default_factory=list)
    strange: list[object] = field(default_factory=list)
    """Answers that nobody may get."""
    failures: Counter[int] = field(default_factory=Counter)
    """503 and calls without an answer, per gate."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    _client: httpx2.AsyncClient = field(default_factory=lambda: httpx2.AsyncClient(timeout=CALL_SECONDS))

    def decided(self, gate: int, since: float = 0.0) -> list[Told]:
        """Decisions of a gate on what was asked after a moment, in the order in which they came in."""
        return [one for one in self.history if one.do == "decided" and one.gate == gate and one.asked >= since]

    async def busy(self, since: float = 0.0) -> None:
        """Until every gate has decided a good deal that was asked after a moment."""
        await until(lambda: all(len(self.decided(gate, since)) >= ENOUGH for gate in self._gates), PATIENCE)

    async def noticed(self) -> None:
        """Until every gate has answered that it decides nothing."""
        before = dict(self.failures)
        await until(lambda: all(self.failures[gate] > before.get(gate, 0) for gate in self._gates), PATIENCE)

    async def resumed(self, since: float, *gates: int) -> float:
        """Seconds until the last of these gates, or of all, decided something that was asked after a moment."""
        chosen = gates or self._gates
        await until(lambda: all(self.decided(gate, since) for gate in chosen), PATIENCE)
        return max(self.decided(gate, since)[0].came for gate in chosen) - since

    @property
    def _gates(self) -> range:
        return range(len(self.ports))

    @asynccontextmanager
    async def busying(self) -> AsyncIterator[None]:
        """At work until the end of the block; raises what went wrong in anybody's hands."""
        async with self._client, asyncio.TaskGroup() as group:
            for gate in self._gates:
                group.create_task(self._asker(gate))
                group.create_task(self._reviewer(gate))
                for number in range(self.agents):
                    group.create_task(self._agent(gate, number))
            try:
                yield
            finally:
                self.over.set()

    async def _asker(self, gate: int) -> None:
        """Never waits for anybody: whether a gate decides is seen here first."""
        for number in itertools.count():
            if self.over.is_set():
                return
            await self._decision(gate, f"quick-{gate}-{number}", 100)
            await asyncio.sleep(PAUSE)

    async def _agent(self, gate: int, agent: int) -> None:
        for number in itertools.count():
            if self.over.is_set():
                return
            task, amount = f"task-{gate}-{agent}-{number}", (500, 100, 6000)[number % 3]
            answer = await self._decision(gate, task, amount)
            while answer is not None and answer["status"] == "pending_review":
                answer = await self._polled(gate, answer["thread_id"])
            if answer is not None and answer.get("approval_token"):
                await asyncio.gather(*(self._redeem(at, answer, amount) for at in self._gates))
            await asyncio.sleep(PAUSE)

    async def _decision(self, gate: int, task: str, amount: int) -> Json | None:
        body = {"tool_name": "issue_refund", "subject": "Refund", "payload": {"amount": amount, "currency": "usd"}}
        path = f"/api/agent/tasks/{task}/requests"
        asked = time.monotonic()
        _, answer = await self._insist(gate, "POST", path, self.key, body, {200}, {"Idempotency-Key": task})
        if answer is not None:
            self._note("decided", answer["request_id"], answer["status"], asked, gate)
        return answer

    async def _polled(self, gate: int, thread_id: str) -> Json | None:
        asked, path = time.monotonic(), f"/api/agent/decisions?thread_id={thread_id}&wait={POLL_SECONDS}"
        _, answer = await self._insist(gate, "GET", path, self.key, None, {200})
        if answer is not None:
            self._note("polled", answer["request_id"], answer["status"], asked, gate)
        return answer

    async def _redeem(self, gate: int, answer: Json, amount: int) -> None:
        body = {
            "task_id": answer["task_id"],
            "signature": answer["approval_token"],
            "tool_name": "issue_refund",
            "payload": {"amount": amount, "currency": "usd"},
        }
        asked, path = time.monotonic(), "/api/agent/approvals/validate"
        status, said = await self._insist(gate, "POST", path, self.key, body, {200, 403})
        if status == 200 and said is not None:
            self._note("redeemed", said["request_id"], said["status"], asked, gate)
        elif status == 403 and said is not None and said["reason"] != "already_used":
            self.strange.append(said)

    async def _reviewer(self, gate: int) -> None:
        """Leaves other tools' threads alone."""
        while not self.over.is_set():
            _, page = await self._insist(gate, "GET", "/api/review/threads?folder=new", self.token, None, {200})
            for thread in page["threads"] if page is not None else []:
                if thread["tool_name"] != "issue_refund":
                    continue
                asked, path = time.monotonic(), f"/api/review/threads/{thread['thread_id']}/reviews"
                body = {"verdict": "approve", "message": "fine", "revision": 1}
                status, _ = await self._insist(gate, "POST", path, self.token, body, {200, 409})
                if status == 200:
                    self._note("reviewed", thread["request_id"], "approved", asked, gate)
            await asyncio.sleep(4 * PAUSE)

    def _note(self, do: str, request_id: str, status: str, asked: float, gate: int) -> None:
        self.history.append(Told(do, request_id, status, asked, time.monotonic(), gate))

    async def _insist(
        self, gate: int, method: str, path: str, key: str, body: Json | None, good: set[int], more: Json | None = None
    ) -> tuple[int, Json | None]:
        """Again until an answer is among the good ones; None when everything is over before."""
        headers = {"Authorization": f"Bearer {key}", **(more or {})}
        while not self.over.is_set():
            with suppress(httpx2.TransportError):
                answer = await self._client.request(
                    method, f"http://127.0.0.1:{self.ports[gate]}{path}", headers=headers, json=body
                )
                if answer.status_code in good:
                    return answer.status_code, answer.json()
                if answer.status_code != 503 or "x-gate-decision" in answer.headers:
                    self.strange.append((answer.status_code, path, answer.text))
            self.failures[gate] += 1
            await asyncio.sleep(PAUSE)
        return 0, None


def untrue(history: Sequence[Told], url: str) -> list[object]:
    """What was told and is not in the database, or differently; and what was redeemed twice."""
    with psycopg.connect(url) as connection:
        rows = {row[0]: row[1:] for row in connection.execute("SELECT id, status, redeemed_at FROM requests")}
        approved = {
            row[0] for row in connection.execute("SELECT request_id FROM reviews WHERE verdict = 'approve'").fetchall()
        }
        twice = connection.execute(
            "SELECT request_id FROM audit WHERE event = 'approval.redeemed' GROUP BY 1 HAVING COUNT(*) > 1"
        ).fetchall()
    redeemed = Counter(one.id for one in history if one.do == "redeemed")
    found: list[object] = [one for one in history if not _holds(one, rows.get(one.id), one.id in approved)]
    return found + twice + [one for one, times in redeemed.items() if times > 1]


def _holds(told: Told, row: tuple[str, int | None] | None, approved: bool) -> bool:
    if row is None:
        return False
    status, redeemed_at = row
    match told.do:
        case "redeemed":
            return status == told.status and redeemed_at is not None
        case "reviewed":
            return status == "approved" and approved
        case _:
            return status == told.status or told.status == "pending_review"
