"""What people and the agent said about a thread, and what happened to it, in the order of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stacksona_gate.domain.audit import Entry
from stacksona_gate.domain.redaction import MaskedText
from stacksona_gate.domain.requests import Note, Outcome, Review, TaskEvent
from stacksona_gate.service.reviews import ThreadView
from stacksona_gate.web import wording

PAYLOADS_MOST: Final = 200_000
"""Characters of event payloads on one page; later ones are named with their size."""


@dataclass(frozen=True, slots=True)
class Said:
    """One contribution. ``kind``: review, note, event or outcome. ``by`` and all texts may be hostile."""

    kind: str
    at: int
    by: str
    what: str
    text: str
    tone: str = ""
    """Review verdict, or ``flagged``: how the page marks it."""
    detail: str = ""
    """JSON of an event."""
    left_out: int = 0
    """Characters of JSON that are not on this page."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the timeline."""

    at: int
    by: str
    what: str
    note: str


def conversation(view: ThreadView) -> tuple[Said, ...]:
    """Oldest first."""
    said = [
        *(_review(review) for review in view.reviews),
        *(_note(note) for note in view.notes),
        *_events(view),
        *(_outcome(outcome, view.agent.name) for outcome in view.outcomes),
    ]
    return tuple(sorted(said, key=lambda one: one.at))


def _review(review: Review) -> Said:
    what = f"{wording.VERDICTS.get(review.verdict, review.verdict)} revision {review.revision}"
    return Said("review", review.created_at, review.reviewer, what, review.message, review.verdict)


def _note(note: Note) -> Said:
    return Said("note", note.created_at, note.author, "noted for other reviewers", note.text)


def _events(view: ThreadView) -> list[Said]:
    said, left = [], PAYLOADS_MOST
    for event in view.events:
        payload = "" if event.payload == "{}" else event.payload
        shows = len(payload) <= left
        left -= len(payload) if shows else 0
        said.append(_event(event, view, payload if shows else "", 0 if shows else len(payload)))
    return said


def _event(event: TaskEvent, view: ThreadView, payload: str, left_out: int) -> Said:
    about = "" if event.request_id in (None, view.request.id) else ", about another request of this task"
    what = f"reported {event.event_type}{about}"
    return Said("event", event.created_at, view.agent.name, what, event.summary, "", payload, left_out)


def _outcome(outcome: Outcome, agent: str) -> Said:
    tone = "flagged" if outcome.flag else outcome.status
    what = wording.OUTCOMES.get(outcome.status, outcome.status)
    flag = wording.FLAGS.get(outcome.flag, outcome.flag) if outcome.flag else ""
    said = "\n".join(filter(None, (flag, outcome.detail)))
    text = MaskedText(said) if isinstance(outcome.detail, MaskedText) else said
    return Said("outcome", outcome.created_at, agent, what, text, tone)


def names_of(view: ThreadView) -> set[str]:
    """Ids of the people that the timeline names."""
    return {entry.actor_id for entry in view.entries if entry.actor_kind == "user"}


def timeline(view: ThreadView, names: dict[str, str]) -> tuple[Step, ...]:
    """Oldest first, from the audit log."""
    return tuple(_step(entry, view, names) for entry in view.entries)


def _step(entry: Entry, view: ThreadView, names: dict[str, str]) -> Step:
    return Step(entry.at, _actor(entry, view, names), wording.EVENTS.get(entry.event, entry.event), entry.id)


def _actor(entry: Entry, view: ThreadView, names: dict[str, str]) -> str:
    known = {"gate": "The gate", "command_line": "The command line", "unknown": "Somebody"}
    if entry.actor_kind == "agent":
        return view.agent.name
    if entry.actor_kind == "user":
        return names.get(entry.actor_id, entry.actor_id)
    return known.get(entry.actor_kind, f"{entry.actor_kind} {entry.actor_id}")
