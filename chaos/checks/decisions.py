"""Decisions: what was told survives, rests on a row, never changes, and is the same for whoever asks again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from chaos.checks.violations import Violation, observations
from chaos.final import FinalState
from chaos.history import FAILED, OK, Facts, History, Operation
from stacksona_gate.domain.status import APPROVED, MAY_RUN, PENDING_REVIEW, REJECTED

DECIDING: Final = (
    "request.decided",
    "thread.approved",
    "thread.rejected",
    "thread.expired",
    "thread.cancelled",
    "thread.agent_paused",
)
VERDICTS: Final = {"approve": APPROVED, "reject": REJECTED}


def acknowledged_survives(history: History, final: FinalState) -> Iterator[Violation]:
    """What a call acknowledged is what is there at the end."""
    for operation, facts in observations(history):
        row = final.requests.get(facts["request"])
        if row is None:
            yield Violation(f"told {facts['status']}, and there is no such request", *_of(operation, facts))
        elif facts["status"] != PENDING_REVIEW and _decided(facts)[:2] != (row.status, row.reason):
            yield Violation(f"told {_decided(facts)}, and it is {row.status}, {row.reason}", *_of(operation, facts))
    yield from _reviews_survive(history, final)
    yield from _reports_survive(history, final)


def _decided(facts: Facts) -> tuple[str, str, str]:
    return facts["status"], facts["reason"], facts["digest"]


def _of(operation: Operation, facts: Facts) -> tuple[tuple[int, ...], str]:
    return (operation.number,), facts["request"]


def _reviews_survive(history: History, final: FinalState) -> Iterator[Violation]:
    for operation in history.of("review", outcome=OK):
        request, verdict = operation.given["asked"], operation.given["verdict"]
        row = final.requests.get(request)
        if verdict in VERDICTS and (row is None or row.status != VERDICTS[verdict]):
            yield Violation(f"{verdict} was acknowledged, and it is {row and row.status}", (operation.number,), request)


def _reports_survive(history: History, final: FinalState) -> Iterator[Violation]:
    there = {outcome.id for outcome in final.outcomes}
    for operation in history.of("report", outcome=OK):
        if operation.got["report"] not in there:
            yield Violation("a report was acknowledged, and is gone", (operation.number,), operation.given["asked"])


def allow_rests_on_a_row(history: History, final: FinalState) -> Iterator[Violation]:
    """Who may run an action may do so because of a row and its audit entry."""
    recorded = final.events_of("request.decided", "thread.approved")
    for operation, facts in observations(history):
        row = final.requests.get(facts["request"])
        if facts["status"] in MAY_RUN and (row is None or row.status != facts["status"] or not recorded[row.id]):
            yield Violation(f"told {facts['status']} without a row that says so", *_of(operation, facts))


def told_never_changes(history: History, final: FinalState) -> Iterator[Violation]:
    """Once a final status was told, by whatever way, everybody who asks later is told the same."""
    first: dict[str, tuple[Operation, Facts]] = {}
    for operation, facts in _in_order_of_ends(history):
        if facts["status"] == PENDING_REVIEW:
            continue
        known = first.setdefault(facts["request"], (operation, facts))
        if _decided(known[1]) != _decided(facts):
            numbers = (known[0].number, operation.number)
            yield Violation(f"told {_decided(known[1])}, later {_decided(facts)}", numbers, facts["request"])
    for operation, facts in observations(history):
        known_to_all = first.get(facts["request"])
        # Of a stream the last state counts: earlier ones were told before.
        is_last = operation.got.get("told", [facts])[-1] is facts or operation.do == "list"
        # A submission told again tells the first decision, whatever became of it.
        if facts["status"] != PENDING_REVIEW or known_to_all is None or operation.do == "submit" or not is_last:
            continue
        if known_to_all[0].before(operation):
            numbers = (known_to_all[0].number, operation.number)
            yield Violation("told a final status, later that it is pending", numbers, facts["request"])
    yield from _webhooks_agree(history, first)


def _in_order_of_ends(history: History) -> list[tuple[Operation, Facts]]:
    return sorted(observations(history), key=lambda one: one[0].ended or 0.0)


def _webhooks_agree(history: History, first: dict[str, tuple[Operation, Facts]]) -> Iterator[Violation]:
    for note in history.noted("webhook"):
        known = first.get(note["request"])
        is_final = note["event"] in ("decision.approved", "decision.rejected")
        if known is not None and is_final and note["decision"] != known[1]["status"]:
            text = f"told {known[1]['status']}, and by webhook {note['decision']}"
            yield Violation(text, (known[0].number,), note["request"])


def retries_get_the_first_decision(history: History, final: FinalState) -> Iterator[Violation]:
    """One Idempotency-Key is one request, and its first decision for everybody who repeats it."""
    rows: dict[str, list[str]] = defaultdict(list)
    for row in final.requests.values():
        rows[row.task].append(row.id)
    for task, operations in _submissions(history).items():
        numbers = tuple(operation.number for operation in operations)
        if len(rows[task]) > 1:
            yield Violation(f"one key, and {len(rows[task])} requests", numbers, rows[task][0])
        told = {_first(operation.got) for operation in operations if operation.is_ok}
        if len(told) > 1:
            yield Violation(
                f"one key, and {len(told)} answers: {sorted(map(str, told))}",
                numbers,
                (rows[task][:1] and rows[task][0]) or None,
            )


def _submissions(history: History) -> dict[str, list[Operation]]:
    by_task: dict[str, list[Operation]] = defaultdict(list)
    for operation in history.of("submit"):
        by_task[operation.given["task"]].append(operation)
    return by_task


def _first(got: Facts) -> tuple[object, ...]:
    return tuple(got[name] for name in ("request", "thread", "status", "reason", "digest", "policy"))


def nothing_means_nothing(history: History, final: FinalState) -> Iterator[Violation]:
    """Whoever was told that nothing was decided was told the truth; and nobody decides what nobody asked for."""
    tasks = {row.task: row.id for row in final.requests.values()}
    for task, operations in _submissions(history).items():
        if task in tasks and all(operation.outcome == FAILED for operation in operations):
            numbers = tuple(operation.number for operation in operations)
            yield Violation("every submission was refused, and one was decided", numbers, tasks[task])
    yield from _decided_by_nobody(history, final, "cancel", {"cancelled"}, REJECTED)
    yield from _decided_by_nobody(history, final, "review", {"reviewer"}, APPROVED)
    yield from _decided_by_nobody(history, final, "review", {"reviewer"}, REJECTED)


def _decided_by_nobody(
    history: History, final: FinalState, do: str, reasons: set[str], status: str
) -> Iterator[Violation]:
    """Threads that ended so although each call that could have ended them so was refused."""
    verdicts = {verdict for verdict, made in VERDICTS.items() if made == status}
    may_have: set[str] = set()
    refused: dict[str, list[int]] = defaultdict(list)
    for operation in history.of(do):
        if do == "review" and operation.given["verdict"] not in verdicts:
            continue
        if operation.outcome == FAILED:
            refused[operation.given["asked"]].append(operation.number)
        else:
            may_have.add(operation.given["asked"])
    for row in final.requests.values():
        if row.status == status and row.reason in reasons and row.id not in may_have:
            yield Violation(f"it is {status} by {row.reason}, and no {do} succeeded", tuple(refused[row.id]), row.id)


def every_decision_is_recorded_once(history: History, final: FinalState) -> Iterator[Violation]:
    """A row and its entries arrive together: as many decisions in the log as there are in the tables."""
    decided = final.events_of(*DECIDING)
    for entry in final.entries:
        if entry.event == "thread.revised" and entry.request and entry.status == REJECTED:
            decided[entry.request] += 1
    opened = final.events_of("thread.opened")
    for row in final.requests.values():
        if decided[row.id] != (row.status != PENDING_REVIEW):
            yield Violation(f"it is {row.status}, with {decided[row.id]} entries of its decision", (), row.id)
        if opened[row.id] != (row.thread is not None):
            yield Violation(f"{opened[row.id]} entries of its opening", (), row.id)
    for request in {entry.request for entry in final.entries if entry.request} - final.requests.keys():
        yield Violation("entries of a request that is not there", (), request)
