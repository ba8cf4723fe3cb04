"""What is on disk, counted: a fast nothing must not win."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import apsw

from bench.report import BenchBroken


@dataclass(frozen=True, slots=True)
class Rows:
    """Requests, those of them that are allowed with an approval, and the audit entries of decisions."""

    requests: int
    allowed: int
    entries: int


def count(database: Path) -> Rows:
    with closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        return Rows(
            _number(connection, "SELECT COUNT(*) FROM requests"),
            _number(connection, "SELECT COUNT(*) FROM requests WHERE status = 'allow' AND approval_id IS NOT NULL"),
            _number(connection, "SELECT COUNT(*) FROM audit WHERE event IN ('request.decided', 'thread.opened')"),
        )


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
