"""What rests encrypted: keys in use, and writing it anew with another key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stacksona_gate.store.evidence import DataKey
from stacksona_gate.store.queries.conversation import ATTACHMENT_DATA, ATTACHMENTS, EVENTS, NOTES, OUTCOMES, REVIEWS
from stacksona_gate.store.queries.requests import REQUESTS, REVISIONS
from stacksona_gate.store.queries.tenants import AUDIT, REPLAY_ANSWER
from stacksona_gate.store.queries.webhooks import ATTEMPTS, DELIVERY_ROWS
from stacksona_gate.store.rows import Encryption, Row, Rows, SealedMapper


@dataclass(frozen=True, slots=True)
class _Place:
    """Columns of a table that rest encrypted. ``reseal``: the cells anew, None where they are up to date."""

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    reseal: Callable[[Rows, str, Row], Row | None]


def _texts(mapper: SealedMapper[Any], *key: str) -> _Place:
    return _Place(mapper.table, key or ("seq",), mapper.sealed, mapper.resealed)


def _attachment(rows: Rows, tenant_id: str, cells: Row) -> Row | None:
    (stored,) = cells
    if rows.content.is_current(rows, tenant_id, stored):
        return None
    data = rows.content.open_bytes(rows, ATTACHMENT_DATA, stored)
    return (rows.content.seal_bytes(rows, tenant_id, ATTACHMENT_DATA, data),)


def _answer(rows: Rows, tenant_id: str, cells: Row) -> Row | None:
    (stored,) = cells
    if rows.content.is_current(rows, tenant_id, stored):
        return None
    return (rows.content.seal(rows, tenant_id, REPLAY_ANSWER, rows.content.open(rows, REPLAY_ANSWER, stored)),)


_PLACES: Final = (
    _texts(REQUESTS),
    _texts(REVISIONS, "request_id", "revision"),
    _texts(REVIEWS),
    _texts(NOTES),
    _texts(EVENTS),
    _texts(OUTCOMES),
    _texts(ATTACHMENTS, "id"),
    _Place("attachments", ("id",), ("data",), _attachment),
    _texts(AUDIT),
    _texts(DELIVERY_ROWS),
    _texts(ATTEMPTS),
    _Place("replays", ("day", "scope"), ("answer",), _answer),
)


class ContentQueries:
    """Implements store.evidence.Contents."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._content: Encryption = rows.content

    def new_key(self, tenant_id: str, now: int) -> DataKey:
        return self._content.new_key(self._rows, tenant_id, now)

    @property
    def places(self) -> int:
        return len(_PLACES)

    def rewrite(self, tenant_id: str, place: int, after: Sequence[Any] | None, limit: int) -> tuple[Any, ...] | None:
        where = _PLACES[place]
        found = self._page(where, tenant_id, after, limit)
        width = len(where.key)
        anew = [
            (*cells, tenant_id, *row[:width])
            for row in found
            if (cells := where.reseal(self._rows, tenant_id, row[width:])) is not None
        ]
        self._rows.many(_update(where), anew)
        return tuple(found[-1][:width]) if len(found) == limit else None

    def drop_retired(self, tenant_id: str, key_id: str) -> int:
        return self._rows.run(
            "DELETE FROM data_keys WHERE tenant_id = $1 AND retired_at IS NOT NULL AND EXISTS"
            " (SELECT 1 FROM data_keys used WHERE used.tenant_id = $1 AND used.id = $2 AND used.retired_at IS NULL)",
            tenant_id,
            key_id,
        )

    def _page(self, where: _Place, tenant_id: str, after: Sequence[Any] | None, limit: int) -> list[Row]:
        key = ", ".join(where.key)
        table = where.table + (self._rows.in_order if where.key == ("seq",) else "")
        sql = f"SELECT {key}, {', '.join(where.columns)} FROM {table} WHERE tenant_id = $1"  # noqa: S608 - our own names
        parameters: list[Any] = [tenant_id, limit]
        if after is not None:
            marks = ", ".join(f"${i + 3}" for i in range(len(after)))
            sql += f" AND ({key}) > ({marks})"
            parameters += after
        return self._rows.all(f"{sql} ORDER BY {key} LIMIT $2", *parameters)


def _update(where: _Place) -> str:
    width = len(where.columns)
    values = ", ".join(f"{column} = ${i + 1}" for i, column in enumerate(where.columns))
    keys = " AND ".join(f"{column} = ${width + 2 + i}" for i, column in enumerate(where.key))
    return f"UPDATE {where.table} SET {values} WHERE tenant_id = ${width + 1} AND {keys}"  # noqa: S608 - our own names
