"""Endpoints: when they are switched off and on, their secrets, and a change of address."""

from __future__ import annotations

import json

import pytest
from gate.tests.factories import TENANT, World
from gate.tests.outbox import (
    FAILED,
    REFUSED,
    a_delivery,
    claimed,
    deliveries,
    endpoint,
    give_address,
    give_workspace_hook,
    notices,
    put_off,
    record,
    switched_off,
)

from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.errors import Invalid
from stacksona_gate.domain.times import DAY
from stacksona_gate.service.agents import AgentChange
from stacksona_gate.service.endpoints import opened_secrets, rotate_webhook_secret, switch_off_by_hand, switch_on
from stacksona_gate.service.webhooks import clock_set, secrets_of


async def test_410_switches_the_endpoint_off_at_once(w: World) -> None:
    await give_workspace_hook(w)
    await a_delivery(w)
    await w.review(await w.ask(task="task-2"))
    (claim,) = await claimed(w, 1)
    assert await record(w, claim, REFUSED) == "dead"
    off = await endpoint(w)
    assert (off.switched_off_at, off.switched_off_because) == (w.clock.now, "it answered 410 Gone")
    agents = [one for one in await deliveries(w) if one.endpoint_id == w.agent.id]
    assert [one.state for one in agents] == ["dead", "dead"]
    assert [notice.kind for notice in await notices(w)] == ["webhook.switched_off"]
    (entry,) = await w.entries("webhook.switched_off")
    assert json.loads(entry.private)["deliveries_dead"]["value"] == 1
    told = [one for one in await deliveries(w) if one.endpoint_id == "workspace"]
    assert [one.event for one in told] == ["webhook.switched_off"]


async def test_410_from_the_address_before_leaves_the_new_one_on(w: World) -> None:
    await a_delivery(w)
    (claim,) = await claimed(w)
    await give_address(w, "https://new.example/gate")
    assert await record(w, claim, REFUSED) == "failed"
    assert (await endpoint(w)).is_on


async def test_days_that_only_the_clock_has_seen_do_not_switch_it_off(w: World) -> None:
    await a_delivery(w)
    await put_off(w, 1)
    w.clock.advance(6 * 86_400)
    await w.write(lambda tx: clock_set(tx, w.env, "a worker", 6 * DAY))
    await put_off(w, 1)
    assert (await endpoint(w)).is_on


async def test_five_days_of_nothing_but_failure_switch_it_off(w: World) -> None:
    await a_delivery(w)
    await put_off(w, 1)
    w.clock.advance(5 * 86_400)
    await w.review(await w.ask(task="task-2"))
    (_, claim) = sorted(await claimed(w), key=lambda one: one.delivery.seq)
    await record(w, claim, FAILED)
    assert (await endpoint(w)).switched_off_because == "nothing was delivered for five days"


async def test_one_success_in_between_and_it_stays_on(w: World) -> None:
    await a_delivery(w)
    await put_off(w, 1)
    w.clock.advance(4 * 86_400)
    (claim,) = await claimed(w)
    await record(w, claim)
    assert (await endpoint(w)).failing_since is None
    w.clock.advance(2 * 86_400)
    await w.review(await w.ask(task="task-2"))
    await put_off(w, 1)
    assert (await endpoint(w)).switched_off_at is None


async def test_what_happens_while_it_is_off_is_dead_from_the_start(w: World) -> None:
    await switched_off(w)
    await w.review(await w.ask(task="task-2"))
    assert [one.state for one in await deliveries(w)] == ["dead", "dead"]
    assert await claimed(w) == []


async def test_switched_on_again_it_gets_what_comes_then(w: World) -> None:
    await switched_off(w)
    await w.write(lambda tx: switch_on(tx, w.env, COMMAND_LINE, TENANT, "support-bot"))
    await w.review(await w.ask(task="task-2"))
    assert [one.state for one in await deliveries(w)] == ["dead", "pending"]
    assert len(await w.entries("webhook.switched_on")) == 1


async def test_a_success_that_comes_after_its_endpoint_was_switched_off_is_true(w: World) -> None:
    await a_delivery(w)
    (claim,) = await claimed(w)
    await w.write(lambda tx: switch_off_by_hand(tx, w.env, COMMAND_LINE, TENANT, w.agent.id))
    assert await record(w, claim) == "delivered"


async def rotated(w: World, overlap: int) -> str:
    return await w.write(
        lambda tx: rotate_webhook_secret(tx, w.env, w.gate.root, COMMAND_LINE, TENANT, "support-bot", overlap=overlap)
    )


async def test_both_secrets_sign_while_they_overlap(w: World) -> None:
    await give_address(w)
    old = opened_secrets(w.gate.root, w.agent.id, secrets_of(await endpoint(w), w.clock.now))
    new = await rotated(w, 60)
    assert opened_secrets(w.gate.root, w.agent.id, secrets_of(await endpoint(w), w.clock.now)) == (new, *old)
    w.clock.advance(60)
    assert opened_secrets(w.gate.root, w.agent.id, secrets_of(await endpoint(w), w.clock.now)) == (new,)


async def test_without_an_overlap_the_old_secret_ends_at_once(w: World) -> None:
    await give_address(w)
    new = await rotated(w, 0)
    assert opened_secrets(w.gate.root, w.agent.id, secrets_of(await endpoint(w), w.clock.now)) == (new,)
    assert (await endpoint(w)).previous_secret is None


async def test_an_overlap_has_an_end(w: World) -> None:
    await give_address(w)
    with pytest.raises(Invalid):
        await rotated(w, 2_592_001)


async def test_a_new_address_starts_afresh_with_the_same_secret(w: World) -> None:
    await switched_off(w)
    before = await endpoint(w)
    await w.change_agent(AgentChange(webhook_url="https://elsewhere.example/"))
    after = await endpoint(w)
    assert (after.url, after.switched_off_at, after.secret) == ("https://elsewhere.example/", None, before.secret)
    assert len(await w.entries("webhook.changed")) == 2


async def test_a_change_of_anything_else_leaves_the_endpoint_as_it_is(w: World) -> None:
    await switched_off(w)
    await w.change_agent(AgentChange(requests_per_second=5))
    assert (await endpoint(w)).switched_off_at is not None


async def test_what_waits_is_dead_when_the_address_is_taken_away(w: World) -> None:
    await a_delivery(w)
    await give_address(w, None)
    assert [one.state for one in await deliveries(w)] == ["dead"]
