"""Every method under every fault: the right result or an error of this package, nothing done twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from sdk.python.tests.bench import COLOURS, Bench, asked, bench
from sdk.python.tests.faults import AFTER, BEFORE, FAULTS

from stacksona import GateError, GateUnavailable, RedemptionLost, UnexpectedAnswer

METHODS = (
    "request_decision",
    "get_decision",
    "wait_for_decision",
    "log_event",
    "log_revision",
    "report_outcome",
    "cancel",
)
HARMLESS = {"delay", "delivered_twice"}
PASSING = {
    *("unreachable", "broken", "proxy_503", "gate_503", "portal", "hang", "reset", "cut", "truncated", "garbage"),
    *("doubled", "internal_500", "gateway_504", "as_html", *HARMLESS),
}
"""Another try may find the gate well."""


def prepared(method: str, colour: str) -> tuple[Bench, Callable[[], Any], Callable[[], bool]]:
    """A world, the call, and whether exactly what it says was done, once."""
    b = bench(colour)
    first = b.client.request_decision(asked(40 if method == "validate_approval" else 500))
    record = b.gate.records[first.request_id]
    thread_id = first.thread_id
    calls: dict[str, tuple[Callable[[], Any], Callable[[], bool]]] = {
        "request_decision": (
            lambda: b.client.request_decision(asked(600)),
            lambda: len(b.gate.records) == 2,
        ),
        "get_decision": (lambda: b.client.get_decision(thread_id=thread_id), lambda: True),
        "wait_for_decision": (
            lambda: b.client.wait_for_decision(thread_id, timeout=300),
            lambda: record.status == "approved",
        ),
        "validate_approval": (
            lambda: b.client.validate_approval(
                first.approval_token, task_id="task-1", tool_name="issue_refund", payload=asked(40).payload
            ),
            lambda: record.redemptions == 1,
        ),
        "log_event": (lambda: b.client.log_event("task-1", "task.started", "begun"), lambda: len(b.gate.events) == 1),
        "log_revision": (
            lambda: b.client.log_revision("task-1", thread_id, payload={"amount": 300}),
            lambda: record.revision == 2,
        ),
        "report_outcome": (
            lambda: b.client.report_outcome("task-1", "skipped", request_id=record.id),
            lambda: record.outcomes == ["skipped"],
        ),
        "cancel": (lambda: b.client.cancel("task-1", thread_id), lambda: record.reason_code == "cancelled"),
    }
    if method == "wait_for_decision":
        b.gate.look = lambda record: record.approve()
    return b, *calls[method]


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("fault", sorted(PASSING))
@pytest.mark.parametrize("method", METHODS)
def test_a_passing_fault_costs_time_and_nothing_else(method: str, fault: str, colour: str) -> None:
    b, call, was_done_once = prepared(method, colour)
    b.fails(fault)
    call()
    assert was_done_once()
    assert fault in HARMLESS or b.time.slept


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("method", [*METHODS, "validate_approval"])
def test_a_fault_that_stays_ends_in_an_error_of_this_package_in_time(method: str, fault: str, colour: str) -> None:
    b, call, was_done_once = prepared(method, colour)
    b.fails(always=fault)
    began = b.time.now
    try:
        call()
        assert was_done_once()
    except GateError:
        assert fault != "delay"
    assert b.time.now - began < 400


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("fault", ["unreachable", "gate_503"])
def test_a_redemption_that_was_never_made_is_made_again(fault: str, colour: str) -> None:
    b, call, was_done_once = prepared("validate_approval", colour)
    b.fails(fault, fault)
    assert call().tool_name == "issue_refund"
    assert was_done_once()


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("fault", sorted(PASSING & AFTER.keys() - HARMLESS))
def test_a_redemption_whose_answer_was_lost_is_said_to_be_lost(fault: str, colour: str) -> None:
    b, call, was_done_once = prepared("validate_approval", colour)
    b.fails(fault)
    with pytest.raises(RedemptionLost, match="was not run here") as lost:
        call()
    assert lost.value.is_spent
    assert was_done_once()


def test_a_redemption_with_no_answer_at_all_may_have_happened_or_not() -> None:
    b, call, _ = prepared("validate_approval", "sync")
    b.fails(always="proxy_503")
    with pytest.raises(RedemptionLost) as lost:
        call()
    assert not lost.value.is_spent


def test_a_redemption_that_never_left_is_no_lost_one() -> None:
    b, call, _ = prepared("validate_approval", "sync")
    b.fails(always="unreachable")
    with pytest.raises(GateUnavailable):
        call()


@pytest.mark.parametrize(
    "fault", ["redirect", "replay", "unnamed_replay", "unknown_status", "portal", "as_html", "garbage"]
)
@pytest.mark.parametrize("method", METHODS)
def test_what_is_no_answer_is_an_unexpected_one(method: str, fault: str) -> None:
    b, call, _ = prepared(method, "sync")
    b.fails(always=fault)
    if fault == "unknown_status" and method in ("log_event", "report_outcome"):
        return  # no status in their answers
    with pytest.raises(UnexpectedAnswer):
        call()


@pytest.mark.parametrize("fault", ["redirect", *sorted(BEFORE)])
def test_nothing_is_ever_sent_to_another_host(fault: str) -> None:
    b, call, _ = prepared("get_decision", "sync")
    b.fails(fault, always="redirect")
    with pytest.raises(GateError):
        call()
    assert {request.url.host for request in b.faulty.sent} == {"gate.test"}


def test_the_retries_of_a_question_are_one_question() -> None:
    b = bench()
    b.fails("hang", "cut", "internal_500")
    decision = b.client.request_decision(asked())
    assert list(b.gate.records) == [decision.request_id]
    assert len({request.headers["idempotency-key"] for request in b.faulty.sent}) == 1
    assert len({request.content for request in b.faulty.sent}) == 1
    assert len({request.headers["x-request-id"] for request in b.faulty.sent}) == 4


def test_two_questions_have_keys_of_their_own() -> None:
    b = bench()
    b.client.request_decision(asked())
    b.client.request_decision(asked())
    assert len({request.headers["idempotency-key"] for request in b.faulty.sent}) == 2


def test_a_cancellation_of_what_was_decided_before_is_a_conflict_also_after_a_fault() -> None:
    b, call, _ = prepared("cancel", "sync")
    next(iter(b.gate.records.values())).approve()
    b.fails("reset")
    with pytest.raises(GateError) as refused:
        call()
    assert type(refused.value).__name__ == "Conflict"
    assert refused.value.decision is not None
    assert refused.value.decision.status == "approved"


def test_pauses_grow_and_patience_ends() -> None:
    b = bench(patience=60.0)
    b.fails(always="unreachable")
    with pytest.raises(GateUnavailable, match="connection refused"):
        b.client.request_decision(asked())
    assert sum(b.time.slept) <= 60
    assert b.time.slept[0] <= 0.25
    assert all(later >= earlier / 2 for earlier, later in zip(b.time.slept, b.time.slept[1:], strict=False))
    assert 6 < len(b.time.slept) < 20


def test_the_gates_own_retry_after_is_kept() -> None:
    b = bench()
    b.fails("gate_503")
    b.client.request_decision(asked())
    assert b.time.slept == [2.0]


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("fault", ["replay", "unnamed_replay"])
def test_a_cached_redemption_is_no_second_one(fault: str, colour: str) -> None:
    b, call, was_done_once = prepared("validate_approval", colour)
    assert call().redeemed_at
    b.faulty.keep_only_the_last_answer()
    b.fails(always=fault)
    with pytest.raises(RedemptionLost) as lost:
        call()
    assert isinstance(lost.value.__cause__, UnexpectedAnswer)
    assert was_done_once()


def test_an_id_that_a_proxy_put_in_place_of_ours_is_no_fault() -> None:
    b = bench()
    whole = b.faulty.handle_request

    def renamed(request: httpx2.Request) -> httpx2.Response:
        answer = whole(request)
        answer.headers["x-request-id"] = "proxy-1"
        return answer

    b.faulty.handle_request = renamed  # type: ignore[method-assign]
    assert b.guarded()(amount=40) == "refunded 40"


def test_a_header_that_contradicts_its_body_is_no_decision() -> None:
    b = bench()
    whole = b.faulty.handle_request

    def contradicted(request: httpx2.Request) -> httpx2.Response:
        answer = whole(request)
        answer.headers["x-gate-decision"] = "allow, reject"
        return answer

    b.faulty.handle_request = contradicted  # type: ignore[method-assign]
    with pytest.raises(UnexpectedAnswer):
        b.guarded()(amount=40)
    assert b.ran == []
