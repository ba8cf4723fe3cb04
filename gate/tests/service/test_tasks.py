"""What agents report: events, outcomes, and what is wrong with an outcome."""

from __future__ import annotations

import json

import pytest
from gate.tests.factories import TENANT, World, thread_of
from gate.tests.outbox import notices

from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.errors import Invalid, NotFound
from stacksona_gate.service.agents import AgentChange
from stacksona_gate.service.erasure import erase_content
from stacksona_gate.service.requests import Answer
from stacksona_gate.service.tasks import EventReport, OutcomeReport, log_event, report_outcome


async def report(
    w: World, answer: Answer, status: str = "executed", *, digest: str | None = None, key: str = ""
) -> tuple[str, str | None]:
    caller = await w.caller()
    made = OutcomeReport(status, request_id=answer.request.id, payload_digest=digest)
    retry = w.retry_key(key) if key else None
    return await w.write(lambda tx: report_outcome(tx, w.env, caller, "task-1", made, retry))


async def flag(w: World, answer: Answer, status: str = "executed", *, digest: str | None = None) -> str | None:
    return (await report(w, answer, status, digest=digest))[1]


async def test_what_was_redeemed_and_executed_has_no_flag(w: World) -> None:
    answer = await w.approved()
    await w.redeem(answer)
    assert await flag(w, answer, digest=answer.request.payload_digest) is None


@pytest.mark.parametrize("amount", [500, 9000])
async def test_an_execution_without_an_approval_is_flagged(w: World, amount: int) -> None:
    assert await flag(w, await w.ask(amount)) == "not_approved"


async def test_an_execution_without_redemption_is_flagged(w: World) -> None:
    assert await flag(w, await w.approved()) == "not_redeemed"


async def test_an_execution_of_another_payload_is_flagged(w: World) -> None:
    answer = await w.approved()
    await w.redeem(answer)
    assert await flag(w, answer, digest="sha-256:" + "0" * 64) == "other_payload"


async def test_a_second_execution_is_flagged(w: World) -> None:
    answer = await w.approved()
    await w.redeem(answer)
    await report(w, answer)
    assert await flag(w, answer) == "executed_again"


@pytest.mark.parametrize("status", ["failed", "skipped"])
async def test_what_was_not_executed_has_no_flag(w: World, status: str) -> None:
    assert await flag(w, await w.ask(), status) is None


async def test_an_approval_that_never_had_a_token_needs_no_redemption(w: World) -> None:
    await w.change_agent(AgentChange(signed_approvals=False))
    answer = await w.ask(100)
    await w.change_agent(AgentChange(signed_approvals=True))
    assert await flag(w, answer) is None


async def test_an_approval_that_had_a_token_needs_its_redemption_whatever_is_set_since(w: World) -> None:
    answer = await w.ask(100)
    await w.change_agent(AgentChange(signed_approvals=False))
    assert await flag(w, answer) == "not_redeemed"


async def test_flagged_outcomes_are_there_for_admins(w: World) -> None:
    await report(w, await w.ask())
    flagged = await w.read(lambda tx: tx.conversation.list_flagged_outcomes(TENANT, 10))
    assert [outcome.flag for _, outcome in flagged] == ["not_approved"]


async def test_admins_are_told_of_a_flagged_outcome_once_for_its_agent(w: World) -> None:
    await flag(w, await w.ask(100))
    await flag(w, await w.ask(9000))
    (notice,) = await notices(w)
    assert (notice.kind, json.loads(notice.objects)) == ("outcome.flagged", {"agent": w.agent.id})


async def test_of_an_execution_that_was_approved_nobody_is_told(w: World) -> None:
    answer = await w.approved()
    await w.redeem(answer)
    await flag(w, answer)
    assert await notices(w) == []


async def test_a_digest_that_was_erased_is_not_missed(w: World) -> None:
    answer = await w.approved()
    await w.redeem(answer)
    ids = [answer.request.id]
    await w.write(lambda tx: erase_content(tx, w.env, COMMAND_LINE, TENANT, ids, "content.erased"))
    assert await flag(w, answer, digest=answer.request.payload_digest) is None


async def test_a_retried_outcome_is_one_outcome(w: World) -> None:
    answer = await w.ask()
    assert await report(w, answer, key="once") == await report(w, answer, key="once")
    assert len(await w.read(lambda tx: tx.conversation.list_outcomes(TENANT, answer.request.id))) == 1


async def event(w: World, thread_id: str | None = None, *, amount: object = 1, task: str = "task-1") -> str:
    caller = await w.caller()
    made = EventReport("step", "did it", {"amount": amount}, thread_id)
    return await w.write(lambda tx: log_event(tx, w.env, caller, task, made, w.retry_key("once", amount)))


async def test_a_retried_event_is_one_event(w: World) -> None:
    assert await event(w) == await event(w)
    assert len(await w.read(lambda tx: tx.conversation.list_events(TENANT, w.agent.id, "task-1", 10))) == 1


async def test_an_event_with_the_key_of_another_body_is_refused(w: World) -> None:
    await event(w)
    with pytest.raises(Invalid):
        await event(w, amount=2)


async def test_an_event_on_another_tasks_thread_is_refused(w: World) -> None:
    answer = await w.ask()
    with pytest.raises(NotFound):
        await event(w, thread_of(answer), task="task-2")
