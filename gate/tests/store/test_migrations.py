"""Databases of earlier versions open with this one, and nothing in them is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from gate.tests.factories import TENANT

from stacksona_gate.store.migrate import all_migrations, statements
from stacksona_gate.store.sqlite import SQLiteStore
from stacksona_gate.store.sqlite_connection import DIALECT, SQLiteRows

REQUEST = {
    "tenant_id": TENANT,
    "id": "req_1",
    "agent_id": "agt_1",
    "task_id": "task-1",
    "thread_id": "THR-1",
    "tool_name": "issue_refund",
    "subject": "A refund",
    "risk_level": "medium",
    "preview": "Dear Sir",
    "summary": '["one"]',
    "payload": '{"amount":500}',
    "payload_digest": "sha-256:aa",
    "metadata": "{}",
    "status": "pending_review",
    "reason_code": "rule",
    "message": "over 250",
    "policy_version": 1,
    "revision": 1,
    "revision_requested": 0,
    "edited": 0,
    "strict_binding": 0,
    "created_at": 1,
    "expires_at": 10**18,
    "required_approvals": 1,
    "approval_valid_for": 1,
    "approved_by": 0,
    "generation": 1,
}


def insert(rows: SQLiteRows, table: str, values: dict[str, object]) -> None:
    marks = ", ".join(f"${i + 1}" for i in range(len(values)))
    rows.run(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", *values.values())  # noqa: S608 - names of this file


@pytest.fixture
def first_version(tmp_path: Path) -> str:
    """A database as the first version left it: a tenant, an agent with a webhook, a pending thread."""
    path = str(tmp_path / "gate.db")
    rows = SQLiteRows(path)
    rows.begin()
    first = all_migrations()[0]
    for statement in statements(first.sql, DIALECT):
        rows.run(statement)
    rows.run("CREATE TABLE migrations (number BIGINT PRIMARY KEY, name TEXT NOT NULL)")
    insert(rows, "migrations", {"number": first.number, "name": first.name})
    insert(
        rows,
        "tenants",
        {"id": TENANT, "name": "Default", "config_version": 1, "policy_version": 0, "created_at": 1},
    )
    agent = {"tenant_id": TENANT, "id": "agt_1", "name": "support", "state": "active", "api_access": 1}
    agent |= {"signed_approvals": 1, "transport": "webhook", "webhook_url": "https://hooks.example/gate"}
    insert(rows, "agents", agent | {"webhook_secret": "wrapped", "generation": 1, "created_at": 1})
    insert(rows, "requests", REQUEST)
    rows.execute("COMMIT")
    rows.close()
    return path


async def test_a_thread_of_the_first_version_reads_the_same(first_version: str) -> None:
    store = SQLiteStore(first_version)
    assert len(store.start()) == len(all_migrations()) - 1
    try:
        request = await store.read(lambda tx: tx.requests.find_thread(TENANT, "THR-1"))
    finally:
        store.close()
    assert request is not None
    assert {name: getattr(request, name) for name in REQUEST} == REQUEST
    assert (request.remind_at, request.reminders, request.outcome, request.erased_at) == (None, 0, None, None)


async def test_a_webhook_of_the_first_version_keeps_its_secret(first_version: str) -> None:
    store = SQLiteStore(first_version)
    store.start()
    try:
        kept = await store.read(lambda tx: tx.agents.get_webhook_secret(TENANT, "agt_1"))
    finally:
        store.close()
    assert kept == "wrapped"
