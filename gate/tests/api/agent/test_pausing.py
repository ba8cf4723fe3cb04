"""Pausing an agent, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from gate.tests.api.agent.calls import ASK, DECISIONS, REFUND, TASK, VALIDATE, Api, api_of, problem
from gate.tests.factories import beside

KEY = {"idempotency-key": "k"}


async def test_open_threads_are_rejected_for_good(api: Api) -> None:
    decision = await api.ask()
    await api.world.pause()
    await api.world.resume()
    now = await api.poll(decision)
    assert (now["status"], now["reason_code"]) == ("rejected", "agent_paused")


async def test_an_allowed_requests_token_is_revoked_for_good(api: Api) -> None:
    decision = await api.ask(100)
    await api.world.pause()
    await api.world.resume()
    assert problem(await api.redeem(decision), 403)["reason"] == "revoked"


async def test_an_approved_requests_token_is_revoked_for_good(api: Api) -> None:
    decision = await api.approved()
    await api.world.pause()
    await api.world.resume()
    now = await api.poll(decision)
    assert (now["approval_state"], "approval_token" in now) == ("revoked", False)
    assert problem(await api.redeem(decision), 403)["reason"] == "revoked"


async def test_its_gets_answer_while_paused(api: Api) -> None:
    decision = await api.approved()
    await api.world.pause()
    answers = [
        await api.get(DECISIONS, request_id=decision["request_id"]),
        await api.get(DECISIONS, thread_id=decision["thread_id"], wait=1),
        await api.get(DECISIONS + "/stream", thread_id=decision["thread_id"]),
        await api.get("/api/agent/threads"),
    ]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert "x-gate-approval-token" not in answers[0].headers


POSTS: list[tuple[str, dict[str, Any]]] = [
    (ASK, REFUND),
    (TASK + "/events", {"event_type": "task.started"}),
    (TASK + "/events", {"event_type": "revision", "thread_id": "THR-1", "subject": "x"}),
    (TASK + "/outcomes", {"request_id": "req_1", "status": "executed"}),
    (TASK + "/requests/THR-1/cancellation", {}),
    (VALIDATE, {"task_id": "task-1", "signature": "x"}),
]


@pytest.mark.parametrize(("path", "body"), POSTS)
async def test_everything_else_is_403_while_paused_and_nothing_is_decided(
    api: Api, path: str, body: dict[str, Any]
) -> None:
    await api.world.pause()
    before = api.counted()
    problem(await api.post(path, body), 403, "agent_paused")
    assert api.counted() == before


async def test_a_resumed_agent_asks_again(api: Api) -> None:
    await api.world.pause()
    await api.world.resume()
    assert (await api.ask(100))["status"] == "allow"


async def test_a_pause_by_another_process_holds_for_the_next_call(api: Api) -> None:
    await api.ask(100)
    async with beside(api.world) as other:
        await other.pause()
    problem(await api.post(ASK, REFUND), 403, "agent_paused")


@pytest.mark.parametrize(("path", "body"), POSTS[1:])
async def test_a_pause_by_another_process_holds_for_every_call(api: Api, path: str, body: dict[str, Any]) -> None:
    await api.ask(100)
    async with beside(api.world) as other:
        await other.pause()
    problem(await api.post(path, body), 403, "agent_paused")


async def test_a_retry_after_a_pause_by_another_process_gives_no_token(api: Api) -> None:
    await api.post(ASK, {**REFUND, "payload": {"amount": 1}}, headers=KEY)
    async with beside(api.world) as other:
        await other.pause()
    problem(await api.post(ASK, {**REFUND, "payload": {"amount": 1}}, headers=KEY), 403, "agent_paused")


async def test_another_agent_goes_on(api: Api) -> None:
    other = await api.world.new_agent("other")
    await api.world.pause()
    assert (await api.ask(100, key=other.key))["status"] == "allow"


async def test_what_one_process_allowed_before_the_pause_another_does_not_redeem(api: Api) -> None:
    decision = await api.ask(100)
    async with beside(api.world) as other, api_of(other) as elsewhere:
        await api.world.pause()
        await api.world.resume()
        assert problem(await elsewhere.redeem(decision), 403)["reason"] == "revoked"
