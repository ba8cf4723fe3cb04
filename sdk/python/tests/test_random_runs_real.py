"""The same runs before the real gate: its own log says what was approved and redeemed."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import httpx2
import pytest
from gate.tests.api.agent.calls import Api
from sdk.python.tests.fake_gate import FakeGate, Reply
from sdk.python.tests.faults import AFTER, BEFORE, FAULTS, Faulty, Time
from sdk.python.tests.real_gate import URL, real_gate

from stacksona import AsyncGate, GateError

POSSIBLE = [one for one in FAULTS if one != "delivered_twice"]
"""That one calls the fake a second time; here it is done below."""


class BeforeRealGate(Faulty):
    """Faults around the real gate."""

    def __init__(self, api: Api, time: Time, chance: random.Random) -> None:
        super().__init__(FakeGate(), time)
        self.inner = httpx2.ASGITransport(app=api.app)
        self.chance = chance
        self.rate = 0.0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        content = await request.aread()
        fault = self.chance.choice(POSSIBLE) if self.chance.random() < self.rate else ""
        if fault in BEFORE:
            return BEFORE[fault](self, request)
        replies = [await self.reply(request, content) for _ in range(1 + (self.chance.random() < self.rate / 10))]
        reply = self.chance.choice(replies)
        self._answers.append(reply)
        return AFTER[fault](self, request, reply)

    async def reply(self, request: httpx2.Request, content: bytes) -> Reply:
        sent = httpx2.Request(request.method, request.url, headers=request.headers, content=content)
        answer = await self.inner.handle_async_request(sent)
        return answer.status_code, dict(answer.headers), await answer.aread()


class People:
    """They look at every thread, sooner or later."""

    def __init__(self, api: Api, chance: random.Random) -> None:
        self.api = api
        self.chance = chance

    async def look(self) -> None:
        for thread in (await self.api.get("/api/agent/threads", status="pending_review")).json()["threads"]:
            choice = self.chance.random()
            if choice < 0.4:
                await self.api.review(thread)
            elif choice < 0.6:
                await self.api.review(thread, payload={**thread["payload"], "amount": 300})
            elif choice < 0.8:
                await self.api.review(thread, "reject")


@pytest.mark.slow
async def test_the_real_gate_has_redeemed_each_execution_once() -> None:
    chance, time, ran = random.Random(7), Time(), list[dict[str, Any]]()
    async with real_gate() as real:
        faulty, people = BeforeRealGate(real.api, time, chance), People(real.api, chance)
        client = AsyncGate(URL, real.api.world.key, transport=faulty, clock=time, sleep=time.asleep, patience=2)

        @client.guard("issue_refund", subject="Refund", wait=0)
        async def refund(*, amount: int, customer_id: str) -> None:
            ran.append({"amount": amount, "customer_id": customer_id})

        for number in range(300):
            faulty.rate = chance.choice([0.0, 0.2, 0.5])
            arguments: dict[str, Any] = {"amount": chance.choice([40, 500, 9000]), "customer_id": f"cus_{number}"}
            try:
                await refund(**arguments)
            except GateError as error:
                thread_id = error.thread_id
                await people.look()
                if thread_id is not None:
                    coming = [client.resume(thread_id) for _ in range(3)]
                    results = await asyncio.gather(*coming, return_exceptions=True)
                    assert all(one is None or isinstance(one, GateError) for one in results), results
        faulty.rate = 0.0
        await check(client, real.api, ran)


async def check(client: AsyncGate, api: Api, ran: list[dict[str, Any]]) -> None:
    redeemed = {str(one.request_id) for one in await api.world.entries("approval.redeemed")}
    approved = [await client.get_decision(request_id=one) for one in redeemed]
    payloads = [one.payload for one in approved]
    assert len({one["customer_id"] for one in ran}) == len(ran) > 30
    for one in ran:
        assert payloads.count(one) == 1
    assert all(one.may_run for one in approved)
    assert any(one.edited for one in approved)
