"""The part of store.base that is about requests: decisions on their way to disk, read back, talked about, erased."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec import Struct

from stacksona_gate.domain.audit import Entry
from stacksona_gate.domain.requests import (
    Attachment,
    Note,
    Opinion,
    Outcome,
    Request,
    RequestState,
    Review,
    Revision,
    TaskEvent,
    ThreadFilter,
)


class Idempotency(Struct, frozen=True):
    """``scope`` stands for agent, method, path and key; ``fingerprint`` for content type and raw body."""

    scope: str
    fingerprint: str
    answer: str
    """JSON of the first decision, without its token."""


class Submission(Struct, frozen=True):
    """A decided request on its way to disk. It holds only if ``config_version`` is still the tenant's."""

    config_version: int
    request: Request
    entries: tuple[Entry, ...]
    attachments: tuple[Attachment, ...] = ()
    discovered: str | None = None
    """The tool's name when no policy knows it."""
    discovered_most: int = 500
    """How many such names a tenant keeps: they come from callers."""
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """On disk."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """The same call was answered before; this is that answer."""

    answer: str
    request: Request


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The idempotency key was used for another body."""


@dataclass(frozen=True, slots=True)
class Stale:
    """Configuration moved since it was read: read it and decide again."""


Submitted = Stored | Replayed | Mismatch | Stale


@dataclass(frozen=True, slots=True)
class RedemptionEntries:
    """Makes the audit entry of either end; None: this refusal is only counted."""

    redeemed: Callable[[Request], Entry]
    refused: Callable[[str], Entry | None]


@dataclass(frozen=True, slots=True)
class Measured:
    """Requests with content, and its bytes as they rest. ``reached``: the last id that was looked at; "" for none."""

    requests: int
    bytes: int
    reached: str


class Requests(Protocol):
    def find(self, tenant_id: str, request_id: str) -> Request | None: ...
    def find_thread(self, tenant_id: str, thread_id: str) -> Request | None: ...
    def lock_thread(self, tenant_id: str, thread_id: str) -> Request | None:
        """The thread, held until the transaction ends: a second writer waits or is told the first one's result."""
        ...

    def update(self, request: Request, *, was_status: str, was_revision: int) -> bool:
        """Compare-and-set over status and revision; False: somebody was faster."""
        ...

    def list_threads(self, tenant_id: str, where: ThreadFilter) -> list[Request]: ...
    def count_folders(self, tenant_id: str, agent_ids: tuple[str, ...] | None, *, most: int) -> dict[str, int]:
        """Threads per folder, counting no further than ``most`` in each."""
        ...

    def count_pending(self, tenant_id: str, *, most: int) -> int:
        """Threads that wait for people, counting no further than ``most``."""
        ...

    def measure(self, tenant_id: str, *, after: str, until: str, limit: int) -> Measured:
        """What requests with ids after ``after`` and before ``until`` keep, no more than ``limit`` of them at once."""
        ...

    def list_pending_of_agent(self, tenant_id: str, agent_id: str) -> list[Request]:
        """Oldest first, held until the transaction ends where it writes."""
        ...

    def list_overdue(self, now: int, limit: int) -> list[Request]:
        """Pending threads of any tenant whose time is over, held; without those that another transaction holds."""
        ...

    def list_reminders_due(self, now: int, limit: int) -> list[Request]:
        """Pending threads of any tenant with a reminder that is due, held as by ``list_overdue``."""
        ...

    def next_due(self) -> int | None:
        """When the next thread of any tenant runs out of time or needs a reminder."""
        ...

    def end(self, requests: Sequence[Request]) -> None:
        """Writes threads that this transaction holds and ended, all at the same moment and with the same reason."""
        ...

    def set_reminder(self, request: Request, remind_at: int | None, reminders: int) -> bool:
        """Compare-and-set over ``remind_at``; False: somebody was faster."""
        ...

    def set_outcome(self, tenant_id: str, request_id: str, outcome: str) -> None:
        """Keeps the newest outcome; ``executed`` stays."""
        ...

    def list_without_outcome(
        self, tenant_id: str, redeemed_until: int, *, before: tuple[int, int] | None, limit: int
    ) -> list[Request]:
        """Redeemed until then and without an outcome, newest redemption first. ``before``: ``redeemed_at`` and ``seq``
        of the last one of the page before."""
        ...

    def count_without_outcome(self, tenant_id: str, redeemed_until: int, *, most: int) -> int: ...

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
        """Requests whose approval was redeemed from ``since`` until before ``until``, by sequence number."""
        ...

    def archive_revision(self, request: Request, at: int) -> None:
        """Keeps the content that a newer revision is about to replace."""
        ...

    def list_revisions(self, tenant_id: str, request_id: str) -> list[Revision]: ...


class Reading(Struct, frozen=True):
    """A decision as it rests, its texts encrypted. Two that are equal say the same: whoever kept what the first one
    says need not open the second."""

    request_id: str
    config_version: int
    """The tenant's, in the same state of the data."""
    generation: int
    """The agent's; -1: it is gone."""
    request: tuple[Any, ...]
    reviews: tuple[tuple[Any, ...], ...]


class Readings(Protocol):
    """Decisions for the agents that asked: looked up first, opened only where that is needed."""

    def find(
        self,
        tenant_id: str,
        agent_id: str,
        *,
        thread_id: str | None = None,
        request_id: str | None = None,
        task_id: str | None = None,
    ) -> Reading | None:
        """By one of the three ids; of a task the newest request. None for another agent's too."""
        ...

    def open(self, reading: Reading) -> tuple[Request, tuple[Opinion, ...]]:
        """What it says."""
        ...


class Conversation(Protocol):
    """What people and agents say about a thread."""

    def insert_review(self, tenant_id: str, review: Review) -> None: ...
    def list_reviews(self, tenant_id: str, request_id: str) -> list[Review]: ...
    def insert_note(self, tenant_id: str, note: Note) -> None: ...
    def list_notes(self, tenant_id: str, request_id: str) -> list[Note]: ...
    def insert_event(self, tenant_id: str, event: TaskEvent) -> None: ...
    def list_events(self, tenant_id: str, agent_id: str, task_id: str, limit: int) -> list[TaskEvent]: ...
    def insert_outcome(self, tenant_id: str, outcome: Outcome) -> None: ...
    def list_outcomes(self, tenant_id: str, request_id: str) -> list[Outcome]: ...
    def list_flagged_outcomes(
        self, tenant_id: str, limit: int, *, before: int | None = None
    ) -> list[tuple[int, Outcome]]:
        """Newest first, each with its sequence number."""
        ...

    def insert_attachments(self, tenant_id: str, attachments: Iterable[Attachment]) -> None: ...
    def list_attachments(self, tenant_id: str, request_id: str) -> list[Attachment]: ...
    def find_attachment(self, tenant_id: str, attachment_id: str) -> Attachment | None: ...
    def measure_attachments(self, tenant_id: str, *, after: str, until: str, limit: int) -> Measured:
        """As ``Requests.measure``, of attachments, which are counted as no requests."""
        ...


class Replays(Protocol):
    """Answers kept for callers that ask again with the same idempotency key."""

    def find(self, tenant_id: str, scope: str, now: int) -> Idempotency | None: ...
    def insert(self, tenant_id: str, replay: Idempotency, now: int) -> None: ...
    def delete_before(self, tenant_id: str, day: int, most: int) -> int:
        """Forgets up to ``most`` keys of the days before. Returns how many."""
        ...


class Erasure(Protocol):
    """Taking content away: rows, leaves and statuses stay."""

    def list_states(self, tenant_id: str, *, after: int, limit: int) -> list[RequestState]:
        """In the order of ``seq``, which is the cursor."""
        ...

    def find_state(self, tenant_id: str, request_id: str) -> RequestState | None: ...
    def list_requests(self, tenant_id: str, *, after: int, limit: int) -> list[Request]:
        """Those with content, in the order of ``seq``."""
        ...

    def list_loose_events(self, tenant_id: str, *, after: int, limit: int) -> list[tuple[int, TaskEvent]]:
        """Events about a task and no thread of it, each with its sequence number."""
        ...

    def erase_request(self, tenant_id: str, request_id: str, now: int) -> dict[str, int] | None:
        """Takes the content of a request and of all that was said about it. Returns how much of each kind.

        None: it is waiting, still to be redeemed, erased already or not there. Undelivered webhooks are not delivered.
        """
        ...

    def erase_events_of_task(self, request: RequestState, created_before: int) -> int: ...
    def erase_event(self, tenant_id: str, event_id: str, created_at: int) -> int: ...
    def erase_loose_events(self, tenant_id: str, created_before: int, limit: int) -> int: ...
    def list_replays(self, tenant_id: str, *, after: tuple[int, str], limit: int) -> list[tuple[int, Idempotency]]:
        """Kept answers, each with its day; day and scope are the cursor."""
        ...

    def replace_replay(self, tenant_id: str, day: int, scope: str, answer: str) -> None: ...
    def rename_author(self, tenant_id: str, user_id: str, name: str) -> None:
        """Replaces the person's name on reviews and notes, and the names that they gave their tokens."""
        ...

    def list_entries_of_user(self, tenant_id: str, user_id: str, *, after: int, limit: int) -> list[int]:
        """Sequence numbers of audit entries that keep the person's mail address, name or address beside their leaf."""
        ...

    def erase_entries(self, tenant_id: str, seqs: Sequence[int]) -> int: ...
