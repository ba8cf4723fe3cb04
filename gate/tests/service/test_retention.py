"""Content goes when its workspace keeps it no longer; statuses, leaves and proofs stay."""

from __future__ import annotations

import json

import pytest
from gate.tests.factories import TENANT, World, beside, second_tenant, thread_of, world
from msgspec.structs import replace as changed

from stacksona_gate.domain.audit import COMMAND_LINE, holds
from stacksona_gate.domain.errors import Invalid
from stacksona_gate.domain.requests import RequestState
from stacksona_gate.domain.times import DAY
from stacksona_gate.main import clear_out
from stacksona_gate.service import retention, reviews, tasks
from stacksona_gate.service.requests import Answer, Ask, File
from stacksona_gate.service.retention import Retention, expire_content
from stacksona_gate.service.tasks import EventReport, OutcomeReport
from stacksona_gate.store.queries.erasure import ErasureQueries

SECRET = "Ana Maria Kowalska"


async def keep(w: World, days: int, tenant_id: str = TENANT) -> None:
    await w.write(lambda tx: retention.change_retention(tx, w.env, COMMAND_LINE, tenant_id, Retention(days)))


def telling() -> Ask:
    """An ask that says the secret wherever it can."""
    return Ask(
        "issue_refund",
        f"Refund for {SECRET}",
        workflow_name=SECRET,
        task_label=SECRET,
        preview=SECRET,
        summary=(SECRET,),
        payload={"amount": 500, "to": SECRET},
        metadata={"customer": SECRET},
        attachments=(File(f"{SECRET}.txt", "text/plain", SECRET.encode()),),
    )


async def talked_about(w: World) -> Answer:
    """A thread in which everybody says the secret, approved, redeemed and reported."""
    answer = await w.ask(ask=telling(), idempotency="once")
    thread_id, caller = thread_of(answer), await w.caller()
    await w.write(lambda tx: reviews.add_note(tx, w.env, w.reviewer, thread_id, SECRET))
    report = EventReport("task.note", SECRET, {"about": SECRET}, thread_id)
    await w.write(lambda tx: tasks.log_event(tx, w.env, caller, "task-1", report, None))
    await w.revise(answer, change=None)
    await w.review(answer, message=SECRET, revision=2)
    await w.redeem(answer, token=await w.token(answer), payload_digest=(await w.stored(answer)).payload_digest)
    outcome = OutcomeReport("executed", request_id=answer.request.id, detail=SECRET)
    await w.write(lambda tx: tasks.report_outcome(tx, w.env, caller, "task-1", outcome, None))
    return answer


async def everything(w: World, answer: Answer) -> str:
    """All that is kept about a thread, as an admin sees it."""
    view = await w.read(lambda tx: reviews.view_thread(tx, w.admin, thread_of(answer)))
    found = await w.read(lambda tx: [tx.conversation.find_attachment(TENANT, file.id) for file in view.attachments])
    return repr(view) + repr(found)


async def test_old_content_goes_everywhere_and_what_happened_stays() -> None:
    async with world() as w:
        answer = await talked_about(w)
        before = await w.entries()
        assert SECRET in await everything(w, answer)
        await keep(w, 30)
        w.clock.advance(31 * DAY / 1e6)
        assert await expire_content(w.gate) == 1
        assert SECRET not in await everything(w, answer)
        stored = await w.stored(answer)
        assert (stored.status, stored.subject, stored.erased_at) == ("approved", "erased", w.clock.now)
        after = await w.entries()
        assert [entry.leaf for entry in after[: len(before)]] == [entry.leaf for entry in before]
        assert all(entry.private == "{}" for entry in after if entry.request_id == answer.request.id)


async def test_commitments_of_what_was_not_erased_still_hold() -> None:
    async with world() as w:
        await w.ask(500, task="old")
        await keep(w, 30)
        w.clock.advance(30 * DAY / 1e6)
        kept = await w.ask(600, task="young")
        w.clock.advance(2 * DAY / 1e6)
        await expire_content(w.gate)
        entry = next(entry for entry in await w.entries() if entry.request_id == kept.request.id)
        commitments, private = json.loads(entry.leaf)["commitments"], json.loads(entry.private)
        assert private.keys() == commitments.keys()
        assert all(holds(commitments[name], one["salt"], one["value"]) for name, one in private.items())


async def test_it_is_on_record_with_counts_and_no_content() -> None:
    async with world() as w:
        answer = await talked_about(w)
        await keep(w, 30)
        w.clock.advance(31 * DAY / 1e6)
        await expire_content(w.gate)
        [entry] = await w.entries("content.expired")
        private = json.loads(entry.private)
        assert private["requests"]["value"] == [answer.request.id]
        assert private["counts"]["value"]["notes"] == 1
        assert private["counts"]["value"]["attachments"] == 2
        assert SECRET not in entry.private
        assert entry.actor_kind == "gate"


async def test_requests_that_were_answered_at_once_go_too() -> None:
    async with world() as w:
        allowed = await w.ask(payload={"amount": 10, "to": SECRET})
        await w.redeem(allowed)
        await keep(w, 30)
        w.clock.advance(31 * DAY / 1e6)
        await expire_content(w.gate)
        entries = [entry for entry in await w.entries() if entry.request_id == allowed.request.id]
        assert [(entry.event, entry.private) for entry in entries] == [
            ("request.decided", "{}"),
            ("approval.redeemed", "{}"),
        ]


@pytest.mark.parametrize("days", [0, 30])
async def test_nothing_goes_before_its_time(days: int) -> None:
    async with world() as w:
        answer = await w.ask(10)
        await keep(w, days)
        w.clock.advance(29 * DAY / 1e6)
        assert await expire_content(w.gate) == 0
        assert (await w.stored(answer)).payload == '{"amount":10}'


async def test_a_thread_that_waits_never_goes_and_is_found_once_it_is_decided() -> None:
    async with world() as w:
        waits = await w.ask(ask=changed(telling(), expires_in=2_592_000))
        for _ in range(3):
            await w.ask(10)
        await keep(w, 1)
        w.clock.advance(2 * DAY / 1e6)
        assert await expire_content(w.gate) == 3
        assert SECRET in await everything(w, waits)
        await w.review(waits, "reject")
        w.clock.advance(2 * DAY / 1e6)
        assert await expire_content(w.gate) == 1
        assert SECRET not in await everything(w, waits)


async def test_what_is_approved_and_still_to_be_redeemed_never_goes() -> None:
    async with world(policy="version: 1\ntools:\n  issue_refund: {approval_valid_for: 864000}\n") as w:
        answer = await w.approved(500)
        await keep(w, 1)
        w.clock.advance(5 * DAY / 1e6)
        assert await expire_content(w.gate) == 0
        assert (await w.redeem(answer, token=await w.token(answer))).request.payload == '{"amount":500}'  # type: ignore[union-attr]
        assert await expire_content(w.gate) == 1


async def test_a_round_that_was_cut_short_is_taken_up_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world() as w:
        answers = [await w.ask(10, task=f"t{i}") for i in range(7)]
        await keep(w, 1)
        w.clock.advance(2 * DAY / 1e6)
        monkeypatch.setattr(retention, "BATCH", 2)
        monkeypatch.setattr(retention, "PAGE", 3)
        await w.write(lambda tx: tx.erasure.erase_request(TENANT, answers[4].request.id, w.clock.now))
        async with beside(w) as other:
            assert await expire_content(other.gate) == 6
        assert await expire_content(w.gate) == 0
        assert all([(await w.stored(answer)).erased_at for answer in answers])


async def test_each_workspace_keeps_its_own_time() -> None:
    async with world() as w:
        other = await second_tenant(w)
        mine, theirs = await w.ask(10), await other.ask(10)
        await keep(w, 1)
        w.clock.advance(2 * DAY / 1e6)
        await expire_content(w.gate)
        assert (await w.stored(mine)).erased_at is not None
        assert (await other.stored(theirs)).erased_at is None


async def test_events_outside_of_threads_go_too() -> None:
    async with world() as w:
        caller = await w.caller()
        report = EventReport("task.started", SECRET, {"about": SECRET})
        await w.write(lambda tx: tasks.log_event(tx, w.env, caller, "task-9", report, None))
        await keep(w, 1)
        w.clock.advance(2 * DAY / 1e6)
        await expire_content(w.gate)
        [event] = await w.read(lambda tx: tx.conversation.list_events(TENANT, w.agent.id, "task-9", 10))
        [entry] = await w.entries("task.event")
        assert (event.summary, event.payload, entry.private) == ("", "{}", "{}")


async def test_answers_kept_for_repeated_calls_are_emptied() -> None:
    async with world() as w:
        first = await w.ask(10, idempotency="key")
        await w.redeem(first)
        await keep(w, 1)
        w.clock.advance(1.05 * DAY / 1e6)
        await expire_content(w.gate)
        again = await w.ask(10, idempotency="key")
        assert (again.request.id, again.token) == (first.request.id, None)
        assert json.loads(again.body) | {"message": "", "payload_digest": "", "erased": True} == json.loads(again.body)


async def test_clearing_out_does_it() -> None:
    async with world() as w:
        answer = await w.ask(10)
        await keep(w, 1)
        w.clock.advance(3 * DAY / 1e6)
        await clear_out(w.gate)
        assert (await w.stored(answer)).erased_at is not None


async def test_an_agent_is_told_that_the_payload_is_gone() -> None:
    async with world() as w:
        answer = await talked_about(w)
        await keep(w, 30)
        w.clock.advance(31 * DAY / 1e6)
        await expire_content(w.gate)
        polled = (await w.poll(answer)).answer
        body = json.loads(polled.body)
        assert (body["status"], body["erased"], polled.token) == ("approved", True, None)
        assert "payload" not in body


async def test_changes_are_on_record_and_nonsense_is_refused() -> None:
    async with world() as w:
        await keep(w, 30)
        await keep(w, 30)
        [entry] = await w.entries("settings.changed")
        assert json.loads(entry.private)["after"]["value"] == {"retention_days": 30}
        with pytest.raises(Invalid):
            await keep(w, -1)


async def test_a_setting_that_was_damaged_removes_nothing() -> None:
    async with world() as w:
        await w.ask(10)
        await w.write(lambda tx: tx.tenants.set_setting(TENANT, "retention", '{"retention_days": "1"}'))
        w.clock.advance(9 * DAY / 1e6)
        assert await expire_content(w.gate) == 0


async def test_what_a_clock_that_ran_ahead_wrote_goes_in_its_time() -> None:
    async with world() as w:
        w.clock.advance(100 * DAY / 1e6)
        ahead = await w.ask(10, task="ahead")
        w.clock.advance(-100 * DAY / 1e6)
        after = await w.ask(10, task="after")
        await keep(w, 1)
        w.clock.advance(3 * DAY / 1e6)
        await expire_content(w.gate)
        w.clock.advance(100 * DAY / 1e6)
        await expire_content(w.gate)
        assert None not in [(await w.stored(answer)).erased_at for answer in (ahead, after)]


async def test_content_that_is_kept_for_now_is_not_gone_through_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PAGE", 2)
    async with world() as w:
        for number in range(9):
            await w.ask(10, task=f"task-{number}")
        await keep(w, 30)
        looks: list[int] = []
        look = ErasureQueries.list_states

        def noted(tx: ErasureQueries, tenant_id: str, *, after: int, limit: int) -> list[RequestState]:
            looks.append(after)
            return look(tx, tenant_id, after=after, limit=limit)

        monkeypatch.setattr(ErasureQueries, "list_states", noted)
        await expire_content(w.gate)
        assert len(looks) == 1
