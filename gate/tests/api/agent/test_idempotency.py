"""Retries: one key, one decision."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from gate.tests.api.agent.calls import ASK, FORM, TASK, VALIDATE, Api, api_of, problem, refund
from gate.tests.factories import SQLiteDatabase, beside

from stacksona_gate.domain.times import DAY

KEY = {"idempotency-key": "order-8821"}


def written(api: Api) -> bytes:
    """Everything that the database's log holds."""
    assert isinstance(api.world.database, SQLiteDatabase)
    return Path(api.world.database.path + "-wal").read_bytes()


async def test_a_retry_gets_the_first_decision_again(api: Api) -> None:
    first = await api.post(ASK, refund(), headers=KEY)
    again = await api.post(ASK, refund(), headers=KEY)
    assert again.json() == first.json()
    assert api.counted()["requests"] == 1


async def test_a_retry_after_the_decision_gets_the_first_answer_still(api: Api) -> None:
    first = await api.post(ASK, refund(), headers=KEY)
    await api.review(first.json())
    again = await api.post(ASK, refund(), headers=KEY)
    assert again.json()["status"] == again.headers["x-gate-decision"] == "pending_review"


async def test_a_retry_with_another_body_is_422_idempotency_mismatch(api: Api) -> None:
    await api.post(ASK, refund(100), headers=KEY)
    problem(await api.post(ASK, refund(200), headers=KEY), 422, "idempotency_mismatch")
    assert api.counted()["requests"] == 1


async def test_a_retry_with_the_same_fields_in_other_bytes_is_another_body(api: Api) -> None:
    raw = '{"tool_name":"issue_refund","subject":"s"}'
    await api.post(ASK, raw=raw, headers=KEY)
    problem(await api.post(ASK, raw=raw + " ", headers=KEY), 422, "idempotency_mismatch")


async def test_a_retry_with_another_content_type_is_another_body(api: Api) -> None:
    raw = '{"tool_name":"issue_refund","subject":"s"}'
    await api.post(ASK, raw=raw, headers=KEY)
    headers = {**KEY, "content-type": "application/json; charset=utf-8"}
    problem(await api.post(ASK, raw=raw, headers=headers), 422, "idempotency_mismatch")


async def test_one_key_for_two_tasks_is_two_requests(api: Api) -> None:
    await api.post(ASK, refund(), headers=KEY)
    other = await api.post("/api/agent/tasks/task-2/requests", refund(), headers=KEY)
    assert other.json()["task_id"] == "task-2"
    assert api.counted()["requests"] == 2


async def test_one_key_of_two_agents_is_two_requests(api: Api) -> None:
    other = await api.world.new_agent("other")
    first = await api.post(ASK, refund(), headers=KEY)
    second = await api.post(ASK, refund(), headers=KEY, key=other.key)
    assert first.json()["request_id"] != second.json()["request_id"]


async def test_twenty_at_once_are_one_decision(api: Api) -> None:
    answers = await asyncio.gather(*(api.post(ASK, refund(), headers=KEY) for _ in range(20)))
    assert len({answer.json()["thread_id"] for answer in answers}) == 1
    assert api.counted()["requests"] == 1


async def test_two_at_once_with_different_bodies_are_one_decision_and_one_mismatch(api: Api) -> None:
    answers = await asyncio.gather(*(api.post(ASK, refund(amount), headers=KEY) for amount in (100, 200)))
    assert sorted(answer.status_code for answer in answers) == [200, 422]
    assert api.counted()["requests"] == 1


async def test_a_retry_of_an_allowed_request_carries_a_token_signed_afresh(api: Api) -> None:
    first = await api.post(ASK, refund(100), headers=KEY)
    api.world.clock.advance(20 * 60)
    again = await api.post(ASK, refund(100), headers=KEY)
    assert again.json()["approval_token"] != first.json()["approval_token"]
    assert again.headers["x-gate-approval-token"] == again.json()["approval_token"]
    assert (await api.redeem(again.json())).status_code == 200


async def test_a_retry_of_a_redeemed_approval_carries_no_token(api: Api) -> None:
    first = await api.post(ASK, refund(100), headers=KEY)
    await api.redeem(first.json())
    again = await api.post(ASK, refund(100), headers=KEY)
    assert again.json()["status"] == "allow"
    assert "approval_token" not in again.json()


async def test_the_token_is_not_stored_with_the_answer(api: Api) -> None:
    first = await api.post(ASK, refund(100), headers=KEY)
    stored = written(api)
    assert first.json()["request_id"].encode() in stored
    assert first.json()["approval_token"].encode() not in stored


async def test_a_retry_after_pause_and_resume_of_what_was_allowed_is_409(api: Api) -> None:
    await api.post(ASK, refund(100), headers=KEY)
    await api.world.pause()
    await api.world.resume()
    problem(await api.post(ASK, refund(100), headers=KEY), 409, "approval_revoked")


async def test_a_retry_while_paused_is_403(api: Api) -> None:
    await api.post(ASK, refund(100), headers=KEY)
    await api.world.pause()
    problem(await api.post(ASK, refund(100), headers=KEY), 403, "agent_paused")


async def test_a_key_of_200_characters_is_taken(api: Api) -> None:
    answer = await api.post(ASK, refund(), headers={"idempotency-key": "k" * 200})
    assert answer.status_code == 200


@pytest.mark.parametrize("key", ["k" * 201, ""])
async def test_a_key_too_long_or_empty_is_422_and_nothing_is_decided(api: Api, key: str) -> None:
    before = api.counted()
    problem(await api.post(ASK, refund(), headers={"idempotency-key": key}), 422, "invalid_idempotency_key")
    assert api.counted() == before


async def test_a_refused_body_leaves_its_key_free(api: Api) -> None:
    await api.post(ASK, raw="{", headers=KEY)
    assert (await api.post(ASK, refund(), headers=KEY)).status_code == 200


async def test_a_key_is_kept_for_a_day_at_least(api: Api) -> None:
    first = await api.post(ASK, refund(), headers=KEY)
    api.world.clock.now += DAY - 1
    again = await api.post(ASK, refund(), headers=KEY)
    assert again.json()["request_id"] == first.json()["request_id"]


async def test_a_key_outlives_the_process(api: Api) -> None:
    first = await api.post(ASK, refund(), headers=KEY)
    async with beside(api.world) as other, api_of(other) as elsewhere:
        again = await elsewhere.post(ASK, refund(), headers=KEY)
    assert again.json()["request_id"] == first.json()["request_id"]


async def test_a_form_is_retried_too(api: Api) -> None:
    headers = {**KEY, "content-type": FORM}
    raw = "tool_name=issue_refund&subject=s&payload[amount]=500"
    answers = [await api.post(ASK, raw=raw, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()


@pytest.mark.parametrize("body", [{"event_type": "a"}, {"event_type": "b", "payload": {"x": 1}}])
async def test_a_retried_event_is_one_event(api: Api, body: dict[str, object]) -> None:
    answers = [await api.post(TASK + "/events", body, headers=KEY) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert api.counted()["task_events"] == 1


async def test_a_retried_outcome_is_one_outcome(api: Api) -> None:
    decision = await api.ask(100)
    body = {"request_id": decision["request_id"], "status": "executed"}
    answers = [await api.post(TASK + "/outcomes", body, headers=KEY) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["flag"] == "not_redeemed"
    assert api.counted()["outcomes"] == 1


async def test_a_retried_revision_is_one_revision(api: Api) -> None:
    decision = await api.ask()
    body = {"event_type": "revision", "thread_id": decision["thread_id"], "payload": {"amount": 400}}
    answers = [await api.post(TASK + "/events", body, headers=KEY) for _ in range(2)]
    assert [answer.json()["revision"] for answer in answers] == [2, 2]


async def test_a_retried_revision_of_a_decided_thread_reads_it_back(api: Api) -> None:
    decision = await api.ask()
    body = {"event_type": "revision", "thread_id": decision["thread_id"], "payload": {"amount": 400}}
    await api.post(TASK + "/events", body, headers=KEY)
    await api.review(decision, revision=2)
    assert (await api.post(TASK + "/events", body, headers=KEY)).json()["status"] == "approved"


@pytest.mark.parametrize("path", ["/events", "/outcomes"])
async def test_an_event_or_outcome_with_another_body_is_a_mismatch(api: Api, path: str) -> None:
    decision = await api.ask()
    bodies = [
        {"event_type": kind, "request_id": decision["request_id"], "status": status}
        for kind, status in (("a", "failed"), ("b", "skipped"))
    ]
    await api.post(TASK + path, bodies[0], headers=KEY)
    problem(await api.post(TASK + path, bodies[1], headers=KEY), 422, "idempotency_mismatch")


async def test_a_revision_with_another_body_is_a_mismatch(api: Api) -> None:
    decision = await api.ask()
    for amount, status in ((400, 200), (300, 422)):
        body = {"event_type": "revision", "thread_id": decision["thread_id"], "payload": {"amount": amount}}
        answer = await api.post(TASK + "/events", body, headers=KEY)
        assert answer.status_code == status
    assert (await api.request(decision)).revision == 2


async def test_redemption_is_single_use_with_and_without_a_key(api: Api) -> None:
    decision = await api.ask(100)
    body = {"task_id": "task-1", "signature": decision["approval_token"]}
    answers = [await api.post(VALIDATE, body, headers=KEY) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 403]
