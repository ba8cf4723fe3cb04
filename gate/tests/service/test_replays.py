"""Deliveries sent again by hand."""

from __future__ import annotations

import pytest
from gate.tests.factories import TENANT, World
from gate.tests.outbox import (
    ARRIVED,
    FAILED,
    a_delivery,
    attempts,
    claimed,
    deliveries,
    put_off,
    record,
    switched_off,
)

from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.errors import Conflict
from stacksona_gate.domain.webhooks import Result
from stacksona_gate.service import deliveries as admin
from stacksona_gate.service.data_keys import rotate_data_key
from stacksona_gate.service.endpoints import switch_off_by_hand, switch_on
from stacksona_gate.service.erasure import erase_content


async def test_the_dead_are_replayed_in_bulk(w: World) -> None:
    await switched_off(w)
    await w.review(await w.ask(task="task-2"))
    await w.write(lambda tx: switch_on(tx, w.env, COMMAND_LINE, TENANT, w.agent.id))
    before = await deliveries(w)
    assert await w.write(lambda tx: admin.replay_dead(tx, w.env, COMMAND_LINE, TENANT, None, 100)) == 2
    taken = [claim.delivery for claim in await claimed(w)]
    assert [(one.id, one.body) for one in taken] == [(one.id, one.body) for one in before]
    assert len(await w.entries("webhook.replayed")) == 2


async def erase(w: World) -> None:
    (one,) = await deliveries(w)
    erased = (one.request_id or "",)
    w.clock.advance(86_400)  # the approval is over
    await w.write(lambda tx: erase_content(tx, w.env, COMMAND_LINE, TENANT, erased, "content.erased"))


@pytest.mark.parametrize("is_encrypted_anew", [True, False])
async def test_what_was_erased_is_not_replayed(w: World, *, is_encrypted_anew: bool) -> None:
    await switched_off(w)
    await erase(w)
    if is_encrypted_anew:
        await rotate_data_key(w.gate, TENANT)
    await w.write(lambda tx: switch_on(tx, w.env, COMMAND_LINE, TENANT, w.agent.id))
    (one,) = await deliveries(w)
    with pytest.raises(Conflict, match="erased"):
        await w.write(lambda tx: admin.replay(tx, w.env, COMMAND_LINE, TENANT, one.id))
    assert await w.write(lambda tx: admin.replay_dead(tx, w.env, COMMAND_LINE, TENANT, None, 100)) == 0


@pytest.mark.parametrize("result", [ARRIVED, FAILED])
@pytest.mark.parametrize("is_off", [True, False])
async def test_an_answer_that_comes_after_its_content_was_erased_is_not_kept(
    w: World, result: Result, *, is_off: bool
) -> None:
    await a_delivery(w)
    (claim,) = await claimed(w)
    if is_off:
        await w.write(lambda tx: switch_off_by_hand(tx, w.env, COMMAND_LINE, TENANT, w.agent.id))
    await erase(w)
    assert await record(w, claim, result) == "stale"
    assert [one.answer for one in await attempts(w, claim.delivery)] == [""]


async def test_nothing_is_replayed_to_an_endpoint_that_is_off(w: World) -> None:
    await switched_off(w)
    assert await w.write(lambda tx: admin.replay_dead(tx, w.env, COMMAND_LINE, TENANT, None, 100)) == 0
    (one,) = await deliveries(w)
    with pytest.raises(Conflict):
        await w.write(lambda tx: admin.replay(tx, w.env, COMMAND_LINE, TENANT, one.id))


async def test_one_that_was_delivered_is_replayed_from_the_first_rung(w: World) -> None:
    await a_delivery(w)
    await put_off(w, 2)
    w.clock.advance(3600)
    (claim,) = await claimed(w)
    await record(w, claim)
    replayed = await w.write(lambda tx: admin.replay(tx, w.env, COMMAND_LINE, TENANT, claim.delivery.id))
    assert (replayed.state, replayed.tries, replayed.attempts, replayed.due_at) == ("pending", 0, 3, 0)


async def test_one_that_waits_is_sent_now_when_it_is_replayed(w: World) -> None:
    await a_delivery(w)
    await put_off(w, 1)
    (one,) = await deliveries(w)
    await w.write(lambda tx: admin.replay(tx, w.env, COMMAND_LINE, TENANT, one.id))
    assert [claim.delivery.id for claim in await claimed(w)] == [one.id]


async def test_one_that_is_on_its_way_is_not_replayed(w: World) -> None:
    await a_delivery(w)
    (claim,) = await claimed(w)
    with pytest.raises(Conflict):
        await w.write(lambda tx: admin.replay(tx, w.env, COMMAND_LINE, TENANT, claim.delivery.id))
