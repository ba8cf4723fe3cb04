"""Who is sent to first, and how many at once, so that receivers that hang delay nobody."""

from __future__ import annotations

import asyncio

from gate.tests.factories import TENANT, World, world
from gate.tests.outbox import (
    YES,
    Sent,
    until,
    working,
)

from stacksona_gate.delivery.fairness import CLAIMS_MOST, SLOW_SECONDS, Fairness, Flight
from stacksona_gate.delivery.sender import Answer
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.webhooks import Due
from stacksona_gate.service.agents import create_agent
from stacksona_gate.service.deliveries import send_test
from stacksona_gate.service.environment import Limits


async def new_bots(w: World, count: int) -> list[str]:
    """Agents with addresses of their own, and a test event for each, by name."""
    names = [f"bot-{number}" for number in range(count)]
    for name in names:
        url = f"https://{name}.example/"
        await w.write(
            lambda tx, name=name, url=url: create_agent(  # type: ignore[misc]
                tx, w.env, w.gate.root, COMMAND_LINE, TENANT, name, webhook_url=url
            )
        )
    return names


async def test_two_thousand_that_wait_for_one_that_hangs_delay_nobody(w: World) -> None:
    await new_bots(w, 6)

    async def receiver(sent: Sent) -> Answer:
        if "//bot-0." in sent.url:
            await asyncio.Event().wait()
        return YES

    def fill(tx: object) -> None:
        for _ in range(2000):
            send_test(tx, w.env, COMMAND_LINE, TENANT, "bot-0")  # type: ignore[arg-type]
        for number in range(1, 6):
            for _ in range(20):
                send_test(tx, w.env, COMMAND_LINE, TENANT, f"bot-{number}")  # type: ignore[arg-type]

    await w.write(fill)
    async with working(w, receiver) as sender:
        await until(lambda: sum("//bot-0." not in sent.url for sent in sender.sent) == 100)
        assert sum("//bot-0." in sent.url for sent in sender.sent) == 4


async def test_receivers_that_hang_leave_room_for_others_however_many_they_are() -> None:
    async with world(limits=Limits(deliveries_per_endpoint=2, deliveries_at_once=4)) as w:
        await new_bots(w, 12)

        async def receiver(sent: Sent) -> Answer:
            if "//bot-11." not in sent.url:
                await asyncio.Event().wait()
            return YES

        async with working(w, receiver) as sender:
            for number in range(11):
                await w.write(lambda tx, n=number: send_test(tx, w.env, COMMAND_LINE, TENANT, f"bot-{n}"))  # type: ignore[misc]
            await until(lambda: len(sender.sent) >= 4)
            await w.write(lambda tx: send_test(tx, w.env, COMMAND_LINE, TENANT, "bot-11"))
            await until(lambda: any("//bot-11." in sent.url for sent in sender.sent))


def due(*names: str, failing: bool = False) -> list[Due]:
    return [Due(TENANT, name, 0, failing) for name in names]


def test_places_are_given_in_turns() -> None:
    assert Fairness(4, 6).choose(due("a", "b"), {}, 0).wanted == {(TENANT, "a"): 3, (TENANT, "b"): 3}


def test_the_next_round_begins_where_the_last_one_ended() -> None:
    fairness = Fairness(1, 2)
    names = due("a", "b", "c")
    assert list(fairness.choose(names, {}, 0).wanted) == [(TENANT, "a"), (TENANT, "b")]
    assert list(fairness.choose(names, {}, 0).wanted) == [(TENANT, "c"), (TENANT, "a")]


def test_an_endpoint_has_no_more_than_its_places() -> None:
    flying = {(TENANT, "a"): [Flight(0, False)] * 3}
    assert Fairness(4, 200).choose(due("a"), flying, 0).wanted == {(TENANT, "a"): 1}


def test_one_that_fails_has_one_place() -> None:
    assert Fairness(4, 200).choose(due("a", failing=True), {}, 0).wanted == {(TENANT, "a"): 1}


def test_one_with_a_call_that_takes_long_gets_no_more() -> None:
    flying = {(TENANT, "a"): [Flight(0, False)]}
    assert Fairness(4, 200).choose(due("a"), flying, SLOW_SECONDS).wanted == {}


def test_what_hangs_counts_against_its_own_room() -> None:
    flying = {(TENANT, f"slow-{n}"): [Flight(0, False)] * 4 for n in range(50)}
    fairness = Fairness(4, 200)
    assert fairness.choose(due("a"), flying, 0).wanted == {}
    assert fairness.choose(due("a"), flying, SLOW_SECONDS).wanted == {(TENANT, "a"): 4}
    assert fairness.choose(due("b", failing=True), flying, SLOW_SECONDS).wanted == {}


def test_a_round_takes_a_bounded_number_and_says_that_it_left_some_out() -> None:
    share = Fairness(4, 1000).choose(due(*(f"e{n}" for n in range(100))), {}, 0)
    assert (sum(share.wanted.values()), share.left_out) == (CLAIMS_MOST, True)
