"""Endpoints, deliveries, their attempts, and notices."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Final

from stacksona_gate.domain.webhooks import (
    DEAD,
    PENDING,
    STATES,
    Attempt,
    Delivery,
    DeliveryFilter,
    Due,
    Endpoint,
    Notice,
    Queue,
)
from stacksona_gate.store.base import DELIVERIES, Change
from stacksona_gate.store.rows import Mapper, Row, Rows, SealedMapper

ENDPOINTS: Final = Mapper(Endpoint, "webhook_endpoints")
DELIVERY_ROWS: Final = SealedMapper(Delivery, "deliveries", sealed=("body",))
_LISTED: Final = Mapper(Delivery, "deliveries", without=("body",))
ATTEMPTS: Final = SealedMapper(Attempt, "delivery_attempts", sealed=("answer",))
NOTICES: Final = Mapper(Notice, "notices")

# Said outright: a mark in its place would keep the partial indexes from being used.
_STATES: Final = {state: f"state = '{state}'" for state in STATES}
_STATES[PENDING] += " AND due_at >= 0"  # as all of them are: their index goes on with it
_FEW: Final = (PENDING, DEAD)
"""States that have an index of their own."""

_PUT_ENDPOINT: Final = f"{ENDPOINTS.insert} ON CONFLICT (tenant_id, id) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in ENDPOINTS.stored if name not in ("tenant_id", "id")
)
_DUE: Final = """
SELECT due.tenant_id, due.id, due.due_at, due.failing FROM (
  SELECT e.tenant_id, e.id, CASE WHEN e.failing_since IS NULL THEN 0 ELSE 1 END AS failing,
    (SELECT MIN(d.due_at) FROM deliveries d
      WHERE d.tenant_id = e.tenant_id AND d.endpoint_id = e.id AND d.state = 'pending') AS due_at
  FROM webhook_endpoints e WHERE e.switched_off_at IS NULL AND e.url IS NOT NULL
) AS due WHERE due.due_at IS NOT NULL ORDER BY due.tenant_id, due.id
"""
# Of a thread one at a time: not while another is on its way, and not an older one when there is a newer.
_CLAIMABLE: Final = (
    f"{DELIVERY_ROWS.select} WHERE tenant_id = $1 AND endpoint_id = $2 AND state = 'pending' AND due_at <= $3"  # noqa: S608 - our own names
    " AND NOT EXISTS (SELECT 1 FROM deliveries other WHERE other.tenant_id = deliveries.tenant_id"
    " AND other.request_id = deliveries.request_id AND other.state = 'pending'"
    " AND other.endpoint_id = deliveries.endpoint_id AND other.id <> deliveries.id"
    " AND (other.leased_until > $3 OR other.seq > deliveries.seq)) ORDER BY due_at, seq LIMIT $4"
)
_SUPERSEDE: Final = (
    "UPDATE deliveries SET state = 'superseded', due_at = NULL, leased_until = NULL, finished_at = $1"
    " WHERE tenant_id = $2 AND request_id = $3 AND endpoint_id = $4 AND state = 'pending' AND id <> $5"
    " AND (leased_until IS NULL OR leased_until <= $1)"
)


class WebhookQueries:
    """Implements store.base.Webhooks."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def find_endpoint(self, tenant_id: str, endpoint_id: str) -> Endpoint | None:
        sql = f"{ENDPOINTS.select} WHERE tenant_id = $1 AND id = $2"
        return ENDPOINTS.optional(self._rows.one(sql, tenant_id, endpoint_id))

    def lock_endpoint(self, tenant_id: str, endpoint_id: str) -> Endpoint | None:
        sql = f"{ENDPOINTS.select} WHERE tenant_id = $1 AND id = $2{self._rows.for_update}"
        return ENDPOINTS.optional(self._rows.one(sql, tenant_id, endpoint_id))

    def put_endpoint(self, endpoint: Endpoint) -> None:
        self._rows.run(_PUT_ENDPOINT, *ENDPOINTS.values(endpoint))

    def insert(self, delivery: Delivery) -> None:
        self._rows.run(DELIVERY_ROWS.insert, *DELIVERY_ROWS.row(self._rows, delivery))
        self._rows.changes.append(Change(delivery.tenant_id, DELIVERIES))

    def insert_all(self, deliveries: Sequence[Delivery], now: int) -> None:
        waiting = self._with_pending({(one.tenant_id, one.request_id) for one in deliveries})
        for one in deliveries:
            if (one.tenant_id, one.request_id) in waiting:
                self.supersede(one, now)
        if deliveries:
            rows = [DELIVERY_ROWS.row(self._rows, one) for one in deliveries]
            self._rows.insert_many(DELIVERY_ROWS.table, DELIVERY_ROWS.stored, rows)
            self._rows.changes += [Change(tenant_id, DELIVERIES) for tenant_id in {one.tenant_id for one in deliveries}]

    def _with_pending(self, requests: Set[tuple[str, str | None]]) -> set[tuple[str, str | None]]:
        """Those of the requests, each with its tenant, that have a pending delivery."""
        found = set[tuple[str, str | None]]()
        for tenant_id in {tenant_id for tenant_id, _ in requests}:
            ids = [request_id for tenant, request_id in requests if tenant == tenant_id]
            marks = ", ".join(f"${i + 2}" for i in range(len(ids)))
            pending = "SELECT request_id FROM deliveries WHERE tenant_id = $1 AND state = 'pending'"
            sql = f"{pending} AND request_id IN ({marks})"
            found |= {(tenant_id, row[0]) for row in self._rows.all(sql, tenant_id, *ids)}
        return found

    def find(self, tenant_id: str, delivery_id: str) -> Delivery | None:
        sql = f"{DELIVERY_ROWS.select} WHERE tenant_id = $1 AND id = $2{self._rows.for_update}"
        return DELIVERY_ROWS.optional(self._rows, self._rows.one(sql, tenant_id, delivery_id))

    def list_deliveries(self, tenant_id: str, where: DeliveryFilter) -> list[Delivery]:
        conditions, parameters = ["tenant_id = $1"], [tenant_id, where.limit]
        if where.state is not None:
            conditions.append(_STATES[where.state])
        for column, value in (("endpoint_id = ", where.endpoint_id), ("seq < ", where.before)):
            if value is not None:
                parameters.append(value)
                conditions.append(f"{column}${len(parameters)}")
        if where.state == PENDING and where.endpoint_id is None:
            # Of each of them: their index begins with it.
            conditions.append("endpoint_id IN (SELECT id FROM webhook_endpoints WHERE tenant_id = $1)")
        is_few = where.endpoint_id is not None or where.state in _FEW
        table = _LISTED.select + ("" if is_few else self._rows.in_order)
        sql = f"{table} WHERE {' AND '.join(conditions)} ORDER BY seq DESC LIMIT $2"
        return _LISTED.list(self._rows.all(sql, *parameters))

    def list_of_request(self, tenant_id: str, request_id: str) -> list[Delivery]:
        sql = f"{_LISTED.select} WHERE tenant_id = $1 AND request_id = $2 ORDER BY seq"
        return _LISTED.list(self._rows.all(sql, tenant_id, request_id))

    def list_due(self) -> list[Due]:
        return [Due(row[0], row[1], row[2], bool(row[3])) for row in self._rows.all(_DUE)]

    def claim(self, tenant_id: str, endpoint_id: str, now: int, until: int, most: int) -> list[Delivery]:
        sql = _CLAIMABLE + self._rows.for_update + self._rows.skip_locked
        claimed = []
        for row in self._rows.all(sql, tenant_id, endpoint_id, now, most):
            delivery = DELIVERY_ROWS.value(self._rows, row)
            if delivery.request_id is not None:
                self.supersede(delivery, now)
            self._rows.run(
                "UPDATE deliveries SET due_at = $1, leased_until = $1, fence = fence + 1, attempts = attempts + 1"
                " WHERE tenant_id = $2 AND id = $3",
                until,
                tenant_id,
                delivery.id,
            )
            claimed.append(delivery)
        return claimed

    def supersede(self, delivery: Delivery, now: int) -> int:
        where = (delivery.tenant_id, delivery.request_id, delivery.endpoint_id, delivery.id)
        return self._rows.run(_SUPERSEDE, now, *where)

    def settle(self, delivery: Delivery) -> bool:
        # A success is true although the delivery was given up while it was on its way.
        was = "state IN ('pending', 'dead')" if delivery.state == "delivered" else "state = 'pending'"
        changed = self._rows.run(
            "UPDATE deliveries SET state = $1, tries = $2, due_at = $3, leased_until = NULL, finished_at = $4"  # noqa: S608
            f" WHERE tenant_id = $5 AND id = $6 AND fence = $7 AND {was}",
            delivery.state,
            delivery.tries,
            delivery.due_at,
            delivery.finished_at,
            delivery.tenant_id,
            delivery.id,
            delivery.fence,
        )
        return changed == 1

    def reopen(self, tenant_id: str, delivery_id: str) -> bool:
        changed = self._rows.run(
            "UPDATE deliveries SET state = 'pending', tries = 0, due_at = 0, leased_until = NULL, finished_at = NULL,"
            " fence = fence + 1 WHERE tenant_id = $1 AND id = $2 AND state <> 'pending'",
            tenant_id,
            delivery_id,
        )
        if changed:
            self._rows.changes.append(Change(tenant_id, DELIVERIES))
        return changed == 1

    def hurry(self, tenant_id: str, delivery_id: str) -> bool:
        changed = self._rows.run(
            "UPDATE deliveries SET due_at = 0 WHERE tenant_id = $1 AND id = $2 AND state = 'pending'"
            " AND leased_until IS NULL",
            tenant_id,
            delivery_id,
        )
        if changed:
            self._rows.changes.append(Change(tenant_id, DELIVERIES))
        return changed == 1

    def give_up(self, tenant_id: str, endpoint_id: str, now: int) -> int:
        return self._rows.run(
            "UPDATE deliveries SET state = 'dead', due_at = NULL, leased_until = NULL, finished_at = $1"
            " WHERE tenant_id = $2 AND endpoint_id = $3 AND state = 'pending'",
            now,
            tenant_id,
            endpoint_id,
        )

    def shift(self, step: int, now: int) -> None:
        self._rows.run(
            "UPDATE deliveries SET due_at = due_at + $1,"  # noqa: S608 - our own words
            " leased_until = CASE WHEN leased_until IS NULL THEN NULL ELSE leased_until + $1 END"
            f" WHERE state = 'pending' AND due_at > $2{' AND leased_until IS NOT NULL' if step > 0 else ''}",
            step,
            now,
        )
        self._rows.run(
            "UPDATE webhook_endpoints SET failing_since = failing_since + $1 WHERE failing_since IS NOT NULL", step
        )

    def insert_attempt(self, attempt: Attempt) -> None:
        self._rows.run(ATTEMPTS.insert, *ATTEMPTS.row(self._rows, attempt))

    def list_attempts(self, tenant_id: str, delivery_id: str) -> list[Attempt]:
        sql = f"{ATTEMPTS.select} WHERE tenant_id = $1 AND delivery_id = $2 ORDER BY seq"
        return ATTEMPTS.list(self._rows, self._rows.all(sql, tenant_id, delivery_id))

    def queue(self) -> Queue:
        pending = self._rows.one("SELECT COUNT(*) FROM deliveries WHERE state = 'pending'")
        dead = self._rows.one("SELECT COUNT(*) FROM deliveries WHERE state = 'dead'")
        oldest = self._rows.one(
            "SELECT MIN(d.created_at) FROM deliveries d WHERE d.state = 'pending' AND d.leased_until IS NULL"
            " AND d.due_at = 0"
        )
        return Queue(pending[0] if pending else 0, dead[0] if dead else 0, oldest[0] if oldest else None)

    def list_over(self, delivered_before: int, dead_before: int, most: int) -> list[tuple[str, str]]:
        found = list[Row]()
        for states, before in (("state <> 'dead'", delivered_before), ("state = 'dead'", dead_before)):
            sql = f"SELECT tenant_id, id FROM deliveries WHERE finished_at < $1 AND {states} LIMIT $2"  # noqa: S608
            found += self._rows.all(sql, before, most - len(found))
        return [(row[0], row[1]) for row in found]

    def delete(self, tenant_id: str, delivery_id: str) -> None:
        # Looked at again: somebody may have replayed it since it was listed.
        where = "tenant_id = $1 AND id = $2 AND state <> 'pending'"
        if self._rows.run(f"DELETE FROM deliveries WHERE {where}", tenant_id, delivery_id):  # noqa: S608
            self._rows.run(
                "DELETE FROM delivery_attempts WHERE tenant_id = $1 AND delivery_id = $2", tenant_id, delivery_id
            )


class NoticeQueries:
    """Implements store.base.Notices."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def insert(self, notice: Notice) -> None:
        self._rows.run(NOTICES.insert, *NOTICES.values(notice))

    def find(self, tenant_id: str, notice_id: str) -> Notice | None:
        sql = f"{NOTICES.select} WHERE tenant_id = $1 AND id = $2{self._rows.for_update}"
        return NOTICES.optional(self._rows.one(sql, tenant_id, notice_id))

    def find_open(self, tenant_id: str, kind: str, objects: str) -> Notice | None:
        sql = f"{NOTICES.select} WHERE tenant_id = $1 AND dismissed_at IS NULL AND kind = $2 AND objects = $3 LIMIT 1"
        return NOTICES.optional(self._rows.one(sql, tenant_id, kind, objects))

    def list_open(self, tenant_id: str, most: int) -> list[Notice]:
        sql = f"{NOTICES.select} WHERE tenant_id = $1 AND dismissed_at IS NULL ORDER BY seq DESC LIMIT $2"
        return NOTICES.list(self._rows.all(sql, tenant_id, most))

    def dismiss(self, tenant_id: str, notice_id: str, now: int, user_id: str) -> bool:
        changed = self._rows.run(
            "UPDATE notices SET dismissed_at = $1, dismissed_by = $2"
            " WHERE tenant_id = $3 AND id = $4 AND dismissed_at IS NULL",
            now,
            user_id,
            tenant_id,
            notice_id,
        )
        return changed == 1
