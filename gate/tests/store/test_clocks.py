"""Nodes whose clocks disagree: what they leave to each other goes by the database's clock."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator

import pytest
from gate.tests.factories import START, TENANT, Clock, PostgresDatabase, World, beside, world
from gate.tests.outbox import claimed, deliveries, give_address, put_off, record, until, working
from gate.tests.postgres import postgres_database
from gate.tests.service.test_quotas import passes
from gate.tests.service.test_retention import keep

from stacksona_gate.domain.errors import TooMany
from stacksona_gate.domain.times import DAY, HOUR, SECOND
from stacksona_gate.main import clear_out
from stacksona_gate.service.holds import MENTIONED, Holds, SharedHolds
from stacksona_gate.service.retention import expire_content
from stacksona_gate.store.base import Idempotency

KEPT = Idempotency("scope", "fingerprint", '{"request_id":"req_1"}')


@pytest.fixture(params=[False, True], ids=["whole", "partitioned"])
def database(request: pytest.FixtureRequest) -> Iterator[PostgresDatabase]:
    with postgres_database(partitioned=request.param) as made:
        yield made


@pytest.fixture
async def w(database: PostgresDatabase) -> AsyncIterator[World]:
    async with world(database) as made:
        yield made


@pytest.fixture
async def ahead(w: World) -> AsyncIterator[World]:
    """A node whose clock is nine days ahead."""
    async with beside(w, Clock(START + 9 * DAY)) as made:
        yield made


async def test_the_databases_clock_is_the_servers_own(database: PostgresDatabase) -> None:
    store = database.open()
    try:
        told = await store.read(lambda tx: tx.leases.now(0))
    finally:
        store.close()
    assert abs(told / 1_000_000 - time.time()) < 60


async def test_a_node_that_is_days_ahead_forgets_no_key_that_counts(w: World, ahead: World) -> None:
    await w.store.tend(START)
    await w.write(lambda tx: tx.replays.insert(TENANT, KEPT, START))
    await clear_out(ahead.gate)
    await ahead.store.tend(ahead.clock.now)
    assert await w.read(lambda tx: tx.replays.find(TENANT, "scope", START)) == KEPT


async def test_a_node_that_is_days_ahead_forgets_no_failed_sign_in(w: World, ahead: World) -> None:
    await w.write(lambda tx: tx.people.insert_failure(TENANT, "account:a", START))
    await clear_out(ahead.gate)
    assert await w.read(lambda tx: tx.people.count_failures(TENANT, "account:a", 0)) == 1


async def test_a_node_that_is_days_ahead_takes_no_content_away(w: World, ahead: World) -> None:
    await w.ask(amount=1)
    await keep(w, 7)
    assert await expire_content(ahead.gate) == 0


async def test_what_a_node_took_that_is_ahead_is_taken_over_when_its_lease_is_over(w: World, ahead: World) -> None:
    await give_address(w)
    await w.review(await w.ask())
    (lost,) = await claimed(ahead)
    w.clock.advance(29)
    assert await claimed(w) == []
    w.clock.advance(2)
    (taken,) = await claimed(w)
    assert (taken.delivery.id, await record(ahead, lost)) == (lost.delivery.id, "stale")


async def test_a_node_that_is_ahead_takes_nothing_that_another_has(w: World, ahead: World) -> None:
    await give_address(w)
    await w.review(await w.ask())
    (held,) = await claimed(w)
    assert await claimed(ahead) == []
    assert await record(w, held) == "delivered"


async def test_a_retry_waits_as_long_whichever_nodes_clock_is_wrong(w: World, ahead: World) -> None:
    await give_address(w)
    await w.review(await w.ask())
    await put_off(ahead, 1)
    (one,) = await deliveries(w)
    assert START + 4_000_000 <= (one.due_at or 0) <= START + 8_000_000


async def test_a_node_whose_clock_is_set_moves_nothing_of_the_others(w: World) -> None:
    await give_address(w)
    await w.review(await w.ask(task="task-0"))
    (held,) = await claimed(w)
    clock = Clock()
    async with beside(w, clock) as other, working(other):
        for delivered, step in ((1, -HOUR), (2, 2 * HOUR), (3, 0)):
            await w.review(await w.ask(task=f"task-{delivered}"))
            await until(lambda most=delivered: other.gate.deliveries["delivered"] == most)  # type: ignore[misc]
            clock.advance(step // 1_000_000)
    moved = next(one for one in await deliveries(w) if one.id == held.delivery.id)
    assert moved.leased_until == held.delivery.leased_until


@pytest.mark.parametrize("seconds", [10, -10])
async def test_nodes_let_through_what_one_may_though_the_clock_of_one_is_wrong(w: World, seconds: int) -> None:
    wrong = Clock(START + seconds * SECOND)
    async with beside(w) as second, beside(w, wrong) as third:
        quotas = [each.gate.quotas for each in (w, second, third)]
        for _ in range(5):
            for one in quotas:
                one.is_shared = True
                await one.round()
            passed = 0
            for _ in range(100):
                for clock in (w.clock, wrong):
                    clock.advance(0.01)
                passed += sum(passes(one, w.tenant_id) for one in quotas for _ in range(3))
        assert 95 <= passed <= 105


@pytest.mark.parametrize("seconds", [10, -10])
async def test_answers_held_at_nodes_count_everywhere_though_the_clock_of_one_is_wrong(w: World, seconds: int) -> None:
    async with beside(w, Clock(START + seconds * SECOND)) as wrong:
        held = [Holds(MENTIONED * 2) for _ in range(2)]
        shared = [SharedHolds(each.gate, holds) for each, holds in zip((w, wrong), held, strict=True)]
        for holds in held:
            for _ in range(MENTIONED):
                holds.enter("agt_1")
        for _ in range(2):
            for one in shared:
                await one.round()
        for holds in held:
            with pytest.raises(TooMany):
                holds.enter("agt_1")
