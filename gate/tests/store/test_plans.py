"""How a database finds what is asked of it: by an index or in the table's own order, never by sorting what grows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import apsw
import pytest
from gate.tests.factories import START, TENANT, SQLiteDatabase, World

from stacksona_gate.domain.requests import ThreadFilter
from stacksona_gate.domain.webhooks import DeliveryFilter
from stacksona_gate.store.base import Tx
from stacksona_gate.store.sqlite import SQLiteStore
from stacksona_gate.store.sqlite_connection import SQLiteRows

Asked = list[tuple[str, tuple[Any, ...]]]

IN_ORDER = "USING INTEGER PRIMARY KEY"
TWO = ("agt_1", "agt_2")

QUERIES: dict[str, tuple[str, str, Callable[[Tx], object]]] = {
    "audit, first page": ("audit", "SCAN audit", lambda tx: tx.audit.list_entries(TENANT, limit=9)),
    "audit, later page": ("audit", IN_ORDER, lambda tx: tx.audit.list_entries(TENANT, before=9, limit=9)),
    "audit of a thread": ("audit", "audit_by_thread", lambda tx: tx.audit.list_entries(TENANT, request_id="req_1")),
    "erasure, requests": ("requests", IN_ORDER, lambda tx: tx.erasure.list_requests(TENANT, after=1, limit=9)),
    "erasure, events": ("task_events", IN_ORDER, lambda tx: tx.erasure.list_loose_events(TENANT, after=1, limit=9)),
    "erasure, entries of a user": (
        "audit",
        IN_ORDER,
        lambda tx: tx.erasure.list_entries_of_user(TENANT, "usr_1", after=1, limit=9),
    ),
    "retention": ("requests", IN_ORDER, lambda tx: tx.erasure.list_states(TENANT, after=1, limit=9)),
    "reconciling": ("requests", IN_ORDER, lambda tx: tx.requests.list_redeemed(TENANT, after=1, limit=9)),
    "threads in any folder": (
        "requests",
        IN_ORDER,
        lambda tx: tx.requests.list_threads(TENANT, ThreadFilter(before=9)),
    ),
    "threads of a folder": (
        "requests",
        "threads_by_status",
        lambda tx: tx.requests.list_threads(TENANT, ThreadFilter(folder="approved", agent_ids=TWO)),
    ),
    "an agent's threads": (
        "requests",
        "threads_by_agent",
        lambda tx: tx.requests.list_threads(TENANT, ThreadFilter(agent_ids=("agt_1",), oldest_first=True, after=9)),
    ),
    "new threads of some agents, counted": (
        "requests",
        "threads_",
        lambda tx: tx.requests.count_folders(TENANT, TWO, most=9),
    ),
    "content encrypted anew": ("requests", IN_ORDER, lambda tx: tx.contents.rewrite(TENANT, 0, (1,), 9)),
    "deliveries": ("deliveries", IN_ORDER, lambda tx: tx.webhooks.list_deliveries(TENANT, DeliveryFilter(before=9))),
    "dead deliveries": (
        "deliveries",
        "deliveries_dead",
        lambda tx: tx.webhooks.list_deliveries(TENANT, DeliveryFilter("dead")),
    ),
    "deliveries of an endpoint": (
        "deliveries",
        "deliveries_by_endpoint",
        lambda tx: tx.webhooks.list_deliveries(TENANT, DeliveryFilter("delivered", "agt_1")),
    ),
    "deliveries of a thread": (
        "deliveries",
        "deliveries_of_thread",
        lambda tx: tx.webhooks.list_of_request(TENANT, "req_1"),
    ),
    "deliveries that are over": (
        "deliveries",
        "deliveries_finished",
        lambda tx: tx.webhooks.list_over(START, START, 9),
    ),
    "deliveries to take": (
        "deliveries",
        "deliveries_",
        lambda tx: tx.webhooks.claim(TENANT, "agt_1", START, START + 1, 9),
    ),
    "idempotency keys": (
        "replays",
        "tenant_id=? AND day",
        lambda tx: tx.replays.delete_before(TENANT, 1, 9),
    ),
}


SORTED: dict[str, tuple[str, str, Callable[[Tx], object]]] = {
    "what waits to be sent": (
        "deliveries",
        "deliveries_due",
        lambda tx: tx.webhooks.list_deliveries(TENANT, DeliveryFilter("pending")),
    ),
    "approvals that an agent may still use": (
        "requests",
        "threads_redeemable",
        lambda tx: tx.requests.list_threads(
            TENANT,
            ThreadFilter(agent_ids=("agt_1",), status="approved", redeemed=False, redeemable_at=START),
        ),
    ),
}
"""What an index makes few, whatever the past was, is then sorted."""


@pytest.mark.parametrize("name", QUERIES | SORTED)
async def test_no_other_rows_are_read_and_nothing_that_grows_is_sorted(
    w: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isinstance(w.store, SQLiteStore) or not isinstance(w.database, SQLiteDatabase):
        pytest.skip("query plans are a database's own")
    table, way, query = (QUERIES | SORTED)[name]
    asked = noted(monkeypatch)
    await w.write(query)
    steps = [step for sql, given in asked if f" {table}" in sql for step in plan_of(w.database.path, sql, given, table)]
    assert steps
    others = [step for step in steps if way not in step]
    assert others == (["USE TEMP B-TREE FOR ORDER BY"] if name in SORTED else [])


def noted(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The statements that are run from now on, with what is bound."""
    asked: Asked = []
    look, change = SQLiteRows.all, SQLiteRows.run

    def all_(rows: SQLiteRows, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        asked.append((sql, parameters))
        return look(rows, sql, *parameters)

    monkeypatch.setattr(SQLiteRows, "all", all_)

    def run(rows: SQLiteRows, sql: str, *parameters: object) -> int:
        asked.append((sql, parameters))
        return change(rows, sql, *parameters)

    monkeypatch.setattr(SQLiteRows, "run", run)
    monkeypatch.setattr(SQLiteRows, "one", lambda rows, sql, *given: next(iter(all_(rows, sql, *given)), None))
    return asked


def plan_of(path: str, sql: str, given: tuple[Any, ...], table: str) -> list[str]:
    """The steps that read the table, and any sorting, which there must not be."""
    named: Any = {str(i + 1): value for i, value in enumerate(given)}
    with closing(apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        steps = [str(row[3]) for row in connection.execute("EXPLAIN QUERY PLAN " + sql, named)]
    return [step for step in steps if f" {table}" in step or "B-TREE" in step]
