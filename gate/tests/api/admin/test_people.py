"""Users, personal tokens, the audit log and settings over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from gate.tests.api.people import House

from stacksona_gate.domain.approvals import Redeemed
from stacksona_gate.domain.audit import holds

USERS = "/api/admin/users"
NEW = {"email": "New@Example.com", "role": "reviewer", "password": "twelve letters", "name": "Nina"}


async def test_a_new_user_may_sign_in_and_no_hash_is_shown(home: House) -> None:
    answer = await home.ada.post(USERS, json=NEW)
    body = answer.json()
    assert answer.status_code == 201
    assert set(body) == {"id", "email", "name", "role", "active", "created_at"}
    assert (body["email"], body["active"]) == ("new@example.com", True)
    assert (await home.olga.get(answer.headers["location"])).json() == body


@pytest.mark.parametrize(
    "changes",
    [{"email": "nobody"}, {"role": "owner"}, {"password": "short"}, {"password": "x" * 1025}, {"admin": True}],
)
async def test_a_user_with_a_wrong_field_is_not_made(home: House, changes: dict[str, Any]) -> None:
    assert (await home.ada.post(USERS, json={**NEW, **changes})).status_code == 422
    assert len((await home.ada.get(USERS)).json()["users"]) == 4


async def test_a_mail_address_belongs_to_one(home: House) -> None:
    assert (await home.ada.post(USERS, json={**NEW, "email": "ada@example.com"})).json()["code"] == "email_taken"


async def test_a_user_is_changed_and_a_new_role_ends_their_sessions(home: House) -> None:
    browser, _ = await home.signed_in(home.world.reviewer)
    body = (await home.ada.patch(f"{USERS}/{home.world.reviewer.id}", json={"role": "auditor", "name": "R"})).json()
    assert (body["role"], body["name"]) == ("auditor", "R")
    assert (await browser.get("/api/review/threads")).status_code == 401


async def test_a_disabled_users_token_is_worth_nothing(home: House) -> None:
    body = (await home.ada.patch(f"{USERS}/{home.world.reviewer.id}", json={"active": False})).json()
    assert body["active"] is False
    assert (await home.rita.get("/api/review/threads")).status_code == 401


async def test_the_last_admin_stays_one(home: House) -> None:
    answer = await home.ada.patch(f"{USERS}/{home.world.admin.id}", json={"role": "reviewer"})
    assert answer.status_code == 422
    assert (await home.ada.get(USERS)).status_code == 200


async def test_a_new_password_counts(home: House) -> None:
    where = f"{USERS}/{home.world.reviewer.id}"
    browser, _ = await home.signed_in(home.world.reviewer)
    assert (await home.ada.patch(where, json={"password": "another long one"})).status_code == 200
    assert (await browser.get("/api/review/threads")).status_code == 401


async def test_a_user_that_somebody_changed_meanwhile_stays(home: House) -> None:
    where = f"{USERS}/{home.world.reviewer.id}"
    tag = (await home.ada.get(where)).headers["etag"]
    await home.ada.patch(where, json={"name": "R"})
    assert (await home.ada.patch(where, json={"role": "admin"}, headers={"if-match": tag})).status_code == 412


@pytest.mark.parametrize("name", ["ada", "rita", "olga"])
async def test_everybody_manages_their_own_tokens(home: House, name: str) -> None:
    mine = getattr(home, name)
    made = await mine.post(USERS + "/me/tokens", json={"name": "nightly"})
    assert made.status_code == 201
    client = home.client(authorization=f"Bearer {made.json()['token']}")
    assert (await client.get("/api/review/threads")).status_code == 200
    listed = (await mine.get(USERS + "/me/tokens")).json()["tokens"]
    assert {token["name"] for token in listed} == {"test", "nightly"}
    assert (await mine.delete(made.headers["location"])).json()["revoked_at"] == "2026-11-26T12:00:00Z"
    assert (await client.get("/api/review/threads")).status_code == 401


async def test_nobody_but_an_admin_touches_anybody_elses_tokens(home: House) -> None:
    theirs = f"{USERS}/{home.world.reviewer.id}/tokens"
    made = (await home.ada.post(theirs, json={"name": "for Rita"})).json()
    assert (await home.rob.get(theirs)).status_code == 403
    assert (await home.rob.post(theirs, json={"name": "x"})).status_code == 403
    assert (await home.rob.delete(f"{theirs}/{made['id']}")).status_code == 403
    assert (await home.olga.get(theirs)).status_code == 200
    assert (await home.olga.post(theirs, json={"name": "x"})).status_code == 403
    assert (await home.ada.delete(f"{theirs}/{made['id']}")).status_code == 200


async def test_a_reviewer_cannot_tell_a_user_from_none(home: House) -> None:
    answers = [await home.rob.get(f"{USERS}/{one}/tokens") for one in (home.world.admin.id, "usr_nobody")]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert answers[0].json()["detail"] == answers[1].json()["detail"]


async def test_a_token_is_revoked_once_and_under_its_owner_only(home: House) -> None:
    made = (await home.rita.post(USERS + "/me/tokens", json={"name": "x"})).json()
    elsewhere = f"{USERS}/{home.world.admin.id}/tokens/{made['id']}"
    assert (await home.ada.delete(elsewhere)).status_code == 404
    assert (await home.rita.delete(f"{USERS}/me/tokens/{made['id']}")).status_code == 200
    assert (await home.rita.delete(f"{USERS}/me/tokens/{made['id']}")).status_code == 404


async def test_the_log_is_read_newest_first_page_by_page(home: House) -> None:
    await home.thread()
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await home.olga.get(f"/api/admin/audit?limit=7{'&cursor=' + cursor if cursor else ''}")).json()
        seen += [entry["leaf"]["event"] for entry in page["entries"]]
        cursor = page["next_cursor"]
    assert seen == (await home.events())[::-1]


async def test_the_logs_private_values_are_what_was_committed_to(home: House) -> None:
    await home.thread()
    entry = (await home.olga.get("/api/admin/audit?limit=1")).json()["entries"][0]
    kept = entry["private"]["payload"]
    assert kept["value"] == {"amount": 500}
    assert holds(entry["leaf"]["commitments"]["payload"], kept["salt"], kept["value"])


async def test_settings_show_limits_and_public_keys_only(home: House) -> None:
    body = (await home.olga.get("/api/admin/settings")).json()
    assert set(body) == {"version", "public_url", "limits", "signing_keys"}
    assert body["limits"]["thread_lasts"] == 86_400
    assert set(body["signing_keys"][0]) == {"kid", "public", "created_at", "retired_at"}


async def test_a_fresh_signing_key_retires_the_old_one(home: House) -> None:
    home.world.clock.advance(1)
    made = await home.ada.post("/api/admin/settings/signing-key")
    assert made.status_code == 201
    old, new = (await home.ada.get("/api/admin/settings")).json()["signing_keys"]
    assert old["retired_at"] is not None
    assert new == made.json()
    assert "signing_key.rotated" in await home.events()


async def test_an_approval_given_before_a_rotation_still_redeems(home: House) -> None:
    answer = await home.world.approved()
    await home.ada.post("/api/admin/settings/signing-key")
    assert isinstance(await home.world.redeem(answer), Redeemed)
