"""What a gate's database holds, SQLite or PostgreSQL: a fast nothing must not win."""

from __future__ import annotations

from contextlib import closing
from typing import Any, Final

import apsw
import psycopg

from stacksona_gate.config import is_postgresql, sqlite_path

_KEPT: Final = {
    "decide": "SELECT COUNT(*) FROM requests WHERE status = 'allow' AND approval_id IS NOT NULL",
    "approve": "SELECT COUNT(*) FROM requests WHERE status = 'approved' AND redeemed_at IS NOT NULL",
}
_ROWS: Final = ("requests", "reviews", "audit")


def count(url: str, done: dict[str, int]) -> dict[str, Any]:
    """``done`` by kind of work, ``decide`` or ``approve``; what the peers' sides answer to ``rows``."""
    kept = sum(_number(url, _KEPT[kind]) for kind in done)
    rows = sum(_number(url, f"SELECT COUNT(*) FROM {table}") for table in _ROWS)
    return {"done": sum(done.values()), "kept": kept, "rows": rows}


def _number(url: str, sql: str) -> int:
    if is_postgresql(url):
        with psycopg.connect(url) as postgres:
            row = postgres.execute(sql.encode()).fetchone()
            assert row is not None
            return int(row[0])
    with closing(apsw.Connection(sqlite_path(url), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        return int(str(connection.execute(sql).get))
