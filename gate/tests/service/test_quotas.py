"""Limits of workspaces and agents: what they let through, when they notice, and how nodes share them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from gate.tests.api.agent.calls import ASK, DECISIONS, TASK, Api, api_of, problem, refund
from gate.tests.factories import World, an_ask, beside, second_tenant, world
from gate.tests.postgres import postgres_database

from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.errors import OverLimit, Unavailable
from stacksona_gate.domain.tenants import TenantLimits
from stacksona_gate.service.agents import AgentChange
from stacksona_gate.service.environment import Limits
from stacksona_gate.service.erasure import erase_content
from stacksona_gate.service.quotas import DEMAND_LASTS, RECOUNT_EVERY, SETTLED, STORED_EVERY, Bucket, Quotas, share
from stacksona_gate.service.requests import Ask, File
from stacksona_gate.service.tenants import limit_tenant
from stacksona_gate.store.base import Tx

SECOND = 1_000_000


async def limit(w: World, **limits: int) -> None:
    await w.write(lambda tx: limit_tenant(tx, w.env, COMMAND_LINE, w.tenant_id, TenantLimits(**limits)))


@asynccontextmanager
async def limited(**limits: int) -> AsyncIterator[Api]:
    async with world() as w, api_of(w) as api:
        await limit(w, **limits)
        yield api


async def statuses(api: Api, count: int, amount: object = 100, key: str | None = None) -> list[int]:
    return [(await api.post(ASK, refund(amount), key=key)).status_code for _ in range(count)]


# Calls per second


async def test_a_workspace_over_its_rate_is_told_which_quota_and_when_there_is_more() -> None:
    async with limited(requests_per_second=2) as api:
        await statuses(api, 2)
        before = api.counted()
        refused = await api.post(ASK, refund(100))
        problem(refused, 429, "workspace_rate")
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["ratelimit-policy"] == '"workspace";q=2;w=1'
        assert refused.headers["ratelimit"] == '"workspace";r=0;t=1'
        assert api.counted() | {"audit": 0} == before | {"audit": 0}


async def test_calls_of_all_agents_and_of_every_kind_count_together() -> None:
    async with limited(requests_per_second=3) as api:
        other = (await api.world.new_agent("other")).key
        await statuses(api, 1)
        await statuses(api, 1, key=other)
        read = [await api.get(DECISIONS, task_id="task-1", key=other) for _ in range(2)]
        assert [one.status_code for one in read] == [200, 429]


async def test_after_a_second_there_is_as_much_again() -> None:
    async with limited(requests_per_second=2) as api:
        assert await statuses(api, 3) == [200, 200, 429]
        api.world.clock.advance(0.5)
        assert await statuses(api, 2) == [200, 429]
        api.world.clock.advance(60)
        assert await statuses(api, 3) == [200, 200, 429]


async def test_the_body_of_a_refused_call_is_not_read() -> None:
    async with limited(requests_per_second=1) as api:
        await statuses(api, 1)
        assert (await api.post(ASK, raw="this is no JSON")).status_code == 429


async def test_one_workspaces_rate_is_not_anothers() -> None:
    async with limited(requests_per_second=1) as api:
        other = await second_tenant(api.world)
        await statuses(api, 2)
        assert await statuses(api, 3, key=other.key) == [200, 200, 200]


async def test_refusals_are_counted_and_recorded_once_a_minute_in_the_workspaces_own_log() -> None:
    async with limited(requests_per_second=1) as api:
        other = await second_tenant(api.world)
        await limit(other, requests_per_second=1)
        await statuses(api, 1, key=other.key)
        assert await statuses(api, 4, key=other.key) == [429] * 4
        (entry,) = await other.entries("calls.refused")
        assert '"reason_code":"workspace_rate"' in entry.leaf
        assert await api.world.entries("calls.refused") == []
        assert api.world.gate.refusals.totals["calls.workspace_rate"] == 4


async def test_the_installations_default_holds_where_a_workspace_has_no_limit_and_zero_lifts_it() -> None:
    async with world(limits=Limits(tenant=TenantLimits(requests_per_second=1))) as w, api_of(w) as api:
        assert await statuses(api, 2) == [200, 429]
        await limit(w, requests_per_second=0)
        assert await statuses(api, 5) == [200] * 5


async def test_an_agents_own_limit_says_so() -> None:
    async with limited() as api:
        await api.world.change_agent(AgentChange(requests_per_second=1))
        await statuses(api, 1)
        refused = await api.post(ASK, refund())
        problem(refused, 429, "agent_rate")
        assert refused.headers["ratelimit-policy"] == '"agent";q=1;w=1'


def test_a_bucket_lets_a_seconds_worth_through_at_once_and_then_its_rate() -> None:
    bucket = Bucket(100, 100.0, 100.0, 0)
    passed = sum(bucket.take(now) for now in range(0, 10 * SECOND, 1000))
    assert 1098 <= passed <= 1101


def test_a_clock_that_is_set_back_gives_nothing_and_takes_nothing_away() -> None:
    bucket = Bucket(2, 2.0, 2.0, 10 * SECOND)
    assert [bucket.take(now) for now in (10 * SECOND, 10 * SECOND, 5 * SECOND)] == [True, True, False]
    assert bucket.take(6 * SECOND)


# Several nodes


@pytest.mark.parametrize(
    ("asked", "limit_"), [((900, 100), 100), ((50, 50), 100), ((1, 500, 3), 40), ((10, 10), 100), ((0, 0), 7)]
)
def test_the_shares_of_nodes_make_up_the_limit(asked: tuple[int, ...], limit_: int) -> None:
    shares = [share(limit_, own, sum(asked) - own, len(asked)) for own in asked]
    assert sum(shares) == pytest.approx(limit_)


async def test_two_nodes_let_through_what_one_may() -> None:
    """Both are asked evenly and far too often. In the first seconds they have not heard of each other."""
    async with world() as w, beside(w) as other:
        await limit(w, requests_per_second=100)
        quotas = [w.gate.quotas, other.gate.quotas]
        passed = []
        for _ in range(6):
            for one in quotas:
                one.is_shared = True
                await one.round()
            passed.append(0)
            for _ in range(100):
                w.clock.advance(0.01)
                passed[-1] += sum(passes(one, w.tenant_id) for one in quotas for _ in range(5))
        assert passed[0] <= 2 * 200
        assert all(95 <= second <= 105 for second in passed[3:]), passed


async def test_a_node_that_alone_is_asked_gets_all_of_it() -> None:
    async with world() as w, beside(w) as other:
        quotas = [w.gate.quotas, other.gate.quotas]
        for second in range(8):
            for one in quotas:
                one.is_shared = True
                await one.round()
            asked = quotas if second < 2 else quotas[:1]
            passed = 0
            for _ in range(100):
                w.clock.advance(0.01)
                passed += sum(passes(one, w.tenant_id) for one in asked for _ in range(5))
        assert DEMAND_LASTS < 6 * SECOND
        assert 95 <= passed <= 105


async def test_nodes_that_are_asked_little_have_no_more_than_the_limit_between_them_when_they_are_asked_much() -> None:
    async with world() as w, beside(w) as other:
        quotas = [w.gate.quotas, other.gate.quotas]
        for _ in range(3):
            for one in quotas:
                one.is_shared = True
                passes(one, w.tenant_id)
                await one.round()
            w.clock.advance(1)
        passed = sum(passes(one, w.tenant_id) for one in quotas for _ in range(200))
        assert 95 <= passed <= 101


async def test_a_node_that_was_not_asked_for_a_second_begins_anew_with_half_of_the_limit_at_least() -> None:
    async with world() as w, beside(w) as other:
        quotas = [w.gate.quotas, other.gate.quotas]
        for one in quotas:
            one.is_shared = True
        for asked in (1, 1, 0):
            for _ in range(asked):
                passes(quotas[0], w.tenant_id)
            for _ in range(9_999):
                passes(quotas[1], w.tenant_id)
            for one in quotas:
                await one.round()
            w.clock.advance(1)
        assert sum(passes(quotas[0], w.tenant_id) for _ in range(200)) == 50


async def test_another_limit_holds_from_the_next_call_on() -> None:
    async with limited(requests_per_second=2) as api:
        assert await statuses(api, 3) == [200, 200, 429]
        await limit(api.world, requests_per_second=4)
        assert await statuses(api, 5) == [200, 200, 200, 200, 429]


def passes(quotas: Quotas, tenant_id: str) -> bool:
    try:
        quotas.take_call(tenant_id, 100)
    except OverLimit:
        return False
    return True


# Waiting threads


async def test_no_more_threads_wait_than_may_and_what_needs_nobody_goes_on() -> None:
    async with limited(pending_threads=2) as api:
        assert await statuses(api, 3, amount=500) == [200, 200, 429]
        problem(await api.post(ASK, refund(500)), 429, "workspace_pending_threads")
        assert await statuses(api, 1, amount=100) == [200]
        assert await api.world.read(lambda tx: tx.requests.count_pending("default", most=9)) == 2


@pytest.mark.parametrize("limits", [{"pending_threads": 1}, {"stored_requests": 1}])
async def test_a_retry_is_told_what_was_decided_though_that_took_the_last_place(limits: dict[str, int]) -> None:
    async with limited(**limits) as api:
        key = {"idempotency-key": "a"}
        answer = (await api.post(ASK, refund(500), headers=key)).json()
        await api.world.gate.quotas.round()
        assert (await api.post(ASK, refund(500), headers={"idempotency-key": "b"})).status_code == 429
        assert (await api.post(ASK, refund(500), headers=key)).json() == answer


async def test_a_decided_thread_makes_room_within_a_round() -> None:
    async with limited(pending_threads=1) as api:
        decision = await api.ask(500)
        await api.review(decision)
        assert await statuses(api, 1, amount=500) == [429]
        await api.world.gate.quotas.round()
        assert await statuses(api, 2, amount=500) == [200, 429]


async def test_threads_opened_at_another_node_count_within_a_round() -> None:
    async with world() as w, beside(w) as other, api_of(w) as api:
        await limit(w, pending_threads=3)
        await statuses(api, 1, amount=500)
        for _ in range(2):
            await other.ask(500)
        await w.gate.quotas.round()
        assert await statuses(api, 1, amount=500) == [429]


# What is kept


async def test_a_workspace_that_keeps_as_much_as_it_may_asks_no_more() -> None:
    async with limited(stored_requests=2) as api:
        await statuses(api, 2)
        await api.world.gate.quotas.round()
        refused = await api.post(ASK, refund(100))
        problem(refused, 429, "workspace_stored_requests")
        assert refused.headers["ratelimit-policy"] == '"stored-requests";q=2'
        problem(await api.post(TASK + "/events", {"event_type": "step"}), 429, "workspace_stored_requests")
        assert (await api.get(DECISIONS, task_id="task-1")).status_code == 200


@pytest.mark.parametrize("event_type", ["revision", "step"])
async def test_a_revision_or_an_event_sent_again_is_answered_as_it_was_though_the_workspace_is_full(
    event_type: str,
) -> None:
    async with limited(stored_requests=1) as api:
        decision = await api.ask(500)
        about = {"event_type": event_type, "thread_id": decision["thread_id"], "subject": "less", "payload": {"a": 1}}
        first = await api.post(TASK + "/events", about, headers={"idempotency-key": "a"})
        await api.world.gate.quotas.round()
        again = await api.post(TASK + "/events", about, headers={"idempotency-key": "a"})
        assert (again.status_code, again.json()) == (first.status_code, first.json())
        problem(
            await api.post(TASK + "/events", about, headers={"idempotency-key": "b"}), 429, "workspace_stored_requests"
        )


async def test_what_was_just_asked_counts_in_whatever_order_the_database_sorts() -> None:
    with postgres_database(15, language="en-US") as database:
        async with world(database) as w:
            await limit(w, stored_requests=2)
            for number in range(2):
                await w.ask(100, task=f"task-{number}")
            await w.gate.quotas.round()
            with pytest.raises(OverLimit):
                await w.ask(100)


async def test_attachments_count_by_their_bytes() -> None:
    async with limited(stored_megabytes=1) as api:
        files = (File("a.bin", "application/octet-stream", b"x" * 1_100_000),)
        await api.world.ask(ask=Ask("issue_refund", "with a file", payload={"amount": 1}, attachments=files))
        await api.world.gate.quotas.round()
        problem(await api.post(ASK, refund(100)), 429, "workspace_stored_megabytes")


async def test_what_is_new_is_counted_with_what_was_counted_once() -> None:
    async with limited(stored_requests=3) as api:
        for _ in range(3):
            await statuses(api, 1)
            await api.world.gate.quotas.round()
            api.world.clock.advance(60)
        assert await statuses(api, 1) == [429]


@dataclass
class Failing:
    """Answers as the database does, but for one question."""

    scan_: Callable[..., Awaitable[Any]]
    asked: int = 0

    async def scan(self, query: Callable[[Tx], Any]) -> Any:
        self.asked += 1
        if self.asked == 3:  # which workspaces, their requests, their attachments
            raise Unavailable("the database is away")
        return await self.scan_(query)


async def test_a_count_that_was_broken_off_counts_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(stored_requests=3) as api:
        quotas, clock = api.world.gate.quotas, api.world.clock
        await quotas.round()
        await statuses(api, 2)
        clock.advance((SETTLED + STORED_EVERY) / SECOND)
        with monkeypatch.context() as patched:
            patched.setattr(quotas, "store", Failing(quotas.store.scan))
            with pytest.raises(Unavailable):
                await quotas.round()
        clock.advance(STORED_EVERY / SECOND)
        await quotas.round()
        assert await statuses(api, 1) == [200]


async def test_what_was_erased_makes_room_at_the_next_whole_count() -> None:
    async with limited(stored_requests=1) as api:
        w = api.world
        answer = await w.ask(100, ask=an_ask(100))
        await w.gate.quotas.round()
        await w.redeem(answer)
        w.clock.advance(1)
        await w.write(
            lambda tx: erase_content(
                tx, w.env, COMMAND_LINE, w.tenant_id, (answer.request.id,), "content.erased", events_before=0
            )
        )
        w.clock.advance((STORED_EVERY + RECOUNT_EVERY) / SECOND)
        await w.gate.quotas.round()
        assert await statuses(api, 1) == [200]


@pytest.mark.parametrize(("standard", "looks"), [(0, 1), (None, 1), (5, 2)])
async def test_nobody_asks_what_other_nodes_are_asked_for_where_nothing_is_limited(
    standard: int | None, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(limits=Limits(tenant=TenantLimits(requests_per_second=standard))) as w:
        looked, scan = [], w.store.scan

        async def counted(query: Callable[[Tx], object]) -> object:
            looked.append(query)
            return await scan(query)

        monkeypatch.setattr(w.store, "scan", counted)
        w.gate.quotas.is_shared = True
        await w.gate.quotas.round()  # once for what is kept
        assert len(looked) == looks


async def test_a_workspace_without_limits_costs_the_rounds_nothing() -> None:
    async with limited() as api:
        await statuses(api, 2, amount=500)
        before = api.world.store.load().writes
        await api.world.gate.quotas.round()
        assert api.world.store.load().writes == before
