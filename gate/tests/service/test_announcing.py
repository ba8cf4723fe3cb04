"""Which moves of a thread are announced, and which are not."""

from __future__ import annotations

from dataclasses import replace

from gate.tests.factories import World
from gate.tests.outbox import claimed, deliveries, endpoint, give_address
from msgspec.structs import replace as moved

from stacksona_gate.service.webhooks import event_of


async def events(w: World) -> list[str]:
    return [delivery.event for delivery in await deliveries(w)]


async def test_each_request_for_changes_that_says_something_new_is_announced(w: World) -> None:
    await give_address(w)
    answer = await w.ask()
    for words in ("smaller", "smaller", "in euros"):
        await w.review(answer, "request_changes", message=words)
    assert await events(w) == ["decision.revision_requested"] * 2


async def test_what_is_final_already_is_announced_no_more(w: World) -> None:
    request = await w.stored(await w.approved())
    assert event_of(request, moved(request, redeemed_at=1)) is None


async def test_nothing_is_taken_for_an_endpoint_that_is_off(w: World) -> None:
    await give_address(w)
    await w.review(await w.ask())
    off = replace(await endpoint(w), switched_off_at=1, switched_off_because="by hand")
    await w.write(lambda tx: tx.webhooks.put_endpoint(off))
    assert await claimed(w) == []
