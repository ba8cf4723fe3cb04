"""Gates that ask, decide, deliver and seal until each is killed: at a named point, or from outside.

One process has everything loaded and forks a gate for each line on standard input: PATH KEY USER SEED POINT COUNT.
A gate prints a line after each decision that it was told is on disk, and for each checkpoint that it was told of.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import random
import signal
import sys
from dataclasses import dataclass, replace
from typing import Final

from gate.tests.factories import ROOT_SECRET, TENANT, an_ask
from gate.tests.faults.worker import said

from stacksona_gate.delivery.addresses import AddressGuard
from stacksona_gate.delivery.sender import Sender
from stacksona_gate.delivery.worker import DeliveryWorker
from stacksona_gate.domain.errors import Conflict
from stacksona_gate.domain.people import User
from stacksona_gate.faultpoints import ALLOWED, COUNT, POINT, fault_points
from stacksona_gate.main import build_gate
from stacksona_gate.service import requests, reviews
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.log import latest, seal_next
from stacksona_gate.service.secrets import RootSecret
from stacksona_gate.service.transactions import Tx
from stacksona_gate.store.sqlite import SQLiteStore

CALLERS: Final = 3
LEASE: Final = 2_000_000
CALL_SECONDS: Final = 1.0
LIFE_SECONDS: Final = 1.5
"""Until a life whose point was not reached is ended by a signal that nothing handles."""
LOADED_LATE: Final = ("httpx2", "standardwebhooks", "stacksona_gate.delivery.connections")
UNDONE: Final = "undone-mark"


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
            if chance.random() < 0.2:
                await self._regret(f"{self.seed}-{number}")
            caller = await self.gate.directory.caller(self.key)
            answer = await requests.submit(self.gate, caller, f"{self.seed}-{number}", an_ask(500), None)
            if chance.random() < 0.3:
                await self._review(answer.thread_id or "", "request_changes")
            verdict = chance.choice(("approve", "reject"))
            await self._review(answer.thread_id or "", verdict)
            said(do="decided", id=answer.request.id, verdict=verdict)
            await asyncio.sleep(0.01)

    async def _regret(self, task: str) -> None:
        """Decides, and the transaction is undone: nobody may ever hear of it."""
        caller = await self.gate.directory.caller(self.key)
        answer = await requests.submit(self.gate, caller, task, an_ask(500), None)
        words = reviews.Verdict("approve", UNDONE, 1)

        def unit(tx: Tx) -> None:
            reviews.review(tx, self.gate.env, self.user, answer.thread_id or "", words)
            raise Conflict("never mind")

        with contextlib.suppress(Conflict):
            await self.gate.store.write(unit)

    async def _review(self, thread_id: str, verdict: str) -> None:
        words = reviews.Verdict(verdict, f"a word of {self.seed}", 1)
        await self.gate.store.write(lambda tx: reviews.review(tx, self.gate.env, self.user, thread_id, words))


def worker_of(gate: Gate) -> DeliveryWorker:
    """As a server has it, in a hurry, and allowed to call this machine."""
    sender = Sender(AddressGuard.of("127.0.0.0/8", ""))
    return DeliveryWorker(gate, sender, lease=LEASE, call_seconds=CALL_SECONDS)


async def seal(gate: Gate) -> None:
    """Seals without a lease: what a killed sealer held is not waited for, and two of them are at it."""
    while True:
        if await seal_next(gate, TENANT):
            made = await gate.store.read(lambda tx: latest(tx, TENANT))
            said(do="sealed", size=made.size, root=made.root.hex())
        await asyncio.sleep(0.02)


async def live(path: str, key: str, user_id: str, seed: str, point: str, count: str) -> None:
    reached = fault_points({POINT: point, COUNT: count, ALLOWED: "tests"})
    store = SQLiteStore(path, reached=reached)
    store.start()
    env = Environment() if reached is None else replace(Environment(), reached=reached)
    gate = await build_gate(store, env, RootSecret(ROOT_SECRET))
    user = await gate.store.read(lambda tx: tx.people.find_user(TENANT, user_id))
    assert user is not None
    worker_of(gate).start()
    decider = Decider(gate, key, user, seed)
    await asyncio.gather(seal(gate), seal(gate), *(decider.decide(number) for number in range(CALLERS)))


def main() -> None:
    """Forks a gate for each line, and says when it is gone and of what."""
    for module in LOADED_LATE:
        importlib.import_module(module)
    for line in sys.stdin:
        arguments = line.split()
        gate = os.fork()
        if gate == 0:
            signal.setitimer(signal.ITIMER_REAL, LIFE_SECONDS)  # ends it where its point was not reached
            asyncio.run(live(*arguments))
        _, status = os.waitpid(gate, 0)
        said(do="ended", signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0)


if __name__ == "__main__":
    main()
