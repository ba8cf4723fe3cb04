"""Webhooks in tests: an agent with an address, a sender that answers as it is told, and what the outbox then holds."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from gate.tests.factories import PATIENCE, TENANT, World

from stacksona_gate.delivery.sender import Answer
from stacksona_gate.delivery.worker import DeliveryWorker
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.webhooks import Attempt, Delivery, DeliveryFilter, Endpoint, Notice, Result
from stacksona_gate.service import webhooks
from stacksona_gate.service.agents import AgentChange
from stacksona_gate.service.endpoints import set_address, switch_off_by_hand
from stacksona_gate.service.webhooks import Claim, Wanted

URL: Final = "https://hooks.example/gate"
LEASE: Final = 30_000_000
YES: Final = Answer(200, None, 1000, b"thanks")
NO: Final = Answer(500, None, 1000, b"not now")
GONE: Final = Answer(410, None, 1000, b"", None, True)
ARRIVED: Final = Result(0, 1000, 200, None, "thanks")
FAILED: Final = Result(0, 1000, 500, None, "not now")
REFUSED: Final = Result(0, 1000, 410, None, "", None, True)


@dataclass(frozen=True, slots=True)
class Sent:
    """One call of a sender."""

    url: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def fields(self) -> dict[str, Any]:
        return json.loads(self.body)  # type: ignore[no-any-return]


Receiver = Callable[[Sent], Awaitable[Answer]]


async def thankful(sent: Sent) -> Answer:
    return YES


@dataclass(slots=True)
class FakeSender:
    """Stands for the network: calls end as ``receiver`` says."""

    receiver: Receiver = thankful
    sent: list[Sent] = field(default_factory=list)

    async def send(
        self, url: str, headers: Mapping[str, str], body: bytes, *, method: str = "POST", seconds: float = 15.0
    ) -> Answer:
        call = Sent(url, dict(headers), body)
        self.sent.append(call)
        return await self.receiver(call)


@asynccontextmanager
async def working(w: World, receiver: Receiver = thankful, *, lease: int = LEASE) -> AsyncIterator[FakeSender]:
    """A worker over a fake network, until the block ends."""
    sender = FakeSender(receiver)
    worker = DeliveryWorker(w.gate, sender, lease=lease)
    worker.start()
    try:
        yield sender
    finally:
        await worker.stop(0.2)


async def until(holds: Callable[[], bool | Awaitable[bool]], seconds: float = PATIENCE) -> None:
    """Returns as soon as it holds; fails the test when it does not in time."""
    end = time.monotonic() + seconds
    while True:
        held = holds()
        if held if isinstance(held, bool) else await held:
            return
        assert time.monotonic() < end, "this did not happen in time"
        await asyncio.sleep(0.005)


async def give_address(w: World, url: str | None = URL) -> None:
    """The agent's webhooks go there."""
    await w.change_agent(AgentChange(webhook_url=url or ""))


async def a_delivery(w: World) -> None:
    await give_address(w)
    await w.review(await w.ask())


async def switched_off(w: World) -> None:
    """A delivery that waits for an endpoint that is off."""
    await a_delivery(w)
    await w.write(lambda tx: switch_off_by_hand(tx, w.env, COMMAND_LINE, TENANT, w.agent.id))


async def give_workspace_hook(w: World, url: str = "https://ops.example/hook") -> None:
    await w.write(lambda tx: set_address(tx, w.env, w.gate.root, COMMAND_LINE, TENANT, "workspace", url))


async def deliveries(w: World, state: str | None = None) -> list[Delivery]:
    """The outbox, oldest first, with the bodies."""
    listed = await w.read(lambda tx: tx.webhooks.list_deliveries(TENANT, DeliveryFilter(state, limit=100_000)))
    found = [await w.read(lambda tx, one=one: tx.webhooks.find(TENANT, one.id)) for one in reversed(listed)]  # type: ignore[misc]
    return [one for one in found if one is not None]


async def attempts(w: World, delivery: Delivery) -> list[Attempt]:
    return await w.read(lambda tx: tx.webhooks.list_attempts(TENANT, delivery.id))


async def endpoint(w: World) -> Endpoint:
    found = await w.read(lambda tx: tx.webhooks.find_endpoint(TENANT, w.agent.id))
    assert found is not None
    return found


async def notices(w: World) -> list[Notice]:
    return await w.read(lambda tx: tx.notices.list_open(TENANT, 1000))


async def claimed(w: World, most: int = 100, *, lasts: int = LEASE) -> list[Claim]:
    """What a worker would take now for the agent's endpoint."""
    return await w.write(lambda tx: webhooks.claim(tx, w.env, [Wanted(TENANT, w.agent.id, most)], lasts))


async def record(w: World, claim: Claim, result: Result = ARRIVED) -> str:
    return await w.write(lambda tx: webhooks.record_result(tx, w.env, claim.delivery, result, claim.url))


async def put_off(w: World, times: int, result: Result = FAILED) -> None:
    """Lets the first delivery fail that often, each time when it is due."""
    for _ in range(times):
        (one,) = await deliveries(w, "pending")
        w.clock.now = max(w.clock.now, one.due_at or 0)
        (claim,) = await claimed(w)
        await record(w, claim, result)
