"""The gate without HTTP: its use-cases in the process of the caller, as the peers are called.

usage: gate_library DATABASE-URL AGENT-KEY

``decide`` is one request that policy allows, signed and on disk. ``cycle`` and ``wake``: ask, a person approves, the
agent that waited is woken and redeems its token; each of the three on disk before it is answered.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from typing import Any

import uvloop

from bench.peers import kept
from bench.peers.questions import PAUSE, TOOL, payload
from bench.peers.side import Tally, serve
from bench.prepare import ADMIN_EMAIL, settings_for
from stacksona_gate.domain.approvals import Redeemed
from stacksona_gate.domain.canonical import digest
from stacksona_gate.domain.ids import FIRST_TENANT
from stacksona_gate.domain.people import User
from stacksona_gate.main import opened
from stacksona_gate.service.approvals import Attempt, redeem
from stacksona_gate.service.decisions import DrainFlag, Selector, wait_decision
from stacksona_gate.service.directory import Caller
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.requests import Ask, submit
from stacksona_gate.service.reviews import Verdict, review
from stacksona_gate.store.base import Tx


class Library:
    """A gate, who asks it and who reviews."""

    def __init__(self, gate: Gate, url: str, caller: Caller, user: User) -> None:
        self._gate = gate
        self._url = url
        self._caller = caller
        self._user = user
        self._decided = Tally()
        self._approved = Tally()

    async def run(self, work: str, callers: int, seconds: float) -> dict[str, Any]:
        if work == "decide":
            return await self._decided.run(self._decide, callers, seconds)
        pause = PAUSE if work == "wake" else 0.0

        async def once() -> float:
            return await self._approve(pause)

        return await self._approved.run(once, callers, seconds)

    async def _decide(self) -> float:
        answer = await submit(self._gate, self._caller, str(uuid.uuid4()), _ask(40.0), None)
        assert answer.token is not None
        return 0.0

    async def _approve(self, pause: float) -> float:
        gate, caller, task = self._gate, self._caller, str(uuid.uuid4())
        answer = await submit(gate, caller, task, _ask(400.0), None)
        thread_id = answer.thread_id
        assert thread_id is not None
        woken = asyncio.create_task(self._wait(thread_id, task))
        await asyncio.sleep(pause)
        clicked = time.perf_counter()
        verdict = Verdict("approve", "", 1)
        await gate.store.write(lambda tx: review(tx, gate.env, self._user, thread_id, verdict))
        await woken
        return time.perf_counter() - clicked

    async def _wait(self, thread_id: str, task: str) -> None:
        """The agent's side: waits, then redeems."""
        gate, caller = self._gate, self._caller
        selector = Selector(thread_id=thread_id)
        polled = await wait_decision(gate, caller, selector, seconds=60, known=None, draining=DrainFlag())
        assert polled.answer.token is not None
        attempt = Attempt(task, polled.answer.token, TOOL, digest(payload(400.0)))
        result = await redeem(gate, caller, attempt)
        if not isinstance(result, Redeemed):
            raise RuntimeError(f"not redeemed: {result.reason}")

    async def rows(self) -> dict[str, Any]:
        return kept.count(self._url, {"decide": self._decided.done, "approve": self._approved.done})


def _ask(amount: float) -> Ask:
    return Ask(TOOL, "Refund order 8821 to its buyer", "low", "refunds", payload=payload(amount))


def _admin(tx: Tx) -> User:
    user = tx.people.find_user_by_email(FIRST_TENANT, ADMIN_EMAIL)
    assert user is not None
    return user


async def main() -> None:
    url, key = sys.argv[1:]
    async with opened(settings_for(url)) as gate:
        caller = await gate.directory.caller(key)
        library = Library(gate, url, caller, await gate.store.read(_admin))
        await serve({"run": library.run, "rows": library.rows})


if __name__ == "__main__":
    uvloop.run(main())
