"""What is on disk, counted: a fast nothing must not win."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw
import psycopg

from bench.report import BenchBroken

_QUESTIONS: Final = (
    "SELECT COUNT(*) FROM requests WHERE seq > {requests}",
    "SELECT COUNT(*) FROM requests WHERE seq > {requests} AND status = 'allow' AND approval_id IS NOT NULL",
    "SELECT COUNT(*) FROM audit WHERE seq > {entries} AND event IN ('request.decided', 'thread.opened')",
)
_MARKS: Final = ("SELECT COALESCE(MAX(seq), 0) FROM requests", "SELECT COALESCE(MAX(seq), 0) FROM audit")


@dataclass(frozen=True, slots=True)
class Rows:
    """Requests, those of them that are allowed with an approval, and the audit entries of decisions."""

    requests: int
    allowed: int
    entries: int


@dataclass(frozen=True, slots=True)
class Mark:
    """The last rows of a moment: what comes after is counted without going through all that was there."""

    requests: int = 0
    entries: int = 0


def count(database: Path | str, since: Mark | None = None) -> Rows:
    """Of a file, or of an address of PostgreSQL. ``since``: only what came after."""
    mark = since or Mark()
    asked = [sql.format(requests=mark.requests, entries=mark.entries) for sql in _QUESTIONS]
    return Rows(*_numbers(database, asked))


def mark(database: Path | str) -> Mark:
    """Where a database stands now."""
    return Mark(*_numbers(database, _MARKS))


def size(database: Path | str) -> int:
    """Bytes."""
    if isinstance(database, str):
        return _numbers(database, ["SELECT pg_database_size(current_database())"])[0]
    return database.stat().st_size


def _numbers(database: Path | str, questions: tuple[str, ...] | list[str]) -> list[int]:
    if isinstance(database, str):
        with psycopg.connect(database, autocommit=True) as server:
            return [int((server.execute(sql.encode()).fetchone() or (0,))[0]) for sql in questions]
    with closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        return [_number(connection, sql) for sql in questions]


def _number(connection: apsw.Connection, sql: str) -> int:
    value = connection.execute(sql).get
    assert isinstance(value, int)
    return value


def check(before: Rows, after: Rows, answered: int, unread: int) -> str:
    """Every answer has its request and its audit entry, all allowed and signed; ``unread``: answers that may have been
    on their way when the callers stopped. Returns what was found. Raises BenchBroken.
    """
    requests = after.requests - before.requests
    allowed = after.allowed - before.allowed
    entries = after.entries - before.entries
    found = f"{answered:,} answered, {requests:,} requests, {allowed:,} allowed and signed, {entries:,} audit entries"
    if not requests == allowed == entries or not answered <= requests <= answered + unread:
        raise BenchBroken(f"rows on disk do not match: {found}, at most {unread} unread")
    return found


def check_since(database: Path | str, since: Mark, answered: int, unread: int) -> str:
    """As ``check``, of what came after a mark."""
    return check(Rows(0, 0, 0), count(database, since), answered, unread)
