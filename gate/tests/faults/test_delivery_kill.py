"""A gate killed at every step from decision to delivery: what was decided arrives, and nothing else does."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from gate.tests.factories import PATIENCE, ROOT_SECRET, TENANT, Clock, SQLiteDatabase, World, world
from gate.tests.faults.delivering import worker_of
from gate.tests.outbox import deliveries, endpoint, give_address, until
from gate.tests.processes import child

from stacksona_gate.delivery.signatures import verified
from stacksona_gate.domain.webhooks import Delivery
from stacksona_gate.main import build_gate
from stacksona_gate.service.endpoints import opened_secrets
from stacksona_gate.service.environment import Environment, system_clock
from stacksona_gate.service.secrets import RootSecret

ROUNDS: Final = 40
SEED: Final = 20261125
POINTS: Final = (
    "decision.before_commit",
    "decision.after_commit",
    "delivery.claimed",
    "delivery.sent",
    "delivery.recorded",
)
LIFE_SECONDS: Final = 1.5
"""Until a life whose point was not reached is ended from outside."""


@dataclass
class Inbox:
    """A receiver in this process: headers and body of every call that came in whole."""

    url: str = ""
    calls: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head)}
            body = await reader.readexactly(int(headers["content-length"]))
            self.calls.append((headers, body))
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # whoever called was killed
        finally:
            writer.close()

    def bodies(self) -> dict[str, set[bytes]]:
        """Every body that came under an id."""
        found = defaultdict(set)
        for headers, body in self.calls:
            found[headers["webhook-id"]].add(body)
        return found


@asynccontextmanager
async def inbox() -> AsyncIterator[Inbox]:
    made = Inbox()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    async with server:
        yield made


async def lives(w: World, path: str) -> list[dict[str, Any]]:
    """What a gate said over its lives on one file, each ended at a point or by the clock."""
    chance = random.Random(SEED)  # noqa: S311 - repeatable on purpose
    facts: list[dict[str, Any]] = []
    for life in range(ROUNDS):
        point, count = POINTS[life % len(POINTS)], str(chance.randint(1, 12))
        arguments = (path, w.key, w.reviewer.id, f"life-{life}", point, count)
        async with child("gate.tests.faults.delivering", *arguments) as running:
            assert json.loads(await running.hear()) == {"do": "start"}
            ending = asyncio.get_running_loop().call_later(LIFE_SECONDS, running.process.kill)
            while line := await asyncio.wait_for(running.hear(), 6 * PATIENCE):
                if line.endswith("}"):
                    facts.append(json.loads(line))
            ending.cancel()
    return facts


async def last_life(path: str, w: World) -> World:
    """A gate that is not killed, until nothing is pending."""
    gate = await build_gate(SQLiteDatabase(path).open(), Environment(), RootSecret(ROOT_SECRET))
    last = World(gate, w.clock, w.database, w.agent, w.key, w.admin, w.reviewer, w.other_reviewer, w.auditor)

    async def nothing_waits() -> bool:
        return await gate.store.read(lambda tx: tx.webhooks.queue().pending) == 0

    worker = worker_of(gate)
    worker.start()
    await until(nothing_waits, 4 * PATIENCE)
    await worker.stop()
    return last


async def lost_decisions(w: World, facts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    words = {"approve": "approved", "reject": "rejected"}
    stored = {fact["id"]: await w.read(lambda tx, one=fact["id"]: tx.requests.find(TENANT, one)) for fact in facts}  # type: ignore[misc]
    return [fact for fact in facts if getattr(stored[fact["id"]], "status", None) != words[fact["verdict"]]]


def sent_at(headers: dict[str, str]) -> int:
    return int(headers["webhook-timestamp"]) * 1_000_000


def without_arrival(outbox: list[Delivery], arrived: Counter[str]) -> list[Delivery]:
    return [one for one in outbox if one.state != "superseded" and not (one.state == "delivered" and arrived[one.id])]


@pytest.mark.slow
async def test_whatever_step_a_gate_is_killed_at_what_it_decided_arrives_and_nothing_else(tmp_path: Path) -> None:
    path = str(tmp_path / "gate.db")
    async with inbox() as receiver:
        async with world(SQLiteDatabase(path), clock=Clock(system_clock())) as made:
            await give_address(made, receiver.url)
        facts = await lives(made, path)
        w = await last_life(path, made)
    outbox = await deliveries(w)
    decided = {one.request_id for one in outbox if one.event != "decision.revision_requested"}
    statuses = await w.read(lambda tx: tx.requests.list_pending_of_agent(TENANT, w.agent.id))
    arrived = Counter(headers["webhook-id"] for headers, _ in receiver.calls)
    secrets = opened_secrets(w.gate.root, w.agent.id, ((await endpoint(w)).secret or "",))

    assert len(facts) > ROUNDS
    assert await lost_decisions(w, facts) == []
    assert {fact["id"] for fact in facts} <= decided, "decided, and nothing put for it"
    assert not {request.id for request in statuses} & decided, "put for what was not decided"
    assert without_arrival(outbox, arrived) == []
    assert set(arrived) <= {one.id for one in outbox}, "arrived, and was never committed"
    assert receiver.bodies() == {one.id: {one.body.encode()} for one in outbox if arrived[one.id]}
    assert all(verified(secrets, headers, body, sent_at(headers)) for headers, body in receiver.calls)
    assert max(arrived.values()) > 1, "nothing was sent twice: the kills came at no bad moment"
    w.store.close()  # type: ignore[attr-defined]
