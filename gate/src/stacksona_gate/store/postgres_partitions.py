"""Tables of PostgreSQL that grow, in partitions by time (docs/adr/0013).

A table becomes the first partition of a new one as it is: nothing is copied, and what takes long locks nobody out.
Partitions are made ahead; what fits into none goes into the rest, so that a missing one stops nobody.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Final

import psycopg
from psycopg import errors

from stacksona_gate.domain.errors import Unavailable
from stacksona_gate.store.postgres_connection import PostgresRows, lock_number, mapped_errors
from stacksona_gate.store.postgres_parting import DAYS_AHEAD, checks, part, pending_bound, take_back, validate
from stacksona_gate.store.postgres_parts import TABLES, Parted, attach, bounds_of, is_parted, new_partition, rest

LOCK_MILLISECONDS: Final = 300
"""How long a table is waited for: whoever comes after waits behind. The next round tries again."""
MADE_MOST: Final = 8
"""Partitions made at once."""
STAYING_MOST: Final = 10_000
"""Rows that are still kept, of a partition that is over otherwise: they are written anew, and the partition dropped."""
TABLES_LOCK: Final = lock_number("stacksona-gate migrations")
"""Held by migrations too: neither changes tables while the other does."""

log = logging.getLogger(__name__)


class Partitions:
    """What one round does. Any number of processes may begin one: all but the first leave it."""

    def __init__(self, connect: Callable[[], PostgresRows], size: int) -> None:
        """``size``: rows beyond which a table is partitioned, and that a partition is to have at most."""
        self._connect = connect
        self._size = size
        self._lock = threading.Lock()
        self._open: set[PostgresRows] = set()
        """Connections of the rounds that are under way: what begins one may do so while another goes on."""
        self._is_over = False
        self.parted: frozenset[str] = frozenset()
        """Tables that were partitioned when the last round ended."""
        self._odd: set[str] = set()
        """Tables that cannot be partitioned, as rows of a time to come are in them."""

    def stop(self) -> None:
        """Ends the rounds that are under way, and begins no more: another process goes on."""
        with self._lock:
            self._is_over = True
            for rows in self._open:
                with contextlib.suppress(OSError, psycopg.Error):
                    rows.cut()

    def tend(self, now: int, *, whatever_size: bool = False) -> list[str]:
        """Partitions what has grown, makes partitions ahead, drops those that are over. Returns what was done.

        A table that is in use for longer than a moment is left for the next round. Raises Unavailable.
        """
        done: list[str] = []
        with mapped_errors(), self._connected() as rows:
            for table in TABLES:
                with _put_off(table):
                    done += self._tend(rows, table, now, whatever_size=whatever_size)
            earlier = min(now, rows.now(now))  # a node whose clock runs ahead drops nothing that counts for the others
            for table in TABLES:  # once those that follow have their partitions too
                with _put_off(table):
                    done += _drop_over(rows, table, earlier)
            self.parted = frozenset(table.name for table in TABLES if is_parted(rows, table.name))
        return done

    @contextmanager
    def _connected(self) -> Iterator[PostgresRows]:
        with closing(self._connect()) as rows:
            with self._lock:
                if self._is_over:
                    raise Unavailable("the store is closed")
                self._open.add(rows)
            try:
                yield rows
            finally:
                with self._lock:  # nobody cuts what is closed
                    self._open.remove(rows)

    def _tend(self, rows: PostgresRows, table: Parted, now: int, *, whatever_size: bool) -> Iterator[str]:
        if not is_parted(rows, table.name):
            if table.name not in self._odd and (whatever_size or self._has_grown(rows, table) or checks(rows, table)):
                yield from self._part(rows, table, now)
            return
        with _alone(rows) as alone:
            if alone:
                yield from self._close_rest(rows, table, now)
                yield from self._make_ahead(rows, table, now)

    def _has_grown(self, rows: PostgresRows, table: Parted) -> bool:
        if table.follows is not None:
            return is_parted(rows, table.follows)
        row = rows.one("SELECT reltuples FROM pg_class WHERE oid = CAST(CAST($1 AS TEXT) AS REGCLASS)", table.name)
        return row is not None and row[0] > self._size

    def _part(self, rows: PostgresRows, table: Parted, now: int) -> Iterator[str]:
        """In steps, each of which may be the last: the next round goes on."""
        with _alone(rows) as alone:
            if not alone or is_parted(rows, table.name):
                return
            bound = pending_bound(rows, table, now, self._span(rows, table, now))
        if not self._is_proven(rows, table, bound):
            return
        with _alone(rows) as alone:
            if alone and not is_parted(rows, table.name):
                part(rows, table, bound)
                yield f"{table.name} is partitioned: what there is, up to {table.shown(bound)}, is the first partition"
                yield from self._make_ahead(rows, table, now)

    def _is_proven(self, rows: PostgresRows, table: Parted, bound: int) -> bool:
        try:
            with _limited(rows):  # beside others: proven twice is proven
                validate(rows, table, bound)
        except errors.CheckViolation:
            with _limited(rows):
                take_back(rows, table)
            self._odd.add(table.name)  # only now: a check that stays refuses all rows once its bound has come
            log.warning("%s is not partitioned: a clock was wrong, there are rows of a time to come", table.name)
            return False
        return True

    def _close_rest(self, rows: PostgresRows, table: Parted, now: int) -> Iterator[str]:
        beyond = max(table.now(rows, now), bounds_of(rows, table.name)[-1])
        yield from _close_rest(rows, table, beyond + (DAYS_AHEAD if table.days_most else self._size))

    def _make_ahead(self, rows: PostgresRows, table: Parted, now: int) -> Iterator[str]:
        known = bounds_of(rows, table.name)
        if table.follows is not None:
            wanted = [bound for bound in bounds_of(rows, table.follows) if not known or bound > known[-1]]
        else:
            wanted = self._wanted(rows, table, now, known)
        for bound in wanted[:MADE_MOST]:
            last = bounds_of(rows, table.name)[-1]
            attach(rows, table, new_partition(rows, table, bound), last, bound)
            yield f"{table.name} has a partition up to {table.shown(bound)}"

    def _wanted(self, rows: PostgresRows, table: Parted, now: int, known: list[int]) -> list[int]:
        """At least one whole span is there before it is needed."""
        at, last = table.now(rows, now), known[-1]
        if len(known) > 1 and last - at > last - known[-2]:
            return []
        span = self._span(rows, table, now)
        return [last + span * number for number in range(1, MADE_MOST) if last + span * (number - 1) - at <= span]

    def _span(self, rows: PostgresRows, table: Parted, now: int) -> int:
        """Of one partition: numbers, or days."""
        per_day = max(table.rows_per_day(rows, now), 1)
        if table.days_most == 0:
            return max(self._size, per_day)
        return max(1, min(self._size // per_day, table.days_most))


@contextmanager
def _put_off(table: Parted) -> Iterator[None]:
    """What is in somebody's way is left for the next round."""
    try:
        yield
    except (errors.LockNotAvailable, errors.QueryCanceled, errors.CheckViolation) as error:
        log.info("partitions of %s: put off, %s", table.name, error.diag.message_primary)


@contextmanager
def _limited(rows: PostgresRows) -> Iterator[None]:
    """A transaction that waits for nobody for long."""
    rows.execute(f"BEGIN; SET LOCAL lock_timeout = {LOCK_MILLISECONDS}; SET LOCAL statement_timeout = 0")
    try:
        yield
    except BaseException:
        with contextlib.suppress(psycopg.Error):
            rows.execute("ROLLBACK")
        raise
    rows.execute("COMMIT")


@contextmanager
def _alone(rows: PostgresRows) -> Iterator[bool]:
    """As ``_limited``; False when another process is at it."""
    with _limited(rows):
        row = rows.one("SELECT pg_try_advisory_xact_lock($1)", TABLES_LOCK)
        yield row is not None and bool(row[0])


def _close_rest(rows: PostgresRows, table: Parted, bound: int) -> Iterator[str]:
    """Rows came before their partition: what gathered becomes one, and a new rest is opened."""
    last, name = bounds_of(rows, table.name)[-1], rest(table.name)
    where = f"SELECT 1 FROM {name} WHERE {table.key} "  # noqa: S608 - our own names
    if rows.one(f"{where} >= {table.literal(last)} LIMIT 1") is None:
        return
    if rows.one(f"{where} < {table.literal(last)} OR {table.key} >= {table.literal(bound)} LIMIT 1") is not None:
        log.warning("partitions of %s: the rest has rows of another time, and stays as it is", table.name)
        return
    rows.run(f"ALTER TABLE {table.name} DETACH PARTITION {name}")
    rows.run(f"ALTER TABLE {name} RENAME TO {table.partition(bound)}")
    attach(rows, table, table.partition(bound), last, bound)
    rows.run(f"ALTER TABLE {table.name} ATTACH PARTITION {new_partition(rows, table, None)} DEFAULT")
    yield f"{table.name}: what had come before its partition is one, up to {table.shown(bound)}"


def _drop_over(rows: PostgresRows, table: Parted, now: int) -> Iterator[str]:
    for bound in bounds_of(rows, table.name)[:-1]:  # the last one is what new ones are made after
        if table.is_over(bound, now):
            with _alone(rows) as alone:
                if alone and bound in bounds_of(rows, table.name):
                    yield from _drop(rows, table, bound, now)


def _drop(rows: PostgresRows, table: Parted, bound: int, now: int) -> Iterator[str]:
    """A partition, and of the tables that follow this one those of the same time. What stays of it is written anew."""
    followers = [each for each in TABLES if each.follows == table.name]
    family = [table, *(each for each in followers if bound in bounds_of(rows, each.name)[:-1])]
    old = [each.partition(bound) for each in family]
    rows.run(f"LOCK TABLE {', '.join(old)} IN SHARE MODE")
    staying = table.staying(now)
    count = 0 if not staying else _count(rows, f"{old[0]} WHERE {staying}")
    if count > STAYING_MOST or (count and not _count(rows, f"{old[0]} WHERE NOT ({staying})", most=1)):
        return
    lower = [_lower(rows, each, bound) for each in family]
    for each, name, start in zip(family, old, lower, strict=True):
        kept = None if not count else _kept(rows, each, name, staying if each is table else _OF_KEPT.format(old[0]))
        rows.run(f"ALTER TABLE {each.name} DETACH PARTITION {name}")
        if kept is None:
            continue
        rows.run(f"ALTER TABLE {name} RENAME TO {name}_over")
        rows.run(f"ALTER TABLE {kept} RENAME TO {name}")
        attach(rows, each, name, start, bound)
    for name in reversed(old):
        rows.run(f"DROP TABLE {name}{'_over' if count else ''}")
    yield f"{table.name}: the partition up to {table.shown(bound)} is dropped; rows that stay: {count}"


_OF_KEPT: Final = "delivery_id IN (SELECT id FROM {})"


def _kept(rows: PostgresRows, table: Parted, name: str, staying: str) -> str:
    made = f"{name}_kept"
    rows.run(f"CREATE TABLE {made} (LIKE {name} INCLUDING ALL EXCLUDING IDENTITY)")
    rows.run(f"INSERT INTO {made} SELECT * FROM {name} WHERE {staying}")  # noqa: S608 - our own names
    return made


def _lower(rows: PostgresRows, table: Parted, bound: int) -> int | None:
    """Where a partition begins; None: the first one."""
    return max((each for each in bounds_of(rows, table.name) if each < bound), default=None)


def _count(rows: PostgresRows, what: str, most: int = STAYING_MOST + 1) -> int:
    row = rows.one(f"SELECT COUNT(*) FROM (SELECT 1 FROM {what} LIMIT {most}) AS counted")  # noqa: S608
    return 0 if row is None else int(row[0])
