"""Watchers hear of every commit that touched something, and of nothing else: this process's and others'."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, cast

import psycopg
import pytest
from gate.tests.factories import PATIENCE, POLICY, TENANT, World, beside, thread_of, world
from gate.tests.postgres import postgres_database, rows_at
from gate.tests.processes import Child, child
from msgspec.structs import replace

from stacksona_gate.domain.errors import GateError, Unauthenticated, Unavailable
from stacksona_gate.service.decisions import DrainFlag, Polled, Selector, wait_decision
from stacksona_gate.service.requests import Answer
from stacksona_gate.store.base import Change, Tx
from stacksona_gate.store.postgres_changes import Listener, Look
from stacksona_gate.store.postgres_connection import PostgresRows
from stacksona_gate.store.postgres_transactions import Line, Patience

END = Change("end", "")
CONFIGURED = Change(TENANT, "")


class Heard:
    """Collects what a store's watcher is told."""

    def __init__(self, w: World) -> None:
        self.changes: list[Change] = []
        self._more = asyncio.Event()
        self.stop = w.store.watch(self._hear)

    def _hear(self, changes: Sequence[Change]) -> None:
        self.changes.extend(changes)
        self._more.set()

    async def until(self, wanted: Callable[[list[Change]], bool]) -> list[Change]:
        async with asyncio.timeout(PATIENCE):
            while not wanted(self.changes):
                self._more.clear()
                await self._more.wait()
        return self.changes

    async def settled(self, w: World) -> set[Change]:
        """Everything up to now: a last change marks the end. What the world was made with may be heard of late, from a
        look at the tables."""
        await w.write(lambda tx: tx.tenants.bump_config(END.tenant_id))
        heard = await self.until(lambda heard: END in heard)
        return set(heard[: heard.index(END)]) - {CONFIGURED}


async def test_a_new_thread_is_heard_of(w: World) -> None:
    heard = Heard(w)
    answer = await w.ask()
    assert await heard.settled(w) == {Change(TENANT, answer.request.id)}


async def test_a_verdict_is_heard_of(w: World) -> None:
    answer = await w.ask()
    heard = Heard(w)
    await w.review(answer)
    assert await heard.settled(w) == {Change(TENANT, answer.request.id)}


async def test_a_change_of_configuration_is_heard_of(w: World) -> None:
    heard = Heard(w)
    await w.rotate()
    assert await heard.until(lambda changes: CONFIGURED in changes)


async def test_nothing_is_heard_of_a_unit_that_was_rolled_back(w: World) -> None:
    answer = await w.ask()
    heard = Heard(w)

    def refused(tx: Any) -> None:
        tx.tenants.bump_config("undone")
        kept = tx.audit.list_entries(TENANT, request_id=answer.request.id)[0][1]
        tx.audit.append(replace(kept, id="aud_undone", request_id="req_undone"))
        raise GateError("no")

    with pytest.raises(GateError):
        await w.write(refused)
    assert await heard.settled(w) <= {Change(TENANT, answer.request.id)}  # which a look at the tables may tell late


async def test_a_unit_rolled_back_between_others_takes_only_its_own_changes_along(w: World) -> None:
    heard = Heard(w)

    def refused(tx: Any) -> None:
        tx.tenants.bump_config("refused")
        raise GateError("no")

    kept = [w.write(lambda tx, n=n: tx.tenants.bump_config(f"kept-{n}")) for n in range(2)]  # type: ignore[misc]
    await asyncio.gather(kept[0], w.write(refused), kept[1], return_exceptions=True)
    assert await heard.settled(w) == {Change("kept-0", ""), Change("kept-1", "")}


async def test_a_watcher_that_was_ended_hears_nothing_more(w: World) -> None:
    heard, other = Heard(w), Heard(w)
    heard.stop()
    await w.ask()
    await other.settled(w)
    assert heard.changes == []


async def test_an_idle_gate_hears_of_another_ones_verdict(w: World) -> None:
    answer = await w.ask()
    heard = Heard(w)
    async with beside(w) as other:
        await other.review(answer)
    assert await heard.until(lambda changes: Change(TENANT, answer.request.id) in changes)


async def test_an_idle_gate_hears_of_another_ones_configuration(w: World) -> None:
    heard = Heard(w)
    async with beside(w) as other:
        await other.rotate()
    assert await heard.until(lambda changes: CONFIGURED in changes)


async def test_a_busy_gate_hears_of_another_ones_verdict_with_its_next_commit(w: World) -> None:
    answer = await w.ask()
    async with beside(w) as other:
        heard = Heard(w)
        await asyncio.gather(other.review(answer), *(w.ask(100, task=f"task-{n}") for n in range(50)))
    assert await heard.until(lambda changes: Change(TENANT, answer.request.id) in changes)


def held(w: World, answer: Answer) -> asyncio.Task[Polled]:
    async def wait() -> Polled:
        selector = Selector(request_id=answer.request.id)
        return await wait_decision(
            w.gate, await w.caller(), selector, seconds=PATIENCE, known=None, draining=DrainFlag()
        )

    return asyncio.create_task(wait())


async def told(other: Child, *words: str) -> str:
    await other.say(json.dumps(words))
    return await other.hear()


@pytest.mark.slow
async def test_a_second_process_wakes_who_waits_and_drops_what_is_remembered(w: World) -> None:
    approved, paused = await w.ask(501), await w.ask(502)
    waiting = [held(w, approved), held(w, paused)]
    async with child("gate.tests.store.other_process", w.database.url) as other:
        assert [await other.hear(), await told(other, "open")][0] == "ready"
        assert await told(other, "approve", thread_of(approved), w.reviewer.id) == "approved"
        assert (await waiting[0]).answer.status == "approved"
        assert await told(other, "policy", POLICY.replace("default: allow", "default: reject")) == "2"
        assert (await w.ask(100)).status == "reject"
        assert await told(other, "pause", w.agent.id) == "paused"
        assert (await waiting[1]).answer.request.reason_code == "agent_paused"
        key = await told(other, "rotate", w.agent.id)
    with pytest.raises(Unauthenticated):
        await w.caller()
    assert (await w.caller(key)).as_agent().state == "paused"


def test_a_listener_that_reaches_nobody_says_so_once_however_often_it_tries(caplog: pytest.LogCaptureFixture) -> None:
    enough = threading.Event()
    tries: list[None] = []

    def connect() -> PostgresRows:
        tries.append(None)
        if len(tries) > 5:
            enough.set()
        raise psycopg.OperationalError("connection refused")

    listener = Listener(connect, Line(connect, Patience()), lambda changes: None, "me", confirm=lambda: None)
    listener.start()
    assert enough.wait(PATIENCE)
    listener.stop()
    assert [line for line in caplog.messages if "notifications" in line] == [
        "notifications do not arrive; the tables are looked at every 200 ms instead: connection refused"
    ]


class Breaking:
    """A line whose transaction ends in a fault, once it is told to: after all was read."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.breaks = False

    def transact(self, how: str, work: Callable[[PostgresRows, Tx], list[Change]]) -> tuple[list[Change], list[Change]]:
        found = self._line.transact(how, work)
        if self.breaks:
            raise Unavailable("the commit did not come")
        return found


async def test_what_a_look_that_failed_had_found_is_found_by_the_next_one() -> None:
    with postgres_database() as database:
        async with world(database) as w:
            with closing(Line(lambda: rows_at(database.url), Patience())) as line:
                breaking = Breaking(line)
                look = Look(cast("Line", breaking))
                look.changes()
                answer = await w.ask()
                await w.write(lambda tx: tx.tenants.bump_config(TENANT))
                breaking.breaks = True
                with pytest.raises(Unavailable):
                    look.changes()
                breaking.breaks = False
                assert {*look.changes()} >= {Change(TENANT, answer.request.id), CONFIGURED}
