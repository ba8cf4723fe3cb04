"""A store that cannot write: nothing is decided, nothing redeemed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Never

import apsw
import pytest
from gate.tests.api.agent.calls import ASK, DECISIONS, TASK, Api, api_world, problem, refund
from gate.tests.factories import SQLiteDatabase

from stacksona_gate.domain.errors import Unavailable


@pytest.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    """Its store waits half a second for another process's lock, not five."""
    monkeypatch.setattr("stacksona_gate.store.sqlite_connection.BUSY_MILLISECONDS", 500)
    async with api_world() as made:
        yield made


@contextmanager
def unwritable(api: Api) -> Iterator[None]:
    """Another process holds the database's only write lock."""
    assert isinstance(api.world.database, SQLiteDatabase)
    holder = apsw.Connection(api.world.database.path)
    holder.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        holder.execute("ROLLBACK")
        holder.close()


POSTS: list[tuple[str, dict[str, Any]]] = [
    (ASK, refund(100)),
    (ASK, refund(500)),
    (ASK, refund(6000)),
    (TASK + "/events", {"event_type": "task.started"}),
]


@pytest.mark.parametrize(("path", "body"), POSTS)
async def test_nothing_is_answered_but_503(api: Api, path: str, body: dict[str, Any]) -> None:
    before = api.counted()
    with unwritable(api):
        answer = await api.post(path, body)
    problem(answer, 503)
    assert api.counted() == before


async def test_a_redemption_is_503_and_uses_nothing_up(api: Api) -> None:
    decision = await api.approved()
    with unwritable(api):
        problem(await api.redeem(decision), 503)
    assert (await api.request(decision)).redeemed_at is None
    assert (await api.redeem(decision)).status_code == 200


async def test_a_cancellation_is_503_and_cancels_nothing(api: Api) -> None:
    decision = await api.ask()
    with unwritable(api):
        problem(await api.post(f"{TASK}/requests/{decision['thread_id']}/cancellation"), 503)
    assert (await api.poll(decision))["status"] == "pending_review"


async def test_the_gate_is_not_ready_and_is_again_afterwards(api: Api) -> None:
    with unwritable(api):
        problem(await api.http.get("/readyz"), 503)
    assert (await api.http.get("/readyz")).status_code == 200


async def test_a_retry_afterwards_is_the_first_decision(api: Api) -> None:
    key = {"idempotency-key": "k"}
    with unwritable(api):
        await api.post(ASK, refund(100), headers=key)
    assert (await api.post(ASK, refund(100), headers=key)).json()["status"] == "allow"
    assert api.counted()["requests"] == 1


@pytest.mark.parametrize("do", ["cancel", "revise"])
async def test_a_change_that_was_made_and_cannot_be_shown_is_said_to_be_made(
    api: Api, monkeypatch: pytest.MonkeyPatch, do: str
) -> None:
    thread = (await api.post(ASK, refund(500))).json()["thread_id"]
    revision = {"event_type": "revision", "thread_id": thread, "payload": {"amount": 400}}
    path, body = {
        "cancel": (f"{ASK}/{thread}/cancellation", {}),
        "revise": (f"{TASK}/events", revision),
    }[do]
    read, write = api.world.store.read, api.world.store.write

    async def gone(*_: object) -> Never:
        raise Unavailable("the database is not there: nothing was decided, try again")

    async def written_at_last(*given: Any, **named: Any) -> Any:
        result = await write(*given, **named)
        monkeypatch.setattr(api.world.store, "read", gone)
        return result

    monkeypatch.setattr(api.world.store, "write", written_at_last)
    answer = await api.post(path, body)
    monkeypatch.setattr(api.world.store, "read", read)
    problem(answer, 503)
    assert answer.json()["code"] == "done_not_shown"
    now = (await api.http.get(f"{DECISIONS}?thread_id={thread}")).json()
    assert now["status"] == "rejected" if do == "cancel" else now["revision"] == 2


async def test_a_change_whose_key_is_replaced_before_it_is_shown_is_said_to_be_made(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = (await api.post(ASK, refund(500))).json()["thread_id"]
    write = api.world.store.write

    async def then_rotated(*given: Any, **named: Any) -> Any:
        result = await write(*given, **named)
        monkeypatch.setattr(api.world.store, "write", write)
        await api.world.rotate()
        return result

    monkeypatch.setattr(api.world.store, "write", then_rotated)
    answer = await api.post(f"{ASK}/{thread}/cancellation", {})
    problem(answer, 503, "done_not_shown")
