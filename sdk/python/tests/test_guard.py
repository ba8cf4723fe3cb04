"""Guarded functions: what runs, with what, how often, and what is raised instead."""

from __future__ import annotations

import asyncio
import logging
import pickle
from typing import Any, cast

import pytest
from sdk.python.tests.bench import COLOURS, asked, bench
from sdk.python.tests.fake_gate import KEY, Record

from stacksona import (
    AgentPaused,
    ArgumentsRefused,
    AsyncGate,
    Cancelled,
    ChangesRequested,
    Expired,
    Gate,
    GateUnavailable,
    InvalidRequest,
    PendingReview,
    RedemptionLost,
    RedemptionRefused,
    Rejected,
    UnexpectedAnswer,
)

pytestmark = pytest.mark.parametrize("colour", COLOURS)
Payload = dict[str, Any]


def test_what_a_rule_allows_runs_at_once_and_is_reported(colour: str) -> None:
    b = bench(colour)
    assert b.guarded()(amount=40) == "refunded 40"
    assert b.ran == [{"amount": 40, "currency": "usd", "customer_id": "cus_99"}]
    assert b.paths == ["requests", "validate", "outcomes"]
    (record,) = b.gate.records.values()
    assert (record.redemptions, record.outcomes) == (1, ["executed"])


def test_what_a_rule_rejects_is_an_error(colour: str) -> None:
    b = bench(colour)
    with pytest.raises(Rejected) as refused:
        b.guarded()(amount=9000)
    assert refused.value.decision is not None
    assert refused.value.decision.status == "reject"
    assert (b.ran, b.paths) == ([], ["requests"])


def test_what_people_approve_runs_once_they_have(colour: str) -> None:
    b = bench(colour)
    b.gate.look = Record.approve
    assert b.guarded()(amount=500) == "refunded 500"


def test_what_people_edit_runs_as_they_edited_it(colour: str) -> None:
    b = bench(colour)
    b.gate.look = lambda record: record.approve({**record.payload, "amount": 120})
    assert b.guarded()(amount=500) == "refunded 120"
    assert [one["amount"] for one in b.ran] == [120]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("reviewer", Rejected),
        ("expired", Expired),
        ("cancelled", Cancelled),
        ("agent_paused", AgentPaused),
        ("x", Rejected),
    ],
)
def test_each_refusal_has_its_error(colour: str, reason: str, kind: type[Exception]) -> None:
    b = bench(colour)
    b.gate.look = lambda record: record.reject(reason)
    with pytest.raises(kind) as refused:
        b.guarded()(amount=500)
    assert type(refused.value) is kind
    assert b.ran == []


def test_a_guard_that_does_not_wait_says_where_to_come_back_to(colour: str) -> None:
    b = bench(colour)
    refund = b.guarded(wait=0)
    with pytest.raises(PendingReview) as pending:
        refund(amount=500)
    thread_id = str(pending.value.thread_id)
    assert thread_id in str(pending.value)
    with pytest.raises(PendingReview):
        b.client.resume(thread_id)
    next(iter(b.gate.records.values())).approve()
    assert b.client.resume(thread_id) == "refunded 500"
    with pytest.raises(RedemptionRefused) as refused:
        b.client.resume(thread_id)
    assert refused.value.reason == "already_used"
    assert len(b.ran) == 1


def test_a_function_comes_back_to_its_own_threads_only(colour: str) -> None:
    b = bench(colour)
    refund = b.guarded(wait=0)
    other = b.client.request_decision(asked(tool_name="wire_transfer"))
    b.gate.records[other.request_id].approve()
    for resume in (refund.resume, b.client.resume):
        with pytest.raises(InvalidRequest):
            resume(other.thread_id)
    assert b.ran == []


def test_changes_that_a_reviewer_wants_end_the_wait(colour: str) -> None:
    b = bench(colour)

    def look(record: Record) -> None:
        record.revision_requested = True

    b.gate.look = look
    with pytest.raises(ChangesRequested) as wanted:
        b.guarded()(amount=500)
    thread_id = str(wanted.value.thread_id)
    b.gate.look = lambda record: None
    revised = {"amount": 300, "currency": "usd", "customer_id": "cus_99"}
    decision = b.client.get_decision(thread_id=thread_id)
    b.client.log_revision(decision.task_id, thread_id, payload=revised)
    b.gate.look = Record.approve
    assert b.client.resume(thread_id, wait=5) == "refunded 300"


@pytest.mark.parametrize(
    "edited",
    [
        {"amount": 500},
        {"amount": 500, "currency": "usd"},
        {"amount": 500, "currency": "usd", "customer_id": "cus_99", "note": "x"},
        {},
    ],
)
def test_an_edit_that_does_not_fit_the_function_is_refused_unused(colour: str, edited: Payload) -> None:
    """A default would be an argument that nobody approved."""
    b = bench(colour)
    b.gate.look = lambda record: record.approve(edited)
    with pytest.raises(ArgumentsRefused):
        b.guarded()(amount=500)
    assert b.ran == []
    assert [one.redemptions for one in b.gate.records.values()] == [0]


def test_an_action_that_fails_is_reported_without_its_words_and_raises_its_own_error(colour: str) -> None:
    b = bench(colour)

    def pay(*, amount: int) -> None:
        raise ValueError("password hunter2")

    with pytest.raises(ValueError, match="hunter2"):
        b.client.guard("pay", subject="Pay")(pay)(amount=1)
    assert [one.outcomes for one in b.gate.records.values()] == [["failed"]]
    assert b"raised ValueError" in b.faulty.sent[-1].content
    assert not [one for one in b.faulty.sent if b"hunter2" in one.content]


@pytest.mark.parametrize("fault", ["unreachable", "internal_500", "redirect", "garbage", "broken", "hang"])
def test_a_report_that_fails_hides_no_result_and_runs_nothing_again(
    colour: str, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    b = bench(colour)
    b.fails_at("/outcomes", always=fault)
    with caplog.at_level(logging.WARNING, "stacksona"):
        assert b.guarded()(amount=40) == "refunded 40"
    assert len(b.ran) == 1
    assert "was not reported" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize("fault", ["hang", "cut", "truncated", "garbage", "internal_500", "doubled", "nonsense"])
def test_a_redemption_lost_on_the_way_runs_nothing(colour: str, fault: str) -> None:
    b = bench(colour)
    b.fails_at("/validate", fault)
    with pytest.raises(RedemptionLost) as lost:
        b.guarded()(amount=40)
    assert b.ran == []
    assert lost.value.decision is not None
    assert lost.value.decision.request_id in b.gate.records


def test_a_lost_redemption_stays_lost_when_it_is_resumed(colour: str) -> None:
    b = bench(colour)
    b.gate.look = Record.approve
    b.fails_at("/validate", "hang")
    with pytest.raises(RedemptionLost) as lost:
        b.guarded()(amount=500)
    with pytest.raises(RedemptionRefused):
        b.client.resume(lost.value.thread_id)
    assert b.ran == []


@pytest.mark.parametrize("fault", ["other_payload", "other_ids", "unknown_status", "no_payload", "nonsense"])
@pytest.mark.parametrize("step", ["/decisions", "/validate"])
def test_an_answer_that_is_not_about_this_runs_nothing(colour: str, step: str, fault: str) -> None:
    for _ in range(5):
        b = bench(colour)
        b.gate.look = Record.approve
        b.fails_at(step, always=fault)
        try:
            b.guarded(wait=5)(amount=500)
        except Exception:
            assert b.ran == []
        else:
            # What was changed was not in the answer.
            assert [one["amount"] for one in b.ran] == [500]


def test_a_payload_swapped_with_its_digest_is_not_run(colour: str) -> None:
    """Nobody edited it, says the answer: then it is what was asked, or nothing runs."""
    b = bench(colour)

    def swap(record: Record) -> None:
        record.payload = {**record.payload, "amount": 5000}
        record.approve()

    b.gate.look = swap
    with pytest.raises(UnexpectedAnswer):
        b.guarded()(amount=500)
    assert b.ran == []


def test_a_gate_that_is_away_is_an_error_with_nothing_run(colour: str) -> None:
    b = bench(colour)
    b.fails(always="unreachable")
    with pytest.raises(GateUnavailable):
        b.guarded()(amount=40)
    assert b.ran == []


def test_every_argument_is_asked_about_defaults_and_others_too(colour: str) -> None:
    b = bench(colour)
    got: list[Any] = []

    def act(first: int, /, second: int, third: int = 3, *, fourth: int = 4, **others: int) -> None:
        got.append((first, second, third, fourth, others))

    b.client.guard("act", subject=lambda a: f"{sorted(a)}")(act)(1, second=2, fifth=5)
    (record,) = b.gate.records.values()
    assert record.payload == {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5}
    assert got == [(1, 2, 3, 4, {"fifth": 5})]


def test_fields_are_made_of_the_arguments(colour: str) -> None:
    b = bench(colour)
    options = {
        "task_id": lambda a: f"order-{a['customer_id']}",
        "preview": "text",
        "summary": lambda a: [a["currency"]],
    }
    b.client.guard("issue_refund", subject=lambda a: f"Refund {a.pop('amount')}", **options)(b.refund)(amount=40)
    (record,) = b.gate.records.values()
    assert record.task_id == "order-cus_99"
    assert record.payload["amount"] == 40
    assert b'"subject":"Refund 40"' in b.faulty.sent[0].content
    assert b'"summary":["usd"]' in b.faulty.sent[0].content


@pytest.mark.parametrize("amount", [float("nan"), 2**53, "\ud800", object(), b"1"])
def test_arguments_that_the_gate_would_refuse_are_not_sent(colour: str, amount: Any) -> None:
    b = bench(colour)
    with pytest.raises(InvalidRequest, match="payload"):
        b.guarded()(amount=amount)
    assert (b.ran, b.paths) == ([], [])


def test_a_call_that_does_not_fit_the_function_asks_nothing(colour: str) -> None:
    b = bench(colour)
    with pytest.raises(TypeError):
        b.guarded()(money=1)
    assert b.paths == []


def test_what_cannot_be_shown_and_approved_cannot_be_guarded(colour: str) -> None:
    b = bench(colour)

    class Bank:
        def pay(self, amount: int) -> None: ...

    def stars(*amounts: int) -> None: ...

    def generator(amount: int) -> Any:
        yield amount

    for function in (Bank.pay, stars, generator):
        with pytest.raises(TypeError):
            b.client.guard("pay", subject="Pay")(function)


def test_a_tool_belongs_to_one_function(colour: str) -> None:
    b = bench(colour)
    b.guarded()

    def other(*, amount: int) -> None: ...

    with pytest.raises(ValueError, match="issue_refund"):
        b.client.guard("issue_refund", subject="Refund")(other)


def test_two_closures_of_one_factory_stay_themselves(colour: str) -> None:
    b = bench(colour)

    def make(name: str) -> Any:
        def act(*, amount: int) -> str:
            return name

        return b.client.guard("act", subject="Act")(act)

    first, second = make("first"), make("second")
    assert (first(amount=1), second(amount=1)) == ("first", "second")


def test_run_gated_action_hands_on_the_approved_payload(colour: str) -> None:
    b = bench(colour)
    b.gate.look = lambda record: record.approve({"amount": 7})
    decision, executed, result = b.client.run_gated_action(asked(500), lambda payload: payload)
    assert (decision.status, executed, result) == ("approved", True, {"amount": 7})


@pytest.mark.parametrize(("amount", "status"), [(9000, "reject"), (500, "pending_review")])
def test_run_gated_action_says_when_it_did_not_run(colour: str, amount: int, status: str) -> None:
    b = bench(colour)
    run = b.client.run_gated_action(asked(amount), b.ran.append, wait=0)
    assert (run.decision.status, run.executed, run.result, b.ran) == (status, False, None, [])


def test_a_gated_action_inside_another_raises_its_own_refusal(colour: str) -> None:
    b = bench(colour)

    def refuse(payload: Payload) -> None:
        raise Rejected("inner")

    with pytest.raises(Rejected, match="inner"):
        b.client.run_gated_action(asked(40), refuse)


def test_a_decision_without_a_token_runs_nothing(colour: str) -> None:
    b = bench(colour)

    def look(record: Record) -> None:
        record.approve()
        record.revoked = True

    b.gate.look = look
    with pytest.raises(RedemptionRefused) as refused:
        b.guarded()(amount=500)
    assert refused.value.reason == "revoked"
    assert b.ran == []


def test_errors_survive_pickling(colour: str) -> None:
    b = bench(colour)
    with pytest.raises(PendingReview) as pending:
        b.guarded(wait=0)(amount=500)
    again = pickle.loads(pickle.dumps(pending.value))  # noqa: S301 - our own
    assert (again.thread_id, str(again)) == (pending.value.thread_id, str(pending.value))


def test_an_interrupted_action_is_not_reported_as_anything(colour: str) -> None:
    """Nobody knows how far it came: the gate shows it as unknown."""
    b = bench(colour)

    def interrupted(*, amount: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        b.client.guard("act", subject="Act")(interrupted)(amount=1)
    assert [one.outcomes for one in b.gate.records.values()] == [[]]


def test_coroutine_functions_are_for_the_asynchronous_client(colour: str) -> None:
    b = bench(colour)

    async def refund(*, amount: int) -> str:
        await asyncio.sleep(0)
        return f"later {amount}"

    if isinstance(b.client, Gate):
        with pytest.raises(TypeError, match="AsyncGate"):
            b.client.guard("issue_refund", subject="Refund")(refund)
        with pytest.raises(TypeError, match="AsyncGate"):
            b.client.run_gated_action(asked(40), cast("Any", refund))
        assert b.paths == []
        with pytest.raises(TypeError, match="AsyncGate"):
            b.client.run_gated_action(asked(40), lambda payload: refund(amount=40))
        assert [one.outcomes for one in b.gate.records.values()] == [["failed"]]
    else:
        assert isinstance(b.client.gate, AsyncGate)
        assert b.client.guard("issue_refund", subject="Refund")(refund)(amount=40) == "later 40"
