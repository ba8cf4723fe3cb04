"""One SQLite connection: pragmas, parameters, errors."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import chain
from typing import Any, Final

import apsw

from stacksona_gate.domain.errors import Conflict, Unavailable
from stacksona_gate.store.base import Change
from stacksona_gate.store.content import Content
from stacksona_gate.store.rows import Encryption, Row

DIALECT: Final = {
    "serial": "INTEGER PRIMARY KEY",
    "blob": "BLOB",
    "after_audit": "CREATE TRIGGER audit_waits AFTER INSERT ON audit BEGIN"
    " INSERT INTO log_leaves (seq, tenant_id) VALUES (NEW.seq, NEW.tenant_id); END",
}
BUSY_MILLISECONDS: Final = 5000
LOG_KEPT: Final = 128 * 1024 * 1024
"""Bytes of the write-ahead log's file: what it had to grow beyond that, as while a backup read, is given back."""
CACHE_KIBIBYTES: Final = 2048
"""Little on purpose: at a commit in which a page of an index was split, SQLite goes through all that it keeps."""
ROWS_MOST: Final = 64
"""Rows per statement: its text stays under what the driver keeps prepared."""
_MARK: Final = re.compile(r"\$(\d+)")


@lru_cache(maxsize=256)
def _insert_rows(table: str, columns: tuple[str, ...], count: int) -> str:
    row = f"({', '.join('?' * len(columns))})"
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * count)}"  # noqa: S608 - our own names


@lru_cache(maxsize=1024)
def _numbered(sql: str) -> str:
    """``$1`` as ``?1``: SQLite takes ``$1`` for a name and fills tuples in order of first appearance."""
    return _MARK.sub(r"?\1", sql)


@contextmanager
def mapped_errors() -> Iterator[None]:
    """Turns the driver's errors into the contract's."""
    try:
        yield
    except apsw.ConstraintError as error:
        raise Conflict("somebody changed this at the same time: read it again, then repeat the call") from error
    except (apsw.Error, OSError) as error:
        raise Unavailable(
            "the database is not there or not writable: nothing was decided, try again", retry_after=1
        ) from error


@contextmanager
def turn(path: str) -> Iterator[None]:
    """Whose turn it is to begin a transaction, across processes.

    SQLite waits by looking again now and then: beside a writer that begins anew microseconds after each commit,
    nobody else would ever find the lock free. Who waits here holds the others back until it has begun.
    """
    descriptor = _turn_file(path)
    try:
        _wait_for(descriptor)
        yield
    finally:
        os.close(descriptor)  # gives the turn back


def _turn_file(path: str) -> int:
    """Made as SQLite makes its own beside a database: who may write that may take turns, whoever came first. Nobody
    else may: who only reads could hold everybody up."""
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        return os.open(path + "-turn", flags)
    except FileNotFoundError:
        descriptor = os.open(path + "-turn", flags | os.O_CREAT, 0o600)
    with suppress(OSError):  # a database that is not there yet will be this process's
        database = os.stat(path)
        writers = database.st_mode & 0o022
        os.fchmod(descriptor, 0o600 | writers | writers << 1)
        if os.geteuid() == 0:
            os.fchown(descriptor, database.st_uid, database.st_gid)
    return descriptor


def _wait_for(descriptor: int) -> None:
    """A courtesy with an end: a process that was stopped while it held the turn stops nobody else."""
    deadline = time.monotonic() + BUSY_MILLISECONDS / 1000
    while time.monotonic() < deadline:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.001)
        else:
            return


class SQLiteRows:
    """Implements store.rows.Rows."""

    for_update = for_share = skip_locked = ""
    """The one writer holds everything."""

    parted: frozenset[str] = frozenset()
    in_order = " NOT INDEXED"
    """``seq`` is the table's own order, which this leaves as the only one."""

    def __init__(
        self, path: str, *, content: Content | None = None, read_only: bool = False, vfs: str | None = None
    ) -> None:
        self.path = path
        self.content: Encryption = content or Content()
        self.changes: list[Change] = []
        self.keys_in_use: dict[str, bytes] = {}
        self.connection = apsw.Connection(path, vfs=vfs, statementcachesize=256)
        # Else the driver's SQLite (it has STAT4) plans a prepared statement anew whenever a parameter that could matter
        # to the plan is bound: for a join or an ORDER BY that is most of what it costs.
        self.connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        self._cursor = self.connection.cursor()
        self.connection.set_busy_timeout(BUSY_MILLISECONDS)
        if not read_only:
            # SQLite does not wait when two connections switch a new file at once.
            with turn(path):
                self._cursor.execute("PRAGMA journal_mode = WAL").fetchall()
            # A commit is on disk before its answer leaves; NORMAL could lose the last ones with the power.
            self._cursor.execute("PRAGMA synchronous = FULL")
            # The checkpointer does it, off the commit path.
            self._cursor.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
            self._cursor.execute(f"PRAGMA journal_size_limit = {LOG_KEPT}").fetchall()
            # What is erased is overwritten, not only forgotten.
            self._cursor.execute("PRAGMA secure_delete = ON").fetchall()
        else:
            self._cursor.execute("PRAGMA query_only = ON")
        self._cursor.execute("PRAGMA foreign_keys = ON")
        self._cursor.execute("PRAGMA temp_store = MEMORY")
        self._cursor.execute(f"PRAGMA cache_size = -{CACHE_KIBIBYTES}")

    def all(self, sql: str, *parameters: Any) -> list[Row]:
        return self._cursor.execute(_numbered(sql), parameters).fetchall()

    def one(self, sql: str, *parameters: Any) -> Row | None:
        rows: list[Row] = self._cursor.execute(_numbered(sql), parameters).fetchall()
        return rows[0] if rows else None

    def run(self, sql: str, *parameters: Any) -> int:
        self._cursor.execute(_numbered(sql), parameters)
        return self.connection.changes()

    def many(self, sql: str, rows: Iterable[Row]) -> None:
        self._cursor.executemany(_numbered(sql), rows)

    def insert_many(self, table: str, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
        # A row inserted by itself gives the interpreter's lock away and takes it back: with a busy event loop beside,
        # that costs ten times the insert. So one statement takes many rows.
        for start in range(0, len(rows), ROWS_MOST):
            part = rows[start : start + ROWS_MOST]
            self._cursor.execute(_insert_rows(table, columns, len(part)), tuple(chain.from_iterable(part)))

    def hold_configuration(self, tenant_ids: Sequence[str]) -> dict[str, int]:
        marks = ", ".join(f"${i + 1}" for i in range(len(tenant_ids)))
        return dict(self.all(f"SELECT id, config_version FROM tenants WHERE id IN ({marks})", *tenant_ids))  # noqa: S608

    def change_configuration(self, tenant_ids: Sequence[str]) -> None:
        """The one writer has it."""

    def alone(self, *names: str) -> None:
        """The one writer is."""

    def now(self, own: int) -> int:
        """The file's processes are of one machine, and have one clock."""
        return own

    def forget_keys(self) -> None:
        """A transaction that may have made a key was undone, or another process may have put one to use."""
        self.keys_in_use.clear()
        self.content.forget()

    def execute(self, sql: str) -> None:
        """A statement of the driver's own: BEGIN, SAVEPOINT, COMMIT and the like."""
        self._cursor.execute(sql)

    def begin(self) -> None:
        """Begins a transaction that writes."""
        with turn(self.path):
            self.execute("BEGIN IMMEDIATE")

    def data_version(self) -> int:
        """Moves when another connection, of this process or another, has committed."""
        row = self.one("PRAGMA data_version")
        return int(row[0]) if row else 0

    def close(self) -> None:
        self.connection.close()
