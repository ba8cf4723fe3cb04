"""The one thing that queries ask of a database, and how rows become values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final, Protocol, TypeVar

import msgspec
from msgspec.structs import astuple

from stacksona_gate.store.base import Change
from stacksona_gate.store.evidence import DataKey

V = TypeVar("V")
Row = tuple[Any, ...]


class Encryption(Protocol):
    """Encrypts and decrypts what rests encrypted: store.content has it."""

    def seal(self, rows: Rows, tenant_id: str, place: str, text: str | bytes) -> str: ...
    def open(self, rows: Rows, place: str, stored: str) -> str: ...
    def seal_bytes(self, rows: Rows, tenant_id: str, place: str, data: bytes) -> bytes: ...
    def open_bytes(self, rows: Rows, place: str, stored: bytes) -> bytes: ...
    def is_current(self, rows: Rows, tenant_id: str, stored: str | bytes) -> bool: ...
    def new_key(self, rows: Rows, tenant_id: str, now: int) -> DataKey: ...
    def forget(self) -> None: ...


class Rows(Protocol):
    """A connection inside a transaction. SQL is common to all databases; parameters are ``$1``, ``$2``, …"""

    changes: list[Change]
    """What this transaction touched: told to watchers after the commit."""

    content: Encryption
    """Encrypts what rests encrypted."""

    keys_in_use: dict[str, bytes]
    """Ids of the keys that tenants' content is encrypted with, as far as this transaction may rely on them."""

    def all(self, sql: str, *parameters: Any) -> list[Row]: ...
    def one(self, sql: str, *parameters: Any) -> Row | None: ...
    def run(self, sql: str, *parameters: Any) -> int:
        """Returns how many rows it changed."""
        ...

    def many(self, sql: str, rows: Iterable[Row]) -> None: ...

    def insert_many(self, table: str, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
        """Inserts rows of texts, whole numbers and nulls in one statement: the way of the hot path."""
        ...

    def hold_configuration(self, tenant_ids: Sequence[str]) -> dict[str, int]:
        """The versions of tenants' configuration, none of which changes until the transaction ends."""
        ...

    def change_configuration(self, tenant_ids: Sequence[str]) -> None:
        """Before tenants' configuration changes: waits for those that hold it, and keeps others out."""
        ...

    def alone(self, *names: str) -> None:
        """Waits until nobody else who named one of the same is in a transaction: for what two must not do at once."""
        ...

    def now(self, own: int) -> int:
        """The time of day by the database's clock; ``own`` where the database has none."""
        ...

    for_update: str
    """What a SELECT ends in to hold its rows; empty where the transaction holds them anyway."""

    for_share: str
    """As ``for_update``, where others may hold the same rows too."""

    skip_locked: str
    """What follows ``for_update`` to leave out rows that others hold."""

    parted: frozenset[str]
    """Tables that are partitioned: ids say where a row is."""

    in_order: str
    """What follows a table that is gone through by ``seq``, where the database would else gather all rows of the tenant
    by some index and sort them."""


def _cells_of(kind: Callable[..., Any], stored: Sequence[str]) -> Callable[[Any], Row]:
    """What reads the named fields of a value, in order. All of a struct's at once take a sixth of the time."""
    fields: tuple[str, ...] = getattr(kind, "__struct_fields__", ())
    if fields == ("seq", *stored):
        return lambda value: astuple(value)[1:]
    return astuple if fields == tuple(stored) else attrgetter(*stored)


class Mapper[V]:
    """Turns rows into values of one dataclass and back, columns named as its fields are."""

    def __init__(
        self, kind: Callable[..., V], table: str, *, without: tuple[str, ...] = (), tenant: bool = False
    ) -> None:
        """``tenant``: the table leads with a tenant that the value itself does not carry; it is bound last."""
        names = [name for name in kind.__annotations__ if name not in without]
        flags = {name for name in names if kind.__annotations__[name] == "bool"}
        self._kind = kind
        self._flags = tuple(i for i, name in enumerate(names) if name in flags)
        self.columns = ", ".join(names)
        stored = [name for name in names if name != "seq"]
        self.values: Callable[[V], Row] = _cells_of(kind, stored)
        written = [*stored, "tenant_id"] if tenant else stored
        marks = ", ".join(f"${i + 1}" for i in range(len(written)))
        self.table = table
        self.stored = tuple(stored)
        self.insert = f"INSERT INTO {table} ({', '.join(written)}) VALUES ({marks})"  # noqa: S608 - our own names
        self.select = f"SELECT {self.columns} FROM {table}"  # noqa: S608

    def value(self, row: Row) -> V:
        if not self._flags:
            return self._kind(*row)
        cells = list(row)
        for i in self._flags:
            cells[i] = bool(cells[i])
        return self._kind(*cells)

    def optional(self, row: Row | None) -> V | None:
        return None if row is None else self.value(row)

    def list(self, rows: Iterable[Row]) -> list[V]:
        return [self.value(row) for row in rows]


MARK: Final = "s1."
"""What rests encrypted begins with it; anything else was written before content was."""
_PACKED: Final = msgspec.json.Encoder()
_UNPACKED: Final = msgspec.json.Decoder(list[str | None])


class SealedMapper[V]:
    """As Mapper, for values some of whose texts rest encrypted: all of them together, in the column of the first.

    One encryption per row costs less than one per column, and does not tell which of them are there.
    """

    def __init__(
        self,
        kind: Callable[..., V],
        table: str,
        *,
        sealed: tuple[str, ...],
        without: tuple[str, ...] = (),
        tenant: bool = False,
    ) -> None:
        self._plain = Mapper(kind, table, without=without, tenant=tenant)
        self.table, self.columns, self.stored = table, self._plain.columns, self._plain.stored
        self.insert, self.select = self._plain.insert, self._plain.select
        self.sealed = sealed
        self.place = f"{table}.{sealed[0]}"
        self._with_tenant = tenant
        names = [name for name in kind.__annotations__ if name not in without]
        self._empty = tuple(None if "None" in kind.__annotations__[name] else "" for name in sealed)
        self._read = tuple(names.index(name) for name in sealed)
        self._written = tuple(self.stored.index(name) for name in sealed)
        self._tenant = None if tenant else self.stored.index("tenant_id")

    def row(self, rows: Rows, value: V, tenant_id: str | None = None) -> Row:
        """What is inserted. ``tenant_id`` where the value does not carry it: then it is the last of the row."""
        cells = list(self._plain.values(value))
        owner = str(tenant_id if self._tenant is None else cells[self._tenant])
        self.seal(rows, owner, cells, self._written)
        return (*cells, tenant_id) if self._with_tenant else tuple(cells)

    def seal(self, rows: Rows, tenant_id: str, cells: list[Any], places: tuple[int, ...]) -> None:
        """Encrypts the sealed values, which stand at ``places`` in the order they were named in."""
        packed = _PACKED.encode([cells[i] for i in places])
        for i, nothing in zip(places, self._empty, strict=True):
            cells[i] = nothing
        cells[places[0]] = rows.content.seal(rows, tenant_id, self.place, packed)

    def resealed(self, rows: Rows, tenant_id: str, cells: Row) -> Row | None:
        """The sealed cells anew, with the key in use; None where they are."""
        if isinstance(cells[0], str) and rows.content.is_current(rows, tenant_id, cells[0]):
            return None
        texts = list(cells)
        if isinstance(cells[0], str) and cells[0].startswith(MARK):
            texts = list(_UNPACKED.decode(rows.content.open(rows, self.place, cells[0])))
        self.seal(rows, tenant_id, texts, tuple(range(len(texts))))
        return tuple(texts)

    def value(self, rows: Rows, row: Row) -> V:
        first = row[self._read[0]]
        if not isinstance(first, str) or not first.startswith(MARK):
            return self._plain.value(row)
        cells = list(row)
        texts = _UNPACKED.decode(rows.content.open(rows, self.place, first))
        for i, text in zip(self._read, texts, strict=True):
            cells[i] = text
        return self._plain.value(tuple(cells))

    def optional(self, rows: Rows, row: Row | None) -> V | None:
        return None if row is None else self.value(rows, row)

    def list(self, rows: Rows, found: Iterable[Row]) -> list[V]:
        return [self.value(rows, row) for row in found]
