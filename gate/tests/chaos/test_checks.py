"""Each property of a run finds the history that breaks it, and nothing in one where all is well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest
from chaos.checks.checker import PROPERTIES, check
from chaos.final import DeliveryRow, Entry, FinalState, OutcomeRow
from chaos.history import FAILED, UNKNOWN, History, Operation
from gate.tests.chaos.histories import ALLOWED, APPROVED, CANCELLED, KEY, SECRET, decision, first, good, with_row

from stacksona_gate.domain.checkpoints import sign_checkpoint
from stacksona_gate.domain.merkle import EMPTY_ROOT

Break = Callable[[History, FinalState], object]


def got(history: History, do: str, **facts: object) -> None:
    """Changes what the first such call was told."""
    first(history, do).got.update(facts)


def later(history: History, do: str, begun: float, **facts: object) -> Operation:
    """One more call, at the end."""
    got_facts = {name.removeprefix("got_"): facts[name] for name in facts if name.startswith("got_")}
    given = {name: facts[name] for name in facts if not name.startswith("got_")}
    number = len(history.operations) + 1
    made = Operation(number, do, "somebody", 1, begun, given, "ok", begun + 0.1, got_facts)
    history.operations.append(made)
    return made


def drop(final: FinalState, request: str) -> None:
    del final.requests[request]


def without_entries(final: FinalState, event: str) -> None:
    final.entries = [entry for entry in final.entries if entry.event != event]


def noted(history: History, **facts: object) -> None:
    """Changes the first webhook that arrived."""
    next(history.noted("webhook")).update(facts)


def unanswered(history: History, do: str) -> None:
    """Each of these calls was refused."""
    for operation in history.of(do):
        operation.outcome = FAILED


def delivery(final: FinalState, **fields: object) -> None:
    final.deliveries[0] = replace(final.deliveries[0], **fields)  # type: ignore[arg-type]


def other_checkpoint(history: History, final: FinalState) -> None:
    """Signed by the log's own key, and of another tree."""
    got(history, "checkpoint", checkpoint=sign_checkpoint(3, EMPTY_ROOT, KEY, SECRET.sign).note, size=3)


def late_redemption(history: History, final: FinalState) -> None:
    won = first(history, "redeem")
    won.begun, won.ended = 9.15, 9.2


def slow_wake(history: History, final: FinalState) -> None:
    first(history, "held").ended = 4.2


def late_after_promotion(history: History, final: FinalState) -> None:
    history.notes.append({"note": "promoted", "at": 0.5})
    for operation in history.of("submit"):
        operation.ended = 6.0


BROKEN: Final[dict[str, dict[str, Break]]] = {
    "acknowledged_survives": {
        "a decision is gone": lambda h, f: drop(f, ALLOWED),
        "a decision is another one": lambda h, f: with_row(f, ALLOWED, status="reject"),
        "a decision has another reason": lambda h, f: with_row(f, CANCELLED, reason="expired"),
        "a pending thread is gone": lambda h, f: drop(f, APPROVED),
        "an approval was acknowledged and is none": lambda h, f: with_row(f, APPROVED, status="rejected"),
        "a report is gone": lambda h, f: f.outcomes.clear(),
        "a streamed decision is gone": lambda h, f: later(
            h, "stream", 12.0, got_told=[{"request": "req_x", "status": "approved", "reason": "", "digest": ""}]
        ),
    },
    "allow_rests_on_a_row": {
        "there is no row": lambda h, f: drop(f, ALLOWED),
        "the row says something else": lambda h, f: with_row(f, ALLOWED, status="reject"),
        "there is no entry": lambda h, f: without_entries(f, "request.decided"),
        "approved without an entry": lambda h, f: without_entries(f, "thread.approved"),
    },
    "told_never_changes": {
        "another status": lambda h, f: later(h, "poll", 12.0, asked=APPROVED, **decision(APPROVED, "rejected", "x")),
        "another payload": lambda h, f: got(h, "poll", digest="sha-256:other"),
        "pending again": lambda h, f: later(h, "poll", 12.0, asked=APPROVED, **decision(APPROVED, "pending_review")),
        "a webhook says something else": lambda h, f: noted(h, decision="rejected"),
    },
    "retries_get_the_first_decision": {
        "another request": lambda h, f: list(h.of("submit", outcome="ok"))[2].got.update(request=APPROVED),
        "another answer": lambda h, f: list(h.of("submit", outcome="ok"))[2].got.update(status="reject"),
        "two rows for one key": lambda h, f: with_row(f, ALLOWED, task="task-1"),
    },
    "nothing_means_nothing": {
        "refused, and decided": lambda h, f: with_row(f, ALLOWED, task="task-4"),
        "refused to cancel, and cancelled": lambda h, f: unanswered(h, "cancel"),
        "no review succeeded, and approved": lambda h, f: unanswered(h, "review"),
        "rejected by nobody": lambda h, f: with_row(f, CANCELLED, reason="reviewer"),
    },
    "every_decision_is_recorded_once": {
        "no entry of a decision": lambda h, f: without_entries(f, "thread.cancelled"),
        "two entries of a decision": lambda h, f: f.entries.append(f.entries[3]),
        "no entry of an opening": lambda h, f: without_entries(f, "thread.opened"),
        "entries of what is not there": lambda h, f: drop(f, CANCELLED),
    },
    "at_most_one_redemption": {
        "two won": lambda h, f: setattr(first(h, "redeem", FAILED), "outcome", "ok"),
    },
    "redemptions_are_recorded": {
        "the row does not know": lambda h, f: with_row(f, APPROVED, redeemed_at=None),
        "no entry": lambda h, f: without_entries(f, "approval.redeemed"),
        "two entries": lambda h, f: f.entries.append(f.entries[2]),
        "redeemed by nobody": lambda h, f: unanswered(h, "redeem"),
        "used by nobody yet": lambda h, f: setattr(first(h, "redeem"), "begun", 4.3),
    },
    "none_after_a_pause": {
        "redeemed after it": late_redemption,
    },
    "executed_only_after_redemption": {
        "executed, and nobody redeemed": lambda h, f: unanswered(h, "redeem"),
        "executed before": lambda h, f: setattr(first(h, "report"), "ended", 3.9),
        "kept without a flag": lambda h, f: f.outcomes.append(OutcomeRow("out_2", ALLOWED, "executed", None)),
    },
    "webhooks_arrive": {
        "never arrived": lambda h, f: h.notes.pop(0),
        "never put": lambda h, f: f.deliveries.pop(1),
        "given up": lambda h, f: delivery(f, state="dead"),
        "not signed": lambda h, f: noted(h, is_signed=False),
        "arrived, and was never put": lambda h, f: noted(h, id="msg_9"),
        "says something else": lambda h, f: noted(h, decision="rejected"),
    },
    "log_extends_every_checkpoint": {
        "an entry was edited": lambda h, f: f.entries.__setitem__(0, replace(f.entries[0], leaf="edited")),
        "the tail is cut": lambda h, f: f.entries.pop(),
        "two are swapped": lambda h, f: f.entries.insert(0, f.entries.pop(1)),
        "another tree was signed": other_checkpoint,
        "signed by nobody": lambda h, f: got(h, "checkpoint", checkpoint="gate\n0\n\n"),
    },
    "log_is_whole": {
        "not sealed": lambda h, f: f.entries.append(Entry(None, "agent.created", None, None, "leaf")),
        "a gap": lambda h, f: f.entries.pop(2),
        "twice": lambda h, f: f.entries.append(f.entries[0]),
        "a verifier objects": lambda h, f: f.verdicts.update({"audit verify": "broken"}),
    },
    "tightened_rules_hold": {
        "allowed after the tool was closed": lambda h, f: later(
            h, "submit", 9.5, task="task-9", tool="wire_money", **decision(ALLOWED, "allow")
        ),
    },
    "replaced_keys_are_refused": {
        "a replaced key reads": lambda h, f: later(h, "poll", 12.0, key="k1", **decision(APPROVED, "approved")),
    },
    "held_answers_leave": {"late": slow_wake},
    "writes_resume": {
        "nothing for too long": late_after_promotion,
        "never again": lambda h, f: h.notes.append({"note": "promoted", "at": 7.55}),
    },
    "nodes_do_not_fail": {
        "a fault of its own": lambda h, f: got(h, "poll", status_code=500),
        "a node is gone": lambda h, f: f.faults.append("node-0 ended by itself"),
    },
}
CASES: Final = [(name, what) for name, ways in BROKEN.items() for what in ways]


def test_nothing_is_found_where_all_is_well() -> None:
    assert {name: found for name, found in check(*good()).items() if found} == {}


@pytest.mark.parametrize(("name", "what"), CASES, ids=[f"{name}-{what}" for name, what in CASES])
def test_a_property_finds_what_breaks_it(name: str, what: str) -> None:
    history, final = good()
    BROKEN[name][what](history, final)
    assert check(history, final)[name]


def test_every_property_is_shown_to_bite() -> None:
    assert BROKEN.keys() == PROPERTIES.keys()


# What looks like a breach and is none.


def nothing_found(history: History, final: FinalState) -> bool:
    return not any(check(history, final).values())


def test_a_call_that_nobody_heard_of_again_may_have_come_through() -> None:
    history, final = good()
    first(history, "redeem").outcome = UNKNOWN
    first(history, "cancel").outcome = UNKNOWN
    assert nothing_found(history, final)


def test_a_call_that_nobody_heard_of_again_may_have_had_no_effect() -> None:
    history, final = good()
    for operation in history.of("redeem", "report"):
        operation.outcome, operation.got = UNKNOWN, {}
    with_row(final, APPROVED, redeemed_at=None)
    without_entries(final, "approval.redeemed")
    final.outcomes.clear()
    assert not any(
        check(history, final)[name] for name in ("redemptions_are_recorded", "executed_only_after_redemption")
    )


def test_a_redemption_at_the_same_time_as_a_pause_may_win() -> None:
    history, final = good()
    first(history, "redeem").begun, first(history, "redeem").ended = 9.05, 9.2
    assert check(history, final)["none_after_a_pause"] == []


def test_a_read_at_the_same_time_as_a_decision_may_still_be_pending() -> None:
    history, final = good()
    later(history, "poll", 2.5, asked=APPROVED, **decision(APPROVED, "pending_review")).ended = 3.2
    assert nothing_found(history, final)


def test_a_first_decision_that_is_told_again_may_be_pending_after_the_final_one() -> None:
    history, final = good()
    later(history, "submit", 12.0, task="task-1", tool="issue_refund", **decision(APPROVED, "pending_review"))
    assert nothing_found(history, final)


def test_a_decision_told_again_after_its_tool_was_closed_is_of_the_time_before() -> None:
    history, final = good()
    later(history, "submit", 12.0, task="task-2", tool="wire_money", **decision(ALLOWED, "allow"))
    assert nothing_found(history, final)


def test_a_tool_that_was_opened_again_allows() -> None:
    history, final = good()
    later(history, "rule", 9.2, tool="wire_money", default="allow")
    later(history, "submit", 9.5, task="task-2", tool="wire_money", **decision(ALLOWED, "allow"))
    assert nothing_found(history, final)


def test_a_webhook_that_arrived_may_still_wait_to_be_recorded() -> None:
    history, final = good()
    delivery(final, state="pending")
    assert nothing_found(history, final)


def test_a_superseded_webhook_need_not_arrive() -> None:
    history, final = good()
    row = DeliveryRow("msg_3", APPROVED, f"THR-{APPROVED}", "decision.revision_requested", "superseded", 0)
    final.deliveries.append(row)
    assert nothing_found(history, final)


def test_a_flagged_execution_needs_no_redemption() -> None:
    history, final = good()
    final.outcomes.append(OutcomeRow("out_2", ALLOWED, "executed", "not_redeemed"))
    later(history, "report", 12.0, asked=ALLOWED, status="executed", got_flag="not_redeemed", got_report="out_2")
    assert nothing_found(history, final)


@pytest.mark.parametrize("note", [{"note": "fault", "kind": "sync-slow", "target": 0, "begun": 1.0, "ended": 2.0}])
def test_a_held_answer_is_not_judged_while_a_fault_is_at_work(note: dict[str, object]) -> None:
    history, final = good()
    slow_wake(history, final)
    history.notes.append(note)
    assert check(history, final)["held_answers_leave"] == []


def test_a_held_answer_is_not_judged_where_the_machine_was_not_able() -> None:
    history, final = good()
    slow_wake(history, final)
    history.notes.append({"note": "probe", "target": 0, "seconds": 1.5, "at": 3.5})
    assert check(history, final)["held_answers_leave"] == []
