"""From approved to redeemed to an outcome, or to the list of what nobody knows the end of."""

from __future__ import annotations

import pytest
from gate.tests.factories import TENANT, World, an_ask, second_tenant

from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.reminders import Timing
from stacksona_gate.domain.times import MINUTE
from stacksona_gate.service.outcomes import count_all_unknown, count_unknown, list_flagged, list_unknown
from stacksona_gate.service.requests import Answer
from stacksona_gate.service.tasks import OutcomeReport, report_outcome
from stacksona_gate.service.timing import change_timing

HOUR = 3600


async def redeemed(w: World, number: int = 0, amount: int = 100) -> Answer:
    """An action that policy allowed and whose approval was used."""
    answer = await w.ask(amount, task=f"task-{number}")
    await w.redeem(answer)
    return answer


async def report(w: World, answer: Answer, status: str) -> None:
    caller = await w.caller()
    made = OutcomeReport(status, request_id=answer.request.id)
    await w.write(lambda tx: report_outcome(tx, w.env, caller, answer.request.task_id, made, None))


async def unknown(w: World) -> list[str]:
    page = await w.read(lambda tx: list_unknown(tx, w.env, TENANT, None, before=None, limit=50))
    return [doubt.request.id for doubt in page.doubts]


async def test_a_redemption_without_an_outcome_is_unknown_once_its_time_is_over(w: World) -> None:
    answer = await redeemed(w)
    w.clock.advance(HOUR - 0.000001)
    assert await unknown(w) == []
    w.clock.advance(0.000001)
    assert await unknown(w) == [answer.request.id]


@pytest.mark.parametrize("status", ["executed", "failed", "skipped"])
async def test_a_reported_outcome_is_known_also_when_it_comes_late(w: World, status: str) -> None:
    answer = await redeemed(w)
    w.clock.advance(2 * HOUR)
    await report(w, answer, status)
    assert await unknown(w) == []
    assert (await w.stored(answer)).outcome == status


async def test_the_newest_report_counts(w: World) -> None:
    answer = await redeemed(w)
    for status in ("failed", "skipped"):
        await report(w, answer, status)
    assert (await w.stored(answer)).outcome == "skipped"


@pytest.mark.parametrize("later", ["failed", "skipped"])
async def test_what_was_executed_stays_executed(w: World, later: str) -> None:
    answer = await redeemed(w)
    for status in ("failed", "executed", later):
        await report(w, answer, status)
    assert (await w.stored(answer)).outcome == "executed"


async def test_an_approval_that_nobody_used_needs_no_outcome(w: World) -> None:
    await w.approved()
    w.clock.advance(2 * HOUR)
    assert await unknown(w) == []


async def test_what_a_verifier_redeemed_is_unknown_as_well(w: World) -> None:
    created = await w.new_verifier()
    answer = await w.ask(100)
    await w.redeem(answer, caller=await w.caller(created.key))
    w.clock.advance(HOUR)
    assert await unknown(w) == [answer.request.id]


async def test_a_workspace_sets_the_time_itself(w: World) -> None:
    answer = await redeemed(w)
    await w.write(lambda tx: change_timing(tx, w.env, COMMAND_LINE, TENANT, Timing((), 2 * MINUTE)))
    w.clock.advance(120)
    assert await unknown(w) == [answer.request.id]


async def test_pages_hold_each_once_newest_first_also_of_the_same_moment(w: World) -> None:
    ids = [(await redeemed(w, number)).request.id for number in range(5)]
    w.clock.advance(1)
    ids += [(await redeemed(w, number)).request.id for number in range(5, 8)]
    w.clock.advance(HOUR)
    listed, before = list[str](), None
    for _ in range(4):
        page = await w.read(
            lambda tx, before=before: list_unknown(tx, w.env, TENANT, None, before=before, limit=2)  # type: ignore[misc]
        )
        listed += [doubt.request.id for doubt in page.doubts]
        if page.next_cursor is not None:
            at, seq = page.next_cursor.split(".")
            before = (int(at), int(seq))
    assert (listed, page.next_cursor) == (ids[::-1], None)


async def test_they_are_counted_per_workspace_and_together(w: World) -> None:
    await redeemed(w)
    theirs = await second_tenant(w)
    await theirs.apply("{version: 1, tools: {issue_refund: {default: allow}}}")
    await redeemed(theirs)
    w.clock.advance(HOUR)
    counts = [await w.read(lambda tx, one=one: count_unknown(tx, w.env, one)) for one in (TENANT, "other")]  # type: ignore[misc]
    assert (counts, await w.read(lambda tx: count_all_unknown(tx, w.env))) == ([1, 1], 2)


async def test_flagged_outcomes_are_listed_with_their_requests_in_pages(w: World) -> None:
    answers = [await w.ask(task=f"task-{number}") for number in range(3)]
    for answer in answers:
        await report(w, answer, "executed")
    first = await w.read(lambda tx: list_flagged(tx, TENANT, None, before=None, limit=2))
    rest = await w.read(lambda tx: list_flagged(tx, TENANT, None, before=int(first.next_cursor or 0), limit=2))
    found = [(doubt.request.id, doubt.outcome.flag if doubt.outcome else None) for doubt in first.doubts + rest.doubts]
    assert found == [(answer.request.id, "not_approved") for answer in reversed(answers)]
    assert rest.next_cursor is None


async def test_an_auditor_sees_what_is_masked_for_them_masked(w: World) -> None:
    answer = await w.ask(ask=an_ask(100, subject="Refund to 4111 1111 1111 1111"))
    await w.redeem(answer)
    w.clock.advance(HOUR)
    pages = [
        await w.read(lambda tx, user=user: list_unknown(tx, w.env, TENANT, user, before=None, limit=9))  # type: ignore[misc]
        for user in (w.auditor, w.admin)
    ]
    assert ["4111" in page.doubts[0].request.subject for page in pages] == [False, True]
