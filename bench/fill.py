"""A file with a past: many requests, written by the store's own statements."""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import dataclass
from itertools import batched
from typing import Final

from bench.prepare import Prepared, question, settings_for
from stacksona_gate.domain.ids import ulid
from stacksona_gate.domain.requests import ThreadFilter
from stacksona_gate.domain.times import DAY
from stacksona_gate.main import opened
from stacksona_gate.service import reviews
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.installation import DEFAULT_TENANT
from stacksona_gate.service.log import seal_next
from stacksona_gate.service.requests import Ask, submit
from stacksona_gate.store.base import Tx
from stacksona_gate.store.queries.requests import REQUESTS
from stacksona_gate.store.queries.tenants import AUDIT
from stacksona_gate.store.rows import Row
from stacksona_gate.store.sqlite_connection import SQLiteRows

_BATCH: Final = 20_000
_SPAN: Final = 90 * DAY
_SEALED_AT_ONCE: Final = 10_000
_KINDS: Final = (("allow", 0.80), ("approved", 0.10), ("rejected", 0.05), ("pending_review", 0.05))


def _places(insert: str) -> dict[str, int]:
    """Where each column stands in the rows of an INSERT."""
    columns = insert.partition("(")[2].partition(")")[0]
    return {name: place for place, name in enumerate(columns.split(", "))}


_REQUEST: Final = _places(REQUESTS.insert)
_ENTRY: Final = _places(AUDIT.insert)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A real request's rows: every row of its kind is a copy with ids and times of its own."""

    request: Row
    entries: tuple[Row, ...]


def fill(prepared: Prepared, number: int) -> None:
    """Adds so many requests over the last 90 days: 80% allowed, 15% threads decided by people, 5% pending."""
    now = asyncio.run(_ask_one_of_each(prepared))
    dice = random.Random(number)
    statuses = dice.choices([status for status, _ in _KINDS], [share for _, share in _KINDS], k=number)
    rows = SQLiteRows(str(prepared.path))
    try:
        patterns = _read_patterns(rows)
        # For the fill alone: nobody is answered, and a file half filled is thrown away.
        rows.execute("PRAGMA synchronous = OFF")
        for numbers in batched(range(number), _BATCH):
            made = [_copy(patterns[statuses[i]], now - _SPAN + _SPAN * i // number, now, dice) for i in numbers]
            rows.execute("BEGIN IMMEDIATE")
            rows.many(REQUESTS.insert, [request for request, _ in made])
            rows.many(AUDIT.insert, [entry for _, entries in made for entry in entries])
            rows.execute("COMMIT")
            rows.all("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        rows.close()
    asyncio.run(_seal(prepared))
    _sync(prepared)


def _copy(pattern: Pattern, at: int, now: int, dice: random.Random) -> tuple[Row, list[Row]]:
    """The pattern's rows as if asked at ``at``: fresh ids, a task of its own, expiry in the future."""
    cells = list(pattern.request)
    old_id, old_thread = cells[_REQUEST["id"]], cells[_REQUEST["thread_id"]]
    new_id, thread_id = "req_" + ulid(at, dice.randbytes(10)), None
    if old_thread is not None:
        thread_id = "THR-" + ulid(at, dice.randbytes(10))
    cells[_REQUEST["id"]], cells[_REQUEST["thread_id"]] = new_id, thread_id
    cells[_REQUEST["task_id"]] = f"task-{dice.getrandbits(64):016x}"
    cells[_REQUEST["created_at"]] = at
    if cells[_REQUEST["expires_at"]] is not None:
        cells[_REQUEST["expires_at"]] = now + 30 * DAY
    if cells[_REQUEST["decided_at"]] is not None:
        cells[_REQUEST["decided_at"]] = at
    if cells[_REQUEST["approval_id"]] is not None:
        cells[_REQUEST["approval_id"]] = "apr_" + ulid(at, dice.randbytes(10))
        cells[_REQUEST["approval_expires_at"]] = at + DAY
    return tuple(cells), [_entry(entry, at, old_id, new_id, thread_id, dice) for entry in pattern.entries]


def _entry(row: Row, at: int, old_id: str, new_id: str, thread_id: str | None, dice: random.Random) -> Row:
    cells = list(row)
    cells[_ENTRY["id"]] = "aud_" + dice.randbytes(16).hex()
    cells[_ENTRY["at"]] = at
    cells[_ENTRY["request_id"]], cells[_ENTRY["thread_id"]] = new_id, thread_id
    cells[_ENTRY["leaf"]] = cells[_ENTRY["leaf"]].replace(old_id, new_id)
    return tuple(cells)


def _sync(prepared: Prepared) -> None:
    """What the fill left to the system's cache goes to disk now, not into a measurement."""
    descriptor = os.open(prepared.path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _seal(prepared: Prepared) -> None:
    """A past is sealed: the measurement is not about catching up with it."""
    async with opened(settings_for(prepared.url)) as gate:
        while await seal_next(gate, DEFAULT_TENANT, _SEALED_AT_ONCE):
            pass


async def _ask_one_of_each(prepared: Prepared) -> int:
    """One of each kind, asked and decided through the gate's own use-cases. Returns the time."""
    async with opened(settings_for(prepared.url)) as gate:
        caller = await gate.directory.caller(prepared.keys[0])
        for amount in (40.0, 400.0, 400.0, 400.0):
            body = question(amount)
            ask = Ask(
                tool_name="issue_refund",
                subject=str(body["subject"]),
                workflow_name="refunds",
                payload=dict(body["payload"]),  # type: ignore[call-overload]
                metadata={"run": "bench"},
            )
            await submit(gate, caller, f"pattern-{amount}", ask, None)
        await gate.store.write(lambda tx: _decide_two(tx, gate))
        return gate.env.now()


def _decide_two(tx: Tx, gate: Gate) -> None:
    user = tx.people.list_users(DEFAULT_TENANT)[0]
    threads = reviews.list_threads(tx, user, ThreadFilter(folder="new")).threads
    for listed, verdict in zip(threads, ("approve", "reject"), strict=False):
        thread_id = listed.request.thread_id or ""
        reviews.review(tx, gate.env, user, thread_id, reviews.Verdict(verdict, "as agreed", 1))


def _read_patterns(rows: SQLiteRows) -> dict[str, Pattern]:
    """As they rest: content stays encrypted, each row of a kind with the same."""
    found: dict[str, Pattern] = {}
    requests = rows.all(f"SELECT {', '.join(REQUESTS.stored)} FROM requests WHERE tenant_id = $1", DEFAULT_TENANT)
    for request in requests:
        entries = rows.all(
            f"SELECT {', '.join(AUDIT.stored)} FROM audit WHERE tenant_id = $1 AND request_id = $2 ORDER BY seq",
            DEFAULT_TENANT,
            request[_REQUEST["id"]],
        )
        found[request[_REQUEST["status"]]] = Pattern(request, tuple(entries))
    return found
