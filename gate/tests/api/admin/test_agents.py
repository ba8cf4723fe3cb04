"""Agents and verifiers over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gate.tests.api.people import House
from gate.tests.factories import PASSWORD

BOT = "/api/admin/agents/support-bot"


async def works(home: House, key: str) -> bool:
    return (await home.client(authorization=f"Bearer {key}").get("/api/agent/threads")).status_code == 200


async def test_a_new_agents_key_is_shown_once_and_works(home: House) -> None:
    answer = await home.ada.post("/api/admin/agents", json={"name": "billing-bot"})
    body = answer.json()
    assert answer.status_code == 201
    assert "webhook_secret" not in body
    assert await works(home, body["key"])
    read = (await home.ada.get(answer.headers["location"])).json()
    assert (read["name"], read["transport"], "key" in read) == ("billing-bot", "polling", False)


async def test_a_new_agent_has_every_setting_it_was_given(home: House) -> None:
    given = {
        "name": "billing-bot",
        "api_access": False,
        "signed_approvals": False,
        "webhook_url": "https://example.com/hook",
        "expires_in": 600,
        "requests_per_second": 5,
        "reviewers": [home.world.reviewer.id, home.world.reviewer.id],
    }
    body = (await home.ada.post("/api/admin/agents", json=given)).json()
    assert body["webhook_secret"].startswith("whsec_")
    assert {name: body[name] for name in given} == {**given, "reviewers": [home.world.reviewer.id]}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "a\nb"},
        {"name": "x", "webhook_url": "ftp://example.com"},
        {"name": "x", "webhook_url": "https://user:password@example.com"},
        {"name": "x", "expires_in": 5},
        {"name": "x", "reviewers": ["usr_nobody"]},
        {"name": "x", "colour": "red"},
    ],
)
async def test_an_agent_with_a_wrong_field_is_not_made(home: House, body: dict[str, Any]) -> None:
    assert (await home.ada.post("/api/admin/agents", json=body)).status_code == 422
    assert len((await home.ada.get("/api/admin/agents")).json()["agents"]) == 1


async def test_a_name_that_is_taken_is_a_conflict(home: House) -> None:
    assert (await home.ada.post("/api/admin/agents", json={"name": "support-bot"})).json()["code"] == "name_taken"


async def test_a_change_leaves_what_it_does_not_name(home: House) -> None:
    await home.ada.patch(BOT, json={"expires_in": 600, "requests_per_second": 5})
    body = (await home.ada.patch(BOT, json={"api_access": False})).json()
    assert (body["expires_in"], body["requests_per_second"], body["api_access"]) == (600, 5, False)


async def test_null_takes_an_agents_own_settings_away(home: House) -> None:
    await home.ada.patch(BOT, json={"expires_in": 600, "webhook_url": "https://example.com/hook"})
    body = (await home.ada.patch(BOT, json={"expires_in": None, "webhook_url": None})).json()
    assert (body["expires_in"], body["webhook_url"], body["transport"]) == (None, None, "polling")


async def test_a_webhooks_secret_is_shown_when_it_is_made_and_never_again(home: House) -> None:
    first = (await home.ada.patch(BOT, json={"webhook_url": "https://example.com/hook"})).json()
    again = (await home.ada.patch(BOT, json={"webhook_url": "https://example.com/other"})).json()
    assert first["webhook_secret"].startswith("whsec_")
    assert "webhook_secret" not in again
    assert "whsec_" not in (await home.ada.get(BOT)).text


async def test_a_rotated_key_ends_the_old_one_at_once(home: House) -> None:
    answer = await home.ada.post(BOT + "/key")
    assert answer.status_code == 201
    assert await works(home, answer.json()["key"])
    assert not await works(home, home.world.key)


async def test_a_rotation_with_overlap_lets_the_old_key_go_on_for_that_long(home: House) -> None:
    await home.ada.post(BOT + "/key", json={"overlap": 60})
    assert await works(home, home.world.key)
    home.world.clock.advance(60)
    assert not await works(home, home.world.key)


@pytest.mark.parametrize("overlap", [-1, 2_592_001, "60", 1.5])
async def test_an_overlap_that_makes_no_sense_rotates_nothing(home: House, overlap: object) -> None:
    assert (await home.ada.post(BOT + "/key", json={"overlap": overlap})).status_code == 422
    assert await works(home, home.world.key)


async def test_pausing_rejects_open_threads_for_good(home: House) -> None:
    thread = await home.thread()
    assert (await home.ada.put(BOT + "/pause")).json()["state"] == "paused"
    assert (await home.ada.delete(BOT + "/pause")).json()["state"] == "active"
    body = (await home.rita.get(f"/api/review/threads/{thread}")).json()
    assert (body["status"], body["reason_code"]) == ("rejected", "agent_paused")


async def test_a_stale_if_match_changes_nothing(home: House) -> None:
    tag = (await home.ada.get(BOT)).headers["etag"]
    await home.ada.patch(BOT, json={"expires_in": 600})
    calls: list[tuple[str, str, Any]] = [
        ("PATCH", "", {"name": "x"}),
        ("PUT", "/pause", None),
        ("DELETE", "/pause", None),
        ("POST", "/key", {}),
    ]
    for method, rest, body in calls:
        answer = await home.ada.request(method, BOT + rest, json=body, headers={"if-match": tag})
        assert (answer.status_code, answer.json()["code"]) == (412, "precondition_failed")
    assert (await home.ada.get(BOT)).json()["state"] == "active"


@pytest.mark.parametrize("form", ["{}", '"x", {}', "*"])
async def test_a_fresh_if_match_lets_the_change_through(home: House, form: str) -> None:
    tag = (await home.ada.get(BOT)).headers["etag"]
    answer = await home.ada.patch(BOT, json={"expires_in": 600}, headers={"if-match": form.format(tag)})
    assert answer.status_code == 200
    assert answer.headers["etag"] == (await home.ada.get(BOT)).headers["etag"] != tag


async def test_a_weak_if_match_never_matches(home: House) -> None:
    tag = (await home.ada.get(BOT)).headers["etag"]
    answer = await home.ada.patch(BOT, json={"expires_in": 600}, headers={"if-match": f"W/{tag}"})
    assert answer.status_code == 412


async def test_a_verifier_is_made_changed_and_switched_off(home: House) -> None:
    made = await home.ada.post("/api/admin/verifiers", json={"name": "payments", "tools": ["issue_refund"]})
    assert made.json()["key"].startswith("sv_")
    where = made.headers["location"]
    changed = (await home.ada.patch(where, json={"tools": ["wire_transfer"], "enabled": False})).json()
    assert (changed["tools"], changed["enabled"]) == (["wire_transfer"], False)
    assert (await home.ada.get(where)).json() == changed
    assert (await home.ada.patch(where, json={"enabled": True}, headers={"if-match": '"x"'})).status_code == 412


@pytest.mark.parametrize("tools", [[], ["a b"], "issue_refund"])
async def test_a_verifier_needs_tools(home: House, tools: object) -> None:
    answer = await home.ada.post("/api/admin/verifiers", json={"name": "payments", "tools": tools})
    assert answer.status_code == 422


async def test_no_listing_ever_holds_a_secret(home: House) -> None:
    shown = [
        (await home.ada.post("/api/admin/agents", json={"name": "b", "webhook_url": "https://example.com"})).json(),
        (await home.ada.post("/api/admin/verifiers", json={"name": "v", "tools": ["t"]})).json(),
        (await home.ada.post("/api/admin/users/me/tokens", json={"name": "t"})).json(),
    ]
    new = {"email": "n@example.com", "role": "reviewer", "password": PASSWORD}
    assert "password" not in (await home.ada.post("/api/admin/users", json=new)).json()
    secrets = [one[name] for one in shown for name in ("key", "webhook_secret", "token") if name in one]
    kinds = (
        "agents",
        "verifiers",
        "users",
        "audit?limit=200",
        "settings",
        "agents/b",
        "verifiers/v",
        "users/me/tokens",
    )
    text = "".join([(await home.olga.get(f"/api/admin/{kind}")).text for kind in kinds])
    text += (await home.ada.get("/api/admin/users/me/tokens")).text
    assert len(secrets) == 4
    for secret in (*secrets, PASSWORD, "argon2", '"hash"', "private_key"):
        assert secret not in text, json.dumps(secret[:6])
