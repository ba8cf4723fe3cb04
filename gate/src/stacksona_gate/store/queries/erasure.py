"""Taking content away. Rows, leaves and statuses stay; what they said is gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stacksona_gate.domain.requests import Request, RequestState, TaskEvent
from stacksona_gate.store.base import Change, Idempotency
from stacksona_gate.store.queries.conversation import EVENTS
from stacksona_gate.store.queries.requests import REQUESTS
from stacksona_gate.store.queries.tenants import REPLAY_ANSWER
from stacksona_gate.store.rows import Mapper, Rows

STATES: Final = Mapper(RequestState, "requests")
ERASED_SUBJECT: Final = "erased"
EVENTS_OF_USERS: Final = (
    "user.created",
    "user.changed",
    "session.started",
    "session.ended",
    "session.refused",
    "token.created",
    "token.revoked",
)
"""Events whose private values tell of the person that they are about."""
_NOTHING: Final = "{}"
_FINAL: Final = (
    "status <> 'pending_review' AND erased_at IS NULL"
    " AND (approval_id IS NULL OR redeemed_at IS NOT NULL OR approval_expires_at <= $4)"
)


class ErasureQueries:
    """Implements store.base.Erasure."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def list_states(self, tenant_id: str, *, after: int, limit: int) -> list[RequestState]:
        sql = f"{STATES.select}{self._rows.in_order} WHERE tenant_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"
        return STATES.list(self._rows.all(sql, tenant_id, after, limit))

    def find_state(self, tenant_id: str, request_id: str) -> RequestState | None:
        return STATES.optional(
            self._rows.one(f"{STATES.select} WHERE tenant_id = $1 AND id = $2", tenant_id, request_id)
        )

    def list_requests(self, tenant_id: str, *, after: int, limit: int) -> list[Request]:
        table = f"{REQUESTS.select}{self._rows.in_order}"
        sql = f"{table} WHERE tenant_id = $1 AND seq > $2 AND erased_at IS NULL ORDER BY seq LIMIT $3"
        return REQUESTS.list(self._rows, self._rows.all(sql, tenant_id, after, limit))

    def list_loose_events(self, tenant_id: str, *, after: int, limit: int) -> list[tuple[int, TaskEvent]]:
        sql = (
            f"SELECT seq, {EVENTS.columns} FROM task_events{self._rows.in_order}"  # noqa: S608 - our own names
            " WHERE tenant_id = $1 AND request_id IS NULL AND seq > $2 ORDER BY seq LIMIT $3"
        )
        found = self._rows.all(sql, tenant_id, after, limit)
        return [(row[0], EVENTS.value(self._rows, row[1:])) for row in found]

    def erase_request(self, tenant_id: str, request_id: str, now: int) -> dict[str, int] | None:
        state = self.find_state(tenant_id, request_id)
        if state is None or not self._erase_row(tenant_id, request_id, now):
            return None
        counts = self._erase_talk(tenant_id, request_id)
        counts["events"] = self._rows.run(
            "UPDATE task_events SET event_type = $1, summary = '', payload = '{}'"
            " WHERE tenant_id = $2 AND agent_id = $3 AND task_id = $4 AND request_id = $5",
            ERASED_SUBJECT,
            tenant_id,
            state.agent_id,
            state.task_id,
            request_id,
        )
        counts["deliveries"] = self._erase_deliveries(tenant_id, request_id, now)
        counts["entries"] = self._erase_entries(tenant_id, state)
        self._rows.changes.append(Change(tenant_id, request_id))
        return counts

    def erase_events_of_task(self, request: RequestState, created_before: int) -> int:
        sql = (
            f"{EVENTS.select} WHERE tenant_id = $1 AND agent_id = $2 AND task_id = $3"
            " AND request_id IS NULL AND created_at < $4"
        )
        found = self._rows.all(sql, request.tenant_id, request.agent_id, request.task_id, created_before)
        return self._erase_events(request.tenant_id, EVENTS.list(self._rows, found))

    def erase_event(self, tenant_id: str, event_id: str, created_at: int) -> int:
        changed = self._rows.run(
            "UPDATE task_events SET event_type = $1, summary = '', payload = $2 WHERE tenant_id = $3 AND id = $4",
            ERASED_SUBJECT,
            _NOTHING,
            tenant_id,
            event_id,
        )
        self._rows.run(
            "UPDATE audit SET private = $1 WHERE tenant_id = $2 AND at = $3 AND event = 'task.event' AND leaf LIKE $4",
            _NOTHING,
            tenant_id,
            created_at,
            f'%"{event_id}"%',
        )
        return changed

    def erase_loose_events(self, tenant_id: str, created_before: int, limit: int) -> int:
        sql = (
            f"{EVENTS.select} WHERE tenant_id = $1 AND request_id IS NULL AND created_at < $2"
            " AND event_type <> 'erased' ORDER BY created_at LIMIT $3"
        )
        found = self._rows.all(sql, tenant_id, created_before, limit)
        return self._erase_events(tenant_id, EVENTS.list(self._rows, found))

    def list_replays(self, tenant_id: str, *, after: tuple[int, str], limit: int) -> list[tuple[int, Idempotency]]:
        day, scope = after
        found = self._rows.all(
            "SELECT day, scope, fingerprint, answer FROM replays WHERE tenant_id = $1"
            " AND (day > $2 OR (day = $2 AND scope > $3)) ORDER BY day, scope LIMIT $4",
            tenant_id,
            day,
            scope,
            limit,
        )
        return [
            (row[0], Idempotency(row[1], row[2], self._rows.content.open(self._rows, REPLAY_ANSWER, row[3])))
            for row in found
        ]

    def replace_replay(self, tenant_id: str, day: int, scope: str, answer: str) -> None:
        sealed = self._rows.content.seal(self._rows, tenant_id, REPLAY_ANSWER, answer)
        self._rows.run(
            "UPDATE replays SET answer = $1 WHERE tenant_id = $2 AND day = $3 AND scope = $4",
            sealed,
            tenant_id,
            day,
            scope,
        )

    def rename_author(self, tenant_id: str, user_id: str, name: str) -> None:
        for table, column in (("reviews", "reviewer"), ("notes", "author")):
            sql = f"UPDATE {table} SET {column} = $1 WHERE tenant_id = $2 AND user_id = $3"  # noqa: S608 - our own names
            self._rows.run(sql, name, tenant_id, user_id)
        self._rows.run(
            "UPDATE personal_tokens SET name = $1 WHERE tenant_id = $2 AND user_id = $3", name, tenant_id, user_id
        )

    def list_entries_of_user(self, tenant_id: str, user_id: str, *, after: int, limit: int) -> list[int]:
        marks = ", ".join(f"${number}" for number in range(6, 6 + len(EVENTS_OF_USERS)))
        sql = (
            f"SELECT seq FROM audit{self._rows.in_order} WHERE tenant_id = $1 AND seq > $2"  # noqa: S608 - marks only
            " AND private <> '{}' AND request_id IS NULL"
            f" AND (actor_id = $3 OR leaf LIKE $4) AND event IN ({marks}) ORDER BY seq LIMIT $5"
        )
        found = self._rows.all(sql, tenant_id, after, user_id, f'%"user":"{user_id}"%', limit, *EVENTS_OF_USERS)
        return [int(row[0]) for row in found]

    def erase_entries(self, tenant_id: str, seqs: Sequence[int]) -> int:
        sql = "UPDATE audit SET private = '{}' WHERE tenant_id = $1 AND seq = $2"
        return sum(self._rows.run(sql, tenant_id, seq) for seq in seqs)

    def _erase_row(self, tenant_id: str, request_id: str, now: int) -> bool:
        sql = (
            "UPDATE requests SET erased_at = $4, subject = $1, payload = '{}', payload_digest = '', preview = NULL,"  # noqa: S608 - our own words
            " summary = '[]', metadata = '{}', message = '', feedback = NULL, workflow_name = NULL, task_label = NULL,"
            " http_request_id = NULL, traceparent = NULL"
            f" WHERE tenant_id = $2 AND id = $3 AND {_FINAL}"
        )
        return self._rows.run(sql, ERASED_SUBJECT, tenant_id, request_id, now) == 1

    def _erase_talk(self, tenant_id: str, request_id: str) -> dict[str, int]:
        emptied = {
            "revisions": "UPDATE revisions SET subject = 'erased', payload = '{}', payload_digest = '', preview = NULL,"
            " summary = '[]', message = ''",
            "reviews": "UPDATE reviews SET message = ''",
            "notes": "UPDATE notes SET text = ''",
            "outcomes": "UPDATE outcomes SET detail = NULL, payload_digest = NULL",
            "attachments": "DELETE FROM attachments",
        }
        where = " WHERE tenant_id = $1 AND request_id = $2"
        return {name: self._rows.run(sql + where, tenant_id, request_id) for name, sql in emptied.items()}

    def _erase_deliveries(self, tenant_id: str, request_id: str, now: int) -> int:
        """What was not delivered yet is not any more: the receiver reads the decision back."""
        where = "WHERE tenant_id = $1 AND request_id = $2"
        self._rows.run(
            "UPDATE delivery_attempts SET answer = ''"  # noqa: S608 - our own words
            f" WHERE tenant_id = $1 AND delivery_id IN (SELECT id FROM deliveries {where})",
            tenant_id,
            request_id,
        )
        self._rows.run(
            "UPDATE deliveries SET state = 'superseded', due_at = NULL, finished_at = $3"  # noqa: S608 - our own words
            f" {where} AND state = 'pending'",
            tenant_id,
            request_id,
            now,
        )
        # The fence: what a receiver answers to a call that is on its way is not kept.
        sql = f"UPDATE deliveries SET body = '', http_request_id = NULL, traceparent = NULL, fence = fence + 1 {where}"  # noqa: S608 - our own words
        return self._rows.run(sql, tenant_id, request_id)

    def _erase_entries(self, tenant_id: str, state: RequestState) -> int:
        if state.thread_id is not None:
            sql = "UPDATE audit SET private = '{}' WHERE tenant_id = $1 AND request_id = $2 AND thread_id IS NOT NULL"
            return self._rows.run(sql, tenant_id, state.id)
        # Entries of requests that are no threads are found by their time: an index for them would cost every decision.
        outcomes = self._rows.all(
            "SELECT created_at FROM outcomes WHERE tenant_id = $1 AND request_id = $2", tenant_id, state.id
        )
        moments = {state.created_at, state.decided_at, state.redeemed_at, *(row[0] for row in outcomes)} - {None}
        marks = ", ".join(f"${number}" for number in range(3, 3 + len(moments)))
        sql = f"UPDATE audit SET private = '{{}}' WHERE tenant_id = $1 AND request_id = $2 AND at IN ({marks})"  # noqa: S608
        return self._rows.run(sql, tenant_id, state.id, *moments)

    def _erase_events(self, tenant_id: str, events: list[TaskEvent]) -> int:
        return sum(self.erase_event(tenant_id, event.id, event.created_at) for event in events)
