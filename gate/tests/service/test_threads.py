"""What becomes of a thread: expiry, revision, review, edit, pause."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from gate.tests.factories import POLICY, START, TENANT, World, thread_of

from stacksona_gate.domain.approvals import Redeemed, Refused
from stacksona_gate.domain.errors import Conflict, Forbidden, Invalid, NotFound
from stacksona_gate.domain.requests import MAX_REVISIONS
from stacksona_gate.policy.parse import parse_policy
from stacksona_gate.service import agents, directory, reviews
from stacksona_gate.service.requests import Ask, File
from stacksona_gate.service.sweeping import sweep
from stacksona_gate.service.threads import Change

DAY = 86_400

# Expiry


async def test_a_thread_whose_time_is_over_is_rejected_for_its_reader(w: World) -> None:
    answer = await w.ask()
    w.clock.advance(DAY)
    polled = await w.poll(answer)
    assert (polled.answer.status, polled.answer.request.reason_code) == ("rejected", "expired")


async def test_a_moment_before_its_time_a_thread_still_waits(w: World) -> None:
    answer = await w.ask()
    w.clock.advance(DAY - 0.000001)
    assert (await w.poll(answer)).answer.status == "pending_review"


async def test_a_verdict_after_the_time_is_a_conflict_and_the_expiry_is_kept(w: World) -> None:
    answer = await w.ask()
    w.clock.advance(DAY)
    with pytest.raises(Conflict):
        await w.review(answer)
    assert (await w.stored(answer)).reason_code == "expired"


async def test_the_sweep_rejects_all_that_is_over(w: World) -> None:
    answers = [await w.ask(task=f"task-{number}") for number in range(3)]
    w.clock.advance(DAY)
    await sweep(w.gate)
    assert {(await w.stored(answer)).reason_code for answer in answers} == {"expired"}


async def test_a_clock_set_back_revives_nothing(w: World) -> None:
    answer = await w.ask()
    w.clock.advance(DAY)
    await sweep(w.gate)
    w.clock.advance(-2 * DAY)
    with pytest.raises(Conflict):
        await w.review(answer)
    assert (await w.poll(answer)).answer.status == "rejected"


async def test_expiry_is_the_gates_own_entry(w: World) -> None:
    await w.ask()
    w.clock.advance(DAY)
    await sweep(w.gate)
    assert [(entry.actor_kind, entry.at) for entry in await w.entries("thread.expired")] == [("gate", w.clock.now)]


# Revision


async def test_a_revision_replaces_the_content_and_voids_the_reviews(w: World) -> None:
    answer = await w.ask()
    await w.review(answer, "request_changes", message="less")
    revised = await w.revise(answer, 400)
    assert (revised.revision, revised.payload, revised.revision_requested, revised.feedback) == (
        2,
        '{"amount":400}',
        False,
        None,
    )
    with pytest.raises(Conflict) as refused:
        await w.review(answer, revision=1)
    assert refused.value.code == "revision_moved"


async def test_a_revision_that_policy_would_allow_still_waits(w: World) -> None:
    answer = await w.ask()
    assert (await w.revise(answer, 1)).status == "pending_review"


async def test_a_revision_that_policy_refuses_is_rejected(w: World) -> None:
    answer = await w.ask()
    revised = await w.revise(answer, 9000)
    assert (revised.status, revised.reason_code) == ("rejected", "rule")


async def test_a_revision_is_judged_by_todays_policy(w: World) -> None:
    answer = await w.ask()
    await w.apply(POLICY.replace("limit: 5000", "limit: 300"))
    assert (await w.revise(answer, 400)).status == "rejected"


async def test_a_thread_has_at_most_fifty_revisions(w: World) -> None:
    answer = await w.ask()
    for number in range(MAX_REVISIONS - 1):
        await w.revise(answer, 300 + number)
    with pytest.raises(Invalid):
        await w.revise(answer, 999)
    assert (await w.stored(answer)).revision == MAX_REVISIONS == 50


@pytest.mark.parametrize("verdict", ["approve", "reject"])
async def test_a_decided_thread_is_not_revised(w: World, verdict: str) -> None:
    answer = await w.ask()
    await w.review(answer, verdict)
    with pytest.raises(Conflict):
        await w.revise(answer)


async def test_a_thread_whose_time_is_over_is_not_revised(w: World) -> None:
    answer = await w.ask()
    w.clock.advance(DAY)
    assert (await w.revise(answer)).reason_code == "expired"


async def test_a_revision_without_files_keeps_those_there_are(w: World) -> None:
    answer = await w.ask(ask=Ask("wire_transfer", "Pay", attachments=(File("a.png", "image/png", b"data"),)))
    await w.revise(answer, change=Change(subject="Pay now"))
    files = await w.read(lambda tx: tx.conversation.list_attachments(TENANT, answer.request.id))
    assert [(file.revision, file.name) for file in files] == [(1, "a.png"), (2, "a.png")]


async def test_another_agents_thread_does_not_exist(w: World) -> None:
    answer = await w.ask()
    other = await w.caller((await w.new_agent("other-bot")).key)
    with pytest.raises(NotFound):
        await w.revise(answer, caller=other)
    with pytest.raises(NotFound):
        await w.poll(answer, other)


async def test_a_cancelled_thread_is_rejected_and_not_decided_any_more(w: World) -> None:
    answer = await w.ask()
    assert (await w.cancel(answer)).reason_code == "cancelled"
    with pytest.raises(Conflict):
        await w.review(answer)


# Edit and approve


async def test_an_edited_payload_is_what_is_approved(w: World) -> None:
    answer = await w.ask()
    approved = await w.review(answer, payload={"amount": 300})
    assert (approved.status, approved.payload, approved.edited, approved.revision) == (
        "approved",
        '{"amount":300}',
        True,
        2,
    )


async def test_an_edit_that_policy_refuses_approves_nothing(w: World) -> None:
    answer = await w.ask()
    with pytest.raises(Invalid) as refused:
        await w.review(answer, payload={"amount": 9000})
    assert (refused.value.code, (await w.stored(answer)).status) == ("refused_by_rule", "pending_review")


async def test_the_token_of_an_edit_is_for_the_edited_payload_alone(w: World) -> None:
    answer = await w.ask()
    await w.review(answer, payload={"amount": 300})
    assert await w.redeem(answer, payload={"amount": 500}) == Refused("payload_mismatch")
    assert isinstance(await w.redeem(answer, payload={"amount": 300}), Redeemed)


async def test_an_edited_approval_is_not_redeemed_without_its_payload(w: World) -> None:
    answer = await w.ask()
    await w.review(answer, payload={"amount": 300})
    assert await w.redeem(answer, bare=True) == Refused("payload_required")


async def test_the_agents_own_payload_is_kept_beside_an_edit(w: World) -> None:
    answer = await w.ask()
    await w.review(answer, payload={"amount": 300})
    (kept,) = await w.read(lambda tx: tx.requests.list_revisions(TENANT, answer.request.id))
    assert kept.payload == '{"amount":500}'


async def test_the_same_payload_sent_back_is_no_edit(w: World) -> None:
    approved = await w.review(await w.ask(), payload={"amount": 500})
    assert (approved.edited, approved.revision) == (False, 1)


async def test_changes_are_asked_for_with_words(w: World) -> None:
    answer = await w.ask()
    with pytest.raises(Invalid):
        await w.review(answer, "request_changes", message=" ")


# Roles


@pytest.mark.parametrize("role", ["auditor"])
async def test_who_only_reads_does_not_decide(w: World, role: str) -> None:
    answer = await w.ask()
    with pytest.raises(Forbidden):
        await w.review(answer, by=w.auditor)


async def test_an_assigned_agents_threads_are_invisible_to_other_reviewers(w: World) -> None:
    await w.change_agent(agents.AgentChange(reviewers=(w.reviewer.id,)))
    answer = await w.ask()
    with pytest.raises(NotFound):
        await w.review(answer, by=w.other_reviewer)
    assert (await w.review(answer, by=w.reviewer)).status == "approved"


async def test_an_admin_decides_for_every_agent(w: World) -> None:
    await w.change_agent(agents.AgentChange(reviewers=(w.reviewer.id,)))
    assert (await w.review(await w.ask(), by=w.admin)).status == "approved"


async def test_a_fresh_claim_keeps_others_off_and_an_old_one_does_not(w: World) -> None:
    thread_id = thread_of(await w.ask())
    await w.write(lambda tx: reviews.claim(tx, w.env, w.reviewer, thread_id))
    with pytest.raises(Conflict):
        await w.write(lambda tx: reviews.claim(tx, w.env, w.other_reviewer, thread_id))
    w.clock.advance(15 * 60)
    claimed = await w.write(lambda tx: reviews.claim(tx, w.env, w.other_reviewer, thread_id))
    assert claimed.claimed_by == w.other_reviewer.id


# Pausing


async def test_pausing_rejects_open_threads_for_good(w: World) -> None:
    answer = await w.ask()
    await w.pause()
    await w.resume()
    polled = await w.poll(answer)
    assert (polled.answer.status, polled.answer.request.reason_code) == ("rejected", "agent_paused")
    with pytest.raises(Conflict):
        await w.review(answer)


@pytest.mark.parametrize("amount", [100, 500])
async def test_pausing_revokes_tokens_and_resuming_does_not_restore_them(w: World, amount: int) -> None:
    answer = await (w.ask(amount) if amount == 100 else w.approved(amount))
    token = await w.token(answer)
    await w.pause()
    await w.resume()
    assert await w.redeem(answer, token=token) == Refused("revoked")


async def test_a_paused_agent_reads_and_does_nothing_else(w: World) -> None:
    answer = await w.ask()
    await w.pause()
    assert (await w.poll(answer)).answer.status == "rejected"
    with pytest.raises(Forbidden):
        await w.redeem(answer, token="any")
    with pytest.raises(Forbidden):
        await w.revise(answer)
    with pytest.raises(Forbidden):
        await w.cancel(answer)


async def test_pausing_twice_is_one_pause(w: World) -> None:
    await w.pause()
    await w.pause()
    assert (len(await w.entries("agent.paused")), START) == (1, w.clock.now)


async def test_revisions_do_not_read_the_policy_anew(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = await w.ask()
    read = Mock(side_effect=parse_policy)
    monkeypatch.setattr(directory, "parse_policy", read)
    for amount in (400, 401, 402):
        await w.revise(answer, amount)
    assert read.call_count == 0
