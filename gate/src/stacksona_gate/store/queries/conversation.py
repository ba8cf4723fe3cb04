"""Reviews, notes, task events, outcomes, attachments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from stacksona_gate.domain.requests import Attachment, Note, Outcome, Review, TaskEvent
from stacksona_gate.store.base import Measured
from stacksona_gate.store.queries.requests import measured
from stacksona_gate.store.rows import Rows, SealedMapper

REVIEWS: Final = SealedMapper(Review, "reviews", sealed=("message",), tenant=True)
NOTES: Final = SealedMapper(Note, "notes", sealed=("text",), tenant=True)
EVENTS: Final = SealedMapper(TaskEvent, "task_events", sealed=("payload", "summary"), tenant=True)
OUTCOMES: Final = SealedMapper(Outcome, "outcomes", sealed=("detail", "payload_digest"), tenant=True)
ATTACHMENTS: Final = SealedMapper(Attachment, "attachments", sealed=("name", "digest"), tenant=True)
_LISTED: Final = SealedMapper(Attachment, "attachments", sealed=("name", "digest"), without=("data",), tenant=True)
_MEASURE: Final = (
    "SELECT 0, CAST(COALESCE(SUM(size), 0) AS BIGINT), MAX(id) FROM"
    " (SELECT id, OCTET_LENGTH(data) AS size FROM attachments"
    " WHERE tenant_id = $1 AND id > $2 AND id < $3 ORDER BY id LIMIT $4) AS counted"
)
ATTACHMENT_DATA: Final = "attachments.data"


class ConversationQueries:
    """Implements store.base.Conversation."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def insert_review(self, tenant_id: str, review: Review) -> None:
        self._rows.run(REVIEWS.insert, *REVIEWS.row(self._rows, review, tenant_id))

    def list_reviews(self, tenant_id: str, request_id: str) -> list[Review]:
        return self._of_request(REVIEWS, tenant_id, request_id)

    def insert_note(self, tenant_id: str, note: Note) -> None:
        self._rows.run(NOTES.insert, *NOTES.row(self._rows, note, tenant_id))

    def list_notes(self, tenant_id: str, request_id: str) -> list[Note]:
        return self._of_request(NOTES, tenant_id, request_id)

    def insert_event(self, tenant_id: str, event: TaskEvent) -> None:
        self._rows.run(EVENTS.insert, *EVENTS.row(self._rows, event, tenant_id))

    def list_events(self, tenant_id: str, agent_id: str, task_id: str, limit: int) -> list[TaskEvent]:
        sql = f"{EVENTS.select} WHERE tenant_id = $1 AND agent_id = $2 AND task_id = $3 ORDER BY seq DESC LIMIT $4"
        return EVENTS.list(self._rows, self._rows.all(sql, tenant_id, agent_id, task_id, limit))[::-1]

    def insert_outcome(self, tenant_id: str, outcome: Outcome) -> None:
        self._rows.run(OUTCOMES.insert, *OUTCOMES.row(self._rows, outcome, tenant_id))

    def list_outcomes(self, tenant_id: str, request_id: str) -> list[Outcome]:
        return self._of_request(OUTCOMES, tenant_id, request_id)

    def list_flagged_outcomes(
        self, tenant_id: str, limit: int, *, before: int | None = None
    ) -> list[tuple[int, Outcome]]:
        older = "" if before is None else " AND seq < $3"
        sql = (
            f"SELECT seq, {OUTCOMES.columns} FROM outcomes WHERE tenant_id = $1 AND flag IS NOT NULL{older}"  # noqa: S608
            " ORDER BY seq DESC LIMIT $2"
        )
        parameters = [tenant_id, limit, *(() if before is None else (before,))]
        return [(row[0], OUTCOMES.value(self._rows, row[1:])) for row in self._rows.all(sql, *parameters)]

    def insert_attachments(self, tenant_id: str, attachments: Iterable[Attachment]) -> None:
        rows = [self._sealed(tenant_id, attachment) for attachment in attachments]
        self._rows.many(ATTACHMENTS.insert, [ATTACHMENTS.row(self._rows, sealed, tenant_id) for sealed in rows])

    def _sealed(self, tenant_id: str, attachment: Attachment) -> Attachment:
        return replace(
            attachment, data=self._rows.content.seal_bytes(self._rows, tenant_id, ATTACHMENT_DATA, attachment.data)
        )

    def list_attachments(self, tenant_id: str, request_id: str) -> list[Attachment]:
        sql = f"{_LISTED.select} WHERE tenant_id = $1 AND request_id = $2 ORDER BY revision, position"
        return _LISTED.list(self._rows, self._rows.all(sql, tenant_id, request_id))

    def find_attachment(self, tenant_id: str, attachment_id: str) -> Attachment | None:
        sql = f"{ATTACHMENTS.select} WHERE tenant_id = $1 AND id = $2"
        found = ATTACHMENTS.optional(self._rows, self._rows.one(sql, tenant_id, attachment_id))
        if found is None:
            return None
        return replace(found, data=self._rows.content.open_bytes(self._rows, ATTACHMENT_DATA, found.data))

    def measure_attachments(self, tenant_id: str, *, after: str, until: str, limit: int) -> Measured:
        return measured(self._rows, _MEASURE, tenant_id, after, until, limit)

    def _of_request[V](self, mapper: SealedMapper[V], tenant_id: str, request_id: str) -> list[V]:
        return mapper.list(
            self._rows,
            self._rows.all(
                f"{mapper.select} WHERE tenant_id = $1 AND request_id = $2 ORDER BY seq", tenant_id, request_id
            ),
        )
