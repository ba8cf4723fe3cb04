"""Deliveries, endpoints and notices over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from gate.tests.api.people import House
from gate.tests.factories import TENANT, second_tenant
from gate.tests.outbox import FAILED, REFUSED, claimed, deliveries, give_address, notices, put_off, record

from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.webhooks import Result
from stacksona_gate.service.people import create_token

BOT = "/api/admin/agents/support-bot"
SENT = "/api/admin/webhook-deliveries"


async def a_delivery(home: House, *results: Result) -> str:
    """The id of a decision's delivery that went as told."""
    w = home.world
    if not await deliveries(w):
        await give_address(w)
    await w.review(await w.ask(task=f"task-{len(await deliveries(w))}"))
    for result in results:
        for claim in await claimed(w):
            await record(w, claim, result)
        w.clock.advance(86_400 / 4)
    return (await deliveries(w))[-1].id


async def dead_ones(home: House) -> None:
    """One that died by a 410, and one that never went out; the endpoint is off."""
    await a_delivery(home, REFUSED)
    await a_delivery(home)


async def get(home: House, path: str) -> Any:
    answer = await home.olga.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_delivery_is_listed_with_its_state(home: House) -> None:
    delivery = await a_delivery(home)
    (one,) = (await get(home, SENT))["deliveries"]
    assert (one["id"], one["state"], one["event"], one["endpoint_id"]) == (
        delivery,
        "pending",
        "decision.approved",
        home.world.agent.id,
    )
    assert (one["reason"], one["finished_at"], one["next_attempt_at"]) == (None, None, one["created_at"])


async def test_every_attempt_is_seen_with_the_receivers_own_words(home: House) -> None:
    hostile = Result(0, 2500, 500, None, "<script>alert(1)</script>")
    delivery = await a_delivery(home, hostile)
    (attempt,) = (await get(home, f"{SENT}/{delivery}"))["attempts"]
    assert (attempt["number"], attempt["status"], attempt["duration_ms"]) == (1, 500, 2.5)
    assert attempt["answer"] == "<script>alert(1)</script>"


async def test_what_is_masked_elsewhere_is_masked_in_a_receivers_words(home: House) -> None:
    delivery = await a_delivery(home, Result(0, 1, 500, None, "no card 4111 1111 1111 1111"))
    assert "4111 1111 1111 1111" not in (await home.olga.get(f"{SENT}/{delivery}")).text


async def test_no_answer_holds_the_body_that_was_sent(home: House) -> None:
    delivery = await a_delivery(home)
    assert "looked at it" not in (await home.ada.get(f"{SENT}/{delivery}")).text


async def test_the_list_is_narrowed_by_state_and_agent(home: House) -> None:
    await dead_ones(home)
    assert len((await get(home, f"{SENT}?state=dead&agent=support-bot"))["deliveries"]) == 2
    assert (await get(home, f"{SENT}?state=delivered"))["deliveries"] == []
    assert (await get(home, f"{SENT}?agent=workspace"))["deliveries"] == []
    assert (await home.olga.get(f"{SENT}?state=lost")).status_code == 422


async def test_the_list_has_pages(home: House) -> None:
    ids = [await a_delivery(home) for _ in range(3)]
    first = await get(home, f"{SENT}?limit=2")
    second = await get(home, f"{SENT}?limit=2&cursor={first['next_cursor']}")
    listed = [one["id"] for page in (first, second) for one in page["deliveries"]]
    assert (listed, second["next_cursor"]) == (ids[::-1], None)


async def test_a_list_that_ends_with_its_page_has_no_next_one(home: House) -> None:
    await a_delivery(home)
    assert (await get(home, f"{SENT}?limit=1"))["next_cursor"] is None


async def test_a_delivered_one_is_replayed(home: House) -> None:
    delivery = await a_delivery(home, Result(0, 1, 200, None))
    answer = await home.ada.post(f"{SENT}/{delivery}/replay")
    assert (answer.status_code, answer.json()["state"]) == (200, "pending")
    assert [claim.delivery.id for claim in await claimed(home.world)] == [delivery]
    assert (await home.events())[-1] == "webhook.replayed"


async def test_one_whose_endpoint_is_off_is_not(home: House) -> None:
    await dead_ones(home)
    delivery = (await deliveries(home.world))[0].id
    answer = await home.ada.post(f"{SENT}/{delivery}/replay")
    assert (answer.status_code, answer.json()["code"]) == (409, "webhook_off")


async def test_dead_ones_say_why(home: House) -> None:
    await dead_ones(home)
    assert {one["reason"] for one in (await get(home, SENT))["deliveries"]} == {
        "its endpoint was switched off or taken away"
    }


async def test_dead_ones_are_replayed_in_bulk_once_it_is_on_again(home: House) -> None:
    await dead_ones(home)
    assert (await home.ada.delete(f"{BOT}/webhook-switch-off")).json()["webhook"]["switched_off_at"] is None
    answer = await home.ada.post(f"{SENT}/replay", json={"state": "dead", "agent": "support-bot"})
    assert (answer.status_code, answer.json()) == (200, {"replayed": 2})
    assert len(await claimed(home.world)) == 2


async def test_a_bulk_replay_has_a_limit(home: House) -> None:
    await dead_ones(home)
    await home.ada.delete(f"{BOT}/webhook-switch-off")
    assert (await home.ada.post(f"{SENT}/replay", json={"state": "dead", "limit": 1})).json() == {"replayed": 1}


@pytest.mark.parametrize("body", [{}, {"state": "delivered"}, {"state": "dead", "limit": 0}])
async def test_a_bulk_replay_of_anything_else_is_refused(home: House, body: dict[str, Any]) -> None:
    assert (await home.ada.post(f"{SENT}/replay", json=body)).status_code == 422


async def test_a_test_is_put_and_listed(home: House) -> None:
    await give_address(home.world)
    answer = await home.ada.post(f"{BOT}/webhook-test")
    assert (answer.status_code, answer.json()["event"], answer.json()["thread_id"]) == (201, "test", None)
    assert (await home.events())[-1] == "webhook.tested"


async def test_an_agent_that_polls_has_nothing_to_test_rotate_or_switch(home: House) -> None:
    answers = [
        await home.ada.post(f"{BOT}/webhook-test"),
        await home.ada.post(f"{BOT}/webhook-secret"),
        await home.ada.put(f"{BOT}/webhook-switch-off"),
    ]
    assert {(one.status_code, one.json()["code"]) for one in answers} == {(409, "no_webhook")}


async def test_a_new_secret_is_shown_once(home: House) -> None:
    await give_address(home.world)
    answer = await home.ada.post(f"{BOT}/webhook-secret", json={"overlap": 60})
    assert (answer.status_code, answer.json()["webhook_secret"][:6]) == (201, "whsec_")
    state = (await get(home, BOT))["webhook"]
    assert state["previous_secret_until"] == answer.json()["previous_until"]
    assert answer.json()["webhook_secret"] not in (await home.ada.get("/api/admin/audit")).text


async def test_an_agents_answer_shows_how_its_webhook_does(home: House) -> None:
    assert (await get(home, BOT))["webhook"] is None
    await a_delivery(home, FAILED)
    assert (await get(home, BOT))["webhook"]["failing_since"] is not None
    answer = await home.ada.put(f"{BOT}/webhook-switch-off")
    assert answer.json()["webhook"]["switched_off_because"] == "somebody switched it off"


async def test_a_workspace_has_a_webhook_of_its_own(home: House) -> None:
    path = "/api/admin/workspace-webhook"
    assert (await get(home, path))["url"] is None
    made = (await home.ada.put(path, json={"url": "https://ops.example.com/"})).json()
    again = (await home.ada.put(path, json={"url": "https://ops.example.com/2"})).json()
    assert made["secret"].startswith("whsec_")
    assert "secret" not in again
    assert (await get(home, path))["url"] == "https://ops.example.com/2"
    assert (await home.ada.put(f"{path}/switch-off")).json()["switched_off_at"] is not None
    assert (await home.ada.delete(f"{path}/switch-off")).json()["switched_off_at"] is None
    assert (await home.ada.delete(path)).json()["url"] is None
    assert (await home.ada.put(f"{path}/switch-off")).status_code == 404


async def test_an_unusable_address_of_a_workspace_is_refused(home: House) -> None:
    answer = await home.ada.put("/api/admin/workspace-webhook", json={"url": "https://user:secret@example.com/"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "url")
    assert "secret" not in answer.json()["detail"]


async def test_a_notice_is_listed_until_it_is_dismissed(home: House) -> None:
    await dead_ones(home)
    (notice,) = (await get(home, "/api/admin/notices"))["notices"]
    assert (notice["kind"], notice["objects"]) == ("webhook.switched_off", {"agent": home.world.agent.id})
    assert (await home.ada.delete(f"/api/admin/notices/{notice['id']}")).status_code == 200
    assert (await get(home, "/api/admin/notices"))["notices"] == []
    assert await notices(home.world) == []


async def test_another_workspaces_deliveries_answer_like_ones_that_never_were(home: House) -> None:
    delivery = await a_delivery(home)
    await put_off(home.world, 1)
    their = await second_tenant(home.world)
    w = home.world
    _, token = await w.write(lambda tx: create_token(tx, w.env, COMMAND_LINE, their.admin, "theirs"))
    they = home.client(authorization=f"Bearer {token}")
    calls = [("GET", f"{SENT}/{delivery}"), ("POST", f"{SENT}/{delivery}/replay"), ("POST", f"{BOT}/webhook-test")]
    answers = [await they.request(method, path) for method, path in calls]
    assert {one.status_code for one in answers} == {404}
    assert (await they.get(SENT)).json()["deliveries"] == []
    assert their.tenant_id != TENANT
