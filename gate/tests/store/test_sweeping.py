"""What sweeps and the list of unknown outcomes ask of a database: by index, and once where several ask at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from gate.tests.factories import START, TENANT, SQLiteDatabase, World
from msgspec.structs import replace

from stacksona_gate.domain.errors import Conflict
from stacksona_gate.domain.requests import Outcome
from stacksona_gate.domain.times import DAY, HOUR
from stacksona_gate.store import migrate
from stacksona_gate.store.base import Tx
from stacksona_gate.store.sqlite import SQLiteStore
from stacksona_gate.store.sqlite_connection import SQLiteRows

MIGRATIONS = Path(migrate.__file__).parent / "migrations"
HALF = START + 12 * HOUR


async def test_the_next_moment_is_the_earliest_of_reminders_and_expiry(w: World) -> None:
    assert await w.read(lambda tx: tx.requests.next_due()) is None
    answer = await w.ask()
    assert await w.read(lambda tx: tx.requests.next_due()) == HALF
    stored = await w.stored(answer)
    await w.write(lambda tx: tx.requests.set_reminder(stored, None, 2))
    assert await w.read(lambda tx: tx.requests.next_due()) == START + DAY


async def test_reminders_are_listed_from_the_very_moment_on(w: World) -> None:
    await w.ask()
    assert await w.write(lambda tx: tx.requests.list_reminders_due(HALF - 1, 10)) == []
    assert len(await w.write(lambda tx: tx.requests.list_reminders_due(HALF, 10))) == 1


async def test_of_two_who_set_the_same_reminder_one_does(w: World) -> None:
    stored = await w.stored(await w.ask())
    results = [await w.write(lambda tx: tx.requests.set_reminder(stored, HALF + 1, 1)) for _ in range(2)]
    assert results == [True, False]


async def test_a_decided_thread_gets_no_reminder(w: World) -> None:
    answer = await w.ask()
    stored = await w.stored(answer)
    await w.review(answer)
    assert not await w.write(lambda tx: tx.requests.set_reminder(stored, HALF + 1, 1))


async def test_threads_end_together_or_not_at_all(w: World) -> None:
    first, second = await w.stored(await w.ask(task="task-0")), await w.ask(task="task-1")
    other = await w.stored(second)
    await w.review(second)
    over = [
        replace(one, status="rejected", reason_code="expired", message="over", decided_at=START + DAY)
        for one in (first, other)
    ]
    with pytest.raises(Conflict):
        await w.write(lambda tx: tx.requests.end(over))
    assert await w.read(lambda tx: tx.requests.find(first.tenant_id, first.id)) == first


async def test_what_is_ended_together_keeps_its_own_content(w: World) -> None:
    stored = [await w.stored(await w.ask(amount, task=f"task-{amount}")) for amount in (501, 502)]
    over = [
        replace(one, status="rejected", reason_code="expired", message="over", decided_at=START + DAY, remind_at=None)
        for one in stored
    ]
    await w.write(lambda tx: tx.requests.end(over))
    found = [await w.read(lambda tx, one=one: tx.requests.find(one.tenant_id, one.id)) for one in stored]  # type: ignore[misc]
    assert found == over


QUERIES: dict[str, tuple[str, Callable[[Tx], object]]] = {
    "next due": ("threads_by_", lambda tx: tx.requests.next_due()),
    "overdue": ("threads_by_expiry", lambda tx: tx.requests.list_overdue(START, 50)),
    "reminders": ("threads_by_reminder", lambda tx: tx.requests.list_reminders_due(START, 50)),
    "unknown, first page": (
        "requests_without_outcome",
        lambda tx: tx.requests.list_without_outcome("default", START, before=None, limit=50),
    ),
    "unknown, later page": (
        "requests_without_outcome",
        lambda tx: tx.requests.list_without_outcome("default", START, before=(START, 9), limit=50),
    ),
    "unknown, counted": (
        "requests_without_outcome",
        lambda tx: tx.requests.count_without_outcome("default", START, most=1000),
    ),
}


@pytest.mark.parametrize("name", QUERIES)
async def test_nothing_that_runs_all_day_looks_through_all_requests(
    w: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isinstance(w.store, SQLiteStore) or not isinstance(w.database, SQLiteDatabase):
        pytest.skip("query plans are a database's own")
    asked: list[tuple[str, tuple[object, ...]]] = []
    run = SQLiteRows.all

    def noted(rows: SQLiteRows, sql: str, *parameters: object) -> list[tuple[object, ...]]:
        asked.append((sql, parameters))
        return run(rows, sql, *parameters)

    def first(rows: SQLiteRows, sql: str, *parameters: object) -> tuple[object, ...] | None:
        return next(iter(noted(rows, sql, *parameters)), None)

    monkeypatch.setattr(SQLiteRows, "all", noted)
    monkeypatch.setattr(SQLiteRows, "one", first)
    index, query = QUERIES[name]
    await w.write(query)
    plans = [plan for sql, given in asked if " requests " in sql for plan in plan_of(w.database.path, sql, given)]
    assert plans
    assert all(f"USING INDEX {index}" in plan or f"USING COVERING INDEX {index}" in plan for plan in plans)


def plan_of(path: str, sql: str, given: tuple[object, ...]) -> list[str]:
    """The steps that read the table, and any sorting, which there must not be."""
    named: Any = {str(i + 1): value for i, value in enumerate(given)}
    with closing(apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        steps = [str(row[3]) for row in connection.execute("EXPLAIN QUERY PLAN " + sql, named)]
    return [step for step in steps if "requests" in step or "B-TREE" in step]


@pytest.mark.parametrize(
    ("reported", "kept"),
    [((), None), (("failed", "skipped"), "skipped"), (("failed", "executed", "skipped"), "executed")],
)
async def test_outcomes_from_before_requests_kept_them_are_taken_over(
    w: World, reported: tuple[str, ...], kept: str | None
) -> None:
    answer = await w.ask()
    for number, status in enumerate(reported):
        outcome = Outcome(f"out_{number}", answer.request.id, w.agent.id, status, None, None, None, START)
        await w.write(lambda tx, outcome=outcome: tx.conversation.insert_outcome(TENANT, outcome))  # type: ignore[misc]
    (migration,) = MIGRATIONS.glob("*_outcomes_reported.sql")
    await w.write(lambda tx: tx.requests._rows.run(migration.read_text().partition("\n")[2]))  # type: ignore[attr-defined]
    assert (await w.stored(answer)).outcome == kept
