"""Decisions as agents read them back: the most frequent question of all, in two statements."""

from __future__ import annotations

from typing import Final

from stacksona_gate.domain.requests import Opinion, Request
from stacksona_gate.store.base import Reading
from stacksona_gate.store.queries.requests import REQUESTS
from stacksona_gate.store.rows import Mapper, Rows

_READ: Final = (
    "SELECT (SELECT config_version FROM tenants WHERE id = $1),"  # noqa: S608 - our own names
    " (SELECT generation FROM agents WHERE tenant_id = $1 AND id = $2),"
    f" {REQUESTS.columns} FROM requests WHERE tenant_id = $1 AND agent_id = $2"
)
_BY_THREAD: Final = f"{_READ} AND thread_id = $3"
_BY_REQUEST: Final = f"{_READ} AND id = $3"
_BY_TASK: Final = f"{_READ} AND task_id = $3 ORDER BY seq DESC LIMIT 1"
_OPINIONS: Final = Mapper(Opinion, "reviews")
_REVIEWS: Final = f"{_OPINIONS.select} WHERE tenant_id = $1 AND request_id = $2 ORDER BY seq"
_BEFORE_REQUEST: Final = 2
_NAMES: Final = REQUESTS.columns.split(", ")
_ID: Final = _BEFORE_REQUEST + _NAMES.index("id")
_THREAD: Final = _BEFORE_REQUEST + _NAMES.index("thread_id")


class ReadingQueries:
    """Implements store.base.Readings."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def find(
        self,
        tenant_id: str,
        agent_id: str,
        *,
        thread_id: str | None = None,
        request_id: str | None = None,
        task_id: str | None = None,
    ) -> Reading | None:
        if thread_id is not None:
            row = self._rows.one(_BY_THREAD, tenant_id, agent_id, thread_id)
        elif request_id is not None:
            row = self._rows.one(_BY_REQUEST, tenant_id, agent_id, request_id)
        else:
            row = self._rows.one(_BY_TASK, tenant_id, agent_id, task_id or "")
        if row is None:
            return None
        # Without a thread there is nothing that people could have said.
        reviews = () if row[_THREAD] is None else tuple(self._rows.all(_REVIEWS, tenant_id, row[_ID]))
        return Reading(row[_ID], row[0], -1 if row[1] is None else row[1], row[_BEFORE_REQUEST:], reviews)

    def open(self, reading: Reading) -> tuple[Request, tuple[Opinion, ...]]:
        return REQUESTS.value(self._rows, reading.request), tuple(_OPINIONS.list(reading.reviews))
