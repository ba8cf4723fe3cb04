"""What a gate does to its database by the day, for a past that is written in bulk."""

from __future__ import annotations

from typing import Any, Final

import psycopg

from bench.prepare import Prepared
from stacksona_gate.config import is_postgresql
from stacksona_gate.domain.times import DAY
from stacksona_gate.store.content import Content
from stacksona_gate.store.postgres import PARTITION_ROWS
from stacksona_gate.store.postgres_address import connection_parameters
from stacksona_gate.store.postgres_connection import Columns, PostgresRows
from stacksona_gate.store.postgres_partitions import Partitions

_GROWING: Final = ("requests", "audit")
"""What a past consists of."""


class Maintenance:
    """Partitions the tables of PostgreSQL as they grow; an SQLite file needs nothing."""

    def __init__(self, prepared: Prepared, size: int = PARTITION_ROWS) -> None:
        """``size``: of a partition, in rows."""
        self._url = prepared.url
        parameters = connection_parameters(prepared.url) if is_postgresql(prepared.url) else None
        self._partitions = None if parameters is None else Partitions(lambda: _rows(parameters), size)
        self._kept_at = 0

    def is_due(self, at: int) -> bool:
        """Whether a day has passed at ``at``, the time of the newest row, since the last round."""
        return self._partitions is not None and at - self._kept_at >= DAY

    def keep(self, at: int) -> None:
        """One day's round; nobody writes meanwhile. What vacuum is in the way of is left for the next day."""
        self._kept_at = at
        if self._partitions is not None:
            self._analyze([table for table in _GROWING if table not in self._partitions.parted])
            self._partitions.tend(at)

    def _analyze(self, tables: list[str]) -> None:
        """As autovacuum would after so many rows: a table becomes partitioned by PostgreSQL's own count."""
        with psycopg.connect(self._url, autocommit=True) as server:
            for table in tables:
                server.execute(f"ANALYZE {table}".encode())


def _rows(parameters: dict[str, Any]) -> PostgresRows:
    return PostgresRows(parameters, content=Content(), columns=Columns())
