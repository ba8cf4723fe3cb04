"""A client of either colour before a gate that can be made to fail: most tests run once with each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import httpx2
from sdk.python.tests.fake_gate import KEY, URL, FakeGate
from sdk.python.tests.faults import Faulty, Time

from stacksona import ActionRequest, AsyncGate, Gate

COLOURS = ("sync", "async")


class Blocking:
    """An AsyncGate whose methods are waited for, so that one test serves both clients."""

    def __init__(self, gate: AsyncGate) -> None:
        self.gate = gate

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.gate, name)
        return lambda *args, **kwargs: asyncio.run(self._whole(method(*args, **kwargs)))

    async def _whole(self, call: Any) -> Any:
        """Connections end with the loop that they are on."""
        try:
            return await call
        finally:
            await self.gate.aclose()

    def guard(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        decorate = self.gate.guard(*args, **kwargs)

        def decorated(function: Any) -> Any:
            guarded: Any = decorate(function)

            class Waited:
                __name__ = guarded.__name__

                def __call__(self, *args: Any, **kwargs: Any) -> Any:
                    return asyncio.run(guarded(*args, **kwargs))

                def resume(self, *args: Any, **kwargs: Any) -> Any:
                    return asyncio.run(guarded.resume(*args, **kwargs))

            return Waited()

        return decorated


@dataclass
class Bench:
    """``fails``: what happens to the next calls, one after another; then ``always``."""

    gate: FakeGate
    time: Time
    faulty: Faulty
    client: Any
    ran: list[dict[str, Any]]

    def fails(self, *faults: str, always: str = "") -> None:
        self.faulty.plan = plan(faults, always)

    def fails_at(self, path_ends: str, *faults: str, always: str = "") -> None:
        """Only calls whose path ends so."""
        chosen = plan(faults, always)
        self.faulty.plan = lambda request: chosen(request) if request.url.path.endswith(path_ends) else ""

    def refund(self, *, amount: Any, currency: str = "usd", customer_id: str = "cus_99") -> str:
        """The action."""
        self.ran.append({"amount": amount, "currency": currency, "customer_id": customer_id})
        return f"refunded {amount}"

    def guarded(self, **options: Any) -> Any:
        return self.client.guard("issue_refund", subject="Refund", **options)(self.refund)

    @property
    def paths(self) -> list[str]:
        return [request.url.path.rpartition("/")[2] for request in self.faulty.sent]


def plan(faults: Iterable[str], always: str) -> Callable[[httpx2.Request], str]:
    left = list(faults)
    return lambda request: left.pop(0) if left else always


def bench(colour: str = "sync", **options: Any) -> Bench:
    gate, time = FakeGate(), Time()
    faulty = Faulty(gate, time)
    if colour == "sync":
        client: Any = Gate(URL, KEY, transport=faulty, clock=time, sleep=time.sleep, **options)
    else:
        client = Blocking(AsyncGate(URL, KEY, transport=faulty, clock=time, sleep=time.asleep, **options))
    return Bench(gate, time, faulty, client, [])


def asked(amount: Any = 500, **changes: Any) -> ActionRequest:
    payload = {"amount": amount, "currency": "usd", "customer_id": "cus_99"}
    return ActionRequest(
        **{"task_id": "task-1", "tool_name": "issue_refund", "subject": "Refund", "payload": payload} | changes
    )
