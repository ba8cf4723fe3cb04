"""Ids of other agents and other workspaces answer exactly like ids that never existed."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from gate.tests.api.agent.calls import ASK, DECISIONS, TASK, Api, refund
from gate.tests.factories import second_tenant

NEVER = {"thread_id": "THR-01ARZ3NDEKTSV4RRFFQ69G5FAV", "request_id": "req_01ARZ3NDEKTSV4RRFFQ69G5FAV"}


async def theirs(api: Api, whose: str) -> Any:
    """A pending decision of another agent, or of another workspace's."""
    other = api.world.new_agent("other") if whose == "agent" else second_tenant(api.world)
    key = (await other).key
    return (await api.post(ASK, refund(), key=key)).json()


def without_id(answer: httpx2.Response) -> tuple[int, bytes, dict[str, str]]:
    identity = answer.headers["x-request-id"]
    headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
    return answer.status_code, answer.content.replace(identity.encode(), b"ID"), headers


@pytest.mark.parametrize("whose", ["agent", "workspace"])
@pytest.mark.parametrize("name", ["thread_id", "request_id"])
@pytest.mark.parametrize("path", [DECISIONS, DECISIONS + "/stream"])
async def test_reading_them_is_like_reading_nothing(api: Api, whose: str, name: str, path: str) -> None:
    decision = await theirs(api, whose)
    answers = [await api.http.get(path, params={name: value}) for value in (decision[name], NEVER[name])]
    assert without_id(answers[0]) == without_id(answers[1])
    assert answers[0].status_code == 404


@pytest.mark.parametrize("whose", ["agent", "workspace"])
async def test_waiting_for_them_is_like_waiting_for_nothing(api: Api, whose: str) -> None:
    decision = await theirs(api, whose)
    ids = (decision["thread_id"], NEVER["thread_id"])
    answers = [await api.get(DECISIONS, thread_id=value, wait=1) for value in ids]
    assert without_id(answers[0]) == without_id(answers[1])


@pytest.mark.parametrize("whose", ["agent", "workspace"])
async def test_cancelling_them_is_like_cancelling_nothing(api: Api, whose: str) -> None:
    decision = await theirs(api, whose)
    ids = (decision["thread_id"], NEVER["thread_id"])
    answers = [await api.post(f"{TASK}/requests/{value}/cancellation") for value in ids]
    assert without_id(answers[0]) == without_id(answers[1])
    assert answers[0].status_code == 404


@pytest.mark.parametrize("whose", ["agent", "workspace"])
@pytest.mark.parametrize("event_type", ["revision", "task.started"])
async def test_events_about_them_are_like_events_about_nothing(api: Api, whose: str, event_type: str) -> None:
    decision = await theirs(api, whose)
    answers = [
        await api.post(TASK + "/events", {"event_type": event_type, "thread_id": value, "payload": {"a": 1}})
        for value in (decision["thread_id"], NEVER["thread_id"])
    ]
    assert without_id(answers[0]) == without_id(answers[1])
    assert answers[0].status_code == 404


@pytest.mark.parametrize("whose", ["agent", "workspace"])
@pytest.mark.parametrize("name", ["thread_id", "request_id"])
async def test_outcomes_of_them_are_like_outcomes_of_nothing(api: Api, whose: str, name: str) -> None:
    decision = await theirs(api, whose)
    answers = [
        await api.post(TASK + "/outcomes", {name: value, "status": "executed"})
        for value in (decision[name], NEVER[name])
    ]
    assert without_id(answers[0]) == without_id(answers[1])
    assert answers[0].status_code == 404


@pytest.mark.parametrize("whose", ["agent", "workspace"])
async def test_none_of_it_changes_anything_of_theirs(api: Api, whose: str) -> None:
    decision = await theirs(api, whose)
    before = api.counted()
    await api.post(f"{TASK}/requests/{decision['thread_id']}/cancellation")
    await api.post(TASK + "/outcomes", {"thread_id": decision["thread_id"], "status": "executed"})
    assert api.counted() == before


async def test_ones_own_thread_under_another_task_is_not_found(api: Api) -> None:
    decision = await api.ask(task="task-2")
    answers = [
        await api.post(f"{TASK}/requests/{decision['thread_id']}/cancellation"),
        await api.post(TASK + "/outcomes", {"thread_id": decision["thread_id"], "status": "failed"}),
        await api.post(TASK + "/events", {"event_type": "a", "thread_id": decision["thread_id"]}),
        await api.post(
            TASK + "/events", {"event_type": "revision", "thread_id": decision["thread_id"], "subject": "x"}
        ),
    ]
    assert [answer.status_code for answer in answers] == [404] * 4
