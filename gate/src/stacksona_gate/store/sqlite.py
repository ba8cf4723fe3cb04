"""The gate on one SQLite file: one writer thread with group commit, readers beside it (WAL)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import apsw

from stacksona_gate.domain.approvals import Redeemed, Redemption, Refused
from stacksona_gate.domain.errors import Unavailable
from stacksona_gate.store.base import Change, Load, RedemptionEntries, Submission, Submitted, Tx, Watcher
from stacksona_gate.store.migrate import apply_migrations
from stacksona_gate.store.queries.transaction import SqlTx
from stacksona_gate.store.sqlite_connection import DIALECT, SQLiteRows, mapped_errors
from stacksona_gate.store.sqlite_writer import Job, Writer

T = TypeVar("T")

COMMIT_SECONDS: Final = 10.0
"""How long a caller waits for the disk before it is told that the store is not there."""
WAITING_MOST: Final = 20_000
"""Jobs in the queue beyond which new ones are refused at once."""
CHECKPOINT_SECONDS: Final = 0.25
WAL_RESTART_BYTES: Final = 64 * 1024 * 1024

log = logging.getLogger(__name__)


class SQLiteStore:
    """Implements store.base.Store. ``path`` is a file on a local disk; never one on a network."""

    def __init__(self, path: str, *, commit_seconds: float = COMMIT_SECONDS) -> None:
        self.path = path
        self._commit_seconds = commit_seconds
        self._local = threading.local()
        self._readers: list[SQLiteRows] = []
        self._scans = ThreadPoolExecutor(2, thread_name_prefix="gate-scan")
        self._watchers: list[tuple[asyncio.AbstractEventLoop, Watcher]] = []
        self._writer = Writer(lambda: SQLiteRows(path), self._publish)
        self._checkpointer = _Checkpointer(path)
        self._open = False

    def start(self) -> list[str]:
        """Migrates and begins to write. Returns the migrations applied. Raises Unavailable."""
        applied = self.migrate()
        self._writer.start()
        self._checkpointer.start()
        self._open = True
        return applied

    def migrate(self) -> list[str]:
        """Brings the file's tables up to this version, in one transaction."""
        with mapped_errors():
            rows = SQLiteRows(self.path)
            try:
                rows.execute("BEGIN IMMEDIATE")
                applied = apply_migrations(rows, DIALECT)
                rows.execute("COMMIT")
            finally:
                rows.close()
        return applied

    def close(self) -> None:
        """Finishes what waits, then closes."""
        if self._open:
            self._open = False
            self._writer.jobs.put(None)
            self._writer.join()
            self._checkpointer.stop()
        self._scans.shutdown()
        for reader in self._readers:
            reader.close()
        self._readers.clear()

    async def submit(self, submission: Submission) -> Submitted:
        return await self._in_batch(submission)  # type: ignore[no-any-return]

    async def redeem(self, attempt: Redemption, entries: RedemptionEntries) -> Redeemed | Refused:
        return await self._in_batch((attempt, entries))  # type: ignore[no-any-return]

    async def write(self, unit: Callable[[Tx], T]) -> T:
        return await self._in_batch(unit)  # type: ignore[no-any-return]

    async def read(self, query: Callable[[Tx], T]) -> T:
        # In the event loop itself: a look-up by key takes 20 microseconds, a hop to a thread 50.
        return self._read(query)

    async def scan(self, query: Callable[[Tx], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._scans, self._read, query)

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        entry = (asyncio.get_running_loop(), watcher)
        self._watchers.append(entry)

        def stop() -> None:
            with contextlib.suppress(ValueError):
                self._watchers.remove(entry)

        return stop

    def backup(self, target: str) -> None:
        """Copies the database into a new file while it is being written (SQLite's online backup)."""
        with mapped_errors():
            source, copy = apsw.Connection(self.path), apsw.Connection(target)
            with copy.backup("main", source, "main") as backup:
                while not backup.done:
                    backup.step(256)
            copy.close()
            source.close()

    def load(self) -> Load:
        return Load(self._writer.jobs.qsize(), self._writer.commits, self._writer.committed_jobs)

    async def _in_batch(self, work: Any) -> Any:
        if not self._open or self._writer.jobs.qsize() > WAITING_MOST:
            raise Unavailable("the store takes no more writes now: nothing was decided, try again", retry_after=1)
        loop = asyncio.get_running_loop()
        job = Job(work, loop, loop.create_future())
        self._writer.jobs.put(job)
        # A timer alone is a tenth of what wait_for costs.
        timer = loop.call_later(self._commit_seconds, _give_up, job)
        try:
            return await job.future
        except asyncio.CancelledError:
            job.abandoned = True
            raise
        finally:
            timer.cancel()

    def _read(self, query: Callable[[Tx], T]) -> T:
        with mapped_errors():
            rows, tx = self._reader()
            rows.execute("BEGIN")
            try:
                return query(tx)
            finally:
                rows.execute("COMMIT")

    def _reader(self) -> tuple[SQLiteRows, Tx]:
        """A reading connection of this thread's own."""
        if not hasattr(self._local, "reader"):
            rows = SQLiteRows(self.path, read_only=True)
            self._readers.append(rows)
            self._local.reader = (rows, SqlTx(rows))
        return self._local.reader  # type: ignore[no-any-return]

    def _publish(self, changes: Sequence[Change]) -> None:
        for loop, watcher in list(self._watchers):
            with contextlib.suppress(RuntimeError):  # a loop that is closed has nobody to tell
                loop.call_soon_threadsafe(watcher, changes)


def _give_up(job: Job) -> None:
    job.abandoned = True
    if not job.future.done():
        state = (
            "may or may not have been decided: ask again with the same Idempotency-Key"
            if job.started
            else "was not decided"
        )
        job.future.set_exception(Unavailable(f"the disk did not answer in time; this {state}", retry_after=5))


class _Checkpointer(threading.Thread):
    """Moves the write-ahead log into the file beside the commits: on their path it would cost them milliseconds."""

    def __init__(self, path: str) -> None:
        super().__init__(name="gate-checkpointer", daemon=True)
        self._path = path
        self._stopped = threading.Event()

    def run(self) -> None:
        connection: apsw.Connection | None = None
        while not self._stopped.wait(CHECKPOINT_SECONDS):
            try:
                if connection is None:
                    connection = apsw.Connection(self._path)
                connection.wal_checkpoint(mode=self._mode())
            except (apsw.Error, OSError) as error:
                log.debug("checkpoint put off: %s", error)
        if connection is not None:
            connection.close()

    def _mode(self) -> int:
        """Passive delays nobody; a log that has grown large is worth one short wait to start over."""
        try:
            large = os.path.getsize(self._path + "-wal") > WAL_RESTART_BYTES
        except OSError:
            large = False
        return apsw.SQLITE_CHECKPOINT_RESTART if large else apsw.SQLITE_CHECKPOINT_PASSIVE

    def stop(self) -> None:
        self._stopped.set()
        self.join()
