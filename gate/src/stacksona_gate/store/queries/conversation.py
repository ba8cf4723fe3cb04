"""Reviews, notes, task events, outcomes, attachments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from stacksona_gate.domain.requests import Attachment, Note, Outcome, Review, TaskEvent
from stacksona_gate.store.rows import Mapper, Rows

REVIEWS: Final = Mapper(Review, "reviews", tenant=True)
NOTES: Final = Mapper(Note, "notes", tenant=True)
EVENTS: Final = Mapper(TaskEvent, "task_events", tenant=True)
OUTCOMES: Final = Mapper(Outcome, "outcomes", tenant=True)
ATTACHMENTS: Final = Mapper(Attachment, "attachments", tenant=True)
_LISTED: Final = Mapper(Attachment, "attachments", without=("data",))


class ConversationQueries:
    """Implements store.base.Conversation."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def insert_review(self, tenant_id: str, review: Review) -> None:
        self._rows.run(REVIEWS.insert, *REVIEWS.values(review), tenant_id)

    def list_reviews(self, tenant_id: str, request_id: str) -> list[Review]:
        return self._of_request(REVIEWS, tenant_id, request_id)

    def insert_note(self, tenant_id: str, note: Note) -> None:
        self._rows.run(NOTES.insert, *NOTES.values(note), tenant_id)

    def list_notes(self, tenant_id: str, request_id: str) -> list[Note]:
        return self._of_request(NOTES, tenant_id, request_id)

    def insert_event(self, tenant_id: str, event: TaskEvent) -> None:
        self._rows.run(EVENTS.insert, *EVENTS.values(event), tenant_id)

    def list_events(self, tenant_id: str, agent_id: str, task_id: str, limit: int) -> list[TaskEvent]:
        sql = f"{EVENTS.select} WHERE tenant_id = $1 AND agent_id = $2 AND task_id = $3 ORDER BY seq DESC LIMIT $4"
        return EVENTS.list(self._rows.all(sql, tenant_id, agent_id, task_id, limit))[::-1]

    def insert_outcome(self, tenant_id: str, outcome: Outcome) -> None:
        self._rows.run(OUTCOMES.insert, *OUTCOMES.values(outcome), tenant_id)

    def list_outcomes(self, tenant_id: str, request_id: str) -> list[Outcome]:
        return self._of_request(OUTCOMES, tenant_id, request_id)

    def list_flagged_outcomes(self, tenant_id: str, limit: int) -> list[Outcome]:
        sql = f"{OUTCOMES.select} WHERE tenant_id = $1 AND flag IS NOT NULL ORDER BY seq DESC LIMIT $2"
        return OUTCOMES.list(self._rows.all(sql, tenant_id, limit))

    def insert_attachments(self, tenant_id: str, attachments: Iterable[Attachment]) -> None:
        self._rows.many(
            ATTACHMENTS.insert, [(*ATTACHMENTS.values(attachment), tenant_id) for attachment in attachments]
        )

    def list_attachments(self, tenant_id: str, request_id: str) -> list[Attachment]:
        sql = f"{_LISTED.select} WHERE tenant_id = $1 AND request_id = $2 ORDER BY revision, position"
        return _LISTED.list(self._rows.all(sql, tenant_id, request_id))

    def find_attachment(self, tenant_id: str, attachment_id: str) -> Attachment | None:
        sql = f"{ATTACHMENTS.select} WHERE tenant_id = $1 AND id = $2"
        return ATTACHMENTS.optional(self._rows.one(sql, tenant_id, attachment_id))

    def _of_request[V](self, mapper: Mapper[V], tenant_id: str, request_id: str) -> list[V]:
        return mapper.list(
            self._rows.all(
                f"{mapper.select} WHERE tenant_id = $1 AND request_id = $2 ORDER BY seq", tenant_id, request_id
            )
        )
