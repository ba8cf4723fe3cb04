"""A gate that asks, decides and delivers until it is killed: at a named point, or from outside.

Prints a line after each decision that it was told is on disk. Arguments: PATH KEY USER SEED POINT COUNT.
"""

from __future__ import annotations

import asyncio
import random
import sys
from dataclasses import dataclass, replace
from typing import Final

from gate.tests.factories import ROOT_SECRET, TENANT, an_ask
from gate.tests.faults.worker import said

from stacksona_gate.delivery.addresses import AddressGuard
from stacksona_gate.delivery.sender import Sender
from stacksona_gate.delivery.worker import DeliveryWorker
from stacksona_gate.domain.people import User
from stacksona_gate.faultpoints import ALLOWED, COUNT, POINT, fault_points
from stacksona_gate.main import build_gate
from stacksona_gate.service import requests, reviews
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.secrets import RootSecret
from stacksona_gate.store.sqlite import SQLiteStore

CALLERS: Final = 3
LEASE: Final = 2_000_000
CALL_SECONDS: Final = 1.0


@dataclass(slots=True)
class Decider:
    """An agent that asks, and a person who decides."""

    gate: Gate
    key: str
    user: User
    seed: str

    async def decide(self, number: int) -> None:
        chance = random.Random(f"{self.seed}-{number}")  # noqa: S311 - repeatable on purpose
        while True:
            caller = await self.gate.directory.caller(self.key)
            answer = await requests.submit(self.gate, caller, f"{self.seed}-{number}", an_ask(500), None)
            if chance.random() < 0.3:
                await self._review(answer.thread_id or "", "request_changes")
            verdict = chance.choice(("approve", "reject"))
            await self._review(answer.thread_id or "", verdict)
            said(do="decided", id=answer.request.id, verdict=verdict)
            await asyncio.sleep(0.01)

    async def _review(self, thread_id: str, verdict: str) -> None:
        words = reviews.Verdict(verdict, f"a word of {self.seed}", 1)
        await self.gate.store.write(lambda tx: reviews.review(tx, self.gate.env, self.user, thread_id, words))


def worker_of(gate: Gate) -> DeliveryWorker:
    """As a server has it, in a hurry, and allowed to call this machine."""
    sender = Sender(AddressGuard.of("127.0.0.0/8", ""))
    return DeliveryWorker(gate, sender, lease=LEASE, call_seconds=CALL_SECONDS)


async def main(path: str, key: str, user_id: str, seed: str, point: str, count: str) -> None:
    reached = fault_points({POINT: point, COUNT: count, ALLOWED: "tests"})
    store = SQLiteStore(path, reached=reached)
    store.start()
    env = Environment() if reached is None else replace(Environment(), reached=reached)
    gate = await build_gate(store, env, RootSecret(ROOT_SECRET))
    user = await gate.store.read(lambda tx: tx.people.find_user(TENANT, user_id))
    assert user is not None
    said(do="start")
    worker_of(gate).start()
    decider = Decider(gate, key, user, seed)
    await asyncio.gather(*(decider.decide(number) for number in range(CALLERS)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
