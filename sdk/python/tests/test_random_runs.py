"""Ten thousand guarded actions under random faults: none without approval, none twice, none with other arguments."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from sdk.python.tests.fake_gate import KEY, URL, FakeGate, Record
from sdk.python.tests.faults import FAULTS, Faulty, Time

from stacksona import AsyncGate, Gate, GateError

PATIENCE = 1.0
"""Short, so that it ends often."""


class Runs:
    """One gate, one guarded function, and chance in everything else."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.time = Time()
        self.gate = FakeGate()
        self.gate.look = self.people
        self.faulty = Faulty(self.gate, self.time, lambda request: self.fault(), seed)
        self.rate = 0.0
        self.ran: list[dict[str, Any]] = []
        self.errors: dict[str, int] = {}

    def fault(self) -> str:
        return self.chance.choice(FAULTS) if self.chance.random() < self.rate else ""

    def people(self, record: Record) -> None:
        self.time.now += self.chance.choice([0.0, 0.5, 20.0])
        choice = self.chance.random()
        if choice < 0.4:
            record.approve()
        elif choice < 0.5:
            record.approve({**record.payload, "amount": record.payload["amount"] // 2})
        elif choice < 0.55:
            record.approve({"amount": 1})  # fits no function
        elif choice < 0.65:
            record.reject(self.chance.choice(["reviewer", "expired", "agent_paused"]))
        elif choice < 0.68:
            record.revision_requested = True

    def action(self, *, amount: int, customer_id: str) -> str:
        self.ran.append({"amount": amount, "customer_id": customer_id})
        if self.chance.random() < 0.1:
            raise ValueError("the bank says no")
        return "done"

    def note(self, error: Exception) -> str | None:
        """The thread to come back to."""
        name = type(error).__name__
        self.errors[name] = self.errors.get(name, 0) + 1
        return error.thread_id if isinstance(error, GateError) else None

    def arguments(self, number: int) -> dict[str, Any]:
        self.rate = self.chance.choice([0.0, 0.1, 0.3, 0.6, 0.9])
        return {"amount": self.chance.choice([40, 500, 9000]), "customer_id": f"cus_{number}"}

    def check(self) -> None:
        """Every execution has its own redeemed approval of exactly its arguments."""
        by_customer = {str(one.payload.get("customer_id")): one for one in self.gate.records.values()}
        assert len({one["customer_id"] for one in self.ran}) == len(self.ran), "twice"
        for ran in self.ran:
            record = by_customer[ran["customer_id"]]
            assert record.status in ("allow", "approved")
            assert record.redemptions == 1
            assert record.payload == ran


def sync_runs(count: int, seed: int) -> Runs:
    runs = Runs(seed)
    gate = Gate(URL, KEY, transport=runs.faulty, clock=runs.time, sleep=runs.time.sleep, patience=PATIENCE)
    guarded = gate.guard("issue_refund", subject="Refund", wait=20.0)(runs.action)
    for number in range(count):
        arguments, thread_id = runs.arguments(number), None
        try:
            guarded(**arguments)
        except (GateError, ValueError) as error:
            thread_id = runs.note(error)
        for _ in range(runs.chance.randrange(3) if thread_id else 0):
            try:
                gate.resume(str(thread_id), wait=runs.chance.choice([0.0, 30.0]))
            except (GateError, ValueError) as error:
                runs.note(error)
    return runs


async def async_runs(count: int, seed: int) -> Runs:
    """Some come back several times at once, as several processes would."""
    runs = Runs(seed)
    gate = AsyncGate(URL, KEY, transport=runs.faulty, clock=runs.time, sleep=runs.time.asleep, patience=PATIENCE)
    guarded = gate.guard("issue_refund", subject="Refund", wait=20.0)(runs.action)
    for number in range(count):
        arguments, thread_id = runs.arguments(number), None
        try:
            await guarded(**arguments)
        except (GateError, ValueError) as error:
            thread_id = runs.note(error)
        if thread_id:
            twice = [gate.resume(thread_id, wait=30.0) for _ in range(runs.chance.randrange(4))]
            for result in await asyncio.gather(*twice, return_exceptions=True):
                if isinstance(result, Exception):
                    assert isinstance(result, (GateError, ValueError)), result
                    runs.note(result)
    return runs


def is_varied(runs: Runs, count: int) -> bool:
    """Runs that never act, or never fail, would show nothing."""
    kinds = {"Rejected", "RedemptionLost", "RedemptionRefused", "GateUnavailable", "UnexpectedAnswer", "PendingReview"}
    return len(runs.ran) > count / 10 and runs.errors.keys() >= kinds | {"ArgumentsRefused", "ValueError"}


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_fault_makes_an_action_run_without_approval_or_twice(seed: int) -> None:
    for runs in (sync_runs(300, seed), await async_runs(300, seed)):
        runs.check()
        assert is_varied(runs, 300), runs.errors


@pytest.mark.slow
async def test_no_fault_does_so_in_ten_thousand_runs() -> None:
    for runs in (sync_runs(5000, 20261124), await async_runs(5000, 20261125)):
        runs.check()
        assert is_varied(runs, 5000), runs.errors
