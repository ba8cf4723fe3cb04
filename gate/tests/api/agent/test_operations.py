"""Around the agent API: health, readiness, version, metrics."""

from __future__ import annotations

import re

import pytest
from gate.tests.api.agent.calls import ASK, Api, api_of, problem, refund
from gate.tests.factories import World

from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.service.people import create_token


async def personal_token(w: World, role: str) -> str:
    user = {"admin": w.admin, "reviewer": w.reviewer, "auditor": w.auditor}[role]
    _, token = await w.write(lambda tx: create_token(tx, w.env, COMMAND_LINE, user, "metrics"))
    return token


async def test_health_answers_without_a_key(api: Api) -> None:
    answer = await api.http.get("/healthz", headers={"authorization": ""})
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_readiness_says_that_a_decision_could_be_written(api: Api) -> None:
    assert (await api.http.get("/readyz")).json() == {"status": "ready"}


async def test_a_draining_process_is_not_ready_and_healthy_still(api: Api) -> None:
    api.context.draining.is_set = True
    problem(await api.http.get("/readyz"), 503, "draining")
    assert (await api.http.get("/healthz")).status_code == 200


async def test_the_version_is_the_distributions(api: Api) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", (await api.http.get("/version")).json()["version"])


async def test_no_label_of_the_metrics_comes_from_a_caller(api: Api) -> None:
    hostile = "evil-7f3a"
    body = refund(subject=hostile, workflow_name=hostile, tool_name=hostile, metadata={hostile: hostile})
    headers = {"x-request-id": hostile, "idempotency-key": hostile, "user-agent": hostile}
    await api.post(f"/api/agent/tasks/{hostile}/requests", body, headers=headers)
    await api.post(f"/api/agent/tasks/{hostile}/requests", {hostile: 1}, headers=headers)
    await api.post(f"/{hostile}", body, key=hostile)
    await api.post(ASK, body, headers={"content-type": hostile})
    assert hostile not in (await api.http.get("/metrics")).text


async def test_metrics_are_closed_to_others_without_a_token(api: Api) -> None:
    async with api_of(api.world, peer="192.0.2.7") as far:
        far.http.headers.pop("authorization")
        problem(await far.http.get("/metrics"), 401)


async def test_who_sends_no_token_for_metrics_is_told_which_one(api: Api) -> None:
    async with api_of(api.world, peer="192.0.2.7") as far:
        far.http.headers.pop("authorization")
        said = problem(await far.http.get("/metrics"), 401)["detail"]
    assert "personal token of an admin" in said


async def test_an_agents_key_opens_no_metrics(api: Api) -> None:
    async with api_of(api.world, peer="192.0.2.7") as far:
        problem(await far.http.get("/metrics"), 401)


@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("reviewer", 403), ("auditor", 403)])
async def test_metrics_are_for_admins_elsewhere(api: Api, role: str, status: int) -> None:
    token = await personal_token(api.world, role)
    async with api_of(api.world, peer="192.0.2.7") as far:
        answer = await far.get("/metrics", key=token)
    assert answer.status_code == status


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded"])
async def test_a_proxy_on_this_machine_is_not_loopback(api: Api, header: str) -> None:
    api.http.headers.pop("authorization")
    problem(await api.http.get("/metrics", headers={header: "192.0.2.7"}), 401)


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "127.8.9.1"])
async def test_every_loopback_address_may_read_metrics(api: Api, peer: str) -> None:
    async with api_of(api.world, peer=peer) as near:
        assert (await near.http.get("/metrics")).status_code == 200
