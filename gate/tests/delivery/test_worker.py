"""The worker: what it sends, to whom first, and what happens when processes and clocks do what they should not."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from gate.tests.factories import START, TENANT, Clock, World, beside, world
from gate.tests.outbox import (
    GONE,
    NO,
    YES,
    Sent,
    attempts,
    claimed,
    deliveries,
    endpoint,
    give_address,
    give_workspace_hook,
    record,
    until,
    working,
)

from stacksona_gate.delivery.addresses import NOT_PUBLIC, AddressGuard
from stacksona_gate.delivery.sender import Answer, Sender
from stacksona_gate.delivery.signatures import verified
from stacksona_gate.delivery.worker import BLOCKED_SECONDS
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.errors import Unavailable
from stacksona_gate.domain.times import HOUR
from stacksona_gate.service.deliveries import send_test
from stacksona_gate.service.endpoints import opened_secrets, rotate_webhook_secret
from stacksona_gate.service.webhooks import secrets_of
from stacksona_gate.store.base import Store, Tx
from stacksona_gate.store.sqlite_connection import SQLiteRows

BEGUN = time.monotonic()


async def a_decision(w: World, task: str = "task-1") -> None:
    await w.review(await w.ask(task=task))


async def states(w: World) -> Counter[str]:
    return Counter(one.state for one in await deliveries(w))


async def delivered(w: World, count: int = 1) -> None:
    async def all_are() -> bool:
        return (await states(w))["delivered"] == count

    await until(all_are)


async def signing(w: World) -> tuple[str, ...]:
    return opened_secrets(w.gate.root, w.agent.id, secrets_of(await endpoint(w), w.clock.now))


async def test_a_decision_is_sent_as_soon_as_it_is_committed(w: World) -> None:
    await give_address(w)
    async with working(w) as sender:
        await a_decision(w)
        await delivered(w)
    (sent,) = sender.sent
    (one,) = await deliveries(w)
    assert (sent.url, sent.id, sent.body.decode()) == ("https://hooks.example/gate", one.id, one.body)
    assert sent.headers["content-type"] == "application/json"


async def test_what_was_put_before_it_started_is_sent_when_it_starts(w: World) -> None:
    await give_address(w)
    await a_decision(w)
    async with working(w) as sender:
        await delivered(w)
    assert len(sender.sent) == 1


async def test_what_another_process_puts_is_sent(w: World) -> None:
    await give_address(w)
    async with beside(w) as other, working(w) as sender:
        await a_decision(other)
        await delivered(w)
    assert len(sender.sent) == 1


async def test_the_signature_is_of_the_body_that_is_sent(w: World) -> None:
    await give_address(w)
    async with working(w) as sender:
        await a_decision(w)
        await delivered(w)
    assert verified(await signing(w), sender.sent[0].headers, sender.sent[0].body, w.clock.now)


async def test_both_secrets_sign_during_a_rotation(w: World) -> None:
    await give_address(w)
    old = await signing(w)
    root = w.gate.root
    await w.write(lambda tx: rotate_webhook_secret(tx, w.env, root, COMMAND_LINE, TENANT, w.agent.id, overlap=60))
    async with working(w) as sender:
        await a_decision(w)
        await delivered(w)
    headers = sender.sent[0].headers
    assert len(headers["webhook-signature"].split(" ")) == 2
    assert verified(old, headers, sender.sent[0].body, w.clock.now)


async def test_each_attempt_has_the_same_id_and_body_and_a_time_of_its_own(w: World) -> None:
    answers = [NO, YES]

    async def receiver(sent: Sent) -> Answer:
        w.clock.advance(6)
        return answers.pop(0)

    async def failed_once() -> bool:
        return (await deliveries(w))[0].tries == 1

    await give_address(w)
    async with working(w, receiver) as sender:
        await a_decision(w)
        await until(failed_once)
        w.clock.advance(6)
        await delivered(w)
    first, second = sender.sent
    assert (first.id, first.body) == (second.id, second.body)
    assert first.headers["webhook-timestamp"] != second.headers["webhook-timestamp"]


async def test_410_ends_it(w: World) -> None:
    async def receiver(sent: Sent) -> Answer:
        return GONE

    async def is_off() -> bool:
        return (await endpoint(w)).switched_off_at is not None

    await give_address(w)
    async with working(w, receiver) as sender:
        await a_decision(w)
        await until(is_off)
        await a_decision(w, "task-2")
    assert (len(sender.sent), await states(w)) == (1, {"dead": 2})


async def test_a_sender_that_breaks_is_a_failed_attempt(w: World, caplog: pytest.LogCaptureFixture) -> None:
    async def receiver(sent: Sent) -> Answer:
        raise ZeroDivisionError

    async def failed() -> bool:
        return w.gate.deliveries["failed"] == 1

    await give_address(w)
    async with working(w, receiver):
        await a_decision(w)
        await until(failed)
    (one,) = await deliveries(w)
    assert [attempt.error for attempt in await attempts(w, one)] == ["a fault in the gate; its log says more"]


async def test_a_test_event_reaches_the_receiver_and_names_no_thread(w: World) -> None:
    await give_address(w)
    async with working(w) as sender:
        await w.write(lambda tx: send_test(tx, w.env, COMMAND_LINE, TENANT, w.agent.id))
        await delivered(w)
    assert sender.sent[0].fields["event"] == "test"
    assert not {"thread_id", "request_id", "decision"} & set(sender.sent[0].fields)


async def test_of_a_thread_one_at_a_time_is_on_its_way(w: World) -> None:
    let_go = asyncio.Event()

    async def receiver(sent: Sent) -> Answer:
        if sent.fields["event"] == "decision.revision_requested":
            await let_go.wait()
        return YES

    await give_address(w)
    async with working(w, receiver) as sender:
        answer = await w.ask()
        await w.review(answer, "request_changes")
        await until(lambda: len(sender.sent) == 1)
        await w.review(answer, "approve")
        await a_decision(w, "task-2")
        await until(lambda: len(sender.sent) == 2)
        let_go.set()
        await delivered(w, 3)
    assert [sent.fields["task_id"] for sent in sender.sent] == ["task-1", "task-2", "task-1"]


# Processes and clocks


async def test_what_a_process_took_and_did_not_finish_is_taken_over_when_its_lease_is_over(w: World) -> None:
    await give_address(w)
    await a_decision(w)
    (lost,) = await claimed(w)
    async with working(w) as sender:
        await a_decision(w, "task-2")
        await delivered(w)
    w.clock.advance(31)
    async with working(w) as later:
        await delivered(w, 2)
    assert [sent.fields["task_id"] for sent in sender.sent + later.sent] == ["task-2", "task-1"]
    assert await record(w, lost) == "stale"


async def test_the_result_of_an_attempt_that_was_taken_over_is_seen_and_changes_nothing(w: World) -> None:
    await give_address(w)
    await a_decision(w)
    (late,) = await claimed(w)
    w.clock.advance(31)
    (newer,) = await claimed(w)
    assert await record(w, late) == "stale"
    (one,) = await deliveries(w)
    assert (one.state, [attempt.attempt for attempt in await attempts(w, one)]) == ("pending", [1])
    assert await record(w, newer) == "delivered"
    assert [attempt.attempt for attempt in await attempts(w, one)] == [1, 2]


async def test_of_two_workers_on_one_database_each_delivery_is_sent_by_one(w: World) -> None:
    await give_address(w)
    async with beside(w) as other, working(w) as one, working(other) as two:
        for number in range(40):
            await a_decision(w, f"task-{number}")
        await delivered(w, 40)
    assert Counter(Counter(sent.id for sent in one.sent + two.sent).values()) == {1: 40}


async def test_a_call_that_is_broken_off_at_the_end_is_given_back(w: World) -> None:
    async def receiver(sent: Sent) -> Answer:
        await asyncio.Event().wait()
        return YES

    await give_address(w)
    await a_decision(w)
    async with working(w, receiver) as sender:
        await until(lambda: len(sender.sent) == 1)
    (one,) = await deliveries(w)
    assert (one.state, one.leased_until, one.tries) == ("pending", None, 0)
    assert [attempt.error for attempt in await attempts(w, one)] == ["broken off: the gate was told to end"]
    async with working(w):
        await delivered(w)


async def test_calls_that_end_in_time_are_waited_for_at_the_end(w: World) -> None:
    let_go = asyncio.Event()

    async def receiver(sent: Sent) -> Answer:
        await let_go.wait()
        return YES

    await give_address(w)
    async with working(w, receiver) as sender:
        await a_decision(w)
        await until(lambda: len(sender.sent) == 1)
        asyncio.get_running_loop().call_later(0.05, let_go.set)
    assert await states(w) == {"delivered": 1}


async def test_a_clock_that_was_set_back_stops_nothing_that_is_new(w: World) -> None:
    await give_address(w)
    await a_decision(w)
    w.clock.advance(-86_400)
    async with working(w):
        await delivered(w)


@pytest.mark.parametrize("step", [-86_400, 86_400], ids=["back", "forward"])
async def test_a_clock_that_is_set_duplicates_nothing_that_is_on_its_way(w: World, step: int) -> None:
    let_go = asyncio.Event()

    async def receiver(sent: Sent) -> Answer:
        if sent.fields["task_id"] == "task-1":
            await let_go.wait()
        return YES

    await give_address(w)
    async with working(w, receiver) as sender:
        await a_decision(w)
        await until(lambda: len(sender.sent) == 1)
        w.clock.advance(step)
        await a_decision(w, "task-2")
        await delivered(w)
        await a_decision(w, "task-3")
        await delivered(w, 2)
        let_go.set()
        await delivered(w, 3)
    assert Counter(sent.fields["task_id"] for sent in sender.sent) == {"task-1": 1, "task-2": 1, "task-3": 1}


async def test_a_retry_waits_as_long_as_it_would_have_when_the_clock_is_set_back(w: World) -> None:
    async def receiver(sent: Sent) -> Answer:
        return NO

    async def moved() -> bool:
        (one,) = await deliveries(w)
        return (one.due_at or 0) < START

    await give_address(w)
    async with working(w, receiver) as sender:
        await a_decision(w)
        await until(lambda: w.gate.deliveries["failed"] == 1)
        w.clock.advance(-HOUR // 1_000_000)
        await w.write(lambda tx: tx.tenants.bump_config(TENANT))
        await until(moved)
        w.clock.advance(6)
        await w.write(lambda tx: tx.tenants.bump_config(TENANT))
        await until(lambda: len(sender.sent) == 2)


class Away:
    """A store whose writes fail while it is told so."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.is_away = False
        self.refused = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def write(self, unit: Callable[[Tx], object], *, holds: bool = False) -> object:
        if self.is_away:
            self.refused += 1
            raise Unavailable("away")
        return await self._store.write(unit, holds=holds)


async def test_a_clock_that_is_set_while_the_database_is_away_is_minded_when_it_is_back(w: World) -> None:
    async def receiver(sent: Sent) -> Answer:
        return NO

    async def moved() -> bool:
        (one,) = await deliveries(w)
        return (one.due_at or 0) < START - HOUR // 2

    await give_address(w)
    store = Away(w.gate.store)
    w.gate.store = store  # type: ignore[assignment]
    async with working(w, receiver):
        await a_decision(w)
        await until(lambda: w.gate.deliveries["failed"] == 1)
        await w.write(lambda tx: tx.tenants.bump_config(TENANT))
        store.is_away = True
        w.clock.advance(-HOUR // 1_000_000)
        await until(lambda: store.refused > 0)
        store.is_away = False
        await until(moved)


class Running(Clock):
    """Goes four times as fast as the world."""

    def __call__(self) -> int:
        return START + round((time.monotonic() - BEGUN) * 4_000_000)


async def test_a_retry_is_sent_by_a_timer_when_it_is_due() -> None:
    async with world(clock=Running()) as w:
        answers = [NO, YES]

        async def receiver(sent: Sent) -> Answer:
            return answers.pop(0)

        await give_address(w)
        await give_workspace_hook(w)
        async with working(w, receiver) as sender:
            await a_decision(w)
            await delivered(w)
        assert len(sender.sent) == 2


async def test_an_idle_worker_asks_the_database_nothing(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    select = SQLiteRows.all

    def all_counted(self: SQLiteRows, sql: str, *parameters: object) -> list[tuple[object, ...]]:
        if "webhook_endpoints" in sql:
            asked.append(time.monotonic())
        return select(self, sql, *parameters)

    monkeypatch.setattr(SQLiteRows, "all", all_counted)
    await give_address(w)
    async with working(w):
        await a_decision(w)
        await delivered(w)
        # The last looks after a delivery come as late as the machine likes.
        await until(lambda: time.monotonic() - asked[-1] > 2 * BLOCKED_SECONDS)


async def test_the_first_calls_load_certificates_once_however_many_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[ssl.SSLContext] = []
    load = ssl.create_default_context

    def counted() -> ssl.SSLContext:
        loads.append(load())
        return loads[-1]

    monkeypatch.setattr(ssl, "create_default_context", counted)
    sender = Sender(AddressGuard())
    answers = await asyncio.gather(*(sender.send("http://127.0.0.1:9/", {}, b"") for _ in range(50)))
    assert ({answer.error for answer in answers}, len(loads)) == ({NOT_PUBLIC}, 1)
