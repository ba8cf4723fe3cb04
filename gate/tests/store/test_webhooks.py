"""The outbox against each database: claims, fences, turns, and what happens when two do it at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from gate.tests.factories import START, TENANT, World, beside, second_tenant
from gate.tests.outbox import ARRIVED, attempts, claimed, deliveries, give_address, record

from stacksona_gate.domain.webhooks import Attempt, Delivery, DeliveryFilter, Endpoint, Notice
from stacksona_gate.store.base import DELIVERIES, Change

SECOND = 1_000_000
LEASE = 30 * SECOND


def a_delivery(number: int, *, request: str | None = None, due: int = 0, endpoint: str = "end-1") -> Delivery:
    name = f"msg_{number}"
    thread = None if request is None else f"THR-{request}"
    return Delivery(
        0,
        TENANT,
        name,
        endpoint,
        request,
        thread,
        "test",
        "pending",
        0,
        0,
        START,
        due,
        None,
        0,
        None,
        f'{{"n":{number}}}',
    )


async def put(w: World, *some: Delivery) -> None:
    def unit(tx: object) -> None:
        for one in some:
            tx.webhooks.insert(one)  # type: ignore[attr-defined]

    await w.write(unit)


async def put_endpoint(w: World, name: str = "end-1", **fields: object) -> Endpoint:
    made = replace(Endpoint(TENANT, name, "agent", "https://example.com/", "wrapped"), **fields)  # type: ignore[arg-type]
    await w.write(lambda tx: tx.webhooks.put_endpoint(made))
    return made


async def claim(w: World, most: int = 100, *, now: int = START, endpoint: str = "end-1") -> list[str]:
    taken = await w.write(lambda tx: tx.webhooks.claim(TENANT, endpoint, now, now + LEASE, most))
    return [one.id for one in taken]


async def found(w: World, number: int) -> Delivery:
    one = await w.read(lambda tx: tx.webhooks.find(TENANT, f"msg_{number}"))
    assert one is not None
    return one


async def test_a_delivery_comes_back_as_it_was_put(w: World) -> None:
    await put(w, a_delivery(1, request="req_1"))
    assert replace(await found(w, 1), seq=0) == a_delivery(1, request="req_1")


async def test_an_endpoint_comes_back_as_it_was_put_last(w: World) -> None:
    await put_endpoint(w)
    last = await put_endpoint(w, url=None, secret="b", previous_secret="a", previous_until=7, failing_since=8)
    assert await w.read(lambda tx: tx.webhooks.find_endpoint(TENANT, "end-1")) == last


async def test_a_secret_that_was_set_the_old_way_is_the_endpoints(w: World) -> None:
    await w.write(lambda tx: tx.agents.set_webhook_secret(TENANT, w.agent.id, "wrapped"))
    kept = await w.read(lambda tx: tx.webhooks.find_endpoint(TENANT, w.agent.id))
    assert kept is not None
    assert (kept.kind, kept.secret) == ("agent", "wrapped")


async def test_watchers_hear_of_what_is_put(w: World) -> None:
    heard: list[Change] = []
    w.store.watch(heard.extend)
    await put(w, a_delivery(1))
    await asyncio.sleep(0)
    assert Change(TENANT, DELIVERIES) in heard


async def test_a_claim_takes_the_oldest_first_and_no_more_than_asked(w: World) -> None:
    await put(w, *(a_delivery(number) for number in range(5)))
    assert [await claim(w, 2), await claim(w, 2), await claim(w, 2)] == [
        ["msg_0", "msg_1"],
        ["msg_2", "msg_3"],
        ["msg_4"],
    ]


async def test_a_claim_moves_fence_attempts_and_lease(w: World) -> None:
    await put(w, a_delivery(1))
    await claim(w)
    one = await found(w, 1)
    assert (one.fence, one.attempts, one.tries, one.leased_until, one.due_at) == (1, 1, 0, START + LEASE, START + LEASE)


async def test_what_is_not_due_is_not_taken(w: World) -> None:
    await put(w, a_delivery(1, due=START + 1))
    assert (await claim(w), await claim(w, now=START + 1)) == ([], ["msg_1"])


async def test_what_is_taken_is_free_again_when_its_lease_is_over(w: World) -> None:
    await put(w, a_delivery(1))
    taken = [await claim(w, now=START + after) for after in (0, LEASE - 1, LEASE)]
    assert taken == [["msg_1"], [], ["msg_1"]]


async def test_endpoints_are_taken_each_for_itself(w: World) -> None:
    await put(w, a_delivery(1), a_delivery(2, endpoint="end-2"))
    assert (await claim(w), await claim(w, endpoint="end-2")) == (["msg_1"], ["msg_2"])


async def test_of_a_thread_the_newest_is_taken_and_the_older_ones_are_superseded(w: World) -> None:
    await put(w, a_delivery(1, request="req_1"), a_delivery(2, request="req_1"), a_delivery(3, request="req_2"))
    assert await claim(w) == ["msg_2", "msg_3"]
    assert (await found(w, 1)).state == "superseded"


async def test_of_a_thread_nothing_is_taken_while_one_is_on_its_way(w: World) -> None:
    await put(w, a_delivery(1, request="req_1"))
    await claim(w)
    await put(w, a_delivery(2, request="req_1"))
    assert (await claim(w), await claim(w, now=START + LEASE)) == ([], ["msg_2"])


async def test_superseding_leaves_what_is_on_its_way(w: World) -> None:
    await put(w, a_delivery(1, request="req_1"), a_delivery(2, request="req_1", due=START + 9))
    await w.write(lambda tx: tx.webhooks.settle(replace(a_delivery(2), state="dead", due_at=None, finished_at=START)))
    await claim(w)
    assert await w.write(lambda tx: tx.webhooks.supersede(a_delivery(3, request="req_1"), START)) == 0


async def test_what_is_due_is_listed_by_endpoint_with_its_first_time(w: World) -> None:
    await put_endpoint(w)
    await put_endpoint(w, "end-2", failing_since=1)
    await put_endpoint(w, "end-3")
    await put(w, a_delivery(1, due=START + 5), a_delivery(2, due=START), a_delivery(3, endpoint="end-2"))
    listed = await w.read(lambda tx: tx.webhooks.list_due())
    assert [(one.endpoint_id, one.due_at, one.is_failing) for one in listed] == [
        ("end-1", START, False),
        ("end-2", 0, True),
    ]


@pytest.mark.parametrize("fields", [{"switched_off_at": 1}, {"url": None}], ids=["off", "no address"])
async def test_nothing_is_due_for_an_endpoint_that_gets_nothing(w: World, fields: dict[str, Any]) -> None:
    await put_endpoint(w, **fields)
    await put(w, a_delivery(1))
    assert await w.read(lambda tx: tx.webhooks.list_due()) == []


async def test_a_result_with_another_fence_changes_nothing(w: World) -> None:
    await put(w, a_delivery(1))
    await claim(w)
    over = replace(await found(w, 1), state="delivered", due_at=None, leased_until=None, finished_at=START)
    assert not await w.write(lambda tx: tx.webhooks.settle(replace(over, fence=0)))
    assert await w.write(lambda tx: tx.webhooks.settle(over))
    assert not await w.write(lambda tx: tx.webhooks.settle(replace(over, state="dead")))
    assert (await found(w, 1)).state == "delivered"


async def test_a_replay_moves_the_fence(w: World) -> None:
    await put(w, replace(a_delivery(1), state="dead", due_at=None, finished_at=START, tries=8, attempts=8))
    assert await w.write(lambda tx: tx.webhooks.reopen(TENANT, "msg_1"))
    one = await found(w, 1)
    assert (one.state, one.fence, one.tries, one.attempts, one.finished_at) == ("pending", 1, 0, 8, None)
    assert not await w.write(lambda tx: tx.webhooks.reopen(TENANT, "msg_1"))


async def test_the_list_has_pages_and_filters(w: World) -> None:
    await put(w, *(a_delivery(number, endpoint=f"end-{number % 2}") for number in range(6)))
    await w.write(lambda tx: tx.webhooks.give_up(TENANT, "end-0", START))

    async def listed(**where: object) -> list[str]:
        chosen = DeliveryFilter(**where)  # type: ignore[arg-type]
        return [one.id for one in await w.read(lambda tx: tx.webhooks.list_deliveries(TENANT, chosen))]

    assert await listed(state="dead") == ["msg_4", "msg_2", "msg_0"]
    assert await listed(endpoint_id="end-1", limit=2) == ["msg_5", "msg_3"]
    third = await found(w, 3)
    assert await listed(endpoint_id="end-1", before=third.seq) == ["msg_1"]


async def test_the_list_leaves_bodies_out(w: World) -> None:
    await put(w, a_delivery(1))
    (one,) = await w.read(lambda tx: tx.webhooks.list_deliveries(TENANT, DeliveryFilter()))
    assert one.body == ""


async def test_attempts_come_in_the_order_they_were_made(w: World) -> None:
    made = [Attempt(TENANT, "msg_1", number, START, 5, 500, "no", "text \x00 <b>") for number in (2, 1)]
    for attempt in made:
        await w.write(lambda tx, one=attempt: tx.webhooks.insert_attempt(one))  # type: ignore[misc]
    assert await w.read(lambda tx: tx.webhooks.list_attempts(TENANT, "msg_1")) == made


async def test_the_queue_counts_what_waits(w: World) -> None:
    await put(w, a_delivery(1), a_delivery(2, due=START + 9), a_delivery(3, endpoint="end-2"))
    await w.write(lambda tx: tx.webhooks.give_up(TENANT, "end-2", START))
    queue = await w.read(lambda tx: tx.webhooks.queue())
    assert (queue.pending, queue.dead, queue.oldest_at) == (2, 1, START)


async def test_a_notice_is_dismissed_once(w: World) -> None:
    await w.write(lambda tx: tx.notices.insert(Notice(0, TENANT, "ntc_1", "kind", "text", "{}", START)))
    dismissed = [await w.write(lambda tx: tx.notices.dismiss(TENANT, "ntc_1", START, "usr")) for _ in range(2)]
    assert (dismissed, await w.read(lambda tx: tx.notices.list_open(TENANT, 9))) == ([True, False], [])


# Leases by name


async def test_a_lease_is_one_holders_until_its_time_is_over(w: World) -> None:
    async def take(holder: str, now: int) -> int | None:
        return await w.write(lambda tx: tx.leases.take("seal", holder, now, 10))

    taken = [await take(*one) for one in (("a", 0), ("b", 9), ("a", 9), ("b", 18), ("b", 19), ("a", 20))]
    assert taken == [1, None, 1, None, 2, None]


async def test_a_lease_written_by_a_clock_that_ran_ahead_stops_nobody(w: World) -> None:
    await w.write(lambda tx: tx.leases.take("seal", "a", START, 10))
    assert await w.write(lambda tx: tx.leases.take("seal", "b", START - 1_000, 10)) == 2


async def test_a_lease_that_was_taken_over_is_not_held(w: World) -> None:
    first = await w.write(lambda tx: tx.leases.take("seal", "a", 0, 10))
    assert first == 1
    assert await w.write(lambda tx: tx.leases.holds("seal", "a", 1))
    await w.write(lambda tx: tx.leases.take("seal", "b", 10, 10))
    assert not await w.write(lambda tx: tx.leases.holds("seal", "a", 1))
    await w.write(lambda tx: tx.leases.give_back("seal", "a", 1))
    assert await w.write(lambda tx: tx.leases.holds("seal", "b", 2))


async def test_a_lease_that_was_given_back_is_free_at_once(w: World) -> None:
    await w.write(lambda tx: tx.leases.take("seal", "a", 0, 10))
    await w.write(lambda tx: tx.leases.give_back("seal", "a", 1))
    assert await w.write(lambda tx: tx.leases.take("seal", "b", 1, 10)) == 2


# At once


async def test_of_many_who_claim_at_once_each_delivery_is_one_ones(w: World) -> None:
    await put(w, *(a_delivery(number) for number in range(60)))
    async with beside(w) as other:
        takes = [claim(gate, 3) for _ in range(15) for gate in (w, other)]
        taken = [name for some in await asyncio.gather(*takes) for name in some]
    assert (len(taken), set(Counter(taken).values())) == (60, {1})


async def test_of_many_who_take_a_lease_at_once_one_has_it(w: World) -> None:
    async with beside(w) as other:
        takes = [
            gate.write(lambda tx, n=n: tx.leases.take("seal", f"h{n}", 0, 10))  # type: ignore[misc]
            for n, gate in enumerate([w, other] * 10)
        ]
        fences = await asyncio.gather(*takes)
    assert Counter(fences) == {1: 1, None: 19}


async def test_a_decision_against_a_claim_leaves_one_event_of_the_thread_on_its_way(w: World) -> None:
    await give_address(w)
    answer = await w.ask()
    await w.review(answer, "request_changes")
    async with beside(w) as other:
        claims, _ = await asyncio.gather(claimed(other), w.review(answer, "approve"))
        later = await claimed(w)
    on_their_way = [claim.delivery.id for claim in claims + later]
    assert len(on_their_way) == 1


async def test_of_two_results_of_one_delivery_the_newer_attempts_counts(w: World) -> None:
    await give_address(w)
    await w.review(await w.ask())
    (late,) = await claimed(w)
    w.clock.advance(30)
    (newer,) = await claimed(w)
    async with beside(w) as other:
        results = await asyncio.gather(record(w, late, ARRIVED), record(other, newer, ARRIVED))
    (one,) = await deliveries(w)
    assert list(results) == ["stale", "delivered"]
    assert (one.state, len(await attempts(w, one))) == ("delivered", 2)


async def test_another_tenants_agent_of_the_same_id_gets_nothing(w: World) -> None:
    other = await second_tenant(w)
    await put_endpoint(w)
    await put(w, replace(a_delivery(1), tenant_id=other.tenant_id))
    assert await claim(w) == []
    assert await w.read(lambda tx: tx.webhooks.list_due()) == []
