"""The limit on answers held open, over all processes of one database."""

from __future__ import annotations

import pytest
from gate.tests.factories import World, beside

from stacksona_gate.domain.errors import TooMany
from stacksona_gate.domain.times import SECOND
from stacksona_gate.service.holds import AGAIN, LASTS, MENTIONED, Holds, SharedHolds

MOST = 2 * MENTIONED


def holding(count: int, most: int = MOST) -> Holds:
    holds = Holds(most)
    for _ in range(count):
        holds.enter("agt_1")
    return holds


async def rows(w: World) -> list[str]:
    return await w.read(lambda tx: tx.nodes.list_others("", w.env.now()))


async def test_what_another_process_holds_counts(w: World) -> None:
    ours, theirs = holding(1), holding(MOST - 1)
    async with beside(w) as other:
        await SharedHolds(other.gate, theirs).round()
        await SharedHolds(w.gate, ours).round()
    with pytest.raises(TooMany, match=f"holds {MOST} answers"):
        ours.enter("agt_1")


async def test_what_one_process_holds_counts_once_there(w: World) -> None:
    ours = holding(MOST - 1)
    shared = SharedHolds(w.gate, ours)
    for _ in range(2):
        await shared.round()
    ours.enter("agt_1")


async def test_what_another_process_no_longer_holds_makes_room(w: World) -> None:
    ours, theirs = holding(0), holding(MOST)
    async with beside(w) as other:
        mine, yours = SharedHolds(w.gate, ours), SharedHolds(other.gate, theirs)
        for left in (0, MOST):
            for _ in range(left):
                theirs.leave("agt_1")
            await yours.round()
            await mine.round()
    ours.enter("agt_1")


async def test_a_process_that_is_not_heard_of_holds_nothing(w: World) -> None:
    ours = holding(0)
    await SharedHolds(w.gate, holding(MOST)).round()
    w.clock.advance(LASTS / SECOND)
    await SharedHolds(w.gate, ours).round()
    ours.enter("agt_1")


async def test_a_process_that_holds_on_says_so_again_in_time(w: World) -> None:
    ours, theirs = holding(0), SharedHolds(w.gate, holding(MOST))
    for _ in range(4):
        await theirs.round()
        w.clock.advance(AGAIN / SECOND)
    await SharedHolds(w.gate, ours).round()
    with pytest.raises(TooMany):
        ours.enter("agt_1")


async def test_a_process_that_ended_holds_nothing(w: World) -> None:
    theirs = SharedHolds(w.gate, holding(MOST))
    await theirs.round()
    await theirs.stop()
    assert await rows(w) == []


async def test_little_is_not_worth_a_row(w: World) -> None:
    commits = w.store.load().commits
    await SharedHolds(w.gate, holding(1)).round()
    assert (await rows(w), w.store.load().commits) == ([], commits)


def test_a_twentieth_of_the_limit_is_worth_mentioning() -> None:
    assert holding(MOST // MENTIONED).worth_mentioning() == {"agt_1": MOST // MENTIONED}
    assert holding(MOST // MENTIONED - 1).worth_mentioning() == {}


async def test_rows_of_processes_long_gone_are_cleared_away(w: World) -> None:
    await SharedHolds(w.gate, holding(MOST)).round()
    w.clock.advance(20 * LASTS / SECOND)
    await SharedHolds(w.gate, holding(MOST)).round()
    w.clock.advance(-20 * LASTS / SECOND)
    assert len(await rows(w)) == 1
