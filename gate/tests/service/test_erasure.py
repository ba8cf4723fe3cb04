"""Erasing one person's data: found wherever it stands, gone for good, and every proof still holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from gate.tests.factories import TENANT, World, second_tenant, thread_of, world
from gate.tests.service.test_exports import exported, verdicts
from gate.tests.service.test_retention import SECRET, everything, talked_about

from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.errors import Conflict, Invalid, NotFound, Unavailable
from stacksona_gate.domain.times import DAY
from stacksona_gate.service import erasure, people, reviews, tasks
from stacksona_gate.service.erasure import Erased, Found, erase_subject, erase_user, find_subject, subject_of
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.log import seal_now
from stacksona_gate.service.requests import Ask, File
from stacksona_gate.service.tasks import EventReport
from stacksona_gate.store.base import Store, Tx


async def find(w: World, text: str, field: str | None = None) -> Found:
    return await find_subject(w.gate, TENANT, subject_of(text, field))


async def erase(w: World, text: str, *, cancel_pending: bool = False) -> Erased:
    return await erase_subject(w.gate, TENANT, await find(w, text), cancel_pending=cancel_pending)


def ids(found: Found) -> list[str]:
    return [state.id for state in (*found.requests, *found.waiting)]


SAYS: dict[str, Callable[[], Ask]] = {
    "subject": lambda: Ask("issue_refund", f"For {SECRET}."),
    "preview": lambda: Ask("issue_refund", "x", preview=f"Dear {SECRET.upper()},"),
    "summary": lambda: Ask("issue_refund", "x", summary=("y", f"({SECRET})")),
    "payload": lambda: Ask("issue_refund", "x", payload={"a": [{"b": f"to {SECRET}"}]}),
    "a key": lambda: Ask("issue_refund", "x", payload={SECRET: 1}),
    "metadata": lambda: Ask("issue_refund", "x", metadata={"who": SECRET}),
    "workflow": lambda: Ask("issue_refund", "x", workflow_name=SECRET),
    "label": lambda: Ask("issue_refund", "x", task_label=SECRET),
    "attachment": lambda: Ask("issue_refund", "x", attachments=(File(f"{SECRET}.pdf", "application/pdf", b"x"),)),
    "wide letters": lambda: Ask("issue_refund", "Ａna Maria Kowalska"),
}


@pytest.mark.parametrize("where", SAYS)
async def test_a_person_is_found_wherever_a_request_names_them(where: str) -> None:
    async with world() as w:
        answer = await w.ask(ask=SAYS[where]())
        await w.ask(500)
        assert ids(await find(w, SECRET)) == [answer.request.id]


async def test_a_person_is_found_in_what_was_said_later() -> None:
    async with world() as w:
        noted, reviewed, evented, revised = [await w.ask(500, task=f"t{i}") for i in range(4)]
        caller = await w.caller()
        await w.write(lambda tx: reviews.add_note(tx, w.env, w.reviewer, thread_of(noted), SECRET))
        await w.review(reviewed, "reject", message=SECRET)
        report = EventReport("note", "x", {"who": SECRET}, thread_of(evented))
        await w.write(lambda tx: tasks.log_event(tx, w.env, caller, "t2", report, None))
        await w.revise(revised, change=None)
        assert set(ids(await find(w, SECRET))) == {one.request.id for one in (noted, reviewed, evented)}


@pytest.mark.parametrize(("text", "found"), [("Ana", 1), ("Anna", 0), ("ana maria", 1), ("na M", 0), ("Kowal", 0)])
async def test_whole_words_are_found_and_parts_of_words_are_not(text: str, found: int) -> None:
    async with world() as w:
        await w.ask(ask=Ask("issue_refund", SECRET))
        await w.ask(ask=Ask("issue_refund", "Banana"))
        assert len(ids(await find(w, text))) == found


@pytest.mark.parametrize(
    ("text", "field", "found"),
    [
        ("C-7", "payload.customer.id", 1),
        ("C", "payload.customer.id", 0),
        ("7", "payload.items.*.n", 1),
        ("7", "payload.items.1.n", 1),
        ("7", "payload.items.0.n", 0),
        ("eu", "metadata.region", 1),
        ("C-7", "metadata.customer.id", 0),
    ],
)
async def test_a_field_is_found_by_its_exact_value(text: str, field: str, found: int) -> None:
    async with world() as w:
        payload: dict[str, object] = {"customer": {"id": "C-7"}, "items": [{"n": 1}, {"n": 7}]}
        await w.ask(ask=Ask("issue_refund", "about C-7", payload=payload, metadata={"region": "eu"}))
        await w.ask(ask=Ask("issue_refund", "C-7 eu 7", payload={"note": "C-7"}))
        assert len(ids(await find(w, text, field))) == found


@pytest.mark.parametrize(
    ("text", "field"), [("", None), ("ab", None), ("x", "customer"), ("x", "subject.x"), ("x", "payload..a")]
)
def test_a_subject_that_would_be_found_everywhere_is_refused(text: str, field: str | None) -> None:
    with pytest.raises(Invalid):
        subject_of(text, field)


async def test_everything_about_a_person_goes_and_what_happened_stays() -> None:
    async with world() as w:
        answer = await talked_about(w)
        others = await w.ask(500, task="other")
        leaves = [entry.leaf for entry in await w.entries()]
        assert (await erase(w, SECRET)).requests == (answer.request.id,)
        assert SECRET not in await everything(w, answer)
        assert [entry.leaf for entry in await w.entries()][: len(leaves)] == leaves
        assert (await w.stored(others)).erased_at is None
        assert (await find(w, SECRET)).is_empty


async def test_the_sealed_log_verifies_before_and_after_and_against_the_old_checkpoint(tmp_path: Path) -> None:
    async with world() as w:
        await talked_about(w)
        before = await seal_now(w.gate, TENANT)
        assert verdicts(tmp_path, await exported(w)) == (0, 0)
        await erase(w, SECRET)
        export = await exported(w)
        assert SECRET.encode() not in export
        assert verdicts(tmp_path, export) == (0, 0)
        assert verdicts(tmp_path, export, saved=before.note) == (0, 0)


async def test_it_is_on_record_without_the_subject() -> None:
    async with world() as w:
        answer = await talked_about(w)
        await erase(w, SECRET)
        [entry] = await w.entries("content.erased")
        private = json.loads(entry.private)
        assert (entry.actor_kind, private["requests"]["value"]) == ("command_line", [answer.request.id])
        assert SECRET not in entry.private + entry.leaf


async def test_what_waits_is_refused_and_nothing_is_erased() -> None:
    async with world() as w:
        done, waits = await w.ask(9000, task="a"), await w.ask(ask=SAYS["subject"](), task="b")
        await w.write(lambda tx: reviews.view_thread(tx, w.admin, thread_of(waits)))
        with pytest.raises(Conflict, match="cancel-pending"):
            await erase(w, SECRET)
        assert (await w.stored(waits)).subject != "erased"
        assert (await w.stored(done)).erased_at is None


async def test_what_waits_is_cancelled_and_what_was_approved_ends_when_asked_for() -> None:
    async with world() as w:
        waits = await w.ask(ask=SAYS["subject"](), task="waits")
        approved = await w.ask(ask=Ask("issue_refund", SECRET, payload={"amount": 500}), task="approved")
        await w.review(approved)
        token = await w.token(approved)
        await erase(w, SECRET, cancel_pending=True)
        stored, ended = await w.stored(waits), await w.stored(approved)
        assert (stored.status, stored.reason_code, stored.subject) == ("rejected", "cancelled", "erased")
        assert (ended.status, ended.subject) == ("approved", "erased")
        refused = await w.redeem(approved, token=token, payload_digest=approved.request.payload_digest)
        assert getattr(refused, "reason", None) in ("expired", "payload_mismatch")


async def test_a_clock_that_was_set_back_opens_no_approval_of_what_was_erased() -> None:
    async with world() as w:
        approved = await w.ask(ask=Ask("issue_refund", SECRET, payload={"amount": 500}))
        await w.review(approved)
        w.clock.advance(2 * DAY / 1e6)
        await erase(w, SECRET)
        w.clock.advance(-2 * DAY / 1e6)
        polled = (await w.poll(approved)).answer
        assert (polled.token, json.loads(polled.body)["approval_state"]) == (None, "expired")


async def test_events_outside_of_threads_go_too() -> None:
    async with world() as w:
        caller = await w.caller()
        report = EventReport("started", f"for {SECRET}", {})
        await w.write(lambda tx: tasks.log_event(tx, w.env, caller, "t", report, None))
        await erase(w, SECRET)
        [entry] = await w.entries("task.event")
        assert entry.private == "{}"
        assert (await find(w, SECRET)).is_empty


async def test_many_pages_are_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "PAGE", 3)
    monkeypatch.setattr(erasure, "BATCH", 2)
    async with world() as w:
        for number in range(10):
            await w.ask(ask=Ask("issue_refund", SECRET if number % 2 else "x", payload={"amount": 9000}))
        assert len((await erase(w, SECRET)).requests) == 5
        assert len(await w.entries("content.erased")) == 3


async def test_another_workspaces_people_are_not_touched() -> None:
    async with world() as w:
        other = await second_tenant(w)
        answer = await other.ask(ask=Ask("issue_refund", SECRET, payload={"amount": 9000}))
        assert (await find(w, SECRET)).is_empty
        assert (await other.stored(answer)).subject == SECRET


async def test_a_kept_answer_says_nothing_more_about_the_person() -> None:
    async with world() as w:
        ask = Ask("issue_refund", SECRET, payload={"amount": 9000}, metadata={"who": SECRET})
        await w.ask(ask=ask, idempotency="key")
        await erase(w, SECRET)
        again = await w.ask(ask=ask, idempotency="key")
        assert (again.status, SECRET in again.body.decode()) == ("reject", False)


async def test_a_disabled_user_loses_name_and_address_everywhere_and_keeps_the_id() -> None:
    async with world() as w:
        answer = await w.ask(500)
        await w.review(answer)
        await w.write(lambda tx: reviews.add_note(tx, w.env, w.reviewer, thread_of(answer), "seen"))
        await w.write(lambda tx: people.change_user(tx, w.env, COMMAND_LINE, TENANT, w.reviewer.id, active=False))
        leaves = [entry.leaf for entry in await w.entries()]
        assert await erase_user(w.gate, TENANT, "rita@example.com") == w.reviewer.id
        user = await w.read(lambda tx: tx.people.find_user(TENANT, w.reviewer.id))
        assert user is not None
        assert ("rita" in user.email, user.name) == (False, "erased user")
        view = await w.read(lambda tx: reviews.view_thread(tx, w.admin, thread_of(answer)))
        assert "Rita" not in repr(view)
        entries = await w.entries()
        assert [entry.leaf for entry in entries][: len(leaves)] == leaves
        assert not [entry.event for entry in entries if "rita" in entry.private.lower()]


class Ending:
    """A store that is gone after some writes, as when the process is killed."""

    def __init__(self, store: Store, writes: int) -> None:
        self._store, self._writes = store, writes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def write(self, unit: Callable[[Tx], Any]) -> Any:
        self._writes -= 1
        if self._writes < 0:
            raise Unavailable("killed")
        return await self._store.write(unit)


def ending(w: World, writes: int) -> Gate:
    return replace(w.gate, store=cast(Store, Ending(w.gate.store, writes)))


@pytest.mark.parametrize("writes", [0, 1, 2])
async def test_erasing_a_user_again_after_a_kill_leaves_nothing_of_them(writes: int) -> None:
    async with world() as w:
        await w.write(lambda tx: people.change_user(tx, w.env, COMMAND_LINE, TENANT, w.reviewer.id, active=False))
        for gate in (ending(w, writes), w.gate):
            with suppress(Unavailable, NotFound):
                await erase_user(gate, TENANT, "rita@example.com")
        assert not [entry.event for entry in await w.entries() if "rita" in entry.private.lower()]


@pytest.mark.parametrize("writes", [0, 1, 2])
async def test_erasing_again_after_a_kill_leaves_no_answer_for_repeated_calls(writes: int) -> None:
    async with world() as w:
        ask = Ask("issue_refund", SECRET, payload={"amount": 9000}, metadata={"who": SECRET})
        await w.ask(ask=ask, idempotency="k")
        for gate in (ending(w, writes), w.gate):
            with suppress(Unavailable):
                found = await find(w, SECRET)
                await erase_subject(gate, TENANT, found, cancel_pending=False)
        again = await w.ask(ask=ask, idempotency="k")
        assert SECRET not in again.body.decode()


async def test_a_user_who_may_sign_in_is_not_erased() -> None:
    async with world() as w:
        with pytest.raises(Conflict):
            await erase_user(w.gate, TENANT, "rita@example.com")
        with pytest.raises(NotFound):
            await erase_user(w.gate, TENANT, "nobody@example.com")
