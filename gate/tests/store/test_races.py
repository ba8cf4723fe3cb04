"""Everything at once: of any two that contradict each other one happens, and the other is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from itertools import batched
from threading import Event
from typing import Any

import pytest
from gate.tests.factories import PATIENCE, POLICY, START, TENANT, Clock, World, beside, thread_of

from stacksona_gate.domain.approvals import Redeemed, Refused
from stacksona_gate.domain.errors import Conflict, Forbidden, GateError, Invalid, Unauthenticated
from stacksona_gate.domain.requests import Review
from stacksona_gate.domain.times import DAY, SECOND
from stacksona_gate.service.log import latest_kept, seal_now
from stacksona_gate.service.requests import Answer
from stacksona_gate.service.sweeping import sweep_some
from stacksona_gate.service.threads import expire_overdue
from stacksona_gate.store.base import Submission, Tx
from stacksona_gate.store.queries.log import LogQueries

STRICT = POLICY.replace("default: allow", "default: reject")


async def together(*calls: Awaitable[Any]) -> list[Any]:
    return await asyncio.gather(*calls, return_exceptions=True)


def kinds(results: Sequence[object]) -> Counter[str]:
    return Counter(type(result).__name__ for result in results)


async def test_of_two_reviewers_at_once_one_decides_and_the_other_gets_a_conflict(w: World) -> None:
    answer = await w.ask()
    results = await together(w.review(answer, by=w.reviewer), w.review(answer, "reject", by=w.other_reviewer))
    assert kinds(results) == {"Request": 1, "Conflict": 1}


async def test_two_reviewers_at_once_leave_one_review(w: World) -> None:
    answer = await w.ask()
    await together(w.review(answer, by=w.reviewer), w.review(answer, by=w.other_reviewer))
    assert len(await w.read(lambda tx: tx.conversation.list_reviews(TENANT, answer.request.id))) == 1


async def test_of_twenty_verdicts_through_two_gates_one_decides(w: World) -> None:
    answer = await w.ask()
    async with beside(w) as other:
        reviews = [gate.review(answer, ("approve", "reject")[n % 2]) for n in range(10) for gate in (w, other)]
        results = await together(*reviews)
    assert kinds(results) == {"Request": 1, "Conflict": 19}


async def test_a_verdict_against_expiry_ends_in_one_of_both(w: World) -> None:
    answer = await w.ask()
    w.clock.advance(86_400)
    results = await together(w.write(lambda tx: sweep_some(tx, w.env)), w.review(answer))
    assert isinstance(results[1], Conflict)
    assert ((await w.stored(answer)).status, len(await w.entries("thread.expired"))) == ("rejected", 1)


async def test_expiry_by_several_at_once_is_recorded_once(w: World) -> None:
    answer = await w.ask()
    w.clock.advance(86_400)
    async with beside(w) as other:
        sweeps = [gate.write(lambda tx: sweep_some(tx, w.env)) for gate in (w, other)]
        looks = [w.write(lambda tx: expire_overdue(tx, w.env, TENANT, thread_of(answer))) for _ in range(5)]
        await together(*sweeps, *looks)
    assert len(await w.entries("thread.expired")) == 1


async def test_a_verdict_against_cancellation_ends_in_one_of_both(w: World) -> None:
    answer = await w.ask()
    results = await together(w.cancel(answer), w.review(answer))
    assert kinds(results) == {"Request": 1, "Conflict": 1}


async def test_a_verdict_against_a_revision_never_approves_what_was_not_seen(w: World) -> None:
    answer = await w.ask()
    await together(w.revise(answer, 4000), w.review(answer, revision=1))
    stored = await w.stored(answer)
    assert (stored.status, stored.revision) in {("pending_review", 2), ("approved", 1)}


async def test_a_verdict_against_a_pause_leaves_nothing_redeemable(w: World) -> None:
    answer = await w.ask()
    async with beside(w) as other:
        _, paused = await together(other.review(answer), w.pause())
    assert not isinstance(paused, BaseException)
    await w.resume()
    stored = await w.stored(answer)
    assert stored.status in {"approved", "rejected"}
    assert (await w.poll(answer)).answer.token is None


async def test_submitting_against_a_pause_leaves_no_thread_open(w: World) -> None:
    caller = await w.caller()
    asked = [w.ask(task=f"task-{number}", caller=caller) for number in range(20)]
    results = await together(*asked, w.pause())
    assert {type(result) for result in results[:-1]} <= {Answer, Forbidden}
    assert await w.read(lambda tx: tx.requests.list_pending_of_agent(TENANT, w.agent.id)) == []


async def test_an_agent_that_revises_all_the_time_is_paused_all_the_same(w: World) -> None:
    answers = await asyncio.gather(*(w.ask(task=f"task-{number}") for number in range(60)))
    async with beside(w) as other:
        going = asyncio.create_task(_revise_without_end(other, answers))
        await w.pause()
        with pytest.raises(Forbidden):
            await going
    assert {(await w.stored(answer)).reason_code for answer in answers} == {"agent_paused"}


async def _revise_without_end(w: World, answers: Sequence[Answer]) -> None:
    """Up to 50 revisions of each; raises what the gate says to it."""
    caller = await w.caller()
    for number in range(12):
        for some in batched(answers, 4):
            done = await together(*(w.revise(answer, 300 + number, caller=caller) for answer in some))
            for refused in (each for each in done if isinstance(each, Forbidden)):
                raise refused


async def test_one_key_on_two_sides_of_midnight_at_once_makes_one_decision(w: World) -> None:
    midnight = (START // DAY + 1) * DAY
    w.clock.now = midnight - SECOND
    async with beside(w, Clock(midnight + SECOND)) as other:
        for number in range(10):
            asked = [gate.ask(100, idempotency=f"key-{number}") for gate in (w, other)]
            assert len({answer.request.id for answer in await asyncio.gather(*asked)}) == 1


async def test_a_unit_that_hides_a_failed_statement_is_not_told_to_be_done(w: World) -> None:
    answer = await w.ask()

    def unit(tx: Tx) -> str:
        tx.tenants.set_setting(TENANT, "kept", "yes")
        with contextlib.suppress(Exception):
            tx.conversation.insert_review(TENANT, replace(_REVIEW, request_id=answer.request.id, verdict="perhaps"))
        return "done"

    told = (await together(w.write(unit)))[0]
    assert (told == "done") == (await w.read(lambda tx: tx.tenants.get_setting(TENANT, "kept")) == "yes")


_REVIEW = Review("rev_1", "", 1, "usr_1", "Rita", "approve", "", START)


async def test_a_checkpoint_that_is_published_while_the_next_is_sealed_is_kept(
    w: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await seal_now(w.gate, TENANT)
    kept = await w.read(lambda tx: latest_kept(tx, TENANT))
    await w.ask()
    looked, published, number = Event(), Event(), LogQueries.number

    def slow(queries: LogQueries, tenant_id: str, first: int, seqs: Sequence[int]) -> None:
        looked.set()
        published.wait(0.5)  # it comes before only where nothing is held
        number(queries, tenant_id, first, seqs)

    monkeypatch.setattr(LogQueries, "number", slow)
    async with beside(w) as other:
        sealing = asyncio.create_task(seal_now(w.gate, TENANT))
        await asyncio.to_thread(looked.wait, PATIENCE)
        await other.write(lambda tx: tx.log.publish_checkpoint(replace(kept, published_at=START)))
        published.set()
        await sealing
    found = await w.read(lambda tx: tx.log.find_checkpoint(TENANT, kept.size))
    assert found is not None
    assert found.published_at == START


async def test_of_two_hundred_redemptions_exactly_one_wins(w: World) -> None:
    answer = await w.approved()
    results = await together(*(w.redeem(answer) for _ in range(200)))
    assert Counter(getattr(result, "reason", "redeemed") for result in results) == {"redeemed": 1, "already_used": 199}


async def test_two_hundred_redemptions_leave_one_entry(w: World) -> None:
    answer = await w.ask(100)
    await together(*(w.redeem(answer) for _ in range(200)))
    assert len(await w.entries("approval.redeemed")) == 1


async def test_of_redemptions_through_two_gates_exactly_one_wins(w: World) -> None:
    answer = await w.approved()
    async with beside(w) as other:
        results = await together(*(gate.redeem(answer) for _ in range(50) for gate in (w, other)))
    assert kinds(results) == {"Redeemed": 1, "Refused": 99}


async def test_redeeming_against_a_pause_ends_in_one_of_both(w: World) -> None:
    answer = await w.approved()
    async with beside(w) as other:
        results = await together(other.redeem(answer), w.pause())
    redeemed = (await w.stored(answer)).redeemed_at is not None
    assert redeemed == isinstance(results[0], Redeemed)
    assert redeemed or results[0] == Refused("revoked") or isinstance(results[0], Forbidden)


@pytest.mark.parametrize("amount", [100, 500, 9000], ids=["allowed", "reviewed", "refused"])
async def test_fifty_retries_with_one_key_make_one_request(w: World, amount: int) -> None:
    answers = await together(*(w.ask(amount, idempotency="once") for _ in range(50)))
    assert len({answer.request.id for answer in answers}) == 1
    assert len(await w.entries("request.decided")) + len(await w.entries("thread.opened")) == 1


async def test_two_retries_through_two_gates_make_one_request(w: World) -> None:
    async with beside(w) as other:
        answers = await together(w.ask(idempotency="once"), other.ask(idempotency="once"))
    assert len({answer.body for answer in answers}) == 1


async def test_one_key_with_two_bodies_at_once_decides_one_of_them(w: World) -> None:
    results = await together(*(w.ask(100 + number % 2, idempotency="once") for number in range(10)))
    refused = [result for result in results if isinstance(result, Invalid)]
    assert (len(refused), {error.code for error in refused}) == (5, {"idempotency_mismatch"})


async def test_a_decision_made_under_an_older_configuration_is_stale_and_not_written(w: World) -> None:
    from_before = await w.caller()
    await w.apply(STRICT)
    answer = await w.ask(100, caller=from_before)
    assert (answer.status, answer.request.policy_version) == ("reject", 2)
    assert len(await w.entries("request.decided")) == 1


async def test_a_redemption_by_whoever_lost_the_key_meanwhile_redeems_nothing(w: World) -> None:
    answer, from_before = await w.approved(), await w.caller()
    token = await w.token(answer)
    await w.rotate(overlap=0)
    with pytest.raises(Unauthenticated):
        await w.redeem(answer, token=token, caller=from_before)
    assert (await w.stored(answer)).redeemed_at is None


async def test_nothing_is_allowed_by_the_old_policy_once_the_new_one_is_committed(w: World) -> None:
    caller = await w.caller()
    asked = [w.ask(100, task=f"before-{number}", caller=caller) for number in range(30)]
    tightened = asyncio.ensure_future(w.apply(STRICT))
    answers = await together(*asked)
    await tightened
    later = await together(*(w.ask(100, task=f"after-{number}", caller=caller) for number in range(30)))
    written = {answer.request.id: await w.stored(answer) for answer in answers + later}
    assert {answer.status for answer in later} == {"reject"}
    assert {(r.status, r.policy_version) for r in written.values()} <= {("allow", 1), ("reject", 2)}


async def test_answers_come_in_the_order_of_the_policies_through_two_gates(w: World) -> None:
    async with beside(w) as other:
        caller = await other.caller()
        mixed = [other.ask(100, task=f"task-{number}", caller=caller) for number in range(40)]
        await together(*mixed[:20], w.apply(STRICT), *mixed[20:])
        listed = [entry.leaf for entry in await w.entries() if entry.event in ("request.decided", "policy.changed")]
    changed = next(i for i, leaf in enumerate(listed) if '"policy_version":2' in leaf)
    assert not any('"status":"allow"' in leaf for leaf in listed[changed:])


async def test_a_key_replaced_by_another_process_asks_nothing_any_more(w: World) -> None:
    caller = await w.caller()
    async with beside(w) as other:
        await other.rotate()
    with pytest.raises(Unauthenticated):
        await w.ask(100, caller=caller)


async def test_one_failing_unit_leaves_the_others_of_its_batch_committed(w: World) -> None:
    def fail(tx: object) -> None:
        raise ZeroDivisionError

    writes = [w.write(lambda tx, n=n: tx.tenants.set_setting(TENANT, f"name-{n}", "set")) for n in range(10)]  # type: ignore[misc]
    results = await together(*writes[:5], w.write(fail), *writes[5:])
    kept = await w.read(lambda tx: [tx.tenants.get_setting(TENANT, f"name-{n}") for n in range(10)])
    assert (kinds(results), kept) == ({"NoneType": 10, "ZeroDivisionError": 1}, ["set"] * 10)


async def test_a_refused_unit_leaves_nothing_behind(w: World) -> None:
    def refuse(tx: Any) -> None:
        tx.tenants.set_setting(TENANT, "half", "done")
        raise GateError("no")

    with pytest.raises(GateError):
        await w.write(refuse)
    assert await w.read(lambda tx: tx.tenants.get_setting(TENANT, "half")) is None


async def test_a_unit_that_breaks_a_constraint_is_a_conflict_and_leaves_nothing_behind(w: World) -> None:
    def twice(tx: Any) -> None:
        tx.tenants.set_setting(TENANT, "half", "done")
        tx.tenants.insert(tx.tenants.find(TENANT))

    with pytest.raises(Conflict):
        await w.write(twice)
    assert await w.read(lambda tx: tx.tenants.get_setting(TENANT, "half")) is None


async def test_one_submission_that_cannot_be_written_fails_alone(w: World) -> None:
    answer = await w.ask(100)
    caller = await w.caller()
    taken = Submission(caller.config_version, answer.request, ())
    results = await together(w.store.submit(taken), *(w.ask(100, task=f"task-{n}") for n in range(10)))
    assert kinds(results) == {"Conflict": 1, "Answer": 10}
