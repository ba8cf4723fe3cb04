"""What a page, an answer and an export show of a thread."""

from __future__ import annotations

from dataclasses import dataclass

from stacksona_gate.domain.agents import Agent
from stacksona_gate.domain.audit import Entry
from stacksona_gate.domain.people import User
from stacksona_gate.domain.requests import Attachment, Note, Outcome, Request, Review, Revision, TaskEvent


@dataclass(frozen=True, slots=True)
class ThreadView:
    """Everything about a thread that its reader may see."""

    request: Request
    agent: Agent
    claimed_by: User | None
    revisions: tuple[Revision, ...]
    """Earlier versions, oldest first; the request itself holds the newest."""
    reviews: tuple[Review, ...]
    notes: tuple[Note, ...]
    events: tuple[TaskEvent, ...]
    outcomes: tuple[Outcome, ...]
    attachments: tuple[Attachment, ...]
    entries: tuple[Entry, ...]
    """The thread's audit entries, oldest first."""
    may_review: bool
    masked: tuple[str, ...] = ()
    """Where the payload has values that this reader may not see."""
    is_masked: bool = False
    """Whether this reader is one that values are masked for."""
    outcome_within: int = 0
    """Microseconds after its redemption from which a missing outcome is unknown."""
