"""Long polls: what is asked, how often, and what ends them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import httpx2
import pytest
from sdk.python.tests.bench import COLOURS, Bench, asked, bench
from sdk.python.tests.fake_gate import KEY, URL, FakeGate, Record
from sdk.python.tests.faults import Faulty, Time

from stacksona import AsyncGate, ChangesRequested, GateUnavailable, NotFound, PendingReview, WaitStopped


def waiting(colour: str = "sync", *, held: float = 0.0, polls: int = 10**9, **options: Any) -> tuple[Bench, str]:
    """A pending thread that people decide at the ``polls``-th look; each poll is held for ``held`` seconds."""
    b = bench(colour, **options)
    thread_id = b.client.request_decision(asked()).thread_id
    looks = 0

    def look(record: Record) -> None:
        nonlocal looks
        looks += 1
        if looks > 1:
            b.time.now += held
        if looks >= polls:
            record.approve()

    b.gate.look = look
    b.faulty.sent.clear()
    return b, thread_id


def queries(b: Bench) -> list[dict[str, list[str]]]:
    return [parse_qs(request.url.query.decode()) for request in b.faulty.sent]


@pytest.mark.parametrize("colour", COLOURS)
def test_the_first_look_is_at_once_and_the_next_are_held(colour: str) -> None:
    b, thread_id = waiting(colour, held=55, polls=3)
    assert b.client.wait_for_decision(thread_id).status == "approved"
    assert [query.get("wait") for query in queries(b)] == [None, ["55"], ["55"]]
    assert "if-none-match" not in b.faulty.sent[0].headers
    assert all(request.headers["if-none-match"] for request in b.faulty.sent[1:])
    assert all(request.extensions["timeout"]["read"] > 55 for request in b.faulty.sent[1:])


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("seconds", [0, 0.4, 1, 10, 100, 130])
def test_the_deadline_ends_it_with_the_thread_to_come_back_to(colour: str, seconds: float) -> None:
    b, thread_id = waiting(colour, held=55)
    b.gate.look = lambda record: b.time.sleep(float(queries(b)[-1].get("wait", ["0"])[0]))
    began = b.time.now
    with pytest.raises(PendingReview) as pending:
        b.client.wait_for_decision(thread_id, timeout=seconds)
    assert pending.value.thread_id == thread_id
    assert seconds - 0.01 <= b.time.now - began <= seconds + 1


def test_a_gate_that_answers_at_once_without_news_is_not_hammered() -> None:
    b, thread_id = waiting()
    with pytest.raises(PendingReview):
        b.client.wait_for_decision(thread_id, timeout=30)
    assert len(b.faulty.sent) <= 33


@pytest.mark.parametrize("colour", COLOURS)
def test_faults_on_the_way_cost_time_only(colour: str) -> None:
    b, thread_id = waiting(colour, held=55, polls=5)
    b.fails("", "hang", "gateway_504", "", "cut", "portal", "", "gate_503", "garbage")
    assert b.client.wait_for_decision(thread_id).status == "approved"


@pytest.mark.parametrize("tick", [number / 100 for number in range(3, 60, 4)])
def test_a_clock_that_goes_on_between_two_looks_makes_no_negative_pause(tick: float) -> None:
    b, thread_id = waiting()
    b.client._flows = replace(b.client._flows, seams=replace(b.client._flows.seams, clock=ticking(b.time, tick)))
    with pytest.raises(PendingReview):
        b.client.wait_for_decision(thread_id, timeout=5)
    assert all(seconds >= 0 for seconds in b.time.slept)


def ticking(time: Time, tick: float) -> Callable[[], float]:
    def clock() -> float:
        time.now += tick
        return time.now

    return clock


def test_patience_begins_anew_with_each_good_answer() -> None:
    b, thread_id = waiting(held=55, polls=9, patience=3)
    b.fails("", "gate_503", "", "gate_503", "", "gate_503", "", "gate_503", "")
    assert b.client.wait_for_decision(thread_id).status == "approved"


def test_a_gate_that_stays_away_is_an_error_that_knows_the_thread() -> None:
    b, thread_id = waiting(held=55, patience=60)
    b.fails("", always="unreachable")
    began = b.time.now
    with pytest.raises(GateUnavailable) as away:
        b.client.wait_for_decision(thread_id, timeout=3600)
    assert away.value.thread_id == thread_id
    assert b.time.now - began <= 62


def test_a_gate_that_is_away_at_the_deadline_is_not_waited_for_beyond_it() -> None:
    b, thread_id = waiting()
    b.fails("", always="unreachable")
    began = b.time.now
    with pytest.raises((GateUnavailable, PendingReview)):
        b.client.wait_for_decision(thread_id, timeout=20)
    assert b.time.now - began <= 21


def test_changes_end_the_wait_unless_they_are_ignored() -> None:
    b, thread_id = waiting()

    def look(record: Record) -> None:
        record.revision_requested = True
        b.time.now += 20
        if b.time.now > 1100:
            record.approve()

    b.gate.look = look
    with pytest.raises(ChangesRequested):
        b.client.wait_for_decision(thread_id)
    assert b.client.wait_for_decision(thread_id, ignore_changes=True).status == "approved"


@pytest.mark.parametrize("colour", COLOURS)
def test_it_stops_when_it_is_told_to(colour: str) -> None:
    b, thread_id = waiting(colour, held=55)
    told = threading.Event()
    b.gate.look = lambda record: told.set() if b.time.now > 1200 else b.time.sleep(20)
    with pytest.raises(WaitStopped) as stopped:
        b.client.wait_for_decision(thread_id, should_stop=told.is_set)
    assert stopped.value.thread_id == thread_id


async def test_a_cancelled_task_ends_at_once() -> None:
    class Held(httpx2.AsyncBaseTransport):
        def __init__(self) -> None:
            self.is_held = asyncio.Event()

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            self.is_held.set()
            await asyncio.Event().wait()
            raise AssertionError

    held = Held()
    gate = AsyncGate(URL, KEY, transport=held)
    task = asyncio.create_task(gate.wait_for_decision("THR-" + "0" * 26))
    await held.is_held.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_304_is_the_decision_that_is_known() -> None:
    b, thread_id = waiting(held=55, polls=4)
    whole = b.faulty.handle_request

    def not_modified(request: httpx2.Request) -> httpx2.Response:
        answer = whole(request)
        if request.headers.get("if-none-match") == answer.headers.get("etag"):
            return httpx2.Response(304, headers={"x-request-id": request.headers["x-request-id"]})
        return answer

    b.faulty.handle_request = not_modified  # type: ignore[method-assign]
    assert b.client.wait_for_decision(thread_id).status == "approved"


def test_an_unknown_thread_is_not_waited_for() -> None:
    b, _ = waiting()
    with pytest.raises(NotFound):
        b.client.wait_for_decision("THR-" + "Z" * 26)
    assert b.time.slept == []


async def test_many_waits_share_one_client() -> None:
    gate, time = FakeGate(), Time()
    client = AsyncGate(URL, KEY, transport=Faulty(gate, time), clock=time, sleep=time.asleep)
    threads = [(await client.request_decision(asked(task_id=f"t{n}"))).thread_id or "" for n in range(20)]
    gate.look = lambda record: record.approve() if time.now > 1010 else None
    found = await asyncio.gather(*(client.wait_for_decision(one) for one in threads))
    assert [one.thread_id for one in found] == threads
