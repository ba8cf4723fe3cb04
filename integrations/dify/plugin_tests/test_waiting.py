"""The wait over its slices, on a clock that moves with the gate's answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from stacksona import Decision, Gate, payload_digest

sys.path.append(str(Path(__file__).parents[1] / "plugin"))

from gate_tools.waiting import WaitFailed, waited

THREAD = "THR-" + "0" * 26
DECISION: dict[str, Any] = {
    "status": "pending_review",
    "request_id": "req_" + "0" * 26,
    "task_id": "t",
    "thread_id": THREAD,
    "reason_code": "rule",
    "message": "",
    "policy_version": 1,
    "payload": {"amount": 500},
    "payload_digest": payload_digest({"amount": 500}),
    "revision": 1,
}


class World(httpx2.BaseTransport):
    """A gate that is away from ``away[0]`` to ``away[1]`` and approves at ``approves``, in seconds from the start."""

    def __init__(self, away: tuple[float, float], approves: float) -> None:
        self.now = 0.0
        self.away = away
        self.approves = approves
        self.gate = Gate(
            "http://gate.test", "sg_x", transport=self, patience=30, clock=lambda: self.now, sleep=self.sleep
        )

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if self.away[0] <= self.now < self.away[1]:
            return httpx2.Response(503, text="nobody")
        self.now += 0.01
        held = float(request.url.params.get("wait", "0"))
        self.now = max(self.now, min(self.now + held, self.approves, self.away[0] if held else self.approves))
        status = "approved" if self.now >= self.approves else "pending_review"
        headers = {"content-type": "application/json", "etag": f'"{status}"'}
        headers["x-request-id"] = request.headers["x-request-id"]
        return httpx2.Response(200, headers=headers, content=json.dumps(DECISION | {"status": status}))

    def wait(self, seconds: float, patience: float = 30.0) -> list[Decision]:
        asked = self.gate.get_decision(thread_id=THREAD)
        return list(waited(self.gate, asked, seconds, patience, lambda: self.now))


def test_a_wait_goes_on_over_many_slices_to_the_decision() -> None:
    found = World((1e9, 1e9), 57).wait(300)
    assert (len(found), found[-1].status) == (7, "approved")


@pytest.mark.parametrize("begin", [0.5, 5, 8, 9, 9.5, 9.9, 10, 10.1, 19.9])
def test_a_gate_that_is_away_for_a_moment_ends_no_wait_wherever_the_moment_falls(begin: float) -> None:
    assert World((begin, begin + 4), 40).wait(300)[-1].status == "approved"


def test_a_gate_that_stays_away_ends_the_wait_when_patience_does() -> None:
    world = World((12, 1e9), 1e9)
    with pytest.raises(WaitFailed, match=THREAD):
        world.wait(300)
    assert 12 + 20 <= world.now <= 12 + 30 + 10 + 1


def test_nobody_decides_in_time() -> None:
    world = World((1e9, 1e9), 1e9)
    assert world.wait(25)[-1].status == "pending_review"
    assert 24 <= world.now <= 27


def test_a_wait_that_is_closed_asks_no_more() -> None:
    world = World((1e9, 1e9), 1e9)
    slices = waited(world.gate, world.gate.get_decision(thread_id=THREAD), 300, 30, lambda: world.now)
    next(slices)
    next(slices)
    at = world.now
    slices.close()  # type: ignore[attr-defined]
    assert (list(slices), world.now) == ([], at)
