"""The outbox: what is put there, what an attempt leads to, and what admins do about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gate.tests.factories import POLICY, TENANT, SQLiteDatabase, World, thread_of
from gate.tests.outbox import (
    FAILED,
    a_delivery,
    attempts,
    claimed,
    deliveries,
    endpoint,
    give_address,
    give_workspace_hook,
    notices,
    record,
    switched_off,
)

from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.canonical import canonicalize
from stacksona_gate.domain.errors import Conflict, NotFound
from stacksona_gate.domain.times import DAY, HOUR, MINUTE, SECOND
from stacksona_gate.domain.webhooks import LADDER, Result, wait_after
from stacksona_gate.service import deliveries as admin
from stacksona_gate.service.notices import add_notice, dismiss_notice
from stacksona_gate.service.requests import Ask
from stacksona_gate.service.threads import expire_overdue
from stacksona_gate.service.webhooks import notify

STRICTER = POLICY.replace("limit: 5000", "limit: 400")


async def the_event(w: World) -> str:
    (one,) = await deliveries(w)
    assert json.loads(one.body)["event"] == one.event
    return one.event


@pytest.mark.parametrize(("verdict", "event"), [("approve", "approved"), ("reject", "rejected")])
async def test_a_verdict_puts_its_event(w: World, verdict: str, event: str) -> None:
    await give_address(w)
    await w.review(await w.ask(), verdict)
    assert await the_event(w) == f"decision.{event}"


async def test_a_request_for_changes_puts_its_event_with_the_reviewers_words(w: World) -> None:
    await give_address(w)
    await w.review(await w.ask(), "request_changes", message="smaller, please")
    assert await the_event(w) == "decision.revision_requested"
    body = json.loads((await deliveries(w))[0].body)
    assert (body["decision"], body["message"], body["decided_at"]) == ("pending_review", "smaller, please", None)


async def test_expiry_puts_a_rejection(w: World) -> None:
    await give_address(w)
    answer = await w.ask()
    w.clock.advance(86_400)
    await w.write(lambda tx: expire_overdue(tx, w.env, TENANT, thread_of(answer)))
    assert (await the_event(w), json.loads((await deliveries(w))[0].body)["reason_code"]) == (
        "decision.rejected",
        "expired",
    )


async def test_cancellation_puts_a_rejection(w: World) -> None:
    await give_address(w)
    await w.cancel(await w.ask())
    assert await the_event(w) == "decision.rejected"


async def test_a_pause_puts_a_rejection(w: World) -> None:
    await give_address(w)
    await w.ask()
    await w.pause()
    assert await the_event(w) == "decision.rejected"


async def test_a_revision_that_policy_refuses_puts_a_rejection(w: World) -> None:
    await give_address(w)
    answer = await w.ask()
    await w.apply(STRICTER)
    await w.revise(answer, 450)
    assert await the_event(w) == "decision.rejected"


async def test_an_answer_given_at_once_puts_nothing(w: World) -> None:
    await give_address(w)
    await w.ask(100)
    await w.ask(9000)
    assert await deliveries(w) == []


async def test_claims_notes_and_revisions_that_wait_put_nothing(w: World) -> None:
    await give_address(w)
    answer = await w.ask()
    await w.revise(answer)
    assert await deliveries(w) == []


async def test_an_agent_that_polls_gets_nothing(w: World) -> None:
    await w.review(await w.ask())
    assert await deliveries(w) == []


async def test_an_agent_that_went_back_to_polling_gets_nothing(w: World) -> None:
    await give_address(w)
    await give_address(w, None)
    await w.review(await w.ask())
    assert await deliveries(w) == []


async def test_a_decision_that_is_rolled_back_puts_nothing(w: World) -> None:
    await give_address(w)
    answer = await w.ask()
    with pytest.raises(Conflict):
        await w.review(answer, revision=2)
    assert await deliveries(w) == []


async def test_the_body_is_canonical_and_has_the_fields_of_the_contract(w: World) -> None:
    await give_address(w)
    ask = Ask("issue_refund", "Refund", payload={"amount": 500}, workflow_name="w", metadata={"run": "7"})
    await w.review(await w.ask(ask=ask))
    (one,) = await deliveries(w)
    body = json.loads(one.body)
    assert one.body == canonicalize(body).decode()
    assert set(body) == {
        *("thread_id", "task_id", "decision", "message", "tenant_id", "workflow_name", "task_label", "event"),
        *("request_id", "tool_name", "reason_code", "edited", "metadata", "decided_at"),
    }
    assert (body["workflow_name"], body["metadata"], body["task_label"]) == ("w", {"run": "7"}, None)


async def test_the_body_holds_no_payload_no_digest_and_no_token(w: World) -> None:
    await give_address(w)
    answer = await w.ask(payload={"amount": 500, "iban": "DE02120300000000202051"})
    approved = await w.review(answer)
    (one,) = await deliveries(w)
    hidden = ("DE02120300000000202051", approved.payload_digest, approved.approval_id or "")
    assert [text for text in hidden if text in one.body] == []


async def test_a_newer_event_of_a_thread_supersedes_the_one_that_waits(w: World) -> None:
    await give_address(w)
    answer = await w.ask()
    await w.review(answer, "request_changes", message="one")
    await w.review(answer, "reject")
    assert [(one.event, one.state) for one in await deliveries(w)] == [
        ("decision.revision_requested", "superseded"),
        ("decision.rejected", "pending"),
    ]


async def test_an_event_on_its_way_is_not_superseded_and_the_newer_one_waits_for_it(w: World) -> None:
    await give_address(w)
    answer = await w.ask()
    await w.review(answer, "request_changes")
    (first,) = await claimed(w)
    await w.review(answer, "reject")
    assert await claimed(w) == []
    await record(w, first)
    assert [claim.delivery.event for claim in await claimed(w)] == ["decision.rejected"]
    assert [one.state for one in await deliveries(w)] == ["delivered", "pending"]


async def test_an_event_that_failed_is_superseded_when_a_newer_one_goes_out(w: World) -> None:
    await give_address(w)
    answer = await w.ask()
    await w.review(answer, "request_changes")
    (first,) = await claimed(w)
    await w.review(answer, "reject")
    await record(w, first, FAILED)
    w.clock.advance(3600)
    assert [claim.delivery.event for claim in await claimed(w)] == ["decision.rejected"]
    assert [one.state for one in await deliveries(w)] == ["superseded", "pending"]


async def test_events_of_other_threads_are_left_alone(w: World) -> None:
    await give_address(w)
    await w.review(await w.ask(task="task-1"))
    await w.review(await w.ask(task="task-2"))
    assert [one.state for one in await deliveries(w)] == ["pending", "pending"]


async def test_a_success_delivers_it_and_is_recorded(w: World) -> None:
    await a_delivery(w)
    (claim,) = await claimed(w)
    assert await record(w, claim) == "delivered"
    (one,) = await deliveries(w)
    assert (one.state, one.attempts, one.finished_at) == ("delivered", 1, w.clock.now)
    assert len(await w.entries("webhook.delivered")) == 1


async def test_an_attempt_is_seen_with_what_the_receiver_said(w: World) -> None:
    await a_delivery(w)
    (claim,) = await claimed(w)
    await record(w, claim, Result(7, 8, 503, None, "<b>not now</b>\x00"))
    (attempt,) = await attempts(w, claim.delivery)
    assert (attempt.attempt, attempt.at, attempt.duration) == (1, 7, 8)
    assert (attempt.status, attempt.answer) == (503, "<b>not now</b>\x00")


@pytest.mark.parametrize("rung", range(1, len(LADDER)))
def test_each_wait_is_the_ladders_and_a_tenth_more_or_less(rung: int) -> None:
    waits = [wait_after(rung, chance) for chance in (0.0, 0.5, 1.0)]
    assert waits == [round(LADDER[rung] * factor) for factor in (0.9, 1.0, 1.1)]


def test_the_ladder_is_the_contracts() -> None:
    assert LADDER == (0, 5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR)


def test_after_the_last_rung_there_is_no_wait() -> None:
    assert wait_after(len(LADDER), 0.5) is None


@pytest.mark.parametrize(
    ("asked", "wait"), [(60, 60 * SECOND), (1, 5 * SECOND), (10**9, DAY)], ids=["later", "sooner", "never"]
)
def test_retry_after_makes_a_wait_longer_and_never_shorter_and_at_most_a_day(asked: int, wait: int) -> None:
    assert wait_after(1, 0.5, asked) == wait


async def test_a_failure_puts_it_off_to_the_next_rung(w: World) -> None:
    await a_delivery(w)
    (claim,) = await claimed(w)
    assert await record(w, claim, FAILED) == "failed"
    (one,) = await deliveries(w, "pending")
    assert 4.5 * SECOND <= (one.due_at or 0) - w.clock.now <= 5.5 * SECOND
    assert await claimed(w) == []


async def test_retry_after_is_honoured(w: World) -> None:
    await a_delivery(w)
    (claim,) = await claimed(w)
    await record(w, claim, Result(0, 1, 429, None, "", 600))
    assert (await deliveries(w))[0].due_at == w.clock.now + 600 * SECOND


async def test_after_eight_failures_it_is_dead_and_the_admins_are_told_once(w: World) -> None:
    await a_delivery(w)
    await w.review(await w.ask(task="task-2"))
    for _ in range(20):
        for claim in await claimed(w):
            await record(w, claim, FAILED)
        w.clock.advance(11 * 3600)
        if not await deliveries(w, "pending"):
            break
    dead = await deliveries(w, "dead")
    assert [(one.attempts, one.tries) for one in dead] == [(8, 8), (8, 8)]
    assert [notice.kind for notice in await notices(w)] == ["webhook.dead"]
    assert len(await w.entries("webhook.dead")) == 2


async def test_every_attempt_carries_the_same_id_and_body(w: World) -> None:
    await a_delivery(w)
    (first,) = await claimed(w)
    await record(w, first, FAILED)
    w.clock.advance(10)
    (second,) = await claimed(w)
    assert (first.delivery.id, first.delivery.body) == (second.delivery.id, second.delivery.body)
    assert second.delivery.fence > first.delivery.fence


async def test_a_test_is_about_no_thread_and_sent_once(w: World) -> None:
    await give_address(w)
    await w.write(lambda tx: admin.send_test(tx, w.env, COMMAND_LINE, TENANT, "support-bot"))
    (claim,) = await claimed(w)
    assert (claim.delivery.request_id, claim.delivery.thread_id) == (None, None)
    assert json.loads(claim.delivery.body)["event"] == "test"
    assert await record(w, claim, FAILED) == "dead"
    assert ((await endpoint(w)).failing_since, await notices(w)) == (None, [])


async def test_an_agent_without_a_webhook_gets_no_test(w: World) -> None:
    with pytest.raises(Conflict):
        await w.write(lambda tx: admin.send_test(tx, w.env, COMMAND_LINE, TENANT, "support-bot"))
    with pytest.raises(NotFound):
        await w.write(lambda tx: admin.send_test(tx, w.env, COMMAND_LINE, TENANT, "nobody"))


async def test_the_workspaces_own_hook_is_told_what_it_is_told(w: World) -> None:
    await give_workspace_hook(w)
    await w.write(lambda tx: notify(tx, w.env, TENANT, "thread.reminded", {"thread_id": "THR-1"}))
    (one,) = await deliveries(w)
    body = json.loads(one.body)
    assert (one.endpoint_id, one.request_id, body["event"], body["thread_id"]) == (
        "workspace",
        None,
        "thread.reminded",
        "THR-1",
    )


async def test_without_a_hook_of_its_own_a_workspace_is_told_nothing(w: World) -> None:
    await w.write(lambda tx: notify(tx, w.env, TENANT, "thread.reminded", {}))
    assert await deliveries(w) == []


async def test_a_notice_about_the_same_is_open_once(w: World) -> None:
    for _ in range(3):
        await w.write(lambda tx: add_notice(tx, w.env, TENANT, "kind", "text", {"agent": "a"}))
    await w.write(lambda tx: add_notice(tx, w.env, TENANT, "kind", "text", {"agent": "b"}))
    assert [notice.objects for notice in await notices(w)] == ['{"agent":"b"}', '{"agent":"a"}']


async def test_a_dismissed_notice_is_off_the_list_and_may_come_again(w: World) -> None:
    await w.write(lambda tx: add_notice(tx, w.env, TENANT, "kind", "text", {}))
    (notice,) = await notices(w)
    await w.write(lambda tx: dismiss_notice(tx, w.env, COMMAND_LINE, TENANT, notice.id))
    assert (await notices(w), len(await w.entries("notice.dismissed"))) == ([], 1)
    await w.write(lambda tx: add_notice(tx, w.env, TENANT, "kind", "text", {}))
    assert len(await notices(w)) == 1


async def test_old_deliveries_are_forgotten_with_their_attempts(w: World) -> None:
    await a_delivery(w)
    (claim,) = await claimed(w)
    await record(w, claim)
    assert await w.read(lambda tx: admin.list_over(tx, w.clock.now + 30 * DAY, 9)) == []
    over = await w.read(lambda tx: admin.list_over(tx, w.clock.now + 30 * DAY + 1, 9))
    await w.write(lambda tx: admin.delete_over(tx, over))
    assert (await deliveries(w), await attempts(w, claim.delivery)) == ([], [])


async def test_dead_deliveries_are_kept_longer(w: World) -> None:
    await switched_off(w)
    assert await w.read(lambda tx: admin.list_over(tx, w.clock.now + 90 * DAY, 9)) == []
    assert len(await w.read(lambda tx: admin.list_over(tx, w.clock.now + 90 * DAY + 1, 9))) == 1


def on_disk(path: str) -> bytes:
    return b"".join(Path(path + suffix).read_bytes() for suffix in ("", "-wal"))


async def test_what_rests_on_disk_shows_neither_body_nor_answer(w: World) -> None:
    await give_address(w)
    await w.review(await w.ask(), message="a word nobody else says")
    (claim,) = await claimed(w)
    await record(w, claim, Result(0, 1, 500, None, "an answer nobody else gives"))
    assert isinstance(w.database, SQLiteDatabase)
    content = on_disk(w.database.path)
    assert b"webhook" in content
    assert [word for word in (b"a word nobody", b"an answer nobody") if word in content] == []
