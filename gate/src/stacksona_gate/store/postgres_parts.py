"""Which tables are partitioned by what, and what the catalogue says of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

from stacksona_gate.domain import webhooks
from stacksona_gate.domain.ids import ulid
from stacksona_gate.domain.times import DAY
from stacksona_gate.store.postgres_connection import PostgresRows

_EPOCH: Final = date(1970, 1, 1).toordinal()
_SAMPLE: Final = 10_000
"""Newest rows whose age tells how fast a table grows."""
_CHILDREN: Final = (
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = CAST(CAST($1 AS TEXT) AS REGCLASS)"
)


@dataclass(frozen=True, slots=True)
class Parted:
    """A table and its key. Bounds are whole numbers: days since 1970, or numbers of rows.

    ``prefix``: the key is an id that begins with it and goes on with a ULID, so that days are bounds of it.
    ``days_most``: of one partition; 0: the key is ``seq``, and bounds are numbers. ``time``: when a row was made.
    ``follows``: it has its partitions of the same time as this table's, and goes with them.
    """

    name: str
    key: str
    time: str
    prefix: str = ""
    days_most: int = 0
    follows: str | None = None

    def literal(self, bound: int) -> str:
        """A bound in SQL."""
        return f"'{self.prefix}{ulid(bound * DAY, bytes(10))[:10]}'" if self.prefix else str(bound)

    def partition(self, bound: int) -> str:
        """The name of the partition that ends there."""
        number = date.fromordinal(_EPOCH + bound).strftime("%Y%m%d") if self.days_most else str(bound)
        return f"{self.name}_to_{number}"

    def bound(self, partition: str) -> int:
        """Raises ValueError for a name that ``partition`` does not make."""
        number = partition.removeprefix(f"{self.name}_to_")
        return date.fromisoformat(number).toordinal() - _EPOCH if self.days_most else int(number)

    def shown(self, bound: int) -> str:
        return date.fromordinal(_EPOCH + bound).isoformat() if self.days_most else f"number {bound:,}"

    def now(self, rows: PostgresRows, now: int) -> int:
        """Where new rows go: today, or the last number."""
        if self.days_most:
            return now // DAY
        row = rows.one(f"SELECT COALESCE(MAX(seq), 0) FROM {self.name}")  # noqa: S608 - our own names
        return 0 if row is None else int(row[0])

    def rows_per_day(self, rows: PostgresRows, now: int) -> int:
        """At the rate of the newest rows; 0 while there are few."""
        if self.days_most == 1:
            return 0
        sql = f"SELECT {self.time} FROM {self.name} ORDER BY seq DESC OFFSET {_SAMPLE} LIMIT 1"  # noqa: S608
        row = rows.one(sql)
        return 0 if row is None else _SAMPLE * DAY // max(now - int(row[0]), 1)

    def is_over(self, bound: int, now: int) -> bool:
        """Whether everything up to there has been kept as long as it is kept."""
        if self.name == "replays":
            return bound <= now // DAY - 1
        return self.name == "deliveries" and bound * DAY <= now - webhooks.DELIVERED_KEPT

    def staying(self, now: int) -> str:
        """Which rows of a partition that is over stay all the same; empty: none."""
        if self.name != "deliveries":
            return ""
        return (
            f"state = 'pending' OR finished_at >= {now - webhooks.DELIVERED_KEPT}"
            f" OR (state = 'dead' AND finished_at >= {now - webhooks.DEAD_KEPT})"
        )


TABLES: Final = (
    Parted("requests", "id", "created_at", prefix="req_", days_most=31),
    Parted("audit", "seq", "at"),
    Parted("deliveries", "id", "created_at", prefix="msg_", days_most=7),
    Parted("delivery_attempts", "delivery_id", "at", prefix="msg_", days_most=7, follows="deliveries"),
    Parted("replays", "day", "day", days_most=1),
)


def is_parted(rows: PostgresRows, table: str) -> bool:
    row = rows.one("SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass(CAST($1 AS TEXT))", table)
    return row is not None and bool(row[0])


def rest(table: str) -> str:
    """The partition of what fits into no other."""
    return f"{table}_rest"


def bounds_of(rows: PostgresRows, table: str) -> list[int]:
    """Where the partitions end, the earliest first. The first one begins with all that there ever was."""
    parted = next(each for each in TABLES if each.name == table)
    names = [row[0] for row in rows.all(_CHILDREN, table)]
    return sorted(parted.bound(name) for name in names if re.fullmatch(rf"{table}_to_\d+", name))


def new_partition(rows: PostgresRows, table: Parted, bound: int | None) -> str:
    """Makes an empty table as the partitions are, with the indexes that the whole cannot have. None: the rest."""
    name = rest(table.name) if bound is None else table.partition(bound)
    model = table.partition(bounds_of(rows, table.name)[-1])
    rows.run(f"CREATE TABLE {name} (LIKE {model} INCLUDING ALL EXCLUDING IDENTITY)")
    return name


def attach(rows: PostgresRows, table: Parted, name: str, start: int | None, end: int) -> None:
    """``start`` None: everything before ``end``."""
    start_text = "MINVALUE" if start is None else table.literal(start)
    rows.run(
        f"ALTER TABLE {table.name} ATTACH PARTITION {name} FOR VALUES FROM ({start_text}) TO ({table.literal(end)})"
    )
