"""How a table becomes the first partition of a new one, while gates read and write it.

First a check that all its rows lie before a bound, which new ones obey from then on; then the check is proven, beside
everybody; then, in a moment, names change: partitioned, nothing has to be looked through any more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stacksona_gate.store.postgres_connection import PostgresRows
from stacksona_gate.store.postgres_parts import Parted, attach, bounds_of, new_partition
from stacksona_gate.store.rows import Row

DAYS_AHEAD: Final = 2
"""Where the first partition ends. A row that comes after that before all is done would be refused: an unfinished check
is taken back in time."""
_CHECKS: Final = (
    "SELECT conname FROM pg_constraint WHERE conrelid = CAST(CAST($1 AS TEXT) AS REGCLASS) AND contype = 'c'"
    " AND conname LIKE $2"
)
_INDEXES: Final = (
    "SELECT c.relname, pg_get_indexdef(i.indexrelid), pg_get_constraintdef(k.oid), i.indisunique, EXISTS (SELECT 1"
    " FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attname = $2 AND a.attnum = ANY(CAST(i.indkey AS INT2[]))"
    ") FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
    " LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u')"
    " WHERE i.indrelid = CAST(CAST($1 AS TEXT) AS REGCLASS)"
)
_TRIGGERS: Final = (
    "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger"
    " WHERE tgrelid = CAST(CAST($1 AS TEXT) AS REGCLASS) AND NOT tgisinternal"
)
_GRANTS: Final = (
    "SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END, a.privilege_type"
    " FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = CAST(CAST($1 AS TEXT) AS REGCLASS)"
    " AND a.grantee <> c.relowner"
)


@dataclass(frozen=True, slots=True)
class _Index:
    """``constraint``: its text where it belongs to one. ``whole``: the partitioned table can have it."""

    name: str
    text: str
    constraint: str | None
    whole: bool


def checks(rows: PostgresRows, table: Parted) -> list[str]:
    """What a round that was interrupted left behind. New rows obey it: it must not be left alone."""
    return [row[0] for row in rows.all(_CHECKS, table.name, f"{table.name}\\_to\\_%")]


def take_back(rows: PostgresRows, table: Parted) -> None:
    for name in checks(rows, table):
        rows.run(f"ALTER TABLE {table.name} DROP CONSTRAINT {name}")


def pending_bound(rows: PostgresRows, table: Parted, now: int, span: int) -> int:
    """The bound of a check that is there, or of a new one. One that time has nearly reached is taken back."""
    at = table.now(rows, now)
    ahead = span if table.days_most == 0 else DAYS_AHEAD
    for name in checks(rows, table):
        bound = table.bound(name)
        if bound - at > ahead // 2:
            return bound
        rows.run(f"ALTER TABLE {table.name} DROP CONSTRAINT {name}")
    bound = at + ahead if table.follows is None else _followed(rows, table.follows, at)
    check = f"CHECK ({table.key} < {table.literal(bound)}) NOT VALID"
    rows.run(f"ALTER TABLE {table.name} ADD CONSTRAINT {table.partition(bound)} {check}")
    return bound


def _followed(rows: PostgresRows, leader: str, at: int) -> int:
    """Where a partition of the table that is followed ends, far enough ahead."""
    return next((bound for bound in bounds_of(rows, leader) if bound - at >= DAYS_AHEAD), at + DAYS_AHEAD)


def validate(rows: PostgresRows, table: Parted, bound: int) -> None:
    """Goes through the table; others read and write it meanwhile."""
    rows.run(f"ALTER TABLE {table.name} VALIDATE CONSTRAINT {table.partition(bound)}")


def part(rows: PostgresRows, table: Parted, bound: int) -> None:
    """Puts a partitioned table in the place of one whose check is proven. Nobody reads or writes it meanwhile."""
    rows.run(f"LOCK TABLE {table.name} IN ACCESS EXCLUSIVE MODE")
    first = table.partition(bound)
    indexes = [
        _Index(row[0], row[1], row[2], row[4] or not row[3]) for row in rows.all(_INDEXES, table.name, table.key)
    ]
    triggers = rows.all(_TRIGGERS, table.name)
    grants = rows.all(_GRANTS, table.name)
    last = _last_number(rows, table.name)
    rows.run(f"ALTER TABLE {table.name} RENAME TO {first}")
    _make_whole(rows, table, first, last)
    attach(rows, table, first, None, bound)
    rows.run(f"ALTER TABLE {first} DROP CONSTRAINT {first}")
    for index in indexes:
        if index.whole:
            _share_index(rows, table.name, first, index)
    _move_triggers(rows, first, triggers)
    for grantee, privilege in grants:
        rows.run(f"GRANT {privilege} ON {table.name} TO {grantee}")
    rows.run(f"ALTER TABLE {table.name} ATTACH PARTITION {new_partition(rows, table, None)} DEFAULT")


def _last_number(rows: PostgresRows, table: str) -> int | None:
    """What ``seq`` has reached; None for a table without."""
    row = rows.one(
        "SELECT pg_get_serial_sequence($1, 'seq') FROM pg_attribute WHERE attrelid = CAST(CAST($1 AS TEXT) AS REGCLASS)"
        " AND attname = 'seq'",
        table,
    )
    found = None if row is None or row[0] is None else rows.one(f"SELECT last_value FROM {row[0]}")  # noqa: S608
    return None if found is None else int(found[0])


def _make_whole(rows: PostgresRows, table: Parted, first: str, last: int | None) -> None:
    if last is not None:
        rows.run(f"ALTER TABLE {first} ALTER COLUMN seq DROP IDENTITY")
    like = f"LIKE {first} INCLUDING DEFAULTS INCLUDING CONSTRAINTS"
    rows.run(f"CREATE TABLE {table.name} ({like}) PARTITION BY RANGE ({table.key})")
    rows.run(f"ALTER TABLE {table.name} DROP CONSTRAINT {first}")
    if last is not None:
        started = f"GENERATED BY DEFAULT AS IDENTITY (START WITH {last + 1})"
        rows.run(f"ALTER TABLE {table.name} ALTER COLUMN seq ADD {started}")


def _share_index(rows: PostgresRows, table: str, first: str, index: _Index) -> None:
    """The index that is there becomes the first partition's of one over all. It is never built anew: where the two
    do not agree, this fails."""
    own = f"{index.name}_{first.removeprefix(table + '_')}"
    rows.run(f"ALTER INDEX {index.name} RENAME TO {own}")
    if index.constraint is None:
        rows.run(re.sub(r" ON (?:ONLY )?", " ON ONLY ", index.text, count=1))
    else:
        rows.run(f"ALTER TABLE ONLY {table} ADD CONSTRAINT {index.name} {index.constraint}")
    rows.run(f"ALTER INDEX {index.name} ATTACH PARTITION {own}")


def _move_triggers(rows: PostgresRows, first: str, triggers: Sequence[Row]) -> None:
    for name, text in triggers:
        rows.run(f"DROP TRIGGER {name} ON {first}")
        rows.run(text)
