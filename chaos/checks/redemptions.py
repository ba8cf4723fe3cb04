"""Redemptions: one per approval, none after a pause, and nothing that ran without one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from chaos.checks.violations import Violation, observations
from chaos.final import FinalState
from chaos.history import FAILED, OK, History, Operation


def at_most_one_redemption(history: History, final: FinalState) -> Iterator[Violation]:
    """However many ask for it at once, through whatever nodes."""
    won: dict[str, list[Operation]] = defaultdict(list)
    for operation in history.of("redeem", outcome=OK):
        won[operation.given["asked"]].append(operation)
    for request, operations in won.items():
        if len(operations) > 1:
            numbers = tuple(operation.number for operation in operations)
            yield Violation(f"redeemed {len(operations)} times", numbers, request)


def redemptions_are_recorded(history: History, final: FinalState) -> Iterator[Violation]:
    """A redemption that succeeded is in its row and in the log, once; and one that is there was asked for."""
    entries = final.events_of("approval.redeemed")
    by_request: dict[str, list[Operation]] = defaultdict(list)
    for operation in history.of("redeem"):
        by_request[operation.given["asked"]].append(operation)
    for row in final.requests.values():
        is_redeemed, tried = row.redeemed_at is not None, by_request[row.id]
        numbers = tuple(operation.number for operation in tried)
        if entries[row.id] != is_redeemed:
            yield Violation(f"{entries[row.id]} entries of redemptions, redeemed: {is_redeemed}", numbers, row.id)
        if any(operation.is_ok for operation in tried) and not is_redeemed:
            yield Violation("a redemption was acknowledged, and is gone", numbers, row.id)
        if is_redeemed and all(operation.outcome == FAILED for operation in tried):
            yield Violation("it is redeemed, and everybody was refused", numbers, row.id)
        yield from _used_by_somebody(tried)


def _used_by_somebody(tried: list[Operation]) -> Iterator[Violation]:
    """Who is told that an approval was used is told so because somebody may have used it by then."""
    for operation in tried:
        if operation.got.get("reason") != "already_used" or operation.ended is None:
            continue
        others = [one for one in tried if one.outcome != FAILED and one.begun < operation.ended]
        if not others:
            request = operation.given["asked"]
            yield Violation("refused as used, and nobody can have used it", (operation.number,), request)


def none_after_a_pause(history: History, final: FinalState) -> Iterator[Violation]:
    """What was approved before an agent was paused is not redeemed once the pause was acknowledged."""
    told: dict[str, Operation] = {}
    for operation, facts in observations(history):
        if "token" in facts:
            told.setdefault(facts["request"], operation)
    pauses: dict[str, list[Operation]] = defaultdict(list)
    for pause in history.of("pause", outcome=OK):
        pauses[pause.given["agent"]].append(pause)
    for operation in history.of("redeem", outcome=OK):
        given = told.get(operation.given["asked"])
        for pause in pauses[operation.given["agent"]]:
            if given is not None and given.before(pause) and pause.before(operation):
                numbers = (given.number, pause.number, operation.number)
                yield Violation("approved before a pause and redeemed after it", numbers, operation.given["asked"])


def executed_only_after_redemption(history: History, final: FinalState) -> Iterator[Violation]:
    """What is reported as executed was redeemed, or is flagged."""
    redeemed: dict[str, Operation] = {}
    for operation in history.of("redeem"):
        if operation.outcome != FAILED:
            redeemed.setdefault(operation.given["asked"], operation)
    for report in history.of("report", outcome=OK):
        request = report.given["asked"]
        before = redeemed.get(request)
        was_redeemed = before is not None and before.begun < (report.ended or 0.0)
        if report.given["status"] == "executed" and report.got["flag"] is None and not was_redeemed:
            yield Violation("executed without a redemption, and not flagged", (report.number,), request)
    for outcome in final.outcomes:
        row = final.requests.get(outcome.request)
        if outcome.status == "executed" and outcome.flag is None and (row is None or row.redeemed_at is None):
            yield Violation("executed, not flagged, and not redeemed", (), outcome.request)
