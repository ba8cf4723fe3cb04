"""A whole database copied into an empty one: every table that is there, in one transaction, and then compared."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from graphlib import TopologicalSorter
from hashlib import sha256
from typing import Final, Protocol

import msgspec

from stacksona_gate.domain.errors import Conflict, Invalid
from stacksona_gate.domain.merkle import EMPTY_ROOT, Frontier, leaf_hash
from stacksona_gate.store.rows import Row

MIGRATIONS: Final = "migrations"
"""The one table that is not copied: each database has its own, and they must say the same."""
PROGRESS_ROWS: Final = 200_000
PAGE: Final = 1000
DIGEST_BITS: Final = 256

Kind = type[str] | type[int] | type[bytes]
Columns = Mapping[str, Kind]
"""What each column holds, beside nulls, in the order of the table."""


@dataclass(frozen=True, slots=True)
class Contents:
    """How many rows a table has, and the sum of their SHA-256 modulo 2^256: equal whatever the order."""

    rows: int
    digest: int


@dataclass(frozen=True, slots=True)
class SealedLog:
    """A workspace's log as it was computed anew from the copied entries. ``root`` is base64."""

    tenant_id: str
    size: int
    root: str
    checkpoints: int


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied and compared."""

    tables: Mapping[str, Contents]
    logs: Sequence[SealedLog]

    @property
    def rows(self) -> int:
        return sum(contents.rows for contents in self.tables.values())


class Side(Protocol):
    """One of the two databases, in a transaction of its own from the first question to the last."""

    def tables(self) -> dict[str, Columns]:
        """Every table of the database's catalogue."""
        ...

    def parents(self, table: str) -> set[str]:
        """The tables that must have their rows before."""
        ...

    def all(self, sql: str, *parameters: str | int) -> list[Row]: ...

    def read(self, table: str, columns: Sequence[str]) -> Iterator[Row]:
        """In any order. Holds few rows at a time."""
        ...

    def write(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None: ...

    def unwatched(self) -> AbstractContextManager[None]:
        """Inserts rows as they are: no trigger adds to them. At the end, numbers go on after the highest."""
        ...

    def commit(self) -> None: ...
    def close(self) -> None:
        """Undoes what was not committed."""
        ...


def copy(source: Side, target: Side, told: Callable[[str], None]) -> Copied:
    """Copies everything, without committing it.

    ``told`` hears of progress, in lines. Raises Conflict when the databases do not fit together or the target is not
    empty, Invalid for values that the target cannot hold.
    """
    tables = _common_tables(source, target)
    read = {}
    with target.unwatched():
        for table in _in_order(target, tables):
            read[table] = _copy_table(source, target, table, tables[table], told)
    for table, contents in read.items():
        _require_equal(table, contents, _contents(target, table, tables[table]))
    told("every table reads the same on both sides")
    tenants = [row[0] for row in target.all("SELECT id FROM tenants ORDER BY id")]
    return Copied(read, [_verified_log(target, tenant_id) for tenant_id in tenants])


def require_empty(target: Side) -> None:
    """Raises Conflict naming a table that has rows."""
    for table in target.tables():
        if table != MIGRATIONS and target.all(f"SELECT 1 FROM {quoted(table)} LIMIT 1"):  # noqa: S608 - of the catalogue
            raise Conflict(f"the target is not empty (table {table} has rows): name a new database")


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _common_tables(source: Side, target: Side) -> dict[str, Columns]:
    """Raises Conflict."""
    ours, theirs = source.tables(), target.tables()
    if MIGRATIONS not in ours:
        raise Conflict("the source is no gate's database")
    _require_same_migrations(source, target)
    require_empty(target)
    named, wanted = ({name: set(columns) for name, columns in side.items()} for side in (ours, theirs))
    odd = sorted(name for name in named.keys() | wanted.keys() if named.get(name) != wanted.get(name))
    if odd:
        raise Conflict(f"the databases differ in tables or columns although their migrations do not: {', '.join(odd)}")
    del theirs[MIGRATIONS]
    return theirs


def _require_same_migrations(source: Side, target: Side) -> None:
    ours, theirs = _applied(source), _applied(target)
    missing, unknown = theirs.keys() - ours.keys(), ours.keys() - theirs.keys()
    if unknown:
        raise Conflict(f"the source has migration {max(unknown)}, which this version does not know: upgrade the gate")
    if missing:
        raise Conflict(
            f"the source lacks {theirs[min(missing)]}: back it up, then bring it up to this version with `db migrate`"
        )


def _applied(side: Side) -> dict[int, str]:
    return dict(side.all(f"SELECT number, name FROM {MIGRATIONS}"))  # noqa: S608


def _in_order(side: Side, tables: Iterable[str]) -> list[str]:
    """Tables after those that they refer to."""
    names = set(tables)
    graph = {table: (side.parents(table) & names) - {table} for table in sorted(names)}
    return list(TopologicalSorter(graph).static_order())


# Rows


def _copy_table(source: Side, target: Side, table: str, columns: Columns, told: Callable[[str], None]) -> Contents:
    names = tuple(columns)
    sums = _Sums()

    def passing() -> Iterator[Row]:
        for row in source.read(table, names):
            _require_fitting(table, columns, row)
            sums.add(row)
            if sums.rows % PROGRESS_ROWS == 0:
                told(f"{table}: {sums.rows:,} rows so far")
            yield row

    target.write(table, names, passing())
    told(f"{table}: {sums.rows:,} rows")
    return sums.contents()


def _contents(side: Side, table: str, columns: Columns) -> Contents:
    sums = _Sums()
    for row in side.read(table, tuple(columns)):
        sums.add(row)
    return sums.contents()


def _require_equal(table: str, read: Contents, written: Contents) -> None:
    if read != written:
        raise Conflict(
            f"table {table} does not read the same from the target ({written.rows:,} rows) as from the source"
            f" ({read.rows:,} rows): nothing was kept there"
        )


class _Sums:
    """Adds up a table's rows, one after the other."""

    def __init__(self) -> None:
        self.rows = 0
        self._digest = 0
        self._encoder = msgspec.msgpack.Encoder()

    def add(self, row: Row) -> None:
        self.rows += 1
        self._digest += int.from_bytes(sha256(self._encoder.encode(row)).digest())

    def contents(self) -> Contents:
        return Contents(self.rows, self._digest % 2**DIGEST_BITS)


def _require_fitting(table: str, columns: Columns, row: Row) -> None:
    """Raises Invalid for what only one of the databases can hold: SQLite takes anything anywhere."""
    for (column, kind), value in zip(columns.items(), row, strict=True):
        if value is None:
            continue
        if type(value) is not kind:
            raise Invalid(f"{_place(table, columns, row, column)} holds {type(value).__name__}, not {kind.__name__}")
        if isinstance(value, str) and "\0" in value:
            raise Invalid(
                f"{_place(table, columns, row, column)} holds the character U+0000, which PostgreSQL cannot store:"
                " change it first"
            )


def _place(table: str, columns: Columns, row: Row, column: str) -> str:
    """Never the value itself: it may be anybody's."""
    known = dict(zip(columns, row, strict=True))
    key = next((name for name in ("seq", "id", "name", "number") if name in known and name != column), None)
    return f"{table}.{column}" if key is None else f"{table}.{column} where {key} is {known[key]!r}"


# The sealed logs


def _verified_log(side: Side, tenant_id: str) -> SealedLog:
    """The tree of RFC 6962 over the entries in their order, against every checkpoint that is kept.

    Raises Conflict where they do not fit.
    """
    tree, checked, root = Frontier(), 0, EMPTY_ROOT
    leaves = _leaves(side, tenant_id)
    for size, kept in _checkpoints(side, tenant_id):
        while tree.size < size:
            place, leaf = next(leaves, (None, ""))
            if place != tree.size:
                raise _broken(tenant_id, f"has no entry {tree.size}, and a checkpoint over {size}")
            tree.add(leaf_hash(leaf.encode()))
        root = tree.root()
        if base64.b64encode(root).decode() != kept:
            raise _broken(tenant_id, f"does not fit its checkpoint over {size} entries")
        checked += 1
    if next(leaves, None) is not None:
        raise _broken(tenant_id, f"has entries beyond its newest checkpoint, which is over {tree.size}")
    return SealedLog(tenant_id, tree.size, base64.b64encode(root).decode(), checked)


def _broken(tenant_id: str, what: str) -> Conflict:
    return Conflict(f"the sealed log of workspace {tenant_id} {what}: look at the source with `audit verify`")


def _leaves(side: Side, tenant_id: str) -> Iterator[Row]:
    """Place and leaf of every sealed entry, in order."""
    sql = (
        "SELECT log_leaves.leaf_index, audit.leaf FROM log_leaves JOIN audit ON audit.seq = log_leaves.seq"
        " WHERE log_leaves.tenant_id = $1 AND log_leaves.leaf_index >= $2 ORDER BY log_leaves.leaf_index LIMIT $3"
    )
    return _paged(side, sql, tenant_id)


def _checkpoints(side: Side, tenant_id: str) -> Iterator[Row]:
    """Size and root, smallest first."""
    sql = "SELECT size, root FROM checkpoints WHERE tenant_id = $1 AND size >= $2 ORDER BY size LIMIT $3"
    return _paged(side, sql, tenant_id)


def _paged(side: Side, sql: str, tenant_id: str) -> Iterator[Row]:
    """Rows by their first column, which is the cursor."""
    after = 0
    while page := side.all(sql, tenant_id, after, PAGE):
        yield from page
        after = page[-1][0] + 1
