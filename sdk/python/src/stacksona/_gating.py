"""A gated action from the question to the outcome. The one place that lets an action run.

An action runs once, after one redemption that this flow holds the answer of, with the payload of that redemption. Every
other way through ends in an exception before ``Act``; after ``Act`` nothing repeats it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from stacksona._decisions import Decision, GatedRun, rejection, waiting
from stacksona._errors import GateError, RedemptionRefused, UnexpectedAnswer
from stacksona._flows import Flows
from stacksona._requests import ActionRequest
from stacksona._wire import Act, Acted, Step, Steps

REPORT_PATIENCE: Final = 10.0
REPORT_TIMEOUT: Final = 5.0
"""Shorter than for other calls: the result is held back for its report."""

T = TypeVar("T")
Check = Callable[[dict[str, Any]], None]
"""Raises ArgumentsRefused for a payload that the action cannot be called with."""

_LOG: Final = logging.getLogger("stacksona")


@dataclass(frozen=True)
class Ran:
    """The action ran: what it gave or raised."""

    decision: Decision
    acted: Acted

    def result(self) -> GatedRun:
        """Raises what the action raised."""
        if self.acted.error is not None:
            raise self.acted.error
        return GatedRun(self.decision, True, self.acted.value)


def gated(flows: Flows, asked: ActionRequest, wait: float | None, check: Check) -> Steps[Ran]:
    """Asks, waits for ``wait`` seconds (None: until it is decided), redeems, acts, reports."""
    digest = asked.digest()
    decision = yield from flows.request_decision(asked)
    if decision.payload is None:
        decision = replace(decision, payload=dict(asked.payload))
    decided = yield from _knowing(decision, _decided(flows, decision, wait))
    if decided.revision == decision.revision and not decided.edited and decided.payload_digest != digest:
        raise _about(UnexpectedAnswer("what was approved is not what was asked, and nobody edited it"), decided)
    return (yield from _knowing(decided, _run(flows, decided, asked.tool_name, check)))


def resumed(flows: Flows, thread_id: str, wait: float | None, find: Callable[[str], tuple[str, Check]]) -> Steps[Ran]:
    """Comes back to a thread. ``find`` gives the literal tool name for the thread's own, or raises."""
    decision = yield from flows.get_decision(thread_id=thread_id)
    tool_name, check = find(decision.tool_name or "")
    decided = yield from _knowing(decision, _decided(flows, decision, wait))
    return (yield from _knowing(decided, _run(flows, decided, tool_name, check)))


def _decided(flows: Flows, decision: Decision, wait: float | None) -> Steps[Decision]:
    if not decision.is_pending:
        return decision
    if wait is not None and wait <= 0:
        raise waiting(decision)
    decided = yield from flows.wait_for_decision(decision.thread_id or "", timeout=wait)
    if (decided.request_id, decided.task_id) != (decision.request_id, decision.task_id):
        raise UnexpectedAnswer("the decision is about another request: nothing may run on it")
    return decided


def _run(flows: Flows, decision: Decision, tool_name: str, check: Check) -> Steps[Ran]:
    if not decision.may_run:
        raise rejection(decision)
    if decision.tool_name not in (None, tool_name):
        raise UnexpectedAnswer("the decision is about another tool: nothing may run on it")
    if decision.payload is None:
        raise UnexpectedAnswer("the decision has no payload: nothing may run on it")
    check(decision.payload)
    redemption = yield from flows.validate_approval(
        _token(decision),
        task_id=decision.task_id,
        tool_name=tool_name,
        payload=decision.payload,
        digest=decision.payload_digest,
        request_id=decision.request_id,
    )
    acted: Acted = yield Act(tool_name, redemption.payload)
    yield from _report(flows, decision, acted)
    return Ran(decision, acted)


def _token(decision: Decision) -> str:
    if decision.approval_token:
        return decision.approval_token
    used = {"redeemed": "already_used", "revoked": "revoked", "expired": "expired"}
    refused = RedemptionRefused(
        "the decision came without an approval token: the approval is no longer open, or signed approvals are "
        "switched off for this agent"
    )
    refused.reason = used.get(decision.approval_state or "", "no_token")
    raise refused


def _report(flows: Flows, decision: Decision, acted: Acted) -> Steps[None]:
    """Never raises: what the action gave must not be lost to a report."""
    # Of an exception only its type: its text may hold what is secret.
    detail = None if acted.error is None else f"raised {type(acted.error).__name__}"[:200]
    fields = {
        "request_id": decision.request_id,
        "status": "executed" if acted.error is None else "failed",
        "detail": detail,
        "payload_digest": decision.payload_digest,
    }
    brief = replace(flows, patience=min(flows.patience, REPORT_PATIENCE), timeout=min(flows.timeout, REPORT_TIMEOUT))
    try:
        outcome = yield from brief.report_outcome(decision.task_id, fields)
    except GateError as error:
        _LOG.warning("the outcome of %s was not reported: %s", decision.request_id, error)
        return
    if outcome.flag is not None:
        _LOG.warning("the gate flags the outcome of %s: %s", decision.request_id, outcome.flag)


def _knowing(decision: Decision, steps: Generator[Step, Any, T]) -> Steps[T]:
    """Errors say what they are about, so that the caller can come back."""
    try:
        return (yield from steps)
    except GateError as error:
        error.decision = error.decision or decision
        raise


def _about(error: GateError, decision: Decision) -> GateError:
    error.decision = decision
    return error
