"""What holds within a time: changed rules and keys, held answers; and the nodes themselves."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from chaos.checks.violations import Violation
from chaos.final import FinalState
from chaos.history import FAILED, OK, Facts, History, Operation
from stacksona_gate.domain.status import MAY_RUN, PENDING_REVIEW

HOLDS_WITHIN: Final = 1.0
"""Seconds after which a change of configuration holds on every node."""
WAKES_WITHIN: Final = 1.0
"""Seconds after which a held answer leaves once there is a decision."""
RESUMES_WITHIN: Final = 5.0
"""Seconds after a promotion within which decisions are written again."""
ABLE: Final = 0.2
"""Seconds within which a node has to answer ``/healthz`` for the machine to be called able."""
AFTERMATH: Final = 3.0
"""Seconds after a fault in which no bound is judged: connections are being made anew."""


def tightened_rules_hold(history: History, final: FinalState) -> Iterator[Violation]:
    """A tool that is closed is closed on every node, whether or not notifications arrive."""
    changes, asked = list(history.of("rule")), _first_submissions(history)
    for closed in changes:
        if closed.is_ok and closed.given["default"] == "reject":
            later = [one.begun for one in changes if one.given["default"] == "allow" and _may_follow(one, closed)]
            yield from _allowed_between(closed, min(later, default=float("inf")), asked)


def _allowed_between(closed: Operation, until: float, asked: Sequence[Operation]) -> Iterator[Violation]:
    """Submissions that began after the closing held and ended before an opening began."""
    since = (closed.ended or 0.0) + HOLDS_WITHIN
    for one in asked:
        is_within = one.given["tool"] == closed.given["tool"] and since < one.begun and (one.ended or 0.0) < until
        if is_within and one.got["status"] in MAY_RUN:
            yield Violation("allowed after its tool was closed", (closed.number, one.number), one.got["request"])


def _first_submissions(history: History) -> list[Operation]:
    """Those with an answer that no earlier one with the same key can have caused: an answer given again is of the time
    when it was first given."""
    first: dict[str, Operation] = {}
    for one in history.of("submit"):
        if one.outcome != FAILED:
            first.setdefault(one.given["task"], one)
    return [one for one in first.values() if one.is_ok]


def _may_follow(opening: Operation, closed: Operation) -> bool:
    """Whether an opening may have come to hold after the closing: it ended later, or nobody knows when."""
    return opening.outcome != FAILED and (
        opening.ended is None or opening.outcome != OK or opening.ended > closed.begun
    )


def replaced_keys_are_refused(history: History, final: FinalState) -> Iterator[Violation]:
    """A key that was replaced opens nothing, at any node."""
    replaced: dict[str, Operation] = {}
    for rotation in history.of("rotate", outcome=OK):
        replaced.setdefault(rotation.given["key"], rotation)
    for operation in history.operations:
        ended = replaced.get(operation.given.get("key", ""))
        if ended is None or ended.ended is None or not operation.is_ok:
            continue
        if ended.ended + HOLDS_WITHIN < operation.begun:
            yield Violation(f"a replaced key was good for {operation.do}", (ended.number, operation.number))


def writes_resume(history: History, final: FinalState) -> Iterator[Violation]:
    """After a promotion somebody is answered in time. Judged where the machine was able."""
    probes = _Probes(list(history.noted("probe")))
    answered = sorted(one.ended for one in history.of("submit", outcome=OK) if one.ended is not None)
    for note in history.noted("promoted"):
        place = bisect_left(answered, note["at"])
        next_at = answered[place] if place < len(answered) else float("inf")
        if next_at > note["at"] + RESUMES_WITHIN and probes.were_quick(note["at"], note["at"] + RESUMES_WITHIN):
            yield Violation(f"nothing was decided until {next_at - note['at']:.1f} s after a promotion")


@dataclass(frozen=True, slots=True)
class Wake:
    """A held answer and the decision that it waited for."""

    held: Operation
    decision: Operation

    @property
    def seconds(self) -> float:
        return (self.held.ended or 0.0) - (self.decision.ended or 0.0)


def held_answers_leave(history: History, final: FinalState) -> Iterator[Violation]:
    """A decision on one node wakes whoever waits at another."""
    for wake in judged_wakes(history):
        if wake.seconds > WAKES_WITHIN:
            numbers = (wake.decision.number, wake.held.number)
            yield Violation(f"woken {wake.seconds:.2f} s after the decision", numbers, wake.held.given["asked"])


def judged_wakes(history: History) -> list[Wake]:
    """Held answers that waited for a review, in times when no fault was at work and the machine was able."""
    reviews: dict[str, Operation] = {}
    for review in history.of("review", outcome=OK):
        if review.given["verdict"] != "request_changes":
            reviews.setdefault(review.given["asked"], review)
    faults = [(note["begun"], note["ended"] + AFTERMATH) for note in history.noted("fault")]
    probes = _Probes(list(history.noted("probe")))
    wakes = [Wake(held, reviews[held.given["asked"]]) for held in _waited(history) if held.given["asked"] in reviews]
    return [wake for wake in wakes if _is_judged(wake, faults, probes)]


def _waited(history: History) -> Iterator[Operation]:
    """Held answers that left with a decision."""
    return (held for held in history.of("held", outcome=OK) if held.got["status"] != PENDING_REVIEW)


def _is_judged(wake: Wake, faults: Sequence[tuple[float, float]], probes: _Probes) -> bool:
    begun, ended = wake.held.begun, wake.held.ended or 0.0
    waits = begun < wake.decision.begun and wake.decision.ended is not None
    calm = not any(start < ended and begun < end for start, end in faults)
    return waits and calm and probes.were_quick(begun, ended + HOLDS_WITHIN)


class _Probes:
    """How quickly each node answered a call that asks nothing of it."""

    def __init__(self, notes: list[Facts]) -> None:
        self._notes = sorted(notes, key=lambda note: note["at"])
        self._at = [note["at"] for note in self._notes]

    def were_quick(self, begun: float, ended: float) -> bool:
        """Every one in that time, of which there was one at least."""
        found = self._notes[bisect_left(self._at, begun) : bisect_left(self._at, ended) + 2]
        return bool(found) and all(note["seconds"] <= ABLE for note in found)


def nodes_do_not_fail(history: History, final: FinalState) -> Iterator[Violation]:
    """No call ends in a fault of the gate's own; nodes end when they are told to, and not before."""
    by_do: dict[str, list[int]] = defaultdict(list)
    for operation in history.operations:
        status = operation.got.get("status_code") or 0
        if status >= 500 and status != 503:
            by_do[f"{operation.do} was answered with {status}"].append(operation.number)
    for text, numbers in by_do.items():
        yield Violation(f"{text}, {len(numbers)} times", tuple(numbers[:5]))
    for fault in final.faults:
        yield Violation(fault)
