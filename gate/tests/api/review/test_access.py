"""Who may call the people APIs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from gate.tests.api.people import ORIGIN, House, path
from gate.tests.factories import World, second_tenant

from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.service.agents import AgentChange
from stacksona_gate.service.people import change_user, revoke_token

APPROVE = {"verdict": "approve", "message": "fine", "revision": 1}
PATHS = ["/api/review/threads", "/api/review/stream", "/api/admin/agents", "/api/admin/users/me/tokens"]


@pytest.mark.parametrize("where", PATHS)
async def test_nobody_is_let_in(home: House, where: str) -> None:
    answer = await home.nobody.get(where)
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthenticated"
    assert "x-gate-decision" not in answer.headers


@pytest.mark.parametrize("where", PATHS)
async def test_an_agents_key_opens_no_door_of_people(home: House, where: str) -> None:
    assert (await home.client(authorization=f"Bearer {home.world.key}").get(where)).status_code == 401


async def test_a_verifiers_key_opens_no_door_of_people(home: House) -> None:
    made = await home.world.new_verifier()
    assert (await home.client(authorization=f"Bearer {made.key}").get("/api/review/threads")).status_code == 401


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Basic abc", "sp_abc", "Bearer sp_unknown", "Bearer sp_\xe9"])
async def test_a_broken_authorization_is_refused_whatever_the_cookie_says(home: House, header: str) -> None:
    browser, _ = await home.signed_in(home.world.reviewer)
    answer = await browser.get("/api/review/threads", headers=[(b"authorization", header.encode("latin-1"))])
    assert answer.status_code == 401


async def test_a_session_cookie_does_nothing_on_agent_routes(home: House) -> None:
    browser, _ = await home.signed_in(home.world.admin)
    assert (await browser.get("/api/agent/threads")).status_code == 401


async def test_a_personal_token_does_nothing_on_agent_routes(home: House) -> None:
    assert (await home.ada.get("/api/agent/threads")).status_code == 401


async def test_a_session_reads_without_a_csrf_token(home: House) -> None:
    browser, _ = await home.signed_in(home.world.reviewer)
    assert (await browser.get("/api/review/threads")).status_code == 200


async def test_a_session_changes_nothing_without_its_csrf_token(home: House) -> None:
    thread = await home.thread()
    browser, _ = await home.signed_in(home.world.reviewer)
    _, others = await home.signed_in(home.world.other_reviewer)
    for headers in ({}, {"x-csrf-token": others}, {"x-csrf-token": ""}):
        answer = await browser.post(path(thread, "/reviews"), json=APPROVE, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "csrf")
    assert (await home.rita.get(path(thread))).json()["status"] == "pending_review"


async def test_a_session_changes_with_its_csrf_token(home: House) -> None:
    thread = await home.thread()
    browser, csrf = await home.signed_in(home.world.reviewer)
    answer = await browser.post(path(thread, "/reviews"), json=APPROVE, headers={"x-csrf-token": csrf})
    assert answer.json()["status"] == "approved"


@pytest.mark.parametrize(
    "headers", [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "https://evil.example"}]
)
async def test_another_sites_page_changes_nothing_even_with_the_token(home: House, headers: dict[str, str]) -> None:
    thread = await home.thread()
    browser, csrf = await home.signed_in(home.world.reviewer)
    answer = await browser.put(path(thread, "/claim"), headers={"x-csrf-token": csrf, **headers})
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")


async def test_our_own_page_may(home: House) -> None:
    thread = await home.thread()
    browser, csrf = await home.signed_in(home.world.reviewer)
    headers = {"x-csrf-token": csrf, "origin": ORIGIN, "sec-fetch-site": "same-origin"}
    assert (await browser.put(path(thread, "/claim"), headers=headers)).status_code == 200


async def test_a_token_wins_over_a_cookie(home: House) -> None:
    browser, _ = await home.signed_in(home.world.admin)
    token = await home.token(home.world.reviewer)
    answer = await browser.get("/api/admin/agents", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 403


async def test_a_revoked_token_ends_at_once(home: House) -> None:
    w = home.world
    token = (await w.read(lambda tx: tx.people.list_tokens(w.tenant_id, w.reviewer.id)))[0]
    await w.write(lambda tx: revoke_token(tx, w.env, COMMAND_LINE, w.reviewer, token.id))
    assert (await home.rita.get("/api/review/threads")).status_code == 401


async def test_a_session_ends_after_twelve_hours(home: House) -> None:
    browser, _ = await home.signed_in(home.world.reviewer)
    home.world.clock.advance(12 * 3600)
    assert (await browser.get("/api/review/threads")).status_code == 401


async def test_a_disabled_person_is_nobody(home: House) -> None:
    w = home.world
    await w.write(lambda tx: change_user(tx, w.env, COMMAND_LINE, w.tenant_id, w.reviewer.id, active=False))
    assert (await home.rita.get("/api/review/threads")).status_code == 401


async def test_an_assigned_agents_threads_are_for_its_reviewers_admins_and_auditors(home: House) -> None:
    thread = await home.thread()
    await home.world.change_agent(AgentChange(reviewers=(home.world.other_reviewer.id,)))
    seen = {name: (await getattr(home, name).get(path(thread))).status_code for name in ("ada", "rita", "rob", "olga")}
    assert seen == {"ada": 200, "rita": 404, "rob": 200, "olga": 200}
    assert (await home.rita.get("/api/review/threads")).json()["threads"] == []


async def test_an_auditor_reads_and_does_not_decide(home: House) -> None:
    thread = await home.thread()
    assert (await home.olga.get(path(thread))).json()["may_review"] is False
    answers = [
        await home.olga.post(path(thread, "/reviews"), json=APPROVE),
        await home.olga.post(path(thread, "/notes"), json={"text": "hm"}),
        await home.olga.put(path(thread, "/claim")),
        await home.olga.delete(path(thread, "/claim")),
    ]
    assert [answer.status_code for answer in answers] == [403, 403, 403, 403]


async def _answers(home: House, thread: str) -> list[tuple[int, str, str]]:
    rita = home.rita
    calls = [
        await rita.get(path(thread)),
        await rita.get(path(thread, "/attachments/att_1")),
        await rita.get(path(thread, "/export")),
        await rita.put(path(thread, "/claim")),
        await rita.delete(path(thread, "/claim")),
        await rita.post(path(thread, "/reviews"), json=APPROVE),
        await rita.post(path(thread, "/notes"), json={"text": "hm"}),
    ]
    return [(one.status_code, one.json()["code"], one.json()["detail"]) for one in calls]


async def test_another_workspaces_thread_answers_like_one_that_never_was(home: House) -> None:
    their: World = await second_tenant(home.world)
    theirs = (await their.ask()).thread_id
    assert theirs is not None
    answers = await _answers(home, theirs)
    assert answers == await _answers(home, "THR-00000000000000000000000000")
    assert {status for status, _, _ in answers} == {404}


async def test_another_agents_thread_answers_like_one_that_never_was(home: House) -> None:
    thread = await home.thread()
    await home.world.change_agent(AgentChange(reviewers=(home.world.other_reviewer.id,)))
    assert await _answers(home, thread) == await _answers(home, "THR-00000000000000000000000000")


async def test_refused_calls_are_counted_and_recorded_once_a_minute(home: House) -> None:
    for _ in range(5):
        await home.nobody.get("/api/review/threads")
    assert (await home.events()).count("calls.refused") == 1


# Whose session or token ends while their body is still on its way


async def slowly(body: object, meanwhile: Callable[[], Awaitable[object]]) -> AsyncIterator[bytes]:
    """A body in two parts, and what happens between them."""
    whole = json.dumps(body).encode()
    yield whole[:5]
    await meanwhile()
    yield whole[5:]


JSON = {"content-type": "application/json"}
LATE = [("/reviews", APPROVE), ("/notes", {"text": "hello"})]


@pytest.mark.parametrize(("rest", "body"), LATE)
async def test_a_token_revoked_while_its_body_is_on_its_way_does_nothing(home: House, rest: str, body: object) -> None:
    w, thread = home.world, await home.thread()
    (token,) = await w.read(lambda tx: tx.people.list_tokens(w.tenant_id, w.reviewer.id))

    async def revoke() -> None:
        await w.write(lambda tx: revoke_token(tx, w.env, COMMAND_LINE, w.reviewer, token.id))

    before = [*await home.events(), "token.revoked", "calls.refused"]
    answer = await home.rita.post(path(thread, rest), content=slowly(body, revoke), headers=JSON)
    assert (answer.status_code, await home.events()) == (401, before)


@pytest.mark.parametrize(("rest", "body"), LATE)
async def test_a_session_that_ends_while_its_body_is_on_its_way_does_nothing(
    home: House, rest: str, body: object
) -> None:
    w, thread = home.world, await home.thread()
    browser, csrf = await home.signed_in(w.reviewer)

    async def sign_out() -> None:
        await w.write(lambda tx: tx.people.delete_sessions_of(w.tenant_id, w.reviewer.id))

    before = [*await home.events(), "calls.refused"]
    headers = {**JSON, "x-csrf-token": csrf}
    answer = await browser.post(path(thread, rest), content=slowly(body, sign_out), headers=headers)
    assert (answer.status_code, await home.events()) == (401, before)


async def test_an_admin_switched_off_while_their_body_is_on_its_way_takes_no_ones_token(home: House) -> None:
    w = home.world
    other = await w.new_user("admin", "Otto")
    otto = await home.client_of(other)

    async def switch_off() -> None:
        await w.write(lambda tx: change_user(tx, w.env, COMMAND_LINE, w.tenant_id, other.id, active=False))

    where = f"/api/admin/users/{w.admin.id}/tokens"
    answer = await otto.post(where, content=slowly({"name": "mine now"}, switch_off), headers=JSON)
    assert answer.status_code == 401
    assert "token" not in answer.json()


async def test_an_admin_demoted_while_their_body_is_on_its_way_takes_no_ones_token(home: House) -> None:
    w = home.world
    other = await w.new_user("admin", "Otto")
    otto = await home.client_of(other)

    async def demote() -> None:
        await w.write(lambda tx: change_user(tx, w.env, COMMAND_LINE, w.tenant_id, other.id, role="reviewer"))

    where = f"/api/admin/users/{w.admin.id}/tokens"
    answer = await otto.post(where, content=slowly({"name": "mine now"}, demote), headers=JSON)
    assert answer.status_code == 403


async def test_an_admins_token_revoked_while_its_body_is_on_its_way_makes_no_agent(home: House) -> None:
    w = home.world
    (token,) = await w.read(lambda tx: tx.people.list_tokens(w.tenant_id, w.admin.id))

    async def revoke() -> None:
        await w.write(lambda tx: revoke_token(tx, w.env, COMMAND_LINE, w.admin, token.id))

    answer = await home.ada.post("/api/admin/agents", content=slowly({"name": "mine"}, revoke), headers=JSON)
    assert answer.status_code == 401
