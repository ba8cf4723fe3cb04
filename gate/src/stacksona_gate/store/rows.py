"""The one thing that queries ask of a database, and how rows become values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Protocol, TypeVar

from stacksona_gate.store.base import Change

V = TypeVar("V")
Row = tuple[Any, ...]


class Rows(Protocol):
    """A connection inside a transaction. SQL is common to all databases; parameters are ``$1``, ``$2``, …"""

    changes: list[Change]
    """What this transaction touched: told to watchers after the commit."""

    def all(self, sql: str, *parameters: Any) -> list[Row]: ...
    def one(self, sql: str, *parameters: Any) -> Row | None: ...
    def run(self, sql: str, *parameters: Any) -> int:
        """Returns how many rows it changed."""
        ...

    def many(self, sql: str, rows: Iterable[Row]) -> None: ...

    def insert_many(self, table: str, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
        """Inserts rows of texts, whole numbers and nulls in one statement: the way of the hot path."""
        ...

    for_update: str
    """What a SELECT ends in to hold its rows; empty where the transaction holds them anyway."""


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
        self.values: Callable[[V], Row] = attrgetter(*stored)
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
