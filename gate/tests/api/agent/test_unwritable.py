"""A store that cannot write: nothing is decided, nothing redeemed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import apsw
import pytest
from gate.tests.api.agent.calls import ASK, TASK, Api, api_world, problem, refund
from gate.tests.factories import SQLiteDatabase


@pytest.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    """Its store waits a tenth of a second for another process's lock, not five."""
    monkeypatch.setattr("stacksona_gate.store.sqlite_connection.BUSY_MILLISECONDS", 100)
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
