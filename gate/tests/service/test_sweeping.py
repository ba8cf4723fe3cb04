"""What becomes due while nobody asks: on time, once, in small parts, whatever the clock does."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from gate.tests.factories import TENANT, World, beside
from gate.tests.outbox import until

from stacksona_gate.domain.errors import Unavailable
from stacksona_gate.domain.webhooks import DeliveryFilter
from stacksona_gate.service import sweeping
from stacksona_gate.service.agents import AgentChange
from stacksona_gate.service.requests import Ask
from stacksona_gate.service.sweeping import LEAST_SECONDS, MOST, MOST_SECONDS, keep_sweeping, sweep, sweep_some
from stacksona_gate.store.base import DELIVERIES, Change, Load
from stacksona_gate.telemetry.measures import SIZES, Histogram

DAY = 86_400


async def threads(w: World, number: int) -> None:
    caller = await w.caller()
    await asyncio.gather(*(w.ask(task=f"task-{i}", caller=caller) for i in range(number)))


@contextlib.asynccontextmanager
async def sweeper(w: World) -> AsyncIterator[None]:
    task = asyncio.create_task(keep_sweeping(w.gate))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_clock_set_forward_ends_everything_overdue_once_in_parts(w: World) -> None:
    await threads(w, MOST + 20)
    w.clock.advance(3 * DAY)
    first = await w.write(lambda tx: sweep_some(tx, w.env))
    assert (first.is_all, len(await w.entries("thread.expired"))) == (False, MOST)
    assert await w.entries("thread.escalated") == []
    await sweep(w.gate)
    await sweep(w.gate)
    assert len(await w.entries("thread.expired")) == MOST + 20


async def test_a_clock_set_back_ends_nothing_and_revives_nothing(w: World) -> None:
    answers = [await w.ask(task="task-0"), await w.ask(task="task-1")]
    w.clock.advance(DAY)
    await sweep(w.gate)
    await w.ask(task="task-2")
    w.clock.advance(-DAY)
    await sweep(w.gate)
    assert len(await w.entries("thread.expired")) == 2
    assert {(await w.stored(answer)).status for answer in answers} == {"rejected"}


async def test_two_nodes_that_sweep_at_once_end_each_thread_once(w: World) -> None:
    await threads(w, 3 * MOST)
    w.clock.advance(DAY)
    async with beside(w) as other:
        await asyncio.gather(*(sweep(gate) for gate in (w.gate, other.gate) for _ in range(3)))
    assert len(await w.entries("thread.expired")) == 3 * MOST


async def test_two_nodes_that_sweep_at_once_remind_once(w: World) -> None:
    await threads(w, MOST)
    w.clock.advance(DAY / 2)
    async with beside(w) as other:
        await asyncio.gather(*(sweep(gate) for gate in (w.gate, other.gate) for _ in range(3)))
    assert len(await w.entries("thread.reminded")) == MOST


async def test_a_sweep_that_dies_before_its_commit_is_done_by_the_next(w: World) -> None:
    answer = await w.ask()
    w.clock.advance(DAY)

    def dies(tx: Any) -> None:
        sweep_some(tx, w.env)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        await w.write(dies)
    assert (await w.stored(answer)).is_pending
    await sweep(w.gate)
    assert (await w.stored(answer)).reason_code == "expired"


async def test_what_a_sweep_ends_looks_like_what_a_reader_ends(w: World) -> None:
    swept, read = await w.ask(task="task-0"), await w.ask(task="task-1")
    w.clock.advance(DAY)
    await w.poll(read)
    await sweep(w.gate)
    one, other = await w.stored(swept), await w.stored(read)
    ours = {"seq", "id", "task_id", "thread_id"}
    assert {name: getattr(one, name) for name in one.__struct_fields__ if name not in ours} == {
        name: getattr(other, name) for name in other.__struct_fields__ if name not in ours
    }
    leaves = [json.loads(entry.leaf) for entry in await w.entries("thread.expired")]
    same = [{name: leaf[name] for name in leaf if name not in ("id", "objects", "commitments")} for leaf in leaves]
    assert same[0] == same[1]
    assert [set(leaf["objects"]) | set(leaf["commitments"]) for leaf in leaves] == [
        {"agent", "request", "task", "thread", "tool", "message"}
    ] * 2


async def test_who_waits_for_a_thread_and_who_sends_are_woken_by_its_end(w: World) -> None:
    await w.change_agent(AgentChange(webhook_url="https://receiver.example/hook"))
    answer = await w.ask()
    seen: list[Change] = []
    w.store.watch(seen.extend)
    w.clock.advance(DAY)
    await sweep(w.gate)

    async def both() -> bool:
        return {Change(TENANT, answer.request.id), Change(TENANT, DELIVERIES)} <= set(seen)

    await until(both)


async def test_agents_with_a_webhook_are_told_that_their_threads_ran_out(w: World) -> None:
    await w.ask(task="before")
    await w.change_agent(AgentChange(webhook_url="https://receiver.example/hook"))
    w.clock.advance(DAY)
    await sweep(w.gate)
    (delivery,) = await w.read(lambda tx: tx.webhooks.list_deliveries(TENANT, DeliveryFilter()))
    assert (delivery.event, delivery.state) == ("decision.rejected", "pending")


async def test_what_an_agent_was_to_be_told_before_is_superseded_by_the_end(w: World) -> None:
    await w.change_agent(AgentChange(webhook_url="https://receiver.example/hook"))
    await w.review(await w.ask(), "request_changes")
    w.clock.advance(DAY)
    await sweep(w.gate)
    listed = await w.read(lambda tx: tx.webhooks.list_deliveries(TENANT, DeliveryFilter()))
    assert {one.event: one.state for one in listed} == {
        "decision.revision_requested": "superseded",
        "decision.rejected": "pending",
    }


async def test_an_endpoint_that_is_switched_off_gets_a_dead_delivery(w: World) -> None:
    await w.change_agent(AgentChange(webhook_url="https://receiver.example/hook"))
    await w.ask()
    found = await w.read(lambda tx: tx.webhooks.find_endpoint(TENANT, w.agent.id))
    assert found is not None
    await w.write(lambda tx: tx.webhooks.put_endpoint(replace(found, switched_off_at=w.clock.now)))
    w.clock.advance(DAY)
    await sweep(w.gate)
    (delivery,) = await w.read(lambda tx: tx.webhooks.list_deliveries(TENANT, DeliveryFilter()))
    assert (delivery.state, len(await w.entries("webhook.dead"))) == ("dead", 1)


async def test_reminders_do_not_wait_until_a_flood_of_expiry_is_over(w: World) -> None:
    await threads(w, 2 * MOST)
    w.clock.advance(DAY * 0.9)
    await sweep(w.gate)
    late = await w.ask(ask=Ask("issue_refund", "Refund", payload={"amount": 500}, expires_in=DAY))
    w.clock.advance(DAY / 2)
    await w.write(lambda tx: sweep_some(tx, w.env))
    assert (await w.stored(late)).reminders == 1


@pytest.mark.parametrize(
    ("ahead", "wait"),
    [(0.01, LEAST_SECONDS), (0.25, 0.25), (60.0, MOST_SECONDS)],
)
async def test_the_next_look_is_when_the_next_thread_is_due(w: World, ahead: float, wait: float) -> None:
    await w.ask()
    w.clock.advance(DAY / 2 - ahead)
    assert await sweep(w.gate) == pytest.approx(wait)


async def test_with_nothing_to_wait_for_the_next_look_is_soon_all_the_same(w: World) -> None:
    assert await sweep(w.gate) == MOST_SECONDS


async def test_the_running_sweeper_ends_a_thread_by_itself_when_its_time_is_over(w: World) -> None:
    answer = await w.ask()
    async with sweeper(w):
        await asyncio.sleep(0)
        w.clock.advance(DAY)

        async def is_over() -> bool:
            return not (await w.stored(answer)).is_pending

        await until(is_over)


@pytest.mark.parametrize("fault", [Unavailable("the store is away"), ValueError("a row that cannot be read")])
async def test_a_sweep_that_fails_is_not_the_last(w: World, fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[int] = []

    async def fails(gate: object) -> float:
        rounds.append(1)
        raise fault

    monkeypatch.setattr(sweeping, "sweep", fails)
    monkeypatch.setattr(sweeping, "MOST_SECONDS", 0.01)

    async def went_on() -> bool:
        return len(rounds) > 2

    async with sweeper(w):
        await until(went_on)


async def test_while_others_write_a_sweep_rests_and_alone_it_does_not(
    w: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    monkeypatch.setattr("stacksona_gate.service.sweeping.asyncio.sleep", rest)
    await threads(w, 3 * MOST)
    w.clock.advance(DAY)
    await sweep(w.gate)
    assert rests == []
    await threads(w, 2 * MOST)
    w.clock.advance(DAY)
    alone, others = w.store.load(), Histogram(SIZES)

    def busy() -> Load:
        others.observe(10)
        return replace(alone, batch_sizes=others)

    monkeypatch.setattr(w.store, "load", busy)
    await sweep(w.gate)
    assert len(rests) == 2
    assert all(seconds > 0 for seconds in rests)


async def test_of_what_is_overdue_nobody_is_reminded_even_where_others_are_ended_first(
    w: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "MOST", 1)
    await w.ask(ask=Ask("issue_refund", "long", payload={"amount": 500}, expires_in=1000), task="task-1")
    w.clock.advance(400)
    await w.ask(ask=Ask("issue_refund", "short", payload={"amount": 500}, expires_in=400), task="task-2")
    w.clock.advance(601)
    await w.write(lambda tx: sweep_some(tx, w.env))
    assert len(await w.entries("thread.expired")) == 2
    assert not await w.entries("thread.escalated")


async def test_a_database_that_is_away_is_said_once_and_so_is_its_return(
    w: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = 0

    async def away(*_arguments: object) -> object:
        nonlocal met
        met += 1
        raise Unavailable("the database is not there or not writable") from OSError("connection refused")

    monkeypatch.setattr(sweeping, "MOST_SECONDS", 0.01)
    caplog.set_level("INFO", "stacksona_gate.service.sweeping")
    with monkeypatch.context() as context:
        context.setattr(w.store, "read", away)
        async with sweeper(w):
            await until(lambda: met > 3)
            context.undo()
            await until(lambda: any("back" in line for line in caplog.messages))
    assert [line.partition(",")[0] for line in caplog.messages] == [
        "the database is away or too slow: connection refused",
        "the database is back",
    ]
