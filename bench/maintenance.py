"""What a gate does to its database by the day, for a past that is written in bulk."""

from __future__ import annotations

from contextlib import closing
from typing import Final

import psycopg

from bench.report import BenchBroken
from stacksona_gate.domain.times import DAY
from stacksona_gate.store.content import Content
from stacksona_gate.store.postgres import PARTITION_ROWS
from stacksona_gate.store.postgres_address import connection_parameters
from stacksona_gate.store.postgres_connection import Columns, PostgresRows
from stacksona_gate.store.postgres_partitions import Partitions
from stacksona_gate.store.postgres_parts import bounds_of

_GROWING: Final = ("requests", "audit")
"""What a past consists of."""


class Maintenance:
    """Partitions the tables of a database in PostgreSQL as they grow."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._partitions = Partitions(lambda: rows_at(url), PARTITION_ROWS)
        self._kept_at = 0

    def is_due(self, at: int) -> bool:
        """Whether a day has passed at ``at``, the time of the newest row, since the last round."""
        return at - self._kept_at >= DAY

    def keep(self, at: int) -> None:
        """One day's round; nobody writes meanwhile. What vacuum is in the way of is left for the next day."""
        self._kept_at = at
        self._analyze([table for table in _GROWING if table not in self._partitions.parted])
        self._partitions.tend(at)

    def check(self, number: int) -> None:
        """Tells how many partitions there are. Raises BenchBroken where there are less than half of those that
        ``number`` rows fill: it would not be the database that is to be measured."""
        with closing(rows_at(self._url)) as rows:
            found = {table: len(bounds_of(rows, table)) for table in _GROWING}
        print(f"past: {number:,} requests, partitions {found}", flush=True)
        if 2 * min(found.values()) < number // PARTITION_ROWS:
            raise BenchBroken(f"{number:,} requests are in partitions {found}: rounds were put off")

    def _analyze(self, tables: list[str]) -> None:
        """As autovacuum would after so many rows: a table becomes partitioned by PostgreSQL's own count."""
        with psycopg.connect(self._url, autocommit=True) as server:
            for table in tables:
                server.execute(f"ANALYZE {table}".encode())


def rows_at(url: str) -> PostgresRows:
    """A connection as a gate has it, its content as it rests."""
    return PostgresRows(connection_parameters(url), content=Content(), columns=Columns())
