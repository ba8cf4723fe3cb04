"""A gate killed at every step from decision to delivery and seal: what was decided arrives, nothing else does, and the
log has one history."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from gate.tests.factories import PATIENCE, ROOT_SECRET, TENANT, Clock, SQLiteDatabase, World, world
from gate.tests.faults.delivering import UNDONE, worker_of
from gate.tests.outbox import deliveries, endpoint, give_address, until
from gate.tests.processes import child

from stacksona_gate.delivery.signatures import verified
from stacksona_gate.domain.merkle import append, leaf_hash, root_of
from stacksona_gate.domain.webhooks import Delivery
from stacksona_gate.main import build_gate
from stacksona_gate.service.endpoints import opened_secrets
from stacksona_gate.service.environment import Environment, system_clock
from stacksona_gate.service.log import seal_now
from stacksona_gate.service.secrets import RootSecret

FILES: Final = 4
"""Each with a history of its own: the longer one is, the longer a gate takes until it is killed."""
ROUNDS: Final = 250
"""Lives on each file: a thousand in all."""
BESIDE: Final = 2
"""So many gates live at once on one file, each with its own rounds."""
SEED: Final = 20261125
POINTS: Final = (
    "decision.before_commit",
    "decision.after_commit",
    "delivery.claimed",
    "delivery.sent",
    "delivery.recorded",
    "seal.before_commit",
    "seal.after_commit",
)


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


async def lives(w: World, path: str, rounds: range) -> list[dict[str, Any]]:
    """What a gate said over its lives on one file, each ended at a point or by the clock."""
    chance = random.Random(SEED + rounds.start)  # noqa: S311 - repeatable on purpose
    facts: list[dict[str, Any]] = []
    async with child("gate.tests.faults.delivering") as gates:
        for life in rounds:
            point, count = POINTS[life % len(POINTS)], chance.randint(1, 6)
            await gates.say(f"{path} {w.key} {w.reviewer.id} life-{life} {point} {count}")
            while (fact := json.loads(await gates.hear()))["do"] != "ended":
                facts.append(fact)
            facts.append(fact)
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


def broken_history(leaves: list[tuple[int, str]], sealed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Checkpoints that were told of and are not what the log begins with."""
    hashes = [leaf_hash(leaf.encode()) for _, leaf in leaves]
    tiles: dict[tuple[int, int], bytes] = {}
    size, roots = 0, dict[int, str]()
    for told in sorted({fact["size"] for fact in sealed}):
        grown = append(lambda level, number: tiles.get((level, number), b""), size, hashes[size:told])
        tiles.update(grown.tiles)
        size, roots[told] = told, grown.root.hex()
    return [fact for fact in sealed if roots[fact["size"]] != fact["root"]]


async def sealed_leaves(w: World) -> list[tuple[int, str]]:
    """The whole log, sealed to its end: index and leaf."""
    checkpoint = await seal_now(w.gate, TENANT)
    page = await w.store.scan(lambda tx: tx.log.list_sealed(TENANT, 0, checkpoint.size, below=checkpoint.size))
    found = [(index, entry.leaf) for index, entry in page]
    assert root_of([leaf_hash(leaf.encode()) for _, leaf in found]) == checkpoint.root
    return found


@pytest.mark.slow
@pytest.mark.parametrize("file", range(FILES))
async def test_whatever_step_a_gate_is_killed_at_what_it_decided_arrives_and_nothing_else(
    file: int, tmp_path: Path
) -> None:
    path = str(tmp_path / "gate.db")
    async with inbox() as receiver:
        async with world(SQLiteDatabase(path), clock=Clock(system_clock())) as made:
            await give_address(made, receiver.url)
        first, share = file * ROUNDS, ROUNDS // BESIDE
        rounds = [range(first + i * share, first + (i + 1) * share) for i in range(BESIDE)]
        told = await asyncio.gather(*(lives(made, path, part) for part in rounds))
        w = await last_life(path, made)
    facts = [fact for one in told for fact in one]
    decisions = [fact for fact in facts if fact["do"] == "decided"]
    sealed = [fact for fact in facts if fact["do"] == "sealed"]
    ends = Counter(fact["signal"] for fact in facts if fact["do"] == "ended")
    outbox = await deliveries(w)
    decided = {one.request_id for one in outbox if one.event != "decision.revision_requested"}
    statuses = await w.read(lambda tx: tx.requests.list_pending_of_agent(TENANT, w.agent.id))
    arrived = Counter(headers["webhook-id"] for headers, _ in receiver.calls)
    secrets = opened_secrets(w.gate.root, w.agent.id, ((await endpoint(w)).secret or "",))
    leaves = await sealed_leaves(w)

    assert set(ends) <= {signal.SIGKILL, signal.SIGALRM}, "a gate ended by itself"
    assert ends[signal.SIGKILL] > ROUNDS // 4, "few lives ended at their point"
    assert len(decisions) > ROUNDS
    assert await lost_decisions(w, decisions) == []
    assert {fact["id"] for fact in decisions} <= decided, "decided, and nothing put for it"
    assert not {request.id for request in statuses} & decided, "put for what was not decided"
    assert without_arrival(outbox, arrived) == []
    assert set(arrived) <= {one.id for one in outbox}, "arrived, and was never committed"
    assert not any(UNDONE in one.body for one in outbox), "put by a transaction that was undone"
    assert not any(UNDONE.encode() in body for _, body in receiver.calls)
    assert receiver.bodies() == {one.id: {one.body.encode()} for one in outbox if arrived[one.id]}
    assert all(verified(secrets, headers, body, sent_at(headers)) for headers, body in receiver.calls)
    assert max(arrived.values()) > 1, "nothing was sent twice: the kills came at no bad moment"
    assert [index for index, _ in leaves] == list(range(len(leaves)))
    assert broken_history(leaves, sealed) == []
    assert len(sealed) > ROUNDS // 10
    w.store.close()  # type: ignore[attr-defined]
