"""The primary is lost under load and the standby promoted, by the guide's own commands: nothing that a gate told is
lost, gates go on by themselves, and a server that is not the primary any more is not believed."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from gate.tests.cli.processes import COMMAND, Json, call, running
from gate.tests.faults.crowd import PATIENCE, RESUME_SECONDS, TRIES, untrue
from gate.tests.faults.sites import SOUND, Site, answers, site
from gate.tests.network import Network, network
from gate.tests.outbox import until
from gate.tests.ports import free_port
from gate.tests.postgres import USER
from gate.tests.replication import Pair, pair
from gate.tests.tries import mostly_within_async
from stacksona import AsyncGate, Decision

pytestmark = pytest.mark.slow

DOUBT_SECONDS: Final = 10.0
"""Promised: so long a gate reads from a server that cannot show any more that its commits come through."""
CALLS: Final = 10

Fault = Callable[[Pair, Network], None]


def killed(servers: Pair, way: Network) -> None:
    servers.kill(0)


def hung(servers: Pair, way: Network) -> None:
    servers.signal(0, signal.SIGSTOP)


def cut(servers: Pair, way: Network) -> None:
    way.hold()


CASES: Final = {"18 killed": (18, killed), "18 hung": (18, hung), "15 cut": (15, cut), "15 killed": (15, killed)}


@pytest.fixture
def eighteen() -> Iterator[Pair]:
    with pair(18) as made:
        yield made


@pytest.fixture
def fifteen() -> Iterator[Pair]:
    with pair(15) as made:
        yield made


def through(way: Network, servers: Pair) -> str:
    """The address of both servers; the way to the first can be cut."""
    hosts = f"127.0.0.1:{way.port},127.0.0.1:{servers.ports[1]}"
    return f"postgresql://gate@{hosts}/gate?target_session_attrs=read-write"


async def guided(servers: Pair, *names: str) -> None:
    for name in names:
        await asyncio.to_thread(servers.guide, name)


async def promoted(servers: Pair) -> float:
    """The standby takes over; when that was done."""
    await guided(servers, "alone_two", "promote")
    return time.monotonic()


def asked(place: Site, task: str, tool: str = "issue_refund", *, gate: int = 0, amount: int = 100) -> tuple[int, Json]:
    body = {"tool_name": tool, "subject": "Something", "payload": {"amount": amount}}
    return call(place.ports[gate], "POST", f"/api/agent/tasks/{task}/requests", place.w.key, body)


def read(place: Site, task: str) -> tuple[int, Json]:
    return call(place.ports[0], "GET", f"/api/agent/decisions?task_id={task}", place.w.key)


async def decision_for_one_who_waits(place: Site, thread_id: str) -> Decision:
    """As an agent waits that uses the client library."""
    async with AsyncGate(f"http://127.0.0.1:{place.ports[0]}", place.w.key) as gate:
        return await gate.wait_for_decision(thread_id)


async def approve(place: Site, thread_id: str) -> None:
    body = {"verdict": "approve", "message": "fine", "revision": 1}
    path = f"/api/review/threads/{thread_id}/reviews"
    status, answer = await asyncio.to_thread(call, place.ports[-1], "POST", path, place.token, body)
    assert status == 200, answer


@pytest.mark.parametrize("case", CASES)
async def test_a_lost_primary_costs_nothing_that_was_told_and_gates_go_on_within_five_seconds(
    case: str, tmp_path: Path
) -> None:
    await mostly_within_async(RESUME_SECONDS, lambda: seconds_to_resume(case, tmp_path), TRIES)


async def seconds_to_resume(case: str, folder: Path) -> float:
    version, fault = CASES[case]
    with pair(version) as servers, network(servers.ports[0]) as way:
        async with site(through(way, servers)) as place:
            thread_id = asked(place, "held", "wire_transfer")[1]["thread_id"]
            held = asyncio.create_task(decision_for_one_who_waits(place, thread_id))
            async with place.crowd() as crowd:
                await crowd.busy()
                fault(servers, way)
                await crowd.noticed()
                since = await promoted(servers)
                took = await crowd.resumed(since)
                await crowd.busy(since)
                await approve(place, thread_id)
                told = await asyncio.wait_for(held, PATIENCE)
            assert await place.log_verdicts(folder) == SOUND
        assert untrue(crowd.history, servers.url(1, user=USER)) == []
    print(f"{case}: all gates decided again after {took:.1f} s; {len(crowd.history)} answers held")  # noqa: T201
    assert crowd.strange == []
    assert {one.do for one in crowd.history} == {"decided", "polled", "reviewed", "redeemed"}
    assert told.status == "approved"
    return took


async def test_an_old_primary_that_comes_back_alone_is_not_believed_and_taken_back_as_a_standby(fifteen: Pair) -> None:
    async with site(fifteen.url()) as place:
        fifteen.kill(0)
        await promoted(fifteen)
        told = await answers(lambda: asked(place, "after"), 200)
        fifteen.kill(1)
        fifteen.start(0)
        looked = [await asyncio.to_thread(read, place, "after") for _ in range(CALLS)]
        decided = [await asyncio.to_thread(asked, place, f"late-{number}") for number in range(CALLS)]
        assert {status for status, _ in looked + decided} == {503}
        with running(COMMAND, "serve", "--port", str(free_port()), **place.named(fifteen.url(0))) as late:
            assert late.process.wait(PATIENCE) == 1

        fifteen.start(1)
        assert (await answers(lambda: read(place, "after"), 200))["request_id"] == told["request_id"]
        await guided(fifteen, "rewind", "wait_again")
        await until(lambda: is_waited_for(fifteen, 1, "one"), PATIENCE)
        assert (await answers(lambda: asked(place, "both"), 200))["status"] == "allow"


def is_waited_for(servers: Pair, number: int, name: str) -> bool:
    sql = f"SELECT COUNT(*) FROM pg_stat_replication WHERE application_name = '{name}' AND sync_state = 'quorum'"  # noqa: S608
    return servers.ask(number, sql) == "1"


async def test_a_gate_that_is_cut_off_with_the_old_primary_reads_nothing_from_it(eighteen: Pair) -> None:
    async with site(eighteen.url(0), gates=1) as place:
        assert asked(place, "before")[1]["status"] == "allow"
        await promoted(eighteen)  # and nobody switched the old one off
        await answers(lambda: read(place, "before"), 503, DOUBT_SECONDS)
        looked = [await asyncio.to_thread(read, place, "before") for _ in range(CALLS)]
        assert {status for status, _ in looked} == {503}
        assert (await asyncio.to_thread(asked, place, "after"))[0] == 503


async def test_without_its_standby_a_gate_decides_nothing_until_it_is_told_to_go_on_alone(eighteen: Pair) -> None:
    async with site(eighteen.url(), gates=1) as place:
        assert guide_says_quorum(eighteen)
        assert asked(place, "before")[0] == 200
        eighteen.kill(1)
        status, told = await asyncio.to_thread(asked, place, "waits")
        assert status == 503
        assert "may or may not have been decided" in told["detail"]
        await answers(lambda: call(place.ports[0], "GET", "/readyz"), 503)
        await guided(eighteen, "alone_one")
        assert (await answers(lambda: asked(place, "alone"), 200))["status"] == "allow"
        await answers(lambda: call(place.ports[0], "GET", "/readyz"), 200)


def guide_says_quorum(servers: Pair) -> bool:
    return servers.guide("state").strip() == "quorum"
