"""The bridge's own endpoints, against the real gate."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from integrations.bridge.tests.house import OTHER_TOKEN, TOKEN, House, house
from integrations.bridge.tests.polling import until
from integrations.bridge.tests.test_gatekeeper import gone
from stacksona import AsyncGate
from stacksona_bridge.app import build_bridge
from stacksona_bridge.settings import read_settings

ASK = {
    "task_id": "task-1",
    "tool_name": "issue_refund",
    "subject": "Refund",
    "payload": {"amount": 500, "currency": "usd"},
}


@pytest.fixture
async def at() -> AsyncIterator[House]:
    async with house() as made:
        yield made


def problem(answer: httpx2.Response, status: int, code: str | None = None) -> Any:
    """What every refusal has, and what none may have."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert not [name for name in answer.headers if name.startswith("x-gate")]
    said = answer.json()
    assert "decision" not in said
    assert said["status"] == status
    assert said["http_request_id"] == answer.headers["x-request-id"]
    assert code is None or said["code"] == code
    return said


@pytest.mark.parametrize(("amount", "status"), [(100, "allow"), (500, "pending_review"), (6000, "reject")])
async def test_a_question_is_answered_as_the_gate_answers_it(at: House, amount: int, status: str) -> None:
    answer = await at.bridge().post("/decisions", json=ASK | {"payload": {"amount": amount}})
    said = answer.json()
    assert (answer.status_code, said["status"], said["decision"]) == (200, status, status)
    assert answer.headers["x-gate-decision"] == status
    assert answer.headers.get("x-gate-thread-id") == said.get("thread_id")
    assert answer.headers.get("x-gate-approval-token") == said.get("approval_token")


async def test_camel_case_is_the_same_question(at: House) -> None:
    bridge = at.bridge()
    first = (await bridge.post("/decisions", json=ASK)).json()
    camel = {"taskId": "task-1", "toolName": "issue_refund", "subject": "Refund", "payload": ASK["payload"]}
    assert (await bridge.post("/decisions", json=camel)).json()["request_id"] == first["request_id"]


async def test_names_inside_the_payload_stay_as_they_are(at: House) -> None:
    bridge = at.bridge()
    asked = (await bridge.post("/decisions", json=ASK | {"payload": {"customerId": "c", "amount": 500}})).json()
    assert (await bridge.get(f"/decisions/{asked['thread_id']}")).json()["payload"] == {
        "customerId": "c",
        "amount": 500,
    }


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b'{"task_id": "t", "task_id": "u"}', 400),
        (b'{"task_id": "t", "taskId": "u", "tool_name": "x", "subject": "s"}', 422),
        (b'{"task_id": "t", "tool_name": "x", "subject": "s", "payload": {"a": 1, "\\u0061": 2}}', 400),
        (b'{"task_id": "t", "tool_name": "x", "subject": "s", "payload": {"a": NaN}}', 400),
        (b'{"task_id": "t", "tool_name": "x", "subject": "s", "payload": {"a": 0.1000000000000000055}}', 400),
        (b'{"task_id": "t", "tool_name": "x", "subject": "s", "payload": {"a": 1e400}}', 400),
        (b'{"task_id": "t", "tool_name": "x", "subject": "s", "payload": {"a": 9007199254740993}}', 400),
        (b'{"task_id": "t", "tool_name": "x", "subject": "s", "payload": {"a": "\\ud800"}}', 400),
        (b'{"task_id": "t", "tool_name": "x", "subject": "s", "payload": {"a": ' + b"[" * 40 + b"]" * 40 + b"}}", 400),
        (b"[" * 200_000, 400),
        (b'{"task_id": "t", "tool_name": "x", "subject": "s", "surprise": 1}', 422),
        (b'{"task_id": "t", "tool_name": "x"}', 422),
        (b'{"task_id": "../../validate", "tool_name": "x", "subject": "s"}', 422),
        (b'{"task_id": "..", "tool_name": "x", "subject": "s"}', 422),
        (b'{"task_id": "t", "tool_name": "x y", "subject": "s"}', 422),
        (b'{"task_id": "t", "tool_name": "x", "subject": 5}', 422),
        (b'{"task_id": "t", "tool_name": "x", "subject": "s", "wait": 301}', 422),
        (b'{"task_id": "t", "tool_name": "x", "subject": "s", "wait": -1}', 422),
        (b'{"task_id": "t", "tool_name": "x", "subject": "s", "wait": true}', 422),
        (b'{"task_id": "t", "tool_name": "x", "subject": "s", "metadata": {"a": 1}}', 422),
        (b'{"task_id": "t", "tool_name": "x", "subject": "s", "attachments": [{"name": "a"}]}', 422),
        (b"", 400),
        (b"null", 400),
        (b"\xff", 400),
    ],
)
async def test_what_has_not_one_reading_is_not_asked(at: House, raw: bytes, status: int) -> None:
    before = at.api.counted()
    problem(await at.bridge().post("/decisions", content=raw), status)
    assert at.api.counted() == before


async def test_a_form_is_not_read(at: House) -> None:
    problem(await at.bridge().post("/decisions", data={"task_id": "t"}), 415)


async def test_a_body_over_the_limit_is_refused(at: House) -> None:
    problem(await at.bridge().post("/decisions", content=b"x" * (7 * 1024 * 1024 + 65_537)), 413)


CALLS = (
    ("POST", "/decisions"),
    ("GET", "/decisions/THR-00000000000000000000000000"),
    ("POST", "/approvals/validate"),
    ("POST", "/events"),
    ("POST", "/outcomes"),
    ("POST", "/v1/workflows/run"),
    ("POST", "/v1/chat-messages"),
    ("GET", "/v1/workflow/1/events"),
    ("GET", "/apps/refunds/v1/workflows/run/1"),
)


@pytest.mark.parametrize("header", [None, "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer \xff", "sg_key"])
async def test_nobody_calls_without_a_token(at: House, header: str | None) -> None:
    bridge = at.bridge()
    del bridge.headers["authorization"]
    headers = {} if header is None else {b"authorization": header.encode("latin-1")}
    for method, path in CALLS:
        answer = await bridge.request(method, path, headers=headers, content=json.dumps(ASK))
        problem(answer, 401, "unauthenticated")


async def test_two_tokens_in_one_call_are_none(at: House) -> None:
    headers = [("authorization", f"Bearer {TOKEN}"), ("authorization", f"Bearer {OTHER_TOKEN}")]
    bridge = at.bridge()
    del bridge.headers["authorization"]
    problem(await bridge.post("/decisions", json=ASK, headers=headers), 401)


# Waiting


async def test_a_question_that_waits_is_answered_when_people_have_decided(at: House) -> None:
    asking = asyncio.create_task(at.bridge().post("/decisions", json=ASK | {"wait": 10}))
    thread = await pending(at)
    await at.api.review(thread)
    assert (await asking).json()["status"] == "approved"


async def pending(at: House) -> Any:
    async def look() -> Any:
        found = (await at.api.get("/api/agent/threads", status="pending_review")).json()["threads"]
        return next(iter(found), None)

    return await until(look)


async def test_a_wait_that_is_over_is_answered_with_what_there_is(at: House) -> None:
    bridge = at.bridge()
    answer = await bridge.post("/decisions", json=ASK | {"wait": 1})
    assert answer.json()["status"] == "pending_review"
    again = await bridge.get(f"/decisions/{answer.json()['thread_id']}", params={"wait": 1})
    assert again.json()["status"] == "pending_review"


async def test_a_bridge_that_ends_lets_waiting_calls_go(at: House) -> None:
    bridge = at.bridge()
    asking = asyncio.create_task(bridge.post("/decisions", json=ASK | {"wait": 60}))
    await pending(at)
    at.bridges[-1].draining.set()
    async with asyncio.timeout(30):
        assert (await asking).json()["status"] == "pending_review"


async def test_calls_that_wait_are_counted(at: House) -> None:
    bridge = at.bridge(BRIDGE_HELD_CALLS="1")
    first = asyncio.create_task(bridge.post("/decisions", json=ASK | {"wait": 60}))
    thread = await pending(at)
    second = await bridge.get(f"/decisions/{thread['thread_id']}", params={"wait": 5})
    problem(second, 429, "too_many_held")
    await at.api.review(thread)
    assert (await first).status_code == 200


@pytest.mark.parametrize("query", ["wait=x", "wait=301", "wait=1&wait=2", "wait=5&x=1", "wait=١"])
async def test_a_query_with_something_else_is_refused(at: House, query: str) -> None:
    problem(await at.bridge().get(f"/decisions/THR-00000000000000000000000000?{query}"), 422)


@pytest.mark.parametrize("thread", ["x", "THR-1", "..%2f..%2fvalidate", "THR-0000000000000000000000000I"])
async def test_an_id_that_is_none_never_reaches_the_gate(at: House, thread: str) -> None:
    assert (await at.bridge().get(f"/decisions/{thread}")).status_code in (404, 422)


async def test_another_agents_thread_is_not_found(at: House) -> None:
    theirs = await at.asked(key=at.keeper_key)
    problem(await at.bridge().get(f"/decisions/{theirs['thread_id']}"), 404)


# Idempotency


async def test_the_same_question_again_is_the_same_thread(at: House) -> None:
    bridge = at.bridge()
    answers = [(await bridge.post("/decisions", json=ASK | {"wait": wait})).json() for wait in (0, 1)]
    assert len({one["thread_id"] for one in answers}) == 1


async def test_a_key_makes_the_same_question_another_one(at: House) -> None:
    bridge = at.bridge()
    keys = ["a", "b", "a"]
    answers = [(await bridge.post("/decisions", json=ASK, headers={"idempotency-key": key})).json() for key in keys]
    assert [answers[0]["thread_id"] == one["thread_id"] for one in answers] == [True, False, True]


async def test_a_key_with_another_question_is_refused(at: House) -> None:
    bridge = at.bridge()
    await bridge.post("/decisions", json=ASK, headers={"idempotency-key": "a"})
    answer = await bridge.post("/decisions", json=ASK | {"subject": "Other"}, headers={"idempotency-key": "a"})
    problem(answer, 422, "idempotency_mismatch")


async def test_every_caller_has_keys_of_their_own(at: House) -> None:
    bridge = at.bridge()
    headers = {"idempotency-key": "a"}
    mine = (await bridge.post("/decisions", json=ASK, headers=headers)).json()
    headers["authorization"] = f"Bearer {OTHER_TOKEN}"
    theirs = (await bridge.post("/decisions", json=ASK | {"subject": "Other"}, headers=headers)).json()
    assert mine["thread_id"] != theirs["thread_id"]


async def test_nobody_else_signs(at: House) -> None:
    metadata = {"dify_signature": "v1." + "0" * 64, "order": "A-1"}
    answer = await at.bridge().post("/decisions", json=ASK | {"metadata": metadata})
    assert answer.json()["metadata"] == {"order": "A-1"}


# Redeeming and telling


async def approved(at: House, bridge: httpx2.AsyncClient) -> Any:
    asked = (await bridge.post("/decisions", json=ASK)).json()
    await at.api.review(asked)
    return (await bridge.get(f"/decisions/{asked['thread_id']}")).json()


async def test_an_approval_is_redeemed_once(at: House) -> None:
    bridge = at.bridge()
    decision = await approved(at, bridge)
    body = {"taskId": "task-1", "signature": decision["approval_token"], "toolName": "issue_refund"}
    body["payloadDigest"] = decision["payload_digest"]
    first, second = [await bridge.post("/approvals/validate", json=body) for _ in range(2)]
    assert (first.status_code, first.json()["valid"], first.json()["payload"]) == (200, True, ASK["payload"])
    refused = problem(second, 403, "approval_refused")
    assert (refused["valid"], refused["reason"]) == (False, "already_used")


async def test_an_approval_of_another_payload_is_refused(at: House) -> None:
    bridge = at.bridge()
    decision = await approved(at, bridge)
    body = {"task_id": "task-1", "signature": decision["approval_token"], "tool_name": "issue_refund"}
    answer = await bridge.post("/approvals/validate", json=body | {"payload": {"amount": 5000, "currency": "usd"}})
    assert problem(answer, 403)["reason"] == "payload_mismatch"
    problem(await bridge.post("/approvals/validate", json=body), 422)


async def test_events_outcomes_and_revisions_reach_the_gate(at: House) -> None:
    bridge = at.bridge()
    asked = (await bridge.post("/decisions", json=ASK)).json()
    event = {"taskId": "task-1", "eventType": "task.started", "eventSummary": "begun"}
    assert (await bridge.post("/events", json=event)).json()["event_id"]
    revision = {"task_id": "task-1", "event_type": "revision", "thread_id": asked["thread_id"], "subject": "Other"}
    assert (await bridge.post("/events", json=revision)).json()["revision"] == 2
    outcome = {"taskId": "task-1", "status": "skipped", "threadId": asked["thread_id"]}
    assert (await bridge.post("/outcomes", json=outcome)).status_code == 201


# A gate that is away, or none


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"<html>", "text/html", 200),
        (b'{"status": "approved"}', "application/json", 200),
        (b"", "application/json", 204),
        (b"", "text/plain", 302),
        (b"oops", "text/plain", 500),
        (b"{}", "application/problem+json", 401),
    ],
)
async def test_a_gate_that_answers_garbage_gives_no_decision(at: House, body: bytes, kind: str, status: int) -> None:
    async def garbage(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, headers={"content-type": kind}, content=body)

    bridge = at.bridge()
    transport = httpx2.MockTransport(garbage)
    broken = replaced(at, AsyncGate("https://testserver", "sg_x", transport=transport, patience=0.1))
    answer = await broken.post("/decisions", json=ASK)
    assert answer.status_code in (502, 503)
    problem(answer, answer.status_code)
    del bridge


def replaced(at: House, gate: AsyncGate) -> httpx2.AsyncClient:
    at.bridges[-1].gate = gate
    app = at.bridges[-1].build()
    headers = {"authorization": f"Bearer {TOKEN}"}
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="https://bridge", headers=headers)


async def test_a_gate_that_is_away_is_503(at: House) -> None:
    at.bridge()
    away = replaced(at, gone())
    problem(await away.post("/decisions", json=ASK), 503, "gate_unavailable")
    problem(await away.get("/readyz"), 503)
    assert (await away.get("/healthz")).status_code == 200


async def test_a_key_that_the_gate_does_not_know_is_the_bridges_fault(at: House) -> None:
    at.bridge()
    transport = httpx2.ASGITransport(app=at.api.app)
    answer = await replaced(at, AsyncGate("https://testserver", "sg_unknown", transport=transport)).post(
        "/decisions", json=ASK
    )
    problem(answer, 502, "gate_refuses_bridge")


async def test_a_bridge_with_good_keys_is_ready(at: House) -> None:
    assert (await at.bridge().get("/readyz")).json() == {"status": "ready"}


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("DELETE", "/decisions", 405)])
async def test_what_is_not_there_is_a_problem_document(at: House, method: str, path: str, status: int) -> None:
    problem(await at.bridge().request(method, path), status)


async def test_without_a_gatekeeper_nothing_is_passed_to_dify(at: House) -> None:
    apps = json.dumps({"refunds": {"key": "app-1", "callers": ["shop"]}})
    bridge = at.bridge(BRIDGE_GATEKEEPER_KEY="", BRIDGE_GATEKEEPER_WEBHOOK_SECRETS="", BRIDGE_DIFY_APPS=apps)
    problem(await bridge.post("/v1/workflows/run", json={"inputs": {}, "user": "u"}), 404)


def test_no_secret_is_in_what_a_bridge_prints_of_itself() -> None:
    from integrations.bridge.tests.house import settings

    config = read_settings(settings("http://127.0.0.1:1", "sg_" + "k" * 40, "sg_" + "g" * 40))
    shown = repr(config) + repr(build_bridge(config)) + repr(config.apps["refunds"])
    assert not [one for one in ("k" * 40, "g" * 40, TOKEN, "app-refunds", "whsec_", "signing key") if one in shown]
