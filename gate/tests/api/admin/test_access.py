"""What each role may do, on every route of the admin API."""

from __future__ import annotations

from typing import Any

import pytest
from gate.tests.api.people import House
from gate.tests.factories import START, second_tenant

from stacksona_gate.api.admin.routes import ADMIN_OPERATIONS
from stacksona_gate.api.routing import Operation
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.webhooks import Delivery
from stacksona_gate.service.log import seal_now
from stacksona_gate.service.people import create_token

READS = [operation for operation in ADMIN_OPERATIONS if operation.method == "GET"]
PURE_READS = [operation for operation in READS if not operation.path.endswith("/export")]
"""Taking the log out is itself an entry of it: see test_exports."""
CHANGES = [operation for operation in ADMIN_OPERATIONS if operation.method != "GET"]
DELIVERY = Delivery(
    0, "default", "msg_1", "workspace", None, None, "test", "dead", 1, 1, START, None, None, 1, START, "{}"
)
OWN = "/api/admin/users/{user_id}/tokens"


def named(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


def filled(operation: Operation, home: House) -> str:
    """The path of something that is there, and not the caller's own."""
    values = {
        "agent_id": "support-bot",
        "verifier_id": "payments",
        "name:path": "issue_refund",
        "rule_id": "rul_x",
        "user_id": home.world.admin.id,
        "token_id": "tok_x",
        "version": "1",
        "delivery_id": "msg_1",
        "notice_id": "ntc_x",
    }
    where = operation.path
    for name, value in values.items():
        where = where.replace("{" + name + "}", value)
    if where.endswith(("/diff", "/consistency")):
        return where + "?from=0"
    return where + ("?index=0" if where.endswith("/proof") else "")


@pytest.mark.parametrize("operation", ADMIN_OPERATIONS, ids=named)
async def test_a_reviewer_is_refused(home: House, operation: Operation) -> None:
    before = await home.events()
    answer = await home.rita.request(operation.method, filled(operation, home), json={})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert await home.events() == before


@pytest.mark.parametrize("operation", CHANGES, ids=named)
async def test_an_auditor_changes_nothing(home: House, operation: Operation) -> None:
    before = await home.events()
    answer = await home.olga.request(operation.method, filled(operation, home), json={})
    assert answer.status_code == 403
    assert await home.events() == before


@pytest.mark.parametrize("operation", PURE_READS, ids=named)
async def test_an_auditor_reads_what_an_admin_reads(home: House, operation: Operation) -> None:
    await home.ada.put("/api/admin/redaction", json={"reveal_to": ["admin", "auditor"]})
    await home.world.new_verifier()
    await home.world.write(lambda tx: tx.webhooks.insert(DELIVERY))
    await seal_now(home.world.gate, home.world.tenant_id)
    rule = (await home.ada.get("/api/admin/rules")).json()["rules"][0]["id"]
    where = filled(operation, home).replace("rul_x", rule)
    olgas, adas = await home.olga.get(where), await home.ada.get(where)
    assert (olgas.status_code, olgas.content) == (200, adas.content)
    assert olgas.headers["etag"] == adas.headers["etag"]


@pytest.mark.parametrize("operation", ADMIN_OPERATIONS, ids=named)
async def test_nobody_and_agents_are_refused(home: House, operation: Operation) -> None:
    agent = home.client(authorization=f"Bearer {home.world.key}")
    where = filled(operation, home)
    assert (await home.nobody.request(operation.method, where, json={})).status_code == 401
    assert (await agent.request(operation.method, where, json={})).status_code == 401


@pytest.mark.parametrize("operation", CHANGES, ids=named)
async def test_a_session_needs_its_csrf_token_for_every_change(home: House, operation: Operation) -> None:
    browser, _ = await home.signed_in(home.world.admin)
    before = await home.events()
    answer = await browser.request(operation.method, filled(operation, home), json={})
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf")
    assert await home.events() == before


@pytest.mark.parametrize("operation", PURE_READS, ids=named)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_reading_changes_nothing(home: House, operation: Operation, method: str) -> None:
    before = await home.events()
    await home.ada.request(method, filled(operation, home))
    assert await home.events() == before


async def test_an_admin_who_no_longer_is_one_when_it_counts_changes_nothing(home: House) -> None:
    w = home.world
    token = await home.token(w.admin)
    await home.ada.post("/api/admin/users", json={"email": "x@example.com", "role": "admin", "password": "p" * 12})
    await home.ada.patch(f"/api/admin/users/{w.admin.id}", json={"role": "reviewer"})
    answer = await home.client(authorization=f"Bearer {token}").put("/api/admin/agents/support-bot/pause")
    assert answer.status_code == 403


async def their_answers(home: House, ids: dict[str, str]) -> list[tuple[int, str]]:
    agent, user, verifier = (f"/api/admin/{kind}/{ids[kind]}" for kind in ("agents", "users", "verifiers"))
    calls: list[tuple[str, str, Any]] = [
        ("GET", agent, None),
        ("PATCH", agent, {"name": "mine"}),
        ("POST", agent + "/key", {}),
        ("PUT", agent + "/pause", None),
        ("DELETE", agent + "/pause", None),
        ("GET", verifier, None),
        ("PATCH", verifier, {"enabled": False}),
        ("GET", user, None),
        ("PATCH", user, {"role": "auditor"}),
        ("GET", user + "/tokens", None),
        ("POST", user + "/tokens", {"name": "mine"}),
        ("DELETE", f"{user}/tokens/{ids['tokens']}", None),
        ("DELETE", f"/api/admin/users/me/tokens/{ids['tokens']}", None),
    ]
    answers = [await home.ada.request(method, where, json=body) for method, where, body in calls]
    return [(one.status_code, one.json()["code"]) for one in answers]


async def test_another_workspaces_ids_answer_like_ids_that_never_were(home: House) -> None:
    w = home.world
    their = await second_tenant(w)
    token, _ = await w.write(lambda tx: create_token(tx, w.env, COMMAND_LINE, their.admin, "theirs"))
    theirs = {"agents": their.agent.id, "users": their.admin.id, "verifiers": "ver_1", "tokens": token.id}
    unknown = {"agents": "agt_1", "users": "usr_1", "verifiers": "ver_1", "tokens": "tok_1"}
    answers = await their_answers(home, theirs)
    assert answers == await their_answers(home, unknown)
    assert set(answers) == {(404, "not_found")}


async def test_another_workspaces_configuration_is_in_no_listing(home: House) -> None:
    their = await second_tenant(home.world)
    text = "".join([(await home.ada.get(f"/api/admin/{kind}")).text for kind in ("agents", "users", "audit")])
    assert their.agent.id not in text
    assert their.admin.id not in text
