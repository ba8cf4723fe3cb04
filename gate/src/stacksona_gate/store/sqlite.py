"""The gate on one SQLite file: one writer thread with group commit, readers beside it (WAL)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Final, Literal, TypeVar

import apsw

from stacksona_gate.domain.approvals import Redeemed, Redemption, Refused
from stacksona_gate.domain.errors import Unavailable
from stacksona_gate.store.base import Change, Load, RedemptionEntries, Stale, Submission, Submitted, Tx, Watcher
from stacksona_gate.store.content import Content
from stacksona_gate.store.evidence import Wrapping
from stacksona_gate.store.jobs import COMMIT_SECONDS, Desks
from stacksona_gate.store.migrate import apply_migrations
from stacksona_gate.store.queries.transaction import SqlTx
from stacksona_gate.store.sqlite_connection import BUSY_MILLISECONDS, DIALECT, SQLiteRows, mapped_errors, turn
from stacksona_gate.store.sqlite_writer import Writer
from stacksona_gate.telemetry.measures import SIZES, USUAL, summed
from stacksona_gate.telemetry.spans import Spans

T = TypeVar("T")

CHECKPOINT_SECONDS: Final = 0.25
BUSY_CHECKPOINT_SECONDS: Final = 0.1
"""After a round that had MANY_FRAMES to copy."""
MANY_FRAMES: Final = 250
CATCH_UP_ROUNDS: Final = 5
"""Copying before the log starts over, as long as one round takes so long that much was written meanwhile."""
LOG_MOST: Final = 16 * 1024 * 1024
"""Bytes of write-ahead log beyond which the next commit waits until the rest of it is in the file, so that it begins at
the front again."""
READERS_MILLISECONDS: Final = 10
"""What that waits for whoever still reads of the log, at most: commits wait meanwhile."""
AGAIN_SECONDS: Final = 1.0
"""When it is tried again."""
CUT_SECONDS: Final = 3600.0
"""How often the log's file is cut off, so that what was erased since does not stay behind the log's end."""
FAILURES_TOLD: Final = 200
"""In a row: then the log says so."""
FRAME_BYTES: Final = 4096 + 24
"""A page, and what the log says of it."""

log = logging.getLogger(__name__)


class SQLiteStore:
    """Implements store.base.Store. ``path`` is a file on a local disk; never one on a network."""

    def __init__(
        self,
        path: str,
        *,
        commit_seconds: float = COMMIT_SECONDS,
        log_most: int = LOG_MOST,
        cut_seconds: float = CUT_SECONDS,
        vfs: str | None = None,
        reached: Callable[[str], None] | None = None,
    ) -> None:
        """``vfs``: the name of another way to the disk, as SQLite calls it. ``reached``: told of fault points."""
        self.path = path
        self._vfs = vfs
        self._local = threading.local()
        self._readers: list[SQLiteRows] = []
        self._scans = ThreadPoolExecutor(2, thread_name_prefix="gate-scan")
        self._watchers: list[tuple[asyncio.AbstractEventLoop, Watcher]] = []
        self._content = Content()
        self._writer = Writer(lambda: SQLiteRows(path, content=self._content, vfs=vfs), self._publish, reached)
        self._desks = Desks(self._writer.jobs, commit_seconds)
        self._checkpointer = _Checkpointer(path, log_most, cut_seconds, vfs)
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
            if self._vfs is None:
                _make_private(self.path)
            rows = SQLiteRows(self.path, vfs=self._vfs)
            try:
                rows.begin()
                applied = apply_migrations(rows, DIALECT)
                rows.execute("COMMIT")
            finally:
                rows.close()
        return applied

    def close(self) -> None:
        """Finishes what waits, then closes."""
        if self._open:
            self._open = False
            self._desks.hand_over()
            self._writer.jobs.put(None)
            self._writer.join()
            self._checkpointer.stop()
        self._scans.shutdown()
        for reader in self._readers:
            reader.close()
        self._readers.clear()

    def unlock(self, wrapping: Wrapping) -> None:
        """Gives what content is encrypted with; before, nothing that rests encrypted can be written or read."""
        self._content.unlock(wrapping)

    async def submit(self, submission: Submission) -> Submitted:
        return await self._in_batch(submission)  # type: ignore[no-any-return]

    async def redeem(self, attempt: Redemption, entries: RedemptionEntries) -> Redeemed | Refused | Stale:
        return await self._in_batch((attempt, entries))  # type: ignore[no-any-return]

    async def write(self, unit: Callable[[Tx], T], *, holds: bool = False) -> T:
        return await self._in_batch(unit)  # type: ignore[no-any-return]

    async def read(self, query: Callable[[Tx], T]) -> T:
        self._require_open()
        # In the event loop itself: a look-up by key takes 20 microseconds, a hop to a thread 50.
        return self._read(query)

    async def scan(self, query: Callable[[Tx], T]) -> T:
        self._require_open()
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
        with mapped_errors(), closing(apsw.Connection(self.path)) as source, closing(apsw.Connection(target)) as copy:
            source.set_busy_timeout(BUSY_MILLISECONDS)
            # One state from the first page to the last: without it each commit would start the copy over.
            source.execute("BEGIN").execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
            with copy.backup("main", source, "main") as backup:
                while not backup.done:
                    backup.step(256)

    def scrub(self) -> bool:
        """Empties the write-ahead log into the file. False: somebody reads it; the server empties it within an hour, or
        once that has ended."""
        deadline = time.monotonic() + BUSY_MILLISECONDS / 1000
        with mapped_errors(), closing(_checkpointing(self.path, self._vfs)) as connection:
            while not _started_over(connection, self.path, "TRUNCATE"):
                if time.monotonic() > deadline:
                    return False
                time.sleep(BUSY_CHECKPOINT_SECONDS)  # in between whoever waits gets a turn
        return True

    def compact(self) -> None:
        """Writes the file anew without what was deleted. Takes its size in free space; writers wait meanwhile."""
        with mapped_errors(), closing(apsw.Connection(self.path)) as connection:
            connection.set_busy_timeout(BUSY_MILLISECONDS)
            connection.execute("VACUUM")

    @property
    def parted(self) -> frozenset[str]:
        return frozenset()

    async def tend(self, now: int, *, whatever_size: bool = False) -> list[str]:
        """A file has no partitions: what is deleted leaves free pages, and there is no vacuum to wait for."""
        return []

    def trace(self, spans: Spans | None) -> None:
        self._writer.commits.spans = spans

    def load(self) -> Load:
        commits = self._writer.commits
        unanswered, oldest = self._desks.unanswered()
        return Load(
            summed([commits.sizes], SIZES),
            summed([commits.seconds], USUAL),
            unanswered,
            oldest,
            len(self._readers) + 1,
            "sqlite",
        )

    def _require_open(self) -> None:
        if not self._open:
            raise Unavailable("the store is closed: nothing was decided, try again", retry_after=1)

    def _in_batch(self, work: Any) -> Coroutine[Any, Any, Any]:
        self._require_open()
        return self._desks.put(work)

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
            rows = SQLiteRows(self.path, content=self._content, read_only=True, vfs=self._vfs)
            self._readers.append(rows)
            self._local.reader = (rows, SqlTx(rows))
        return self._local.reader  # type: ignore[no-any-return]

    def _publish(self, changes: Sequence[Change]) -> None:
        for loop, watcher in list(self._watchers):
            with contextlib.suppress(RuntimeError):  # a loop that is closed has nobody to tell
                loop.call_soon_threadsafe(watcher, changes)


def _make_private(path: str) -> None:
    """A new file is its owner's alone: it holds payloads and sessions. SQLite gives its logs the same mode."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))


class _Checkpointer(threading.Thread):
    """Moves the write-ahead log into the file beside the commits: on their path it would cost them milliseconds."""

    def __init__(self, path: str, log_most: int, cut_seconds: float, vfs: str | None) -> None:
        super().__init__(name="gate-checkpointer", daemon=True)
        self._path = path
        self._log_most = log_most
        self._cut_seconds = cut_seconds
        self._cut_at = time.monotonic()
        self._again_at = 0.0
        self._frames = 0
        """Of the log when it last could start over: until the next commit it still tells these."""
        self._vfs = vfs
        self._stopped = threading.Event()

    def run(self) -> None:
        connection: apsw.Connection | None = None
        pause, failures = CHECKPOINT_SECONDS, 0
        while not self._stopped.wait(pause):
            try:
                connection = connection or _checkpointing(self._path, self._vfs)
                pause = BUSY_CHECKPOINT_SECONDS if self._checkpoint(connection) > MANY_FRAMES else CHECKPOINT_SECONDS
                failures = 0
            except (apsw.Error, OSError) as error:
                failures += 1
                level = logging.DEBUG if failures % FAILURES_TOLD else logging.WARNING
                log.log(level, "the write-ahead log is not copied into the file: %s", error)
                if connection is not None:  # whatever it held is let go
                    connection.close()
                    connection = None
        if connection is not None:
            connection.close()

    def _checkpoint(self, connection: apsw.Connection) -> int:
        """Passive delays nobody; a log that has grown large is worth a short wait to start over. Its file stays as it
        is most times: to cut it off takes longer than all the rest. Returns how many frames are new."""
        begun = time.monotonic()
        frames = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)[0]
        new = frames - self._frames if frames >= self._frames else frames
        now = time.monotonic()
        is_to_be_cut = now >= self._cut_at and os.path.getsize(self._path + "-wal") > 0
        if now >= self._again_at and (is_to_be_cut or (new and frames * FRAME_BYTES > self._log_most)):
            self._again_at = now + AGAIN_SECONDS
            self._catch_up(connection, now - begun)
            if _started_over(connection, self._path, "TRUNCATE" if is_to_be_cut else "RESTART"):
                self._again_at = now
                self._cut_at = now + self._cut_seconds if is_to_be_cut else self._cut_at
        self._frames = frames
        return new

    def _catch_up(self, connection: apsw.Connection, taken: float) -> None:
        """After a backup the log is long: what is written while it is copied is copied before anybody has to wait.
        ``taken``: seconds that the last copying took."""
        for _ in range(CATCH_UP_ROUNDS):
            if taken < BUSY_CHECKPOINT_SECONDS:
                break
            begun = time.monotonic()
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            taken = time.monotonic() - begun

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def _checkpointing(path: str, vfs: str | None) -> apsw.Connection:
    """A connection that copies the write-ahead log into the file."""
    connection = apsw.Connection(path, vfs=vfs)
    connection.set_busy_timeout(BUSY_MILLISECONDS)
    # A connection that has read nothing does not know of the log, and its checkpoints do nothing.
    connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
    return connection


def _started_over(connection: apsw.Connection, path: str, mode: Literal["RESTART", "TRUNCATE"]) -> bool:
    """Copies all of the log into the file, so that the next commit begins it anew; TRUNCATE cuts its file off as well.
    False: somebody reads of it, or does not end to write."""
    with turn(path):
        connection.set_busy_timeout(BUSY_MILLISECONDS)
        try:
            connection.execute("BEGIN IMMEDIATE")  # waits for who writes: nobody else can begin meanwhile anyway
        except apsw.BusyError:
            return False
        connection.execute("ROLLBACK")
        connection.set_busy_timeout(READERS_MILLISECONDS)
        busy, *_ = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()[0]
    return not busy
