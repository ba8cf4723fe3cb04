"""A database with a past: many requests and their audit entries, written in bulk, sealed as the sealer would have."""

from __future__ import annotations

import asyncio
import base64
import os
import queue
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import batched
from typing import Final

import psycopg

from bench.maintenance import Maintenance, rows_at
from bench.prepare import Prepared, question, settings_for
from stacksona_gate.config import is_postgresql
from stacksona_gate.domain import merkle
from stacksona_gate.domain.checkpoints import sign_checkpoint
from stacksona_gate.domain.ids import FIRST_TENANT, ulid
from stacksona_gate.domain.requests import ThreadFilter
from stacksona_gate.domain.sealed_log import KeptCheckpoint
from stacksona_gate.domain.times import DAY
from stacksona_gate.main import opened
from stacksona_gate.service import reviews
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.log import seal_next
from stacksona_gate.service.log_keys import log_signer
from stacksona_gate.service.requests import Ask, submit
from stacksona_gate.store.base import Tx
from stacksona_gate.store.postgres_connection import PostgresRows
from stacksona_gate.store.queries.requests import REQUESTS
from stacksona_gate.store.queries.tenants import AUDIT
from stacksona_gate.store.rows import Row, Rows
from stacksona_gate.store.sqlite_connection import SQLiteRows

_BATCH: Final = 10_000
_CONNECTIONS: Final = 2
"""To PostgreSQL; SQLite has one writer."""
SPAN: Final = 90 * DAY
ERASED_SHARE: Final = 1 / 3
"""The oldest, as a retention of 60 days leaves them: without their content."""
_KINDS: Final = (("allow", 0.80), ("approved", 0.10), ("rejected", 0.05), ("pending_review", 0.05))
_LEAVES: Final = ("seq", "tenant_id", "leaf_index")

type Tiles = dict[tuple[int, int], bytes]
type FillRows = SQLiteRows | PostgresRows


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


@dataclass(slots=True)
class Batch:
    """Rows to insert, each with its sequence number first."""

    requests: list[Row] = field(default_factory=list)
    entries: list[Row] = field(default_factory=list)
    leaves: list[Row] = field(default_factory=list)
    tiles: Tiles = field(default_factory=dict)


@dataclass(slots=True)
class Past:
    """Makes the rows, in the order of time. ``size``, ``edge``: the log's tree so far, and its last tiles."""

    patterns: dict[str, Pattern]
    erased: dict[str, Pattern]
    now: int
    dice: random.Random
    request_seq: int
    entry_seq: int
    size: int
    edge: Tiles
    root: bytes = b""

    def batch(self, statuses: Sequence[str], first: int, number: int) -> Batch:
        """The requests from ``first`` on, of ``number`` in all."""
        made = Batch()
        hashes: list[bytes] = []
        for i, status in enumerate(statuses, first):
            at = self.time(i, number)
            known = self.erased if i < number * ERASED_SHARE else self.patterns
            request, entries = _copy(known.get(status) or self.patterns[status], at, self.now, self.dice)
            self.request_seq += 1
            made.requests.append((self.request_seq, *request))
            for entry in entries:
                self.entry_seq += 1
                made.entries.append((self.entry_seq, *entry))
                made.leaves.append((self.entry_seq, FIRST_TENANT, self.size + len(hashes)))
                hashes.append(merkle.leaf_hash(entry[_ENTRY["leaf"]].encode()))
        made.tiles = self._grow(hashes)
        return made

    def time(self, i: int, number: int) -> int:
        """When the request ``i`` of ``number`` was asked."""
        return self.now - SPAN + SPAN * i // number

    def _grow(self, hashes: list[bytes]) -> Tiles:
        appended = merkle.append(lambda level, number: self.edge.get((level, number), b""), self.size, hashes)
        self.size, self.root, tiles = appended.size, appended.root, dict(appended.tiles)
        self.edge = edge_of(self.edge | tiles)
        return tiles


def edge_of(tiles: Tiles) -> Tiles:
    """The last tile of each level, which is all that appending reads."""
    last: dict[int, int] = {}
    for level, number in tiles:
        last[level] = max(number, last.get(level, 0))
    return {(level, number): tiles[level, number] for level, number in last.items()}


def fill(prepared: Prepared, number: int) -> None:
    """Fills a new database with so many requests over the last 90 days: 80% allowed, 15% threads decided by people, 5%
    pending. Tables are partitioned by the day as a gate partitions them. Raises BenchBroken."""
    past = asyncio.run(_begin(prepared, number))
    statuses = past.dice.choices([status for status, _ in _KINDS], [share for _, share in _KINDS], k=number)
    maintenance = Maintenance(prepared.url) if is_postgresql(prepared.url) else None
    with _unsealed(prepared), ExitStack() as stack:
        free: queue.SimpleQueue[FillRows] = queue.SimpleQueue()
        connections = _CONNECTIONS if is_postgresql(prepared.url) else 1
        for _ in range(connections):
            free.put(stack.enter_context(closing(_rows(prepared))))
        pool = stack.enter_context(ThreadPoolExecutor(connections))
        waiting: list[Future[None]] = []
        for numbers in batched(range(number), _BATCH):
            at = past.time(numbers[0], number)
            if maintenance is not None and maintenance.is_due(at):
                _wait(waiting, most=0)
                maintenance.keep(at)
            made = past.batch(statuses[numbers[0] : numbers[-1] + 1], numbers[0], number)
            waiting.append(pool.submit(_insert, free, made))
            _wait(waiting, most=connections)
        _wait(waiting, most=0)
    if maintenance is not None:
        maintenance.check(number)
    _go_on_after_highest(prepared)
    _sync(prepared)
    asyncio.run(_end(prepared, past))  # as a gate that keeps its time: it does not wait for the disk to take all that


def _wait(waiting: list[Future[None]], most: int) -> None:
    """Returns when no more than ``most`` are under way. Raises what one of them raised."""
    while len(waiting) > most:
        waiting.pop(0).result()


def _insert(free: queue.SimpleQueue[FillRows], made: Batch) -> None:
    rows = free.get()
    rows.execute("BEGIN")
    rows.insert_many(REQUESTS.table, ("seq", *REQUESTS.stored), made.requests)
    rows.insert_many(AUDIT.table, ("seq", *AUDIT.stored), made.entries)
    rows.insert_many("log_leaves", _LEAVES, made.leaves)
    rows.many(
        "INSERT INTO log_tiles (tenant_id, level, number, hashes) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (tenant_id, level, number) DO UPDATE SET hashes = excluded.hashes"
        " WHERE length(log_tiles.hashes) < length(excluded.hashes)",
        [(FIRST_TENANT, *place, hashes) for place, hashes in made.tiles.items()],
    )
    rows.execute("COMMIT")
    if isinstance(rows, SQLiteRows):
        rows.all("PRAGMA wal_checkpoint(TRUNCATE)")
    free.put(rows)


def _rows(prepared: Prepared) -> FillRows:
    """Commits are not waited for, for the fill alone: nobody is answered, and a database half filled is thrown away."""
    if is_postgresql(prepared.url):
        server = rows_at(prepared.url)
        server.execute("SET synchronous_commit = off")
        server.execute("SET session_replication_role = replica")  # no trigger: leaves come with their place
        return server
    file = SQLiteRows(str(prepared.path))
    file.execute("PRAGMA synchronous = OFF")
    return file


@contextmanager
def _unsealed(prepared: Prepared) -> Iterator[None]:
    """No trigger adds entries to what waits to be sealed; on PostgreSQL that is a matter of the session."""
    if is_postgresql(prepared.url):
        yield
        return
    with closing(SQLiteRows(str(prepared.path))) as rows:
        triggers = rows.all("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'audit'")
        for name, _ in triggers:
            rows.run(f"DROP TRIGGER {name}")
    yield
    with closing(SQLiteRows(str(prepared.path))) as rows:
        for _, sql in triggers:
            rows.run(sql)


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


def _go_on_after_highest(prepared: Prepared) -> None:
    """Before a gate looks for what is new: else all of it would be."""
    if is_postgresql(prepared.url):
        with psycopg.connect(prepared.url, autocommit=True) as server:
            for table in ("requests", "audit", "log_leaves"):
                last = f"(SELECT MAX(seq) FROM {table})"
                server.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'seq'), {last})".encode())


def _sync(prepared: Prepared) -> None:
    """What the fill left to caches goes to disk now, and the tables are gone through as a day's maintenance would: not
    in a measurement."""
    if is_postgresql(prepared.url):
        with psycopg.connect(prepared.url, autocommit=True) as server:
            server.execute("VACUUM ANALYZE")
            server.execute("CHECKPOINT")
        return
    descriptor = os.open(prepared.path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _begin(prepared: Prepared, number: int) -> Past:
    """One of each kind, asked and decided through the gate's own use-cases, then sealed; and where rows go on from."""
    async with opened(settings_for(prepared.url)) as gate:
        await _ask_one_of_each(gate, prepared)
        while await seal_next(gate, FIRST_TENANT):
            pass
        with closing(_rows(prepared)) as rows:
            patterns = _read_patterns(rows)
        now = gate.env.now()
        await gate.store.write(
            lambda tx: _erase(tx, [known.request[_REQUEST["id"]] for known in patterns.values()], now)
        )
        newest, tiles = await gate.store.scan(_tree)
        with closing(_rows(prepared)) as rows:
            last = [_one(rows, f"SELECT MAX(seq) FROM {table}") for table in ("requests", "audit")]
    with closing(_rows(prepared)) as rows:
        erased = _read_patterns(rows)
        # They are of today, and a table that begins with today is not partitioned in its past. What the log has of
        # them stays, as it does of everything.
        rows.run("DELETE FROM requests")
    return Past(patterns, erased, now, random.Random(number), last[0], last[1], newest, tiles)


def _one(rows: Rows, sql: str) -> int:
    row = rows.one(sql)
    assert row is not None
    return int(row[0])


def _tree(tx: Tx) -> tuple[int, Tiles]:
    """The log's size and its last tiles; so small that there is one tile."""
    newest = tx.log.newest(FIRST_TENANT)
    assert newest is not None
    assert newest.size < merkle.TILE_WIDTH
    return newest.size, {(0, 0): tx.log.find_tile(FIRST_TENANT, 0, 0)}


def _erase(tx: Tx, request_ids: Sequence[str], now: int) -> None:
    """As if approvals were over, so that none is waited for. What is pending stays."""
    for request_id in request_ids:
        tx.erasure.erase_request(FIRST_TENANT, request_id, now + 30 * DAY)


async def _end(prepared: Prepared, past: Past) -> None:
    """Does what maintenance left to the next day, and signs the tree."""
    async with opened(settings_for(prepared.url)) as gate:
        while await gate.store.tend(gate.env.now()):
            pass
        await gate.store.write(partial(sign_tree, gate=gate, size=past.size, root=past.root))


def sign_tree(tx: Tx, gate: Gate, size: int, root: bytes) -> None:
    """Keeps a checkpoint of the default workspace's tree, as a sealer that had just finished it."""
    signer = log_signer(tx, gate.root, FIRST_TENANT)
    made = sign_checkpoint(size, root, signer.key, signer.sign)
    kept = KeptCheckpoint(FIRST_TENANT, size, base64.b64encode(root).decode(), made.note, gate.env.now(), None)
    tx.log.insert_checkpoint(kept)


async def _ask_one_of_each(gate: Gate, prepared: Prepared) -> None:
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


def _decide_two(tx: Tx, gate: Gate) -> None:
    user = tx.people.list_users(FIRST_TENANT)[0]
    threads = reviews.list_threads(tx, user, ThreadFilter(folder="new")).threads
    for listed, verdict in zip(threads, ("approve", "reject"), strict=False):
        thread_id = listed.request.thread_id or ""
        reviews.review(tx, gate.env, user, thread_id, reviews.Verdict(verdict, "as agreed", 1))


def _read_patterns(rows: Rows) -> dict[str, Pattern]:
    """As they rest: content stays encrypted, each row of a kind with the same."""
    found: dict[str, Pattern] = {}
    requests = rows.all(f"SELECT {', '.join(REQUESTS.stored)} FROM requests WHERE tenant_id = $1", FIRST_TENANT)
    for request in requests:
        entries = rows.all(
            f"SELECT {', '.join(AUDIT.stored)} FROM audit WHERE tenant_id = $1 AND request_id = $2 ORDER BY seq",
            FIRST_TENANT,
            request[_REQUEST["id"]],
        )
        found[request[_REQUEST["status"]]] = Pattern(request, tuple(entries))
    return found
