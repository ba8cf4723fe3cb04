"""A gate killed at any moment: every answer that left is still true afterwards, and nothing is half there."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from gate.tests.factories import PATIENCE, ROOT_SECRET, Clock, SQLiteDatabase, World, an_ask, beside, world
from gate.tests.processes import Child, child

from stacksona_gate.domain.errors import Conflict
from stacksona_gate.service.environment import Environment, system_clock
from stacksona_gate.service.requests import idempotency_key
from stacksona_gate.service.secrets import RootSecret, RootWrapping
from stacksona_gate.store.content import Content
from stacksona_gate.store.queries.tenants import REPLAY_ANSWER
from stacksona_gate.store.sqlite_connection import SQLiteRows

ROUNDS = 12
SEED = 20261124

Fact = dict[str, Any]

HALF_THERE = {
    "requests without the entry of their decision": """
        SELECT COUNT(*) FROM requests r WHERE NOT EXISTS (SELECT 1 FROM audit a
        WHERE a.request_id = r.id AND a.event IN ('request.decided', 'thread.opened'))""",
    "entries of requests that are not there": """
        SELECT COUNT(*) FROM audit a WHERE a.request_id NOTNULL
        AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.id = a.request_id)""",
    "approved threads without their review": """
        SELECT COUNT(*) FROM requests r WHERE r.status = 'approved' AND NOT EXISTS (SELECT 1 FROM reviews v
        WHERE v.request_id = r.id AND v.revision = r.revision AND v.verdict = 'approve')""",
    "reviews that decided nothing": """
        SELECT COUNT(*) FROM reviews v JOIN requests r ON r.id = v.request_id WHERE r.status <> CASE v.verdict
        WHEN 'approve' THEN 'approved' ELSE 'rejected' END""",
    "redemptions that are not recorded once": """
        SELECT COUNT(*) FROM requests r WHERE (r.redeemed_at NOTNULL) <> (SELECT COUNT(*) FROM audit a
        WHERE a.request_id = r.id AND a.event = 'approval.redeemed')""",
    "threads rejected by a pause that is not recorded": """
        SELECT COUNT(*) FROM requests r WHERE r.reason_code = 'agent_paused' AND NOT EXISTS (SELECT 1 FROM audit a
        WHERE a.request_id = r.id AND a.event = 'thread.agent_paused')""",
}


def keys_without_request(path: str) -> list[str]:
    """Idempotency keys of requests that are not there. Their answers rest encrypted."""
    content = Content()
    content.unlock(RootWrapping(RootSecret(ROOT_SECRET), Environment()))
    rows = SQLiteRows(path, content=content)
    answers = [content.open(rows, REPLAY_ANSWER, row[0]) for row in rows.all("SELECT answer FROM replays")]
    there = {row[0] for row in rows.all("SELECT id FROM requests")}
    rows.close()
    return [answer for answer in answers if json.loads(answer)["request_id"] not in there]


async def facts_until_killed(worker: Child, seconds: float) -> list[Fact]:
    """Every line that got out. The last one may be cut short: it was no answer yet."""
    assert json.loads(await worker.hear()) == {"do": "start"}
    killing = asyncio.get_running_loop().call_later(seconds, worker.process.kill)
    facts = []
    while line := await worker.hear():
        if line.endswith("}"):
            facts.append(json.loads(line))
    killing.cancel()
    return facts


async def history(w: World, path: str) -> list[Fact]:
    """What a gate answered over several lives on one file."""
    chance = random.Random(SEED)  # noqa: S311 - repeatable on purpose
    facts: list[Fact] = []
    for life in range(ROUNDS):
        async with child("gate.tests.faults.worker", path, w.key, w.reviewer.id, f"life-{life}") as worker:
            facts += await asyncio.wait_for(facts_until_killed(worker, chance.uniform(0.02, 0.6)), 6 * PATIENCE)
    return facts


async def broken_answers(w: World, facts: list[Fact]) -> list[Fact]:
    """Answers that are not true any more."""
    broken = []
    for fact in facts:
        if fact["do"] in ("ask", "review", "redeem"):
            stored = await w.read(lambda tx, fact=fact: tx.requests.find(w.tenant_id, fact["id"]))  # type: ignore[misc]
            kept = (
                stored is not None
                and {
                    "ask": fact.get("status") in ("pending_review", stored.status)
                    and fact.get("digest") == stored.payload_digest,
                    "review": fact.get("status") == stored.status,
                    "redeem": stored.redeemed_at is not None,
                }[fact["do"]]
            )
            if not kept:
                broken.append(fact)
    return broken


async def forgotten_keys(w: World, asked: list[Fact]) -> list[Fact]:
    """Idempotency keys that decide again."""
    forgotten = []
    for fact in asked:
        amount = str(fact["amount"]).encode()
        key = idempotency_key(w.agent.id, "POST", "/requests", fact["name"], "", amount)
        try:
            again = await w.ask(ask=an_ask(fact["amount"]), idempotency=key)
        except Conflict as error:
            if error.code != "approval_revoked":  # a pause came in between
                forgotten.append(fact)
            continue
        if (again.request.id, again.status) != (fact["id"], fact["status"]):
            forgotten.append(fact)
    return forgotten


@pytest.mark.slow
async def test_every_answer_of_a_gate_that_was_killed_is_still_true(tmp_path: Path) -> None:
    path = str(tmp_path / "gate.db")
    async with world(SQLiteDatabase(path), clock=Clock(system_clock())) as made:
        pass  # closed again: whoever opens the file next finds it as the killed one left it
    facts = await history(made, path)
    async with beside(made) as w:
        done = Counter(fact["do"] for fact in facts)
        assert min(done["ask"], done["review"], done["redeem"], done["pause"]) > 0
        assert await broken_answers(w, facts) == []
        redeemed = Counter(fact["id"] for fact in facts if fact["do"] == "redeem")
        assert set(redeemed.values()) == {1}
        rows = SQLiteRows(path)
        assert rows.one("PRAGMA integrity_check") == ("ok",)
        assert {what: (rows.one(sql) or (None,))[0] for what, sql in HALF_THERE.items()} == dict.fromkeys(HALF_THERE, 0)
        rows.close()
        assert keys_without_request(path) == []
        await w.resume()
        assert await forgotten_keys(w, [fact for fact in facts if fact["do"] == "ask"][-500:]) == []
