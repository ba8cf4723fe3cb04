"""Held answers and event streams: who is woken by what, and what leaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from gate.tests.api.agent.calls import DECISIONS, TASK, Api, api_of, api_world, problem
from gate.tests.factories import PATIENCE, World, beside
from starlette.types import Message

from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.service.agents import pause_agent
from stacksona_gate.service.environment import Limits
from stacksona_gate.service.reviews import Verdict, review
from stacksona_gate.store.base import Tx

STREAM = DECISIONS + "/stream"


async def until(condition: Callable[[], bool]) -> None:
    """Gives everybody else their turn until it is true."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)


@asynccontextmanager
async def held(api: Api, path: str = DECISIONS, **query: Any) -> AsyncIterator[asyncio.Task[httpx2.Response]]:
    """A call that is held open by now."""
    count = api.world.gate.wakeups.count
    headers = query.pop("headers", None)
    task = asyncio.create_task(api.get(path, headers=headers, **query))
    await until(lambda: api.world.gate.wakeups.count > count or task.done())
    assert not task.done(), task.result().text
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def answer_of(task: asyncio.Task[httpx2.Response]) -> httpx2.Response:
    return await asyncio.wait_for(task, PATIENCE)


@pytest.mark.parametrize(
    ("verdict", "status"), [("approve", "approved"), ("reject", "rejected"), ("request_changes", "pending_review")]
)
async def test_a_verdict_wakes_a_held_answer(api: Api, verdict: str, status: str) -> None:
    decision = await api.ask()
    async with held(api, thread_id=decision["thread_id"], wait=60) as task:
        await api.review(decision, verdict)
        answer = await answer_of(task)
    assert answer.headers["x-gate-decision"] == answer.json()["status"] == status
    assert answer.json()["reviews"][0]["verdict"] == verdict


async def test_an_approval_brings_its_token_at_once(api: Api) -> None:
    decision = await api.ask()
    async with held(api, thread_id=decision["thread_id"], wait=60) as task:
        await api.review(decision)
        answer = await answer_of(task)
    assert (await api.redeem(answer.json())).status_code == 200


async def test_a_verdict_of_another_process_wakes_a_held_answer(api: Api) -> None:
    decision = await api.ask()
    query = {"thread_id": decision["thread_id"], "wait": 60}
    async with beside(api.world) as other, api_of(other) as elsewhere, held(api, **query) as task:
        await elsewhere.review(decision)
        answer = await answer_of(task)
    assert answer.json()["status"] == "approved"


async def test_a_revision_wakes_a_held_answer(api: Api) -> None:
    decision = await api.ask()
    async with held(api, thread_id=decision["thread_id"], wait=60) as task:
        body = {"event_type": "revision", "thread_id": decision["thread_id"], "payload": {"amount": 400}}
        await api.post(TASK + "/events", body)
        answer = await answer_of(task)
    assert answer.json()["revision"] == 2


async def test_a_cancellation_wakes_a_held_answer(api: Api) -> None:
    decision = await api.ask()
    async with held(api, thread_id=decision["thread_id"], wait=60) as task:
        await api.post(f"{TASK}/requests/{decision['thread_id']}/cancellation")
        answer = await answer_of(task)
    assert (answer.json()["status"], answer.json()["reason_code"]) == ("rejected", "cancelled")


async def test_a_decided_request_is_not_held(api: Api) -> None:
    decision = await api.approved()
    answer = await asyncio.wait_for(api.get(DECISIONS, request_id=decision["request_id"], wait=60), PATIENCE)
    assert answer.json()["status"] == "approved"


async def test_a_state_that_the_caller_does_not_know_is_not_held(api: Api) -> None:
    decision = await api.ask()
    headers = {"if-none-match": '"something else"'}
    call = api.get(DECISIONS, request_id=decision["request_id"], wait=60, headers=headers)
    assert (await asyncio.wait_for(call, PATIENCE)).json()["status"] == "pending_review"


@pytest.mark.parametrize("form", ["{}", "W/{}"])
async def test_a_state_that_the_caller_knows_is_held(api: Api, form: str) -> None:
    decision = await api.ask()
    etag = (await api.get(DECISIONS, request_id=decision["request_id"])).headers["etag"]
    headers = {"if-none-match": form.replace("{}", etag)}
    async with held(api, request_id=decision["request_id"], wait=60, headers=headers) as task:
        await api.review(decision)
        assert (await answer_of(task)).json()["status"] == "approved"


async def test_a_held_answer_leaves_when_its_time_is_over(api: Api) -> None:
    decision = await api.ask()
    answer = await asyncio.wait_for(api.get(DECISIONS, request_id=decision["request_id"], wait=1), PATIENCE)
    assert (answer.status_code, answer.json()["status"]) == (200, "pending_review")
    assert answer.headers["retry-after"]


async def test_a_task_is_held_by_its_newest_request(api: Api) -> None:
    await api.approved()
    newest = await api.ask()
    async with held(api, task_id="task-1", wait=60) as task:
        await api.review(newest, "reject")
        answer = await answer_of(task)
    assert (answer.json()["request_id"], answer.json()["status"]) == (newest["request_id"], "rejected")


async def test_a_key_replaced_meanwhile_is_401_and_tells_nothing(api: Api) -> None:
    decision = await api.ask()
    async with held(api, thread_id=decision["thread_id"], wait=60) as task:
        await api.world.rotate()
        await api.review(decision)
        problem(await answer_of(task), 401)


async def test_an_agent_paused_meanwhile_is_told_that_it_was_rejected(api: Api) -> None:
    decision = await api.ask()
    async with held(api, thread_id=decision["thread_id"], wait=60) as task:
        await api.world.pause()
        answer = await answer_of(task)
    assert (answer.json()["status"], answer.json()["reason_code"]) == ("rejected", "agent_paused")


async def test_an_approval_before_a_pause_leaves_without_its_token(api: Api) -> None:
    decision = await api.ask()
    async with held(api, thread_id=decision["thread_id"], wait=60) as task:
        await api.world.write(lambda tx: approve_and_pause(tx, api.world, decision["thread_id"]))
        answer = await answer_of(task)
    assert (answer.json()["status"], "approval_token" in answer.json()) == ("approved", False)


def approve_and_pause(tx: Tx, w: World, thread_id: str) -> None:
    review(tx, w.env, w.reviewer, thread_id, Verdict("approve", "", 1))
    pause_agent(tx, w.env, COMMAND_LINE, w.tenant_id, w.agent.id)


async def test_one_answer_more_than_the_limit_is_429() -> None:
    async with api_world(limits=Limits(held_requests=2)) as api:
        decision = await api.ask()
        query = {"thread_id": decision["thread_id"], "wait": 60}
        async with held(api, **query), held(api, **query):
            answer = await api.get(DECISIONS, **query)
            problem(answer, 429, "too_many")
            assert answer.headers["retry-after"] == "1"
            assert (await api.get(DECISIONS, thread_id=decision["thread_id"])).status_code == 200


async def test_streams_count_as_held_answers() -> None:
    async with api_world(limits=Limits(held_requests=1)) as api:
        decision = await api.ask()
        async with held(api, STREAM, thread_id=decision["thread_id"]):
            problem(await api.get(STREAM, thread_id=decision["thread_id"]), 429)
            problem(await api.get(DECISIONS, thread_id=decision["thread_id"], wait=60), 429)


async def test_a_stream_whose_client_is_gone_before_it_begins_keeps_no_place(api: Api) -> None:
    decision = await api.ask()

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        raise OSError("gone")

    headers = [(b"authorization", f"Bearer {api.world.key}".encode())]
    query = f"thread_id={decision['thread_id']}".encode()
    scope = {"type": "http", "method": "GET", "path": STREAM, "query_string": query, "headers": headers}
    with pytest.raises(OSError, match="gone"):
        await api.app(scope, receive, send)
    assert api.context.holds.count == 0


async def test_one_agents_held_answers_are_not_anothers() -> None:
    async with api_world(limits=Limits(held_requests=1)) as api:
        other = await api.world.new_agent("other")
        mine, theirs = await api.ask(), await api.ask(key=other.key)
        hers = {"thread_id": theirs["thread_id"], "wait": 60, "key": other.key}
        async with held(api, thread_id=mine["thread_id"], wait=60), held(api, **hers):
            assert api.context.holds.count == 2


async def test_a_refused_wait_holds_nothing(api: Api) -> None:
    await api.get(DECISIONS, thread_id="THR-none", wait=60)
    await api.get(STREAM, thread_id="THR-none")
    assert (api.context.holds.count, api.world.gate.wakeups.count) == (0, 0)


async def test_an_answered_wait_holds_nothing(api: Api) -> None:
    decision = await api.ask()
    async with held(api, thread_id=decision["thread_id"], wait=60) as task:
        await api.review(decision)
        await answer_of(task)
    await until(lambda: (api.context.holds.count, api.world.gate.wakeups.count) == (0, 0))


async def test_draining_lets_held_answers_go(api: Api) -> None:
    decision = await api.ask()
    async with held(api, thread_id=decision["thread_id"], wait=60) as task:
        api.context.draining.is_set = True
        api.world.gate.wakeups.wake_all()
        answer = await answer_of(task)
    assert (answer.status_code, answer.json()["status"]) == (200, "pending_review")


# Streams


@dataclass
class Event:
    kind: str
    id: str
    data: Any


def events_of(text: str) -> list[Event]:
    made = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            made.append(Event(fields["event"], fields.get("id", ""), json.loads(fields["data"])))
    return made


async def test_a_stream_tells_every_state_and_ends_with_the_final_one(api: Api) -> None:
    decision = await api.ask()
    async with held(api, STREAM, thread_id=decision["thread_id"]) as task:
        await api.review(decision, "request_changes", message="less")
        count = api.world.gate.store.load().commits
        await until(lambda: api.world.gate.wakeups.count == 1 and api.world.gate.store.load().commits >= count)
        await api.review(decision)
        answer = await answer_of(task)
    events = events_of(answer.text)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert [event.kind for event in events] == ["decision"] * len(events)
    assert (events[0].data["status"], events[-1].data["status"]) == ("pending_review", "approved")
    assert events[-1].data["approval_token"]


async def test_a_streams_event_ids_are_the_etags(api: Api) -> None:
    decision = await api.approved()
    (event,) = events_of((await api.get(STREAM, thread_id=decision["thread_id"])).text)
    etag = (await api.get(DECISIONS, thread_id=decision["thread_id"])).headers["etag"]
    assert event.id == etag.strip('"')
    assert event.data == await api.poll(decision)


async def test_a_stream_of_a_decided_request_ends_at_once(api: Api) -> None:
    decision = await api.ask(6000)
    events = events_of((await api.get(STREAM, request_id=decision["request_id"])).text)
    assert [event.data["status"] for event in events] == ["reject"]


async def test_a_stream_gives_a_sign_of_life(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stacksona_gate.service.decisions.LOOK_SECONDS", 0.01)
    decision = await api.ask()
    looked = asyncio.Event()
    read = api.world.gate.directory.caller
    calls = 0

    async def counting(key: str, *, current: bool = True) -> Any:
        nonlocal calls
        calls += 1
        if calls > 4:
            looked.set()
        return await read(key, current=current)

    monkeypatch.setattr(api.world.gate.directory, "caller", counting)
    async with held(api, STREAM, thread_id=decision["thread_id"]) as task:
        await asyncio.wait_for(looked.wait(), PATIENCE)
        await api.review(decision)
        answer = await answer_of(task)
    assert ": alive\n\n" in answer.text


async def test_a_stream_whose_key_was_replaced_ends_with_an_error_and_no_decision(api: Api) -> None:
    decision = await api.ask()
    async with held(api, STREAM, thread_id=decision["thread_id"]) as task:
        await api.world.rotate()
        await api.review(decision)
        events = events_of((await answer_of(task)).text)
    assert [event.kind for event in events] == ["decision", "error"]
    assert (events[0].data["status"], events[1].data["status"]) == ("pending_review", 401)


async def test_a_stream_never_says_the_decision_in_its_headers(api: Api) -> None:
    decision = await api.approved()
    answer = await api.get(STREAM, thread_id=decision["thread_id"])
    assert not [name for name in answer.headers if name.startswith("x-gate")]


async def test_a_stream_ends_when_the_process_drains(api: Api) -> None:
    decision = await api.ask()
    async with held(api, STREAM, thread_id=decision["thread_id"]) as task:
        api.context.draining.is_set = True
        api.world.gate.wakeups.wake_all()
        events = events_of((await answer_of(task)).text)
    assert events[-1].data["status"] == "pending_review"


async def test_head_of_a_stream_answers_at_once_and_holds_nothing(api: Api) -> None:
    decision = await api.ask()
    answer = await asyncio.wait_for(api.http.head(STREAM, params={"thread_id": decision["thread_id"]}), PATIENCE)
    assert (answer.status_code, answer.content, api.context.holds.count) == (200, b"", 0)


@pytest.mark.parametrize("query", [{}, {"thread_id": "a", "task_id": "b"}])
async def test_a_stream_needs_exactly_one_id(api: Api, query: dict[str, str]) -> None:
    problem(await api.http.get(STREAM, params=query), 422, "one_id")
