"""Who is worked on next while several workspaces call."""

from __future__ import annotations

import asyncio

import pytest
from gate.tests.factories import PATIENCE

from stacksona_gate.domain.errors import OverLimit
from stacksona_gate.service import turns as module
from stacksona_gate.service.turns import FREE_REFUSALS, LOUD_SHARE, MUCH_SHARE, QUIET_MOST, Pace, Turns


class Hall:
    """Calls that stay inside until they are let go, and the order in which they came in."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.came: list[str] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self._done = asyncio.Event()

    async def call(self, tenant: str, count: int = 1) -> None:
        for _ in range(count):
            self.tasks.add(asyncio.create_task(self._call(tenant)))
        await asyncio.sleep(0)

    async def _call(self, tenant: str) -> None:
        await self.turns.enter(tenant)
        self.came.append(tenant)
        try:
            await self._done.wait()
        finally:
            self.turns.leave(tenant)

    async def let_go(self) -> None:
        """Those inside leave; the next ones stay."""
        done, self._done = self._done, asyncio.Event()
        done.set()
        await ticks()

    async def empty(self) -> None:
        while any(not task.done() for task in self.tasks):
            await self.let_go()


async def test_a_workspace_that_is_alone_has_no_line() -> None:
    hall = Hall(Turns())
    await hall.call("loud", 50)
    assert len(hall.came) == 50
    await hall.empty()


async def test_beside_a_quiet_one_a_loud_workspace_has_a_small_share_and_waits_in_its_own_line() -> None:
    hall = Hall(Turns())
    await hall.call("quiet")
    await hall.call("loud", 50)
    await hall.let_go()
    await hall.call("quiet")
    assert hall.came[0] == "quiet"
    assert hall.came.count("loud") == QUIET_MOST + LOUD_SHARE
    assert hall.came[-1] == "quiet"
    assert hall.turns.waiting == 50 - QUIET_MOST - LOUD_SHARE
    await hall.empty()


async def test_a_quiet_workspace_waits_for_nobody_however_long_the_line_of_another_is() -> None:
    hall = Hall(Turns())
    await hall.call("quiet")
    await hall.call("loud", 100)
    await hall.call("quiet", QUIET_MOST - 1)
    assert hall.came.count("quiet") == QUIET_MOST
    await hall.empty()


async def test_loud_workspaces_alone_with_each_other_have_enough_to_fill_commits() -> None:
    hall = Hall(Turns())
    await hall.call("one", 40)
    await hall.call("two", 40)
    await hall.let_go()
    assert hall.came[-2 * MUCH_SHARE :].count("one") <= MUCH_SHARE
    assert len(hall.came) > 2 * MUCH_SHARE
    await hall.empty()


async def test_everybody_in_line_comes_in_in_the_end() -> None:
    hall = Hall(Turns())
    await hall.call("quiet")
    await hall.call("loud", 30)
    await hall.empty()
    assert hall.came.count("loud") == 30
    assert hall.turns.waiting == 0


async def test_calls_that_wait_for_nothing_do_not_all_pass_in_one_turn_of_the_loop() -> None:
    turns, passed = Turns(), []
    await turns.enter("quiet")

    async def call(number: int) -> None:
        await turns.enter("loud")
        passed.append(number)
        turns.leave("loud")

    tasks = [asyncio.create_task(call(number)) for number in range(30)]
    await asyncio.sleep(0)
    assert passed == list(range(QUIET_MOST))
    await asyncio.gather(*tasks)
    assert passed == list(range(30))


async def test_a_caller_that_hangs_up_in_line_takes_up_no_place() -> None:
    hall = Hall(Turns())
    await hall.call("quiet")
    await hall.call("loud", 30)
    for task in [task for task in hall.tasks if not task.done()]:
        task.cancel()
    await asyncio.gather(*hall.tasks, return_exceptions=True)
    await asyncio.sleep(0)
    hall.came.clear()
    await hall.call("loud")
    assert hall.came == ["loud"]
    await hall.empty()


async def test_one_call_more_than_a_quiet_workspace_has_at_once_makes_it_loud() -> None:
    turns = Turns()
    await turns.enter("quiet")
    for _ in range(QUIET_MOST):
        await turns.enter("loud")
    one_more = asyncio.create_task(turns.enter("loud"))
    for left in range(QUIET_MOST - LOUD_SHARE + 1):
        await ticks()
        assert not one_more.done(), left
        turns.leave("loud")
    assert await one_more


async def test_a_caller_that_hangs_up_as_it_is_called_in_gives_its_place_to_the_next() -> None:
    turns = Turns()
    await turns.enter("quiet")
    for _ in range(QUIET_MOST):
        await turns.enter("loud")
    first, second = (asyncio.create_task(turns.enter("loud")) for _ in range(2))
    await ticks()
    for _ in range(QUIET_MOST - LOUD_SHARE + 1):
        turns.leave("loud")
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait_for(second, PATIENCE)
    assert first.cancelled()


async def test_nobody_passes_those_in_line_when_the_others_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    hall = Hall(Turns())
    await hall.call("quiet")
    await hall.call("loud", QUIET_MOST + 1)
    now += 2 * module.REMEMBERED_SECONDS
    late = asyncio.create_task(hall.turns.enter("loud"))
    await ticks()
    assert not late.done()
    await hall.let_go()
    assert await late
    hall.turns.leave("loud")
    await hall.empty()


async def test_a_workspace_that_was_loud_is_quiet_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    hall = Hall(Turns())
    await hall.call("quiet")
    await hall.call("loud", 3 * QUIET_MOST)
    await hall.empty()
    now += 2 * module.REMEMBERED_SECONDS
    hall.came.clear()
    await hall.call("quiet")
    await hall.call("loud", QUIET_MOST)
    assert hall.came.count("loud") == QUIET_MOST
    await hall.empty()


async def ticks() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


async def test_a_line_that_is_too_long_refuses() -> None:
    hall = Hall(Turns(line_most=2))
    await hall.call("quiet")
    await hall.call("loud", QUIET_MOST + 2)
    with pytest.raises(OverLimit) as refused:
        await hall.turns.enter("loud")
    assert refused.value.code == "workspace_busy"
    await hall.empty()


async def test_a_workspace_is_alone_again_once_the_others_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    hall = Hall(Turns())
    await hall.call("quiet")
    await hall.empty()
    now += 2 * module.REMEMBERED_SECONDS
    await hall.call("loud", 50)
    assert hall.came.count("loud") == 50
    await hall.empty()


async def test_the_first_refusals_are_answered_at_once_and_the_rest_a_little_later() -> None:
    pace, loop = Pace(), asyncio.get_running_loop()
    begun = loop.time()
    for _ in range(FREE_REFUSALS):
        await pace.hold("loud")
    at_once = loop.time() - begun
    task = asyncio.create_task(pace.hold("loud"))
    await asyncio.sleep(0)
    assert pace.held == 1
    await pace.hold("quiet")
    assert not task.done()
    await task
    assert (at_once < module.HELD_SECONDS, pace.held) == (True, 0)


async def test_only_so_many_refusals_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_MOST", 1)
    pace = Pace()
    for _ in range(FREE_REFUSALS):
        await pace.hold("loud")
    task = asyncio.create_task(pace.hold("loud"))
    await asyncio.sleep(0)
    await pace.hold("loud")
    assert not task.done()
    await task


async def test_refusals_are_counted_anew_each_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    pace = Pace()
    for _ in range(3):
        for _ in range(FREE_REFUSALS):
            await asyncio.wait_for(pace.hold("loud"), module.HELD_SECONDS / 2)
        now += 1
