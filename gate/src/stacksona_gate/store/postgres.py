"""The gate on PostgreSQL: any number of equal processes on one database."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Final, TypeVar

from stacksona_gate.domain.approvals import Redeemed, Redemption, Refused
from stacksona_gate.domain.errors import Invalid, Unavailable
from stacksona_gate.store.base import Change, Load, RedemptionEntries, Stale, Submission, Submitted, Tx, Watcher
from stacksona_gate.store.commits import Commits
from stacksona_gate.store.content import Content
from stacksona_gate.store.evidence import Wrapping
from stacksona_gate.store.jobs import COMMIT_SECONDS, Desks, Jobs, Unit
from stacksona_gate.store.migrate import apply_migrations
from stacksona_gate.store.postgres_address import connection_parameters
from stacksona_gate.store.postgres_changes import Listener, Notifier, new_name
from stacksona_gate.store.postgres_connection import (
    DIALECT,
    HELD,
    READ,
    Columns,
    PostgresRows,
    mapped_errors,
)
from stacksona_gate.store.postgres_partitions import TABLES_LOCK, Partitions
from stacksona_gate.store.postgres_reader import Reader
from stacksona_gate.store.postgres_servers import PROOF_SECONDS, Confirmation, Servers, UnreliableServer
from stacksona_gate.store.postgres_transactions import SCAN_SECONDS, Line, Patience, is_undone_by_another
from stacksona_gate.store.postgres_writer import Batches, Units
from stacksona_gate.telemetry.measures import SIZES, USUAL, summed
from stacksona_gate.telemetry.spans import Spans

T = TypeVar("T")

READERS: Final = 2
SCANNERS: Final = 2
UNITS: Final = 4
"""Threads, each with a connection of its own once it has something to do: with the writer of batches, the notifier and
the listener's two, twelve connections per process at most."""
READY_SECONDS: Final = 5.0
LOOKING_SECONDS: Final = 2.0
"""How long the look for what others committed may take. It is short and frequent: a server that hangs is noticed by it
first, and another one looked for."""
CLOSING_SECONDS: Final = 5.0
"""How long the database may still take for what the end finds under way."""
PARTITION_ROWS: Final = 2_000_000
MIGRATION_WAIT_MILLISECONDS: Final = 500
"""How long a migration waits for a table that is in use, with every decision of other nodes behind it, before it lets
them through and tries again."""
MIGRATION_SECONDS: Final = 3600.0
"""How long one may take: it may go through a large table, or wait for another node that does."""
MIGRATION_TRIES: Final = 120
MIGRATION_PAUSE_SECONDS: Final = 0.5
"""Between two tries: for those who waited behind."""
VERSION_LEAST: Final = 150000

log = logging.getLogger(__name__)


class PostgresStore:
    """Implements store.base.Store."""

    def __init__(
        self,
        url: str,
        listen_url: str = "",
        *,
        commit_seconds: float = COMMIT_SECONDS,
        partition_rows: int = PARTITION_ROWS,
        reached: Callable[[str], None] | None = None,
        clock: Callable[[], int] | None = None,
    ) -> None:
        """``listen_url``: the same database without a pooler between, for notifications. ``reached``: told of fault
        points. ``clock``: instead of the server's. Raises Invalid for malformed addresses."""
        self._clock = clock
        self._content = Content()
        self._columns = Columns()
        self._patience = Patience()
        self._servers = Servers(connection_parameters(url), self._connect, self._patience)
        listening = self._servers
        if listen_url:
            listening = Servers(connection_parameters(listen_url), self._connect, self._patience)
        self._watchers: list[tuple[asyncio.AbstractEventLoop, Watcher]] = []
        self._local = threading.local()
        self._lines: list[Line] = []
        self._open = False
        name = new_name()
        self._notifier = Notifier(self._line(), name)
        looking = self._line(read_only=True, seconds=LOOKING_SECONDS)
        confirmation = Confirmation(self._servers, looking)
        self._listener = Listener(listening.connect, looking, self._publish, name, confirm=confirmation.renew)
        self._batches = Batches(self._line(reached=reached), self._committed)
        self._partitions = Partitions(self._servers.connect, partition_rows)
        self._units: Jobs = queue.SimpleQueue()
        self._writers = [
            Units(self._units, self._line(reached=reached), self._committed, number=number) for number in range(UNITS)
        ]
        self._queries: Jobs = queue.SimpleQueue()
        self._readers = [Reader(self._queries, self._line(read_only=True), number=number) for number in range(READERS)]
        self._scans = ThreadPoolExecutor(SCANNERS, thread_name_prefix="gate-scan")
        self._batch_desk = Desks(self._batches.jobs, commit_seconds)
        self._unit_desk = Desks(self._units, commit_seconds)
        self._query_desk = Desks(self._queries, commit_seconds)

    def start(self) -> list[str]:
        """Migrates and begins to write. Returns the migrations applied. Raises Invalid, Unavailable."""
        self._patience.start()
        try:
            applied = self.migrate()
        except BaseException:
            self._patience.stop()
            raise
        for thread in self._threads():
            thread.start()
        self._open = True
        self._listener.ready.wait(READY_SECONDS)
        return applied

    def _threads(self) -> list[threading.Thread]:
        return [self._notifier, self._listener, self._batches, *self._writers, *self._readers]

    def migrate(self) -> list[str]:
        """Brings the tables up to this version, in one transaction, one process after the other.

        A table that others use is waited for in short turns, so that they are not kept waiting behind.
        """
        line = Line(self._servers.connect, self._patience, seconds=MIGRATION_SECONDS)
        try:
            for number in range(MIGRATION_TRIES):
                try:
                    return line.transact(HELD, lambda rows, tx: _migrate(rows))[0]
                except Unavailable as error:
                    if isinstance(error.__cause__, UnreliableServer):
                        raise Invalid(str(error.__cause__)) from error
                    if number == MIGRATION_TRIES - 1 or not _is_lock_timeout(error):
                        raise
                    time.sleep(MIGRATION_PAUSE_SECONDS)
                except Exception as error:
                    if number == MIGRATION_TRIES - 1 or not is_undone_by_another(error):
                        raise
            raise AssertionError("unreachable: the last try answers")
        finally:
            line.close()

    def close(self) -> None:
        """Finishes what waits, then closes."""
        was_open, self._open = self._open, False
        if was_open:
            for desk in (self._batch_desk, self._unit_desk, self._query_desk):
                desk.hand_over()
            for jobs in (self._batches.jobs, self._units, self._queries):
                jobs.put(None)
            for thread in (self._batches, *self._writers, *self._readers):
                thread.join()
            self._notifier.stop()
            self._listener.stop()
        self._patience.hurry(CLOSING_SECONDS)
        self._partitions.stop()
        self._scans.shutdown()
        if was_open:
            self._patience.stop()  # last: a server that says nothing is waited for by whoever is left, too
        for line in self._lines:
            line.close()

    def scrub(self) -> bool:
        """Clears the tables of what was erased. The write-ahead log and whatever is copied from it keep it."""
        self._maintain("VACUUM")
        return True

    def compact(self) -> None:
        """Writes the tables anew without what was deleted. Needs their size in free space; writers wait meanwhile."""
        self._maintain("VACUUM FULL")

    def _maintain(self, command: str) -> None:
        with mapped_errors(), closing(self._servers.connect()) as rows:
            rows.execute(command)

    def unlock(self, wrapping: Wrapping) -> None:
        """Gives what content is encrypted with; before, nothing that rests encrypted can be written or read."""
        self._content.unlock(wrapping)

    async def submit(self, submission: Submission) -> Submitted:
        self._require_open()
        return await self._batch_desk.put(submission)  # type: ignore[no-any-return]

    async def redeem(self, attempt: Redemption, entries: RedemptionEntries) -> Redeemed | Refused | Stale:
        self._require_open()
        return await self._batch_desk.put((attempt, entries))  # type: ignore[no-any-return]

    async def write(self, unit: Callable[[Tx], T], *, holds: bool = False) -> T:
        self._require_open()
        return await self._unit_desk.put(Unit(unit, holds))  # type: ignore[no-any-return]

    async def read(self, query: Callable[[Tx], T]) -> T:
        self._require_open()
        return await self._query_desk.put(query)  # type: ignore[no-any-return]

    async def scan(self, query: Callable[[Tx], T]) -> T:
        self._require_open()
        return await asyncio.get_running_loop().run_in_executor(self._scans, self._scan, query)

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        entry = (asyncio.get_running_loop(), watcher)
        self._watchers.append(entry)

        def stop() -> None:
            with contextlib.suppress(ValueError):
                self._watchers.remove(entry)

        return stop

    @property
    def parted(self) -> frozenset[str]:
        return self._partitions.parted

    async def tend(self, now: int, *, whatever_size: bool = False) -> list[str]:
        self._require_open()
        known = self._partitions.parted
        done = await asyncio.to_thread(self._partitions.tend, now, whatever_size=whatever_size)
        if self._partitions.parted != known:
            for line in self._lines:  # what they know of tables, and how they plan, was read when they connected
                line.renew()
        return done

    def trace(self, spans: Spans | None) -> None:
        for commits in self._commits():
            commits.spans = spans

    def load(self) -> Load:
        commits = self._commits()
        waiting = [desk.unanswered() for desk in (self._batch_desk, self._unit_desk)]
        return Load(
            summed([one.sizes for one in commits], SIZES),
            summed([one.seconds for one in commits], USUAL),
            sum(count for count, _ in waiting),
            max(age for _, age in waiting),
            sum(line.is_open for line in tuple(self._lines)),
            "postgresql",
        )

    def _commits(self) -> list[Commits]:
        return [self._batches.commits, *(writer.commits for writer in self._writers)]

    def _require_open(self) -> None:
        if not self._open:
            raise Unavailable("the store is closed: nothing was decided, try again", retry_after=1)

    def _scan(self, query: Callable[[Tx], T]) -> T:
        if not hasattr(self._local, "line"):
            self._local.line = self._line(read_only=True, seconds=SCAN_SECONDS)
        line: Line = self._local.line
        return line.transact(READ, lambda rows, tx: query(tx))[0]

    def _line(
        self,
        *,
        read_only: bool = False,
        seconds: float | None = None,
        reached: Callable[[str], None] | None = None,
    ) -> Line:
        def connect() -> PostgresRows:
            return self._servers.connect(read_only=read_only)

        line = Line(connect, self._patience, reached=reached, **({} if seconds is None else {"seconds": seconds}))
        self._lines.append(line)
        return line

    def _connect(self, parameters: dict[str, Any], read_only: bool) -> PostgresRows:
        return PostgresRows(
            parameters,
            content=self._content,
            columns=self._columns,
            read_only=read_only,
            clock=self._clock,
            limited=lambda rows: self._patience.limited(rows, PROOF_SECONDS),
        )

    def _committed(self, changes: Sequence[Change]) -> None:
        self._publish(changes)
        self._notifier.tell(changes)

    def _publish(self, changes: Sequence[Change]) -> None:
        for loop, watcher in list(self._watchers):
            with contextlib.suppress(RuntimeError):  # a loop that is closed has nobody to tell
                loop.call_soon_threadsafe(watcher, changes)


def _is_lock_timeout(error: Unavailable) -> bool:
    return getattr(error.__cause__, "sqlstate", None) == "55P03"


def _migrate(rows: PostgresRows) -> list[str]:
    """Raises Invalid for a server that the gate cannot rely on."""
    _require_fit(rows)
    rows.execute("SET LOCAL statement_timeout = 0")
    rows.all("SELECT pg_advisory_xact_lock($1)", TABLES_LOCK)
    rows.execute(f"SET LOCAL lock_timeout = {MIGRATION_WAIT_MILLISECONDS}")
    return apply_migrations(rows, DIALECT)


def _require_fit(rows: PostgresRows) -> None:
    """Every text must fit, and what the gate asks must be known. That commits are on disk when they are told is asked
    of every server again and again (postgres_servers)."""
    if rows.connection.info.server_version < VERSION_LEAST:
        raise Invalid("the gate needs PostgreSQL 15 or newer")
    if rows.one("SELECT current_setting('server_encoding')") != ("UTF8",):
        raise Invalid("the database's encoding is not UTF8: create it with ENCODING 'UTF8' TEMPLATE template0")
