"""A gate under a mixed load until it is killed. Prints a line after each answer. Arguments: PATH KEY USER SEED."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from dataclasses import dataclass

from gate.tests.factories import ROOT_SECRET, TENANT, SQLiteDatabase, an_ask

from stacksona_gate.domain.approvals import Redeemed
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.errors import GateError
from stacksona_gate.domain.people import User
from stacksona_gate.main import build_gate
from stacksona_gate.service import agents, approvals, decisions, requests, reviews
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.requests import Answer
from stacksona_gate.service.secrets import RootSecret

CALLERS = 12
PAUSE_SECONDS = 0.15


def said(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


@dataclass(slots=True)
class Load:
    """One caller after another does what agents and people do."""

    gate: Gate
    key: str
    user: User
    seed: str

    async def caller(self, number: int) -> None:
        chance = random.Random(f"{self.seed}-{number}")  # noqa: S311 - repeatable on purpose
        step = 0
        while True:
            step += 1
            try:
                await self._one(chance, f"{self.seed}-{number}-{step}")
            except GateError as error:
                said(do="refused", code=error.code)
                await asyncio.sleep(0.005)

    async def _one(self, chance: random.Random, name: str) -> None:
        answer = await self._ask(name, chance.choice((100, 500, 9000)))
        if answer.thread_id is not None and chance.random() < 0.8:
            await self._review(answer, chance.choice(("approve", "reject")))
        if chance.random() < 0.8:
            await asyncio.gather(self._redeem(answer), self._redeem(answer))

    async def _ask(self, name: str, amount: int) -> Answer:
        caller = await self.gate.directory.caller(self.key)
        key = requests.idempotency_key(caller.as_agent().id, "POST", "/requests", name, "", str(amount).encode())
        answer = await requests.submit(self.gate, caller, "task-1", an_ask(amount), key)
        digest = answer.request.payload_digest
        said(do="ask", id=answer.request.id, status=answer.status, digest=digest, name=name, amount=amount)
        return answer

    async def _review(self, answer: Answer, verdict: str) -> None:
        words = reviews.Verdict(verdict, "looked at it", 1)
        thread_id = answer.thread_id or ""
        result = await self.gate.store.write(lambda tx: reviews.review(tx, self.gate.env, self.user, thread_id, words))
        if not isinstance(result, GateError):
            said(do="review", id=answer.request.id, status=result.status)

    async def _redeem(self, answer: Answer) -> None:
        caller = await self.gate.directory.caller(self.key)
        selector = decisions.Selector(request_id=answer.request.id)
        polled = await decisions.read_decision(self.gate, caller, selector)
        if polled.answer.token is None:
            return
        attempt = approvals.Attempt("task-1", polled.answer.token, "issue_refund", answer.request.payload_digest)
        result = await approvals.redeem(self.gate, caller, attempt)
        if isinstance(result, Redeemed):
            said(do="redeem", id=answer.request.id)

    async def pause_now_and_then(self) -> None:
        env = self.gate.env
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            await self.gate.store.write(lambda tx: agents.pause_agent(tx, env, COMMAND_LINE, TENANT, "support-bot"))
            said(do="pause")
            await self.gate.store.write(lambda tx: agents.resume_agent(tx, env, COMMAND_LINE, TENANT, "support-bot"))


async def main(path: str, key: str, user_id: str, seed: str) -> None:
    gate = await build_gate(SQLiteDatabase(path).open(), Environment(), RootSecret(ROOT_SECRET))
    user = await gate.store.read(lambda tx: tx.people.find_user(TENANT, user_id))
    assert user is not None
    load = Load(gate, key, user, seed)
    said(do="start")
    await asyncio.gather(load.pause_now_and_then(), *(load.caller(number) for number in range(CALLERS)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
