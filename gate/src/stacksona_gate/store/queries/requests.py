"""Requests and threads."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import chain
from typing import Final

from stacksona_gate.domain.errors import Conflict
from stacksona_gate.domain.ids import ALPHABET, THREAD_ID
from stacksona_gate.domain.requests import Request, Revision, ThreadFilter
from stacksona_gate.store.base import Change, Measured
from stacksona_gate.store.rows import Rows, SealedMapper

REQUESTS: Final = SealedMapper(
    Request,
    "requests",
    sealed=("payload", "payload_digest", "preview", "summary", "metadata", "message", "feedback"),
)
REVISIONS: Final = SealedMapper(
    Revision, "revisions", sealed=("payload", "payload_digest", "preview", "summary", "message"), tenant=True
)

ROWS_MOST: Final = 64
"""Rows per statement: its text stays under what the driver keeps prepared."""

_OPENED: Final = {"http_request_id", "traceparent"}
_FIXED: Final = {"seq", "tenant_id", "id", "agent_id", "task_id", "created_at", "thread_id", "tool_name"} | _OPENED
_MOVING: Final = tuple(name for name in Request.__annotations__ if name not in _FIXED)
_MOVING_SEALED: Final = tuple(_MOVING.index(name) for name in REQUESTS.sealed)
_UPDATE: Final = (
    "UPDATE requests SET "  # noqa: S608 - our own names
    + ", ".join(f"{name} = ${i + 1}" for i, name in enumerate(_MOVING))
    + f" WHERE tenant_id = ${len(_MOVING) + 1} AND id = ${len(_MOVING) + 2}"
    + f" AND status = ${len(_MOVING) + 3} AND revision = ${len(_MOVING) + 4}"
)

_FOLDERS: Final = {
    # «thread_id IS NOT NULL» follows from each status; saying it lets the partial indexes be used.
    "new": "status = 'pending_review' AND claimed_by IS NULL",
    "reviewing": "status = 'pending_review' AND claimed_by IS NOT NULL",
    "approved": "thread_id IS NOT NULL AND status = 'approved'",
    "rejected": "thread_id IS NOT NULL AND status = 'rejected'",
}
_MEASURE: Final = (
    "SELECT CAST(COALESCE(SUM(kept), 0) AS BIGINT), CAST(COALESCE(SUM(size), 0) AS BIGINT), MAX(id) FROM"
    " (SELECT id, CASE WHEN erased_at IS NULL THEN 1 ELSE 0 END AS kept, OCTET_LENGTH(payload) AS size FROM requests"
    " WHERE tenant_id = $1 AND id > $2 AND id < $3 ORDER BY id LIMIT $4) AS counted"
)
_NEXT_DUE: Final = (
    "SELECT expires_at FROM requests WHERE status = 'pending_review' ORDER BY expires_at LIMIT 1",
    "SELECT remind_at FROM requests WHERE status = 'pending_review' AND remind_at IS NOT NULL"
    " ORDER BY remind_at LIMIT 1",
)


def measured(rows: Rows, sql: str, tenant_id: str, after: str, until: str, limit: int) -> Measured:
    """What a statement counts: requests, bytes, and the last id that it looked at."""
    row = rows.one(sql, tenant_id, after, until, limit)
    return Measured(0, 0, "") if row is None else Measured(int(row[0]), int(row[1]), row[2] or "")


@lru_cache(maxsize=128)
def _end_sql(count: int) -> str:
    """Ends so many threads in one statement: each one by itself gives the interpreter's lock away, and waits for it
    as long as a busy event loop likes."""
    emptied = [f"{name} = ${4 + i}" for i, name in enumerate(REQUESTS.sealed[1:])]
    start = 4 + len(emptied)
    rows = ", ".join(f"(${i}, ${i + 1}, ${i + 2})" for i in range(start, start + 3 * count, 3))
    return (
        "UPDATE requests SET status = $1, reason_code = $2, decided_at = $3, revision_requested = 0, remind_at = NULL,"  # noqa: S608 - our own names
        f" {REQUESTS.sealed[0]} = due.column3, {', '.join(emptied)}"
        f" FROM (VALUES {rows}) AS due"
        " WHERE tenant_id = due.column1 AND id = due.column2 AND status = 'pending_review'"
    )


class RequestQueries:
    """Implements store.base.Requests."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def find(self, tenant_id: str, request_id: str) -> Request | None:
        return self._one("WHERE tenant_id = $1 AND id = $2", tenant_id, request_id)

    def find_thread(self, tenant_id: str, thread_id: str) -> Request | None:
        return self._of_thread(tenant_id, thread_id)

    def lock_thread(self, tenant_id: str, thread_id: str) -> Request | None:
        return self._of_thread(tenant_id, thread_id, self._rows.for_update)

    def update(self, request: Request, *, was_status: str, was_revision: int) -> bool:
        values = [getattr(request, name) for name in _MOVING]
        REQUESTS.seal(self._rows, request.tenant_id, values, _MOVING_SEALED)
        return self._rows.run(_UPDATE, *values, request.tenant_id, request.id, was_status, was_revision) == 1

    def list_threads(self, tenant_id: str, where: ThreadFilter) -> list[Request]:
        if where.agent_ids == ():
            return []
        conditions = _Conditions()
        conditions.add("tenant_id = {}", tenant_id)
        conditions.add_filter(where)
        order = "ASC" if where.oldest_first else "DESC"
        limit = conditions.mark(where.limit)
        # Of nothing in particular: no index has these in order.
        table = REQUESTS.select + ("" if where.folder or where.status or where.agent_ids else self._rows.in_order)
        sql = f"{table} WHERE {conditions.text} ORDER BY seq {order} LIMIT {limit}"
        return REQUESTS.list(self._rows, self._rows.all(sql, *conditions.parameters))

    def count_folders(self, tenant_id: str, agent_ids: tuple[str, ...] | None, *, most: int) -> dict[str, int]:
        return {folder: self._count_folder(tenant_id, folder, agent_ids, most) for folder in _FOLDERS}

    def _count_folder(self, tenant_id: str, folder: str, agent_ids: tuple[str, ...] | None, most: int) -> int:
        if agent_ids == ():
            return 0
        conditions = _Conditions()
        conditions.add("tenant_id = {}", tenant_id)
        conditions.add_filter(ThreadFilter(folder=folder, agent_ids=agent_ids))
        limit = conditions.mark(most)
        # In order, as the folder's index is: else agents' requests of any status would be gone through.
        counted = f"SELECT 1 AS one FROM requests WHERE {conditions.text} ORDER BY seq LIMIT {limit}"  # noqa: S608
        row = self._rows.one(f"SELECT COUNT(*) FROM ({counted}) AS counted", *conditions.parameters)  # noqa: S608
        return int(row[0]) if row else 0

    def count_pending(self, tenant_id: str, *, most: int) -> int:
        row = self._rows.one(
            "SELECT COUNT(*) FROM (SELECT 1 FROM requests WHERE tenant_id = $1 AND thread_id IS NOT NULL"
            " AND status = 'pending_review' LIMIT $2) AS counted",
            tenant_id,
            most,
        )
        return int(row[0]) if row else 0

    def measure(self, tenant_id: str, *, after: str, until: str, limit: int) -> Measured:
        return measured(self._rows, _MEASURE, tenant_id, after, until, limit)

    def list_pending_of_agent(self, tenant_id: str, agent_id: str) -> list[Request]:
        where = "tenant_id = $1 AND agent_id = $2 AND thread_id IS NOT NULL AND status = 'pending_review'"
        sql = f"{REQUESTS.select} WHERE {where} ORDER BY seq{self._rows.for_update}"
        return REQUESTS.list(self._rows, self._rows.all(sql, tenant_id, agent_id))

    def list_overdue(self, now: int, limit: int) -> list[Request]:
        return self._list_waiting("expires_at <= $1 ORDER BY expires_at", now, limit)

    def list_reminders_due(self, now: int, limit: int) -> list[Request]:
        return self._list_waiting("remind_at <= $1 ORDER BY remind_at", now, limit)

    def _list_waiting(self, condition: str, now: int, limit: int) -> list[Request]:
        held = self._rows.for_update + self._rows.skip_locked
        sql = f"{REQUESTS.select} WHERE status = 'pending_review' AND {condition} LIMIT $2{held}"
        return REQUESTS.list(self._rows, self._rows.all(sql, now, limit))

    def next_due(self) -> int | None:
        moments = [self._rows.one(sql) for sql in _NEXT_DUE]
        return min((int(row[0]) for row in moments if row), default=None)

    def end(self, requests: Sequence[Request]) -> None:
        alike = ("status", "reason_code", "decided_at")
        fixed = [getattr(requests[0], name) for name in alike]
        packed, empty = [], []
        for request in requests:
            cells = [getattr(request, name) for name in REQUESTS.sealed]
            REQUESTS.seal(self._rows, request.tenant_id, cells, tuple(range(len(cells))))
            packed += [request.tenant_id, request.id, cells[0]]
            empty = cells[1:]
        written = self._rows.run(_end_sql(len(requests)), *fixed, *empty, *packed)
        if written != len(requests):
            raise Conflict("somebody changed one of these threads at the same time")
        self._rows.changes += [Change(request.tenant_id, request.id) for request in requests]

    def set_reminder(self, request: Request, remind_at: int | None, reminders: int) -> bool:
        sql = (
            "UPDATE requests SET remind_at = $1, reminders = $2"
            " WHERE tenant_id = $3 AND id = $4 AND status = 'pending_review' AND remind_at = $5"
        )
        where = (request.tenant_id, request.id, request.remind_at)
        return self._rows.run(sql, remind_at, reminders, *where) == 1

    def set_outcome(self, tenant_id: str, request_id: str, outcome: str) -> None:
        sql = (
            "UPDATE requests SET outcome = $1"
            " WHERE tenant_id = $2 AND id = $3 AND (outcome IS NULL OR outcome <> 'executed')"
        )
        self._rows.run(sql, outcome, tenant_id, request_id)

    def list_without_outcome(
        self, tenant_id: str, redeemed_until: int, *, before: tuple[int, int] | None, limit: int
    ) -> list[Request]:
        conditions = _Conditions()
        conditions.add("tenant_id = {}", tenant_id)
        conditions.add("redeemed_at <= {}", redeemed_until)
        conditions.also("redeemed_at IS NOT NULL AND outcome IS NULL")
        if before is not None:
            at, seq = conditions.mark(before[0]), conditions.mark(before[1])
            conditions.also(f"redeemed_at <= {at} AND (redeemed_at < {at} OR seq < {seq})")
        sql = f"{REQUESTS.select} WHERE {conditions.text} ORDER BY redeemed_at DESC, seq DESC"
        sql += f" LIMIT {conditions.mark(limit)}"
        return REQUESTS.list(self._rows, self._rows.all(sql, *conditions.parameters))

    def count_without_outcome(self, tenant_id: str, redeemed_until: int, *, most: int) -> int:
        row = self._rows.one(
            "SELECT COUNT(*) FROM (SELECT 1 AS one FROM requests WHERE tenant_id = $1 AND redeemed_at <= $2"
            " AND redeemed_at IS NOT NULL AND outcome IS NULL LIMIT $3) AS counted",
            tenant_id,
            redeemed_until,
            most,
        )
        return int(row[0]) if row else 0

    def list_redeemed(
        self,
        tenant_id: str,
        *,
        tool_name: str | None = None,
        since: int | None = None,
        until: int | None = None,
        after: int = 0,
        limit: int,
    ) -> list[Request]:
        conditions = _Conditions()
        conditions.add("tenant_id = {}", tenant_id)
        conditions.add("redeemed_at IS NOT NULL AND seq > {}", after)
        wanted = (("tool_name = {}", tool_name), ("redeemed_at >= {}", since), ("redeemed_at < {}", until))
        for condition, value in wanted:
            if value is not None:
                conditions.add(condition, value)
        table = f"{REQUESTS.select}{self._rows.in_order}"
        sql = f"{table} WHERE {conditions.text} ORDER BY seq LIMIT {conditions.mark(limit)}"
        return REQUESTS.list(self._rows, self._rows.all(sql, *conditions.parameters))

    def archive_revision(self, request: Request, at: int) -> None:
        revision = Revision(
            request.id,
            request.revision,
            request.subject,
            request.preview,
            request.summary,
            request.payload,
            request.payload_digest,
            request.reason_code,
            request.message,
            at,
        )
        self._rows.run(REVISIONS.insert, *REVISIONS.row(self._rows, revision, request.tenant_id))

    def list_revisions(self, tenant_id: str, request_id: str) -> list[Revision]:
        sql = f"{REVISIONS.select} WHERE tenant_id = $1 AND request_id = $2 ORDER BY revision"
        return REVISIONS.list(self._rows, self._rows.all(sql, tenant_id, request_id))

    def _of_thread(self, tenant_id: str, thread_id: str, held: str = "") -> Request | None:
        """A thread and its request get their ids at the same moment: that says in which partition to look first."""
        where = "WHERE tenant_id = $1 AND thread_id = $2"
        if "requests" in self._rows.parted and THREAD_ID.fullmatch(thread_id):
            moment = "req_" + thread_id[4:14]
            between = f"{where} AND id >= $3 AND id <= $4{held}"
            found = self._one(between, tenant_id, thread_id, moment, moment + 16 * ALPHABET[-1])
            if found is not None:
                return found
        return self._one(where + held, tenant_id, thread_id)

    def _one(self, where: str, *parameters: object) -> Request | None:
        return REQUESTS.optional(self._rows, self._rows.one(f"{REQUESTS.select} {where}", *parameters))


class _Conditions:
    """Gathers conditions and their parameters: values never become SQL text."""

    def __init__(self) -> None:
        self.parameters: list[object] = []
        self._conditions: list[str] = []

    @property
    def text(self) -> str:
        return " AND ".join(self._conditions)

    def mark(self, value: object) -> str:
        self.parameters.append(value)
        return f"${len(self.parameters)}"

    def add(self, condition: str, value: object) -> None:
        self._conditions.append(condition.format(self.mark(value)))

    def also(self, condition: str) -> None:
        self._conditions.append(condition)

    def add_filter(self, where: ThreadFilter) -> None:
        self._conditions.append(_FOLDERS[where.folder] if where.folder else "thread_id IS NOT NULL")
        simple = (
            ("status = {}", where.status),
            ("tool_name = {}", where.tool_name),
            ("risk_level = {}", where.risk_level),
            ("created_at >= {}", where.since),
            ("redeemed_at IS NULL AND approval_expires_at > {}", where.redeemable_at),
            ("seq < {}", where.before),
            ("seq > {}", where.after),
        )
        for condition, value in simple:
            if value is not None:
                self.add(condition, value)
        if where.redeemed is not None:
            self._conditions.append(f"redeemed_at IS {'NOT ' if where.redeemed else ''}NULL")
        if where.agent_ids:
            self._conditions.append(f"agent_id IN ({', '.join(self.mark(agent_id) for agent_id in where.agent_ids)})")
        if where.text:
            self._add_text(where.text)

    def _add_text(self, text: str) -> None:
        escaped = text.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        mark = self.mark(f"%{escaped}%")
        columns = ("subject", "task_id", "tool_name", "thread_id")
        either = " OR ".join(f"LOWER({column}) LIKE {mark} ESCAPE '\\'" for column in columns)
        self._conditions.append(f"({either})")


def lock_requests(rows: Rows, tenant_id: str, request_ids: Collection[str]) -> dict[str, Request]:
    """Those of the requests that there are, by id, held until the transaction ends."""
    found = dict[str, Request]()
    wanted = sorted(set(request_ids))
    for start in range(0, len(wanted), ROWS_MOST):
        part = wanted[start : start + ROWS_MOST]
        marks = ", ".join(f"${i + 2}" for i in range(len(part)))
        # In one order everywhere: two that want the same ones then wait for each other one way only.
        sql = f"{REQUESTS.select} WHERE tenant_id = $1 AND id IN ({marks}) ORDER BY id{rows.for_update}"
        found |= {request.id: request for request in REQUESTS.list(rows, rows.all(sql, tenant_id, *part))}
    return found


def redeem_requests(rows: Rows, redeemed: Sequence[Request]) -> None:
    """Marks the approvals of requests that are held used. Raises Conflict when one of them was already."""
    for start in range(0, len(redeemed), ROWS_MOST):
        part = redeemed[start : start + ROWS_MOST]
        cells = chain.from_iterable((r.redeemed_at, r.redeemed_by, r.tenant_id, r.id, r.approval_id) for r in part)
        if rows.run(_redeem_sql(len(part)), *cells) != len(part):
            raise Conflict("somebody redeemed one of these approvals at the same time")


@lru_cache(maxsize=128)
def _redeem_sql(count: int) -> str:
    """Of so many approvals in one statement: each one by itself waits for the interpreter's lock."""
    used = ", ".join(f"(${i}, ${i + 1}, ${i + 2}, ${i + 3}, ${i + 4})" for i in range(1, 5 * count + 1, 5))
    return (
        "UPDATE requests SET redeemed_at = used.column1, redeemed_by = used.column2"  # noqa: S608 - marks only
        f" FROM (VALUES {used}) AS used WHERE tenant_id = used.column3 AND id = used.column4"
        " AND redeemed_at IS NULL AND approval_id = used.column5"
    )


def insert_requests(rows: Rows, requests: list[Request]) -> None:
    if requests:
        rows.insert_many(REQUESTS.table, REQUESTS.stored, [REQUESTS.row(rows, request) for request in requests])
