"""Reviewers are reminded of what still waits: in the log, on open pages, and at the workspace's own webhook."""

from __future__ import annotations

import json

import pytest
from gate.tests.factories import START, TENANT, World, an_ask, thread_of

from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.reminders import Timing
from stacksona_gate.domain.times import HOUR
from stacksona_gate.domain.webhooks import WORKSPACE, DeliveryFilter, Endpoint
from stacksona_gate.service import reviews
from stacksona_gate.service.requests import Ask
from stacksona_gate.service.sweeping import sweep
from stacksona_gate.service.timing import change_timing, read_timing
from stacksona_gate.store.base import Tx

H12, H21_36 = 12 * 3600, 21 * 3600 + 36 * 60
"""50 and 90 percent of 24 hours, in seconds."""


async def set_timing(w: World, *percents: int) -> None:
    await w.write(lambda tx: change_timing(tx, w.env, COMMAND_LINE, TENANT, Timing(percents)))


async def sweep_after(w: World, seconds: float) -> None:
    w.clock.advance(seconds)
    await sweep(w.gate)


async def reminded(w: World) -> list[str]:
    """Reminders and escalations, oldest first."""
    return [entry.event for entry in await w.entries() if entry.event in ("thread.reminded", "thread.escalated")]


async def test_half_way_and_near_the_end_reviewers_are_told_once_each(w: World) -> None:
    await w.ask()
    await sweep_after(w, H12)
    assert await reminded(w) == ["thread.reminded"]
    await sweep_after(w, H21_36 - H12)
    await sweep(w.gate)
    assert await reminded(w) == ["thread.reminded", "thread.escalated"]


async def test_a_second_before_it_is_due_nobody_is_reminded(w: World) -> None:
    await w.ask()
    await sweep_after(w, H12 - 1)
    assert await reminded(w) == []


async def test_a_reminder_is_the_gates_own_entry_about_the_thread(w: World) -> None:
    answer = await w.ask()
    await sweep_after(w, H12)
    (entry,) = await w.entries("thread.reminded")
    assert (entry.actor_kind, entry.thread_id, entry.at) == ("gate", thread_of(answer), w.clock.now)


async def test_a_clock_set_forward_reminds_once_and_set_back_not_again(w: World) -> None:
    await w.ask()
    await sweep_after(w, H21_36)
    await sweep_after(w, -2 * H21_36)
    await sweep_after(w, 2 * H21_36)
    assert await reminded(w) == ["thread.escalated"]


async def test_a_decided_thread_needs_no_reminder(w: World) -> None:
    answer = await w.ask()
    await w.review(answer)
    assert (await w.stored(answer)).remind_at is None
    await sweep_after(w, H12)
    assert await reminded(w) == []


@pytest.mark.parametrize("end", ["cancel", "reject", "pause", "refused revision"])
async def test_whatever_ends_a_thread_ends_its_reminders(w: World, end: str) -> None:
    answer = await w.ask()
    if end == "cancel":
        await w.cancel(answer)
    elif end == "reject":
        await w.review(answer, "reject")
    elif end == "pause":
        await w.pause()
    else:
        await w.revise(answer, 9000)
    assert (await w.stored(answer)).remind_at is None


async def test_a_claim_does_not_stop_reminders(w: World) -> None:
    answer = await w.ask()
    await w.write(lambda tx: reviews.claim(tx, w.env, w.reviewer, thread_of(answer)))
    await sweep_after(w, H12)
    assert await reminded(w) == ["thread.reminded"]


async def test_a_revision_keeps_the_window_and_its_reminders(w: World) -> None:
    answer = await w.ask()
    w.clock.advance(6 * 3600)
    assert (await w.revise(answer, 400)).remind_at == START + 12 * HOUR


async def test_a_workspace_may_want_no_reminders(w: World) -> None:
    await set_timing(w)
    assert (await w.ask()).request.remind_at is None


async def test_a_new_setting_holds_for_the_next_thread_at_once(w: World) -> None:
    await w.ask(task="task-0")
    await set_timing(w, 25)
    assert (await w.ask()).request.remind_at == START + 6 * HOUR


async def test_reminders_switched_off_reach_threads_that_wait_already(w: World) -> None:
    answer = await w.ask()
    await set_timing(w)
    await sweep_after(w, H12)
    assert (await reminded(w), (await w.stored(answer)).remind_at) == ([], None)


async def test_threads_from_before_there_were_reminders_wait_on_without(w: World) -> None:
    answer = await w.ask()
    stored = await w.stored(answer)
    await w.write(lambda tx: tx.requests.set_reminder(stored, None, 0))
    await sweep_after(w, H12)
    assert (await reminded(w), (await w.stored(answer)).is_pending) == ([], True)


async def test_open_pages_are_woken(w: World) -> None:
    await w.ask()
    waiter = w.gate.wakeups.for_tenant(TENANT)
    await sweep_after(w, H12)
    assert await waiter.wait(10) is True
    waiter.close()


async def with_hook(w: World) -> None:
    hook = Endpoint(TENANT, WORKSPACE, "workspace", "https://receiver.example/hook", "wrapped", None, None, None)
    await w.write(lambda tx: tx.webhooks.put_endpoint(hook))


async def sent(w: World) -> list[dict[str, object]]:
    """Bodies of what waits to be sent, oldest first."""

    def read(tx: Tx) -> list[dict[str, object]]:
        listed = tx.webhooks.list_deliveries(TENANT, DeliveryFilter())
        found = [tx.webhooks.find(TENANT, one.id) for one in reversed(listed)]
        return [json.loads(one.body) for one in found if one is not None]

    return await w.read(read)


async def test_the_workspaces_webhook_is_told_who_what_and_where_and_never_the_payload(w: World) -> None:
    await with_hook(w)
    answer = await w.ask(ask=Ask("issue_refund", "Refund order 8821", payload={"amount": 500, "iban": "DE-secret"}))
    await sweep_after(w, H12)
    (body,) = await sent(w)
    assert body | {"at": ""} == {
        "event": "thread.reminded",
        "tenant_id": TENANT,
        "at": "",
        "thread_id": thread_of(answer),
        "request_id": answer.request.id,
        "task_id": "task-1",
        "tool_name": "issue_refund",
        "agent_id": w.agent.id,
        "agent_name": "support-bot",
        "risk_level": "medium",
        "subject": "Refund order 8821",
        "expires_at": "2026-11-27T12:00:00Z",
        "review_url": f"{w.env.public_url}/inbox/{thread_of(answer)}",
    }


async def test_what_the_workspace_masks_is_masked_in_the_notification(w: World) -> None:
    await with_hook(w)
    await w.ask(ask=an_ask(subject="Refund to card 4111 1111 1111 1111"))
    await sweep_after(w, H12)
    (body,) = await sent(w)
    assert "4111 1111" not in str(body["subject"])


# The setting


async def test_a_changed_setting_is_recorded_and_an_unchanged_one_is_not(w: World) -> None:
    await set_timing(w, 10)
    await set_timing(w, 10)
    (entry,) = await w.entries("settings.changed")
    assert json.loads(entry.private)["reminders"]["value"] == [10]
    assert await w.read(lambda tx: read_timing(tx, TENANT)) == Timing((10,))


async def test_the_standard_is_half_and_nine_tenths_and_an_hour(w: World) -> None:
    assert await w.read(lambda tx: read_timing(tx, TENANT)) == Timing((50, 90), HOUR)
