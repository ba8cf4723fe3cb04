"""Workspaces over the operator's API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import pytest
from gate.tests.api.agent.calls import ASK, DECISIONS, VALIDATE, refund
from gate.tests.api.people import PASSWORD, House, house
from gate.tests.factories import PASSWORD as LONG_ENOUGH, second_tenant

from stacksona_gate.domain.agents import key_hash
from stacksona_gate.domain.errors import Forbidden
from stacksona_gate.service.operators import create_operator_key, revoke_operator_key
from stacksona_gate.service.people import sign_in, use_setup_code

TENANTS = "/api/installation/tenants"


@dataclass(slots=True)
class Office:
    """The operator's desk. ``http`` carries their key."""

    house: House
    http: httpx2.AsyncClient
    key_id: str
    secret: str

    async def create(self, name: str = "acme", **fields: Any) -> Any:
        answer = await self.http.post(TENANTS, json={"name": name, **fields})
        assert answer.status_code == 201, answer.text
        return answer.json()


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    async with house() as home:
        w = home.world
        made = await w.write(lambda tx: create_operator_key(tx, w.env, "ops"))
        yield Office(home, home.client(authorization=f"Bearer {made.secret}"), made.key.id, made.secret)


async def test_a_workspace_is_made_with_a_key_and_a_log_of_its_own(office: Office) -> None:
    made = await office.create()
    w = office.house.world
    tenant = await w.read(lambda tx: tx.tenants.find(made["id"]))
    assert tenant is not None
    assert (tenant.name, tenant.policy_version) == ("acme", 0)
    entries = [entry for _, entry in await w.read(lambda tx: tx.audit.list_entries(made["id"]))]
    assert [entry.event for entry in entries] == ["tenant.created"]
    assert '"data_key"' in entries[-1].leaf
    assert '"kind":"operator"' in entries[-1].leaf


async def test_the_link_makes_the_first_admin_of_that_workspace_once(office: Office) -> None:
    made = await office.create()
    gate, code = office.house.world.gate, made["setup_url"].partition("#")[2]
    user = await use_setup_code(gate, code, "ada@example.com", LONG_ENOUGH)
    assert (user.tenant_id, user.role) == (made["id"], "admin")
    again = await office.http.post(f"{TENANTS}/acme/setup-link")
    assert (again.status_code, again.json()["code"]) == (409, "has_admin")


async def test_another_link_ends_the_one_before(office: Office) -> None:
    first = (await office.create())["setup_url"]
    second = (await office.http.post(f"{TENANTS}/acme/setup-link")).json()["setup_url"]
    w = office.house.world
    found = [
        await w.read(lambda tx, u=url: tx.people.find_setup_code(key_hash(u.partition("#")[2]), w.clock.now))  # type: ignore[misc]
        for url in (first, second)
    ]
    assert [one is not None for one in found] == [False, True]


async def test_who_sends_no_key_is_told_which_one(office: Office) -> None:
    office.http.headers.pop("authorization")
    answer = await office.http.get(TENANTS)
    assert (answer.status_code, "so_…" in answer.json()["detail"]) == (401, True)


async def test_only_the_hash_of_an_operators_key_is_kept(office: Office) -> None:
    (kept,) = await office.house.world.read(lambda tx: tx.installations.list_operator_keys())
    assert kept.hash == key_hash(office.secret)
    assert office.secret not in repr(kept)


async def test_a_revoked_operators_key_is_refused_at_once(office: Office) -> None:
    w = office.house.world
    await w.write(lambda tx: revoke_operator_key(tx, w.env, office.key_id))
    assert (await office.http.get(TENANTS)).status_code == 401


@pytest.mark.parametrize("who", ["ada", "rita", "olga", "nobody"])
async def test_nobody_of_a_workspace_sees_or_makes_workspaces(office: Office, who: str) -> None:
    client = getattr(office.house, who)
    answers = [await client.get(TENANTS), await client.post(TENANTS, json={"name": "mine"})]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert len(await office.house.world.read(lambda tx: tx.tenants.list_all())) == 1


async def test_an_operators_key_opens_no_workspace(office: Office) -> None:
    paths = ("/api/admin/agents", "/api/review/threads", "/api/agent/threads")
    assert [(await office.http.get(path)).status_code for path in paths] == [401, 401, 401]


@pytest.mark.parametrize("name", ["", "Acme", "-acme", "acme-", "a b", "ten_1", "a" * 64, "default", "acme"])
async def test_a_name_that_is_none_or_taken_is_refused(office: Office, name: str) -> None:
    await office.create("acme")
    answer = await office.http.post(TENANTS, json={"name": name})
    assert answer.status_code in (409, 422)
    assert answer.json()["errors" if answer.status_code == 422 else "code"]


async def test_a_renamed_workspace_is_signed_in_to_under_its_new_name(office: Office) -> None:
    made = await office.create()
    gate = office.house.world.gate
    await use_setup_code(gate, made["setup_url"].partition("#")[2], "ada@example.com", PASSWORD)
    renamed = await office.http.patch(f"{TENANTS}/acme", json={"name": "acme-eu"})
    assert (renamed.json()["id"], renamed.json()["name"]) == (made["id"], "acme-eu")
    assert (await sign_in(gate, "acme-eu", "ada@example.com", PASSWORD, "::1")).user.tenant_id == made["id"]


async def test_only_the_first_workspace_takes_its_own_name_again(office: Office) -> None:
    await office.create()
    await office.http.patch(f"{TENANTS}/default", json={"name": "first"})
    taken = await office.http.patch(f"{TENANTS}/acme", json={"name": "default"})
    again = await office.http.patch(f"{TENANTS}/first", json={"name": "default"})
    assert (taken.status_code, again.status_code, again.json()["name"]) == (409, 200, "default")


async def test_limits_that_are_left_out_are_the_installations(office: Office) -> None:
    await office.create(limits={"requests_per_second": 5, "pending_threads": 0})
    answer = (await office.http.put(f"{TENANTS}/acme/limits", json={"stored_requests": 9})).json()
    assert answer["limits"] == {
        "requests_per_second": None,
        "pending_threads": None,
        "stored_requests": 9,
        "stored_megabytes": None,
    }


async def test_in_a_suspended_workspace_every_key_is_refused_and_nothing_decided(office: Office) -> None:
    w = await second_tenant(office.house.world)
    home = replace(office.house, world=w)
    admin, agent = await home.client_of(w.admin), home.client(authorization=f"Bearer {w.key}")
    browser, _ = await home.signed_in(w.admin)
    answered = (await agent.post("/api/agent/tasks/earlier/requests", json=refund(100))).json()
    read = {"request_id": answered["request_id"]}
    assert (await agent.get(DECISIONS, params=read)).status_code == 200
    assert (await office.http.put(f"{TENANTS}/other/suspension")).json()["state"] == "suspended"
    asked = await agent.post(ASK, json=refund(100))
    assert (asked.status_code, asked.json()["code"]) == (403, "workspace_suspended")
    assert "x-gate-decision" not in asked.headers
    polled = await agent.get(DECISIONS, params=read)
    assert (polled.status_code, "x-gate-decision" in polled.headers) == (403, False)
    redeemed = await agent.post(VALIDATE, json={"task_id": "earlier", "signature": "a.b.c"})
    assert (redeemed.status_code, redeemed.json()["code"]) == (403, "workspace_suspended")
    assert (await admin.get("/api/admin/agents")).status_code == 403
    assert (await browser.get("/api/review/threads")).status_code == 401
    assert await w.read(lambda tx: tx.readings.find("other", w.agent.id, task_id="task-1")) is None
    assert (await office.house.ada.get("/api/admin/agents")).status_code == 200
    await office.http.delete(f"{TENANTS}/other/suspension")
    assert (await agent.post(ASK, json=refund(100))).status_code == 200


async def test_who_asked_before_a_workspace_was_suspended_is_told_nothing_after_it(office: Office) -> None:
    w = await second_tenant(office.house.world)
    answer, caller = await w.ask(100), await w.caller()
    await office.http.put(f"{TENANTS}/other/suspension")
    with pytest.raises(Forbidden):
        await w.poll(answer, caller)


async def test_the_first_workspace_cannot_be_suspended(office: Office) -> None:
    assert (await office.http.put(f"{TENANTS}/default/suspension")).status_code == 422


async def test_a_change_of_what_somebody_else_changed_is_refused_by_its_tag(office: Office) -> None:
    await office.create()
    tag = (await office.http.get(f"{TENANTS}/acme")).headers["etag"]
    changes = [
        await office.http.put(f"{TENANTS}/acme/limits", json={"pending_threads": n}, headers={"if-match": tag})
        for n in (1, 2)
    ]
    assert [answer.status_code for answer in changes] == [200, 412]


@pytest.mark.parametrize(("who", "status"), [("operator", 200), ("ada", 200), ("theirs", 403)])
async def test_metrics_of_the_installation_are_no_workspaces_own(office: Office, who: str, status: int) -> None:
    w = await second_tenant(office.house.world)
    tokens = {"operator": office.secret, "ada": await office.house.token(office.house.world.admin)}
    token = tokens.get(who) or await office.house.token(w.admin)
    transport = httpx2.ASGITransport(app=office.house.app, client=("203.0.113.9", 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8420") as afar:
        answer = await afar.get("/metrics", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == status
