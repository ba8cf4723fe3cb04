"""Waiters: small, many, and never missed."""

from __future__ import annotations

import asyncio

from gate.tests.factories import PATIENCE

from stacksona_gate.service.wakeups import Waiter, Wakeups
from stacksona_gate.store.base import Change

THREAD = Change("default", "req_1")


def armed(waiter: Waiter, seconds: float = PATIENCE) -> asyncio.Future[bool]:
    due: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    waiter.arm(seconds, due.set_result)
    return due


async def test_everybody_who_waits_for_a_request_is_woken() -> None:
    wakeups = Wakeups()
    waiting = [armed(wakeups.for_request("default", "req_1")) for _ in range(3)]
    wakeups.changed([THREAD])
    assert await asyncio.gather(*waiting) == [True] * 3


async def test_another_requests_change_wakes_nobody() -> None:
    wakeups = Wakeups()
    due = armed(wakeups.for_request("default", "req_1"))
    wakeups.changed([Change("default", "req_2"), Change("other", "req_1")])
    assert not due.done()


async def test_a_change_before_the_wait_is_not_missed() -> None:
    wakeups = Wakeups()
    waiter = wakeups.for_request("default", "req_1")
    wakeups.changed([THREAD])
    assert await asyncio.wait_for(armed(waiter), PATIENCE)


async def test_a_change_is_told_once() -> None:
    wakeups = Wakeups()
    waiter = wakeups.for_request("default", "req_1")
    due = armed(waiter)
    wakeups.changed([THREAD])
    await due
    assert not await waiter.wait(0.01)


async def test_a_change_while_nobody_is_armed_is_told_to_the_next_wait() -> None:
    wakeups = Wakeups()
    waiter = wakeups.for_request("default", "req_1")
    assert not await waiter.wait(0.01)
    wakeups.changed([THREAD])
    assert await waiter.wait(PATIENCE)


async def test_times_are_over_in_their_order() -> None:
    wakeups, over = Wakeups(), list[int]()
    later, sooner = wakeups.for_tenant("default"), wakeups.for_tenant("default")
    later.arm(0.2, lambda changed: over.append(2))
    sooner.arm(0.01, lambda changed: over.append(1))
    last = armed(wakeups.for_tenant("default"), 0.3)
    assert not await asyncio.wait_for(last, PATIENCE)
    assert over == [1, 2]


async def test_the_time_of_a_wait_that_ended_early_does_not_end_the_next_one() -> None:
    wakeups = Wakeups()
    waiter = wakeups.for_request("default", "req_1")
    first = armed(waiter, 0.1)
    wakeups.changed([THREAD])
    assert await first
    second = armed(waiter)
    assert not await wakeups.for_tenant("default").wait(0.3)
    assert not second.done()


async def test_of_requests_that_several_waited_for_nothing_is_left() -> None:
    wakeups = Wakeups()
    for number in range(9):
        for waiter in [wakeups.for_request("default", f"req_{number}") for _ in range(2)]:
            waiter.close()
    assert not wakeups._waiting


async def test_a_closed_waiter_is_neither_woken_nor_counted() -> None:
    wakeups = Wakeups()
    staying, leaving = (wakeups.for_request("default", "req_1") for _ in range(2))
    stays, leaves = armed(staying), armed(leaving)
    leaving.close()
    assert wakeups.count == 1
    wakeups.changed([THREAD])
    assert (await stays, leaves.done()) == (True, False)
    staying.close()
    assert wakeups.count == 0
