"""Both clients with the real gate: what is promised holds end to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from gate.tests.factories import PATIENCE
from sdk.python.tests.real_gate import Real, real_gate

from stacksona import (
    ActionRequest,
    AgentPaused,
    ArgumentsRefused,
    Attachment,
    ChangesRequested,
    Conflict,
    Expired,
    Forbidden,
    InvalidRequest,
    NotFound,
    PendingReview,
    RedemptionRefused,
    Rejected,
    Unauthenticated,
    payload_digest,
)

PAYLOAD = {"amount": 500, "currency": "usd", "customer_id": "cus_99"}


@pytest.fixture
async def real() -> AsyncIterator[Real]:
    async with real_gate() as made:
        yield made


def refund_of(amount: Any, **more: Any) -> ActionRequest:
    return ActionRequest("task-1", "issue_refund", "Refund", {**PAYLOAD, "amount": amount}, **more)


class Ran(list[dict[str, Any]]):
    """What was run."""

    def refund(self, *, amount: Any, currency: str = "usd", customer_id: str = "cus_99") -> str:
        self.append({"amount": amount, "currency": currency, "customer_id": customer_id})
        return f"refunded {amount}"


async def pending_thread(real: Real, ran: Ran) -> tuple[Any, str]:
    refund = real.client.guard("issue_refund", subject="Refund", wait=0)(ran.refund)
    with pytest.raises(PendingReview) as pending:
        await refund(amount=500)
    return refund, str(pending.value.thread_id)


async def test_allowed_at_once(real: Real) -> None:
    ran = Ran()
    assert await real.client.guard("issue_refund", subject="Refund")(ran.refund)(amount=40) == "refunded 40"
    assert [one.event for one in await real.api.world.entries() if one.event.startswith(("approval", "outcome"))] == [
        "approval.redeemed",
        "outcome.reported",
    ]


async def test_rejected_at_once(real: Real) -> None:
    ran = Ran()
    with pytest.raises(Rejected, match="over 5000"):
        await real.client.guard("issue_refund", subject="Refund")(ran.refund)(amount=6000)
    assert ran == []


@pytest.mark.parametrize("edited", [None, {**PAYLOAD, "amount": 120}])
async def test_a_call_that_waits_runs_what_people_approve_while_it_waits(
    real: Real, edited: dict[str, Any] | None
) -> None:
    ran = Ran()
    call = asyncio.create_task(real.client.guard("issue_refund", subject="Refund")(ran.refund)(amount=500))
    thread = await found_pending(real)
    await real.api.review(thread, payload=edited)
    assert await asyncio.wait_for(call, PATIENCE) == f"refunded {(edited or PAYLOAD)['amount']}"
    assert ran == [edited or PAYLOAD]


async def test_the_client_that_blocks_waits_in_its_thread(real: Real) -> None:
    ran = Ran()
    refund = real.blocking.guard("issue_refund", subject="Refund")(ran.refund)
    call = asyncio.create_task(asyncio.to_thread(refund, amount=500))
    await real.api.review(await found_pending(real))
    assert await asyncio.wait_for(call, PATIENCE) == "refunded 500"
    assert ran == [PAYLOAD]


async def test_threads_share_the_client_that_blocks(real: Real) -> None:
    ran = Ran()
    refund = real.blocking.guard("issue_refund", subject="Refund")(ran.refund)
    calls = [asyncio.to_thread(refund, amount=40, customer_id=f"cus_{number}") for number in range(20)]
    assert await asyncio.gather(*calls) == ["refunded 40"] * 20
    assert len({one["customer_id"] for one in ran}) == 20


async def found_pending(real: Real) -> dict[str, Any]:
    for _ in range(500):
        threads = (await real.api.get("/api/agent/threads", status="pending_review")).json()["threads"]
        if threads:
            return dict(threads[0])
        await asyncio.sleep(0.01)
    raise AssertionError("nothing was asked")


async def test_coming_back_runs_once_however_many_come(real: Real) -> None:
    ran = Ran()
    refund, thread_id = await pending_thread(real, ran)
    await real.api.review({"thread_id": thread_id})
    results = await asyncio.gather(*(refund.resume(thread_id) for _ in range(20)), return_exceptions=True)
    assert [one for one in results if isinstance(one, str)] == ["refunded 500"]
    assert {type(one) for one in results if not isinstance(one, str)} == {RedemptionRefused}
    assert len(ran) == 1


async def test_people_and_time_refuse(real: Real) -> None:
    ran = Ran()
    refund, thread_id = await pending_thread(real, ran)
    await real.api.review({"thread_id": thread_id}, "reject", message="not this one")
    with pytest.raises(Rejected, match="not this one"):
        await refund.resume(thread_id)
    again = await real.client.request_decision(refund_of(500, expires_in=60))
    real.api.world.clock.advance(61)
    with pytest.raises(Expired):
        await refund.resume(again.thread_id)
    assert ran == []


async def test_an_edit_that_does_not_fit_is_refused_and_stays_open(real: Real) -> None:
    ran = Ran()
    refund, thread_id = await pending_thread(real, ran)
    await real.api.review({"thread_id": thread_id}, payload={"amount": 300})
    with pytest.raises(ArgumentsRefused, match="currency"):
        await refund.resume(thread_id)
    assert (await real.client.get_decision(thread_id=thread_id)).approval_state == "open"
    assert ran == []


async def test_changes_are_asked_for_sent_and_approved(real: Real) -> None:
    ran = Ran()
    refund, thread_id = await pending_thread(real, ran)
    await real.api.review({"thread_id": thread_id}, "request_changes", message="less")
    with pytest.raises(ChangesRequested) as wanted:
        await refund.resume(thread_id, wait=5)
    decision = wanted.value.decision
    assert decision is not None
    assert decision.feedback == "less"
    revised = await real.client.log_revision(decision.task_id, thread_id, payload={**PAYLOAD, "amount": 300})
    assert revised.revision == 2
    await real.api.review({"thread_id": thread_id}, revision=2)
    assert await refund.resume(thread_id) == "refunded 300"


async def test_a_paused_agent_gets_no_further(real: Real) -> None:
    ran = Ran()
    refund, thread_id = await pending_thread(real, ran)
    allowed = await real.client.request_decision(refund_of(40))
    await real.api.world.pause()
    with pytest.raises(AgentPaused):
        await refund.resume(thread_id)
    with pytest.raises(Forbidden):
        await refund(amount=40)
    with pytest.raises(Forbidden):
        await real.client.validate_approval(
            str(allowed.approval_token), task_id="task-1", tool_name="issue_refund", payload={**PAYLOAD, "amount": 40}
        )
    assert ran == []


async def test_an_agent_without_signed_approvals_is_told_so(real: Real) -> None:
    made = await real.api.world.new_agent("plain", signed_approvals=False)
    client, ran = real.with_key(made.key), Ran()
    with pytest.raises(RedemptionRefused, match="switched off") as refused:
        await client.guard("issue_refund", subject="Refund")(ran.refund)(amount=40)
    assert refused.value.reason == "no_token"
    assert ran == []


async def test_the_tools_side_redeems_with_its_own_key(real: Real) -> None:
    decision = await real.client.request_decision(refund_of(40))
    tool = real.with_key((await real.api.world.new_verifier()).key)
    token, payload = str(decision.approval_token), {**PAYLOAD, "amount": 40}
    with pytest.raises(RedemptionRefused) as refused:
        await tool.validate_approval(
            token, task_id="task-1", tool_name="issue_refund", payload={**PAYLOAD, "amount": 41}
        )
    assert refused.value.reason == "payload_mismatch"
    redemption = await tool.validate_approval(token, task_id="task-1", tool_name="issue_refund", payload=payload)
    assert (redemption.payload, redemption.payload_digest) == (payload, payload_digest(payload))
    with pytest.raises(RedemptionRefused) as used:
        await tool.validate_approval(token, task_id="task-1", tool_name="issue_refund", payload=payload)
    assert used.value.reason == "already_used"


async def test_everything_that_a_question_may_hold_arrives(real: Real) -> None:
    question = refund_of(
        500,
        workflow_name="Support",
        task_label="Order 1",
        risk_level="high",
        preview="Dear …",
        summary=["one", "two"],
        metadata={"run": "7"},
        attachments=[Attachment("note.txt", "text/plain", b"hello")],
        idempotency_key="order-1",
    )
    first = await real.client.request_decision(question)
    again = await real.client.request_decision(question)
    assert (first.thread_id, first.metadata, first.warnings) == (again.thread_id, {"run": "7"}, ())
    with pytest.raises(Exception, match="422"):
        await real.client.request_decision(refund_of(501, idempotency_key="order-1"))


async def test_the_rest_of_the_api_answers(real: Real) -> None:
    client = real.client
    decision = await client.request_decision(refund_of(500))
    thread_id = str(decision.thread_id)
    assert (await client.get_decision(task_id="task-1")).request_id == decision.request_id
    assert (await client.get_decision(request_id=decision.request_id)).thread_id == thread_id
    assert (
        await client.log_event("task-1", "task.started", "begun", payload={"a": 1}, thread_id=thread_id)
    ).startswith("ev")
    cancelled = await client.cancel("task-1", thread_id)
    assert (cancelled.status, cancelled.reason_code) == ("rejected", "cancelled")
    assert (await client.cancel("task-1", thread_id)).reason_code == "cancelled"
    told = await client.report_outcome("task-1", "executed", request_id=decision.request_id)
    assert told.flag == "not_approved"
    assert (await client.get_jwks())["keys"]
    with pytest.raises(Conflict):
        await client.log_revision("task-1", thread_id, subject="again")
    with pytest.raises(NotFound):
        await client.get_decision(thread_id="THR-" + "0" * 26)
    with pytest.raises(InvalidRequest):
        await client.get_decision()
    with pytest.raises(Unauthenticated):
        await real.with_key("sg_wrong").get_decision(task_id="task-1")


@pytest.mark.parametrize(
    "value", [0.1, 1e-7, 5e-324, 1.7976931348623157e308, -0.0, 1e21, 123456789.25, "\u2028\x00é😀", {"": {"b": None}}]
)
async def test_digests_agree_with_the_gates(real: Real, value: Any) -> None:
    decision = await real.client.request_decision(
        ActionRequest("t", "issue_refund", "s", {"amount": 1, "value": value})
    )
    assert decision.payload_digest == payload_digest({"amount": 1, "value": value})
