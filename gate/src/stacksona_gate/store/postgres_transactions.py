"""Transactions on PostgreSQL: a connection per thread, made anew when it broke, and an end to waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import psycopg

from stacksona_gate.domain.errors import Unknown
from stacksona_gate.store.base import DELIVERIES, Change, Tx
from stacksona_gate.store.postgres_connection import PostgresRows, Repeat, mapped_errors
from stacksona_gate.store.queries.transaction import SqlTx

TRANSACTION_SECONDS: Final = 10.0
"""How long a transaction may take altogether before its connection is cut."""
SCAN_SECONDS: Final = 60.0
"""The same for listings."""
LOOK_SECONDS: Final = 0.5
UNKNOWN: Final = (
    "the database went away while it was told to commit; this may or may not have been decided:"
    " ask again with the same Idempotency-Key"
)


class Patience(threading.Thread):
    """Cuts connections on which a transaction takes too long: a server that was stopped keeps its connections open, and
    who waits for it would wait for ever."""

    def __init__(self) -> None:
        super().__init__(name="gate-patience", daemon=True)
        self._ends: dict[PostgresRows, float] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            now = time.monotonic()
            # Under the lock: a connection that is done with is not cut, whoever uses it next.
            with self._lock:
                for rows in [rows for rows, end in self._ends.items() if end <= now]:
                    del self._ends[rows]
                    with suppress(OSError, psycopg.Error):
                        rows.cut()

    @contextmanager
    def limited(self, rows: PostgresRows, seconds: float) -> Iterator[None]:
        with self._lock:
            self._ends[rows] = time.monotonic() + seconds
        try:
            yield
        finally:
            with self._lock:
                self._ends.pop(rows, None)

    def hasten(self, rows: PostgresRows) -> None:
        """Cuts a connection at the next look if anybody waits for it."""
        with self._lock:
            if rows in self._ends:
                self._ends[rows] = 0.0

    def hurry(self, seconds: float) -> None:
        """Nobody who waits now waits for longer than that."""
        with self._lock:
            end = time.monotonic() + seconds
            self._ends = {rows: min(known, end) for rows, known in self._ends.items()}

    def stop(self) -> None:
        self._stopped.set()
        self.join()


class Line:
    """One thread's connection."""

    def __init__(
        self,
        connect: Callable[[], PostgresRows],
        patience: Patience,
        *,
        seconds: float = TRANSACTION_SECONDS,
        reached: Callable[[str], None] | None = None,
    ) -> None:
        """``reached``: told before and after a commit that decides about something to be sent."""
        self._connect = connect
        self._patience = patience
        self._seconds = seconds
        self._reached = reached
        self._open: tuple[PostgresRows, Tx] | None = None

    def transact[T](
        self,
        how: str,
        work: Callable[[PostgresRows, Tx], T],
        held: frozenset[str] = frozenset(),
        *,
        told: Callable[[T], None] | None = None,
    ) -> tuple[T, list[Change]]:
        """Runs ``work`` in a transaction; what it returned and what it touched. ``told`` hears of the result before the
        commit: for reads, which no commit can undo.

        Raises Repeat where another transaction was in the way, Unavailable, and what ``work`` raises.
        """
        with mapped_errors():
            rows, tx = self.opened()
            with self._patience.limited(rows, self._seconds):
                try:
                    rows.begin(how, held)
                    result = work(rows, tx)
                    if told is not None:
                        told(result)
                    self._commit(rows)
                except BaseException as error:
                    self._undo(rows, error)
                    raise
                return result, rows.changes

    @contextmanager
    def limited(self) -> Iterator[PostgresRows]:
        """The connection without a transaction, cut when it takes too long. Raises psycopg.OperationalError."""
        rows, _ = self.opened()
        with self._patience.limited(rows, self._seconds):
            yield rows

    @property
    def is_open(self) -> bool:
        return self._open is not None

    def opened(self) -> tuple[PostgresRows, Tx]:
        """Raises psycopg.OperationalError."""
        if self._open is not None and self._open[0].broken:
            self.close()
        if self._open is None:
            rows = self._connect()
            self._open = (rows, SqlTx(rows))
        return self._open

    def renew(self) -> None:
        """From any thread: the next transaction has a connection of its own."""
        opened = self._open
        if opened is not None:
            opened[0].outdated = True

    def close(self) -> None:
        if self._open is not None:
            with suppress(psycopg.Error):
                self._open[0].close()
            self._open = None

    def _commit(self, rows: PostgresRows) -> None:
        self._tell("decision.before_commit", rows)
        rows.warning = None
        try:
            rows.execute("COMMIT")
        except psycopg.OperationalError as error:
            if error.sqlstate is not None and error.sqlstate.startswith("40"):
                raise  # it was undone for certain
            raise Unknown(UNKNOWN, retry_after=5) from error
        if not rows.committed:  # a statement had failed before, whoever caught its error: PostgreSQL undoes and says so
            raise psycopg.errors.InFailedSqlTransaction("a statement failed, and nothing was committed")
        if rows.warning is not None:  # somebody cancelled the wait for the standby: PostgreSQL commits and warns
            raise Unknown(UNKNOWN, retry_after=5) from psycopg.OperationalError(rows.warning)
        self._tell("decision.after_commit", rows)

    def _tell(self, point: str, rows: PostgresRows) -> None:
        if self._reached is not None and any(change.request_id == DELIVERIES for change in rows.changes):
            self._reached(point)

    def _undo(self, rows: PostgresRows, error: BaseException) -> None:
        """Leaves no transaction open. A connection that cannot even do that is replaced, and one to a server that no
        longer takes writes: another one does now."""
        try:
            rows.execute("ROLLBACK")
        except (psycopg.Error, OSError):
            self.close()
        else:
            if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
                self.close()


def is_undone_by_another(error: BaseException) -> bool:
    """Whether it is somebody else's doing, so that the same may succeed now."""
    return isinstance(error, Repeat) or isinstance(error.__cause__, psycopg.errors.UniqueViolation)
