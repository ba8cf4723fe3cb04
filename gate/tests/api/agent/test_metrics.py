"""Metrics: what is told, by what name, and that Prometheus reads it."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import threading
from typing import Any

import pytest
from gate.tests.api.agent.calls import ASK, DECISIONS, Api, refund
from gate.tests.factories import PASSWORD, PATIENCE, TENANT, password_hash
from gate.tests.outbox import give_address, until, working
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from stacksona_gate.api import operations
from stacksona_gate.api.metrics import COUNTER, HISTOGRAM, METRICS, PREFIX, described
from stacksona_gate.domain.errors import Unauthenticated, Unavailable
from stacksona_gate.service.people import sign_in
from stacksona_gate.service.sealer import Sealer

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


async def scraped(api: Api, accept: str = "") -> str:
    return (await api.get("/metrics", headers={"accept": accept} if accept else None)).text


async def value(api: Api, sample: str, **labels: str) -> float | None:
    """Of one sample by its full name without the prefix."""
    for family in read_text(await scraped(api)):
        for one in family.samples:
            if one.name == PREFIX + sample and one.labels == labels:
                return float(one.value)
    return None


async def lived_in(api: Api) -> None:
    """One of everything that has labels."""
    await give_address(api.world)
    async with working(api.world):
        await api.approved()
        await until(lambda: api.world.gate.deliveries["delivered"] == 1)
    await api.ask(100)
    await Sealer(api.world.gate).round()
    await api.post(ASK, raw="{")
    api.world.gate.env.measures.limited["too_many"] += 1


@pytest.mark.parametrize(("accept", "read"), [("", read_text), (OPENMETRICS, read_openmetrics)])
async def test_every_metric_is_told_as_it_is_described(api: Api, accept: str, read: Any) -> None:
    await lived_in(api)
    told = {one.name: one for one in read(await scraped(api, accept)) if one.name.startswith(PREFIX)}
    assert set(told) == {name.removesuffix("_total") for name, _ in described()}
    for name, about in described():
        family = told[name.removesuffix("_total")]
        assert (family.type, family.documentation) == (about.kind, about.help)
        labels = {frozenset(one.labels) - {"le"} for one in family.samples}
        assert labels == {frozenset(about.labels)}, name


def test_names_are_by_convention() -> None:
    for name, about in METRICS.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name)
        assert name.endswith("_total") == (about.kind == COUNTER), name
        assert about.kind != HISTOGRAM or name.endswith(("_seconds", "_size")), name
        assert not re.search(r"_(ms|milliseconds|minutes|microseconds|count|sum|bucket|gauge|histogram)$", name)


async def test_prometheus_own_checker_finds_nothing_to_say(api: Api) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: scripts/deploy-tools does it")
    await lived_in(api)
    checked = await asyncio.to_thread(
        subprocess.run, [promtool, "check", "metrics"], input=await scraped(api), capture_output=True, text=True
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


async def test_decisions_are_counted_by_answer_and_reason(api: Api) -> None:
    for amount in (100, 100, 500, 6000):
        await api.ask(amount)
    assert await value(api, "decisions_total", status="allow", reason_code="default") == 2
    assert await value(api, "decisions_total", status="pending_review", reason_code="rule") == 1
    assert await value(api, "decisions_total", status="reject", reason_code="rule") == 1


async def test_rules_are_timed_once_per_question(api: Api) -> None:
    for _ in range(3):
        await api.ask(100)
    assert await value(api, "rule_evaluation_seconds_count") == 3
    assert 0 < (await value(api, "rule_evaluation_seconds_sum") or 0) < 1


async def test_calls_are_counted_by_route_and_status(api: Api) -> None:
    await api.ask(100)
    await api.post(ASK, raw="{")
    await api.get(DECISIONS, request_id="req_none")
    assert await value(api, "http_requests_total", route="ask", status="200") == 1
    assert await value(api, "http_requests_total", route="ask", status="400") == 1
    assert await value(api, "http_requests_total", route="poll", status="404") == 1
    assert await value(api, "http_request_seconds_count", route="ask") == 2


async def test_a_held_answer_is_counted_apart_and_not_timed_as_a_call(api: Api) -> None:
    decision = await api.ask()
    held = asyncio.ensure_future(api.get(DECISIONS, request_id=decision["request_id"], wait=60))
    await until(lambda: api.context.holds.count == 1)
    api.world.clock.advance(2)
    await api.review(decision)
    await held
    assert await value(api, "http_requests_total", route="wait", status="200") == 1
    assert await value(api, "http_request_seconds_count", route="poll") == 0


async def test_a_wake_is_timed_from_the_decision(api: Api) -> None:
    decision = await api.ask()
    held = asyncio.ensure_future(api.get(DECISIONS, request_id=decision["request_id"], wait=60))
    await until(lambda: api.context.holds.count == 1)
    await api.review(decision)
    await held
    assert await value(api, "wake_seconds_count") == 1
    assert await value(api, "wake_seconds_bucket", le="0.001") == 1  # the clock of this world stands still


async def test_an_answer_that_was_decided_on_arrival_is_no_wake(api: Api) -> None:
    decision = await api.approved()
    await api.get(DECISIONS, request_id=decision["request_id"], wait=1)
    assert await value(api, "wake_seconds_count") == 0


async def test_a_stream_that_was_woken_counts_as_a_wake(api: Api) -> None:
    decision = await api.ask()
    streamed = asyncio.ensure_future(api.get(DECISIONS + "/stream", request_id=decision["request_id"]))
    await until(lambda: api.world.gate.wakeups.count == 1)
    await api.review(decision)
    await streamed
    assert await value(api, "wake_seconds_count") == 1


async def test_commits_are_counted_with_their_sizes_and_times(api: Api) -> None:
    before = await value(api, "store_batch_size_count"), await value(api, "store_batch_size_sum")
    await asyncio.gather(*(api.ask(100, task=f"task-{number}") for number in range(8)))
    after = await value(api, "store_batch_size_count"), await value(api, "store_batch_size_sum")
    assert (after[1] or 0) - (before[1] or 0) == 8
    assert after[0] == await value(api, "store_commits_total") == await value(api, "store_commit_seconds_count")
    assert after[1] == await value(api, "store_writes_total")


async def test_writes_that_wait_are_told_with_the_age_of_the_oldest(api: Api) -> None:
    go_on = threading.Event()
    slow = asyncio.ensure_future(api.world.write(lambda tx: go_on.wait(PATIENCE)))
    behind = asyncio.ensure_future(api.world.write(lambda tx: None))
    try:
        assert await value(api, "store_waiting") == 2
        assert 0 < (await value(api, "store_oldest_seconds") or 0) < PATIENCE
    finally:
        go_on.set()
        await asyncio.gather(slow, behind)
    assert await value(api, "store_waiting") == 0
    assert await value(api, "store_oldest_seconds") == 0


async def test_a_wrong_password_is_counted(api: Api) -> None:
    user = await api.world.new_user("admin", "Signe", hashed=password_hash())
    with pytest.raises(Unauthenticated):
        await sign_in(api.world.gate, TENANT, user.email, "wrong" + PASSWORD, "192.0.2.1")
    await sign_in(api.world.gate, TENANT, user.email, PASSWORD, "192.0.2.1")
    assert await value(api, "sign_in_failures_total") == 1


async def test_a_limit_is_counted_by_its_code(api: Api) -> None:
    for _ in range(api.world.env.limits.held_requests):
        api.context.holds.enter(api.world.agent.id)
    decision = await api.ask()
    answer = await api.get(DECISIONS, request_id=decision["request_id"], wait=1)
    assert answer.status_code == 429
    assert await value(api, "limited_total", limit="too_many") == 1


async def test_leases_are_told_by_kind_and_whether_they_are_this_processs(api: Api) -> None:
    w = api.world
    sealer = Sealer(w.gate)
    await sealer.round()
    await w.write(lambda tx: tx.leases.take("publish default", "somebody else", w.env.now(), 60_000_000))
    assert await value(api, "leases", kind="publish") == 1
    assert await value(api, "leases_held", kind="publish") is None
    assert await value(api, "leases_held", kind="seal") == 1


@pytest.fixture
def away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database answers no look."""

    async def scan(query: object) -> None:
        raise Unavailable("away")

    monkeypatch.setattr(api.world.gate.store, "scan", scan)


@pytest.mark.usefixtures("away")
async def test_what_a_process_counts_is_told_while_the_database_is_away(api: Api) -> None:
    await api.ask(100)
    assert await value(api, "database_up") == 0
    assert await value(api, "decisions_total", status="allow", reason_code="default") == 1
    assert await value(api, "log_entries") is None


async def test_a_database_that_hangs_keeps_no_metrics_waiting_and_is_looked_at_once(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, go_on = list[int](), asyncio.Event()

    async def scan(query: object) -> None:
        looks.append(1)
        await go_on.wait()
        raise Unavailable("away")

    monkeypatch.setattr(api.world.gate.store, "scan", scan)
    monkeypatch.setattr(operations, "LOOK_SECONDS", 0.01)
    told = [await value(api, "database_up") for _ in range(3)]
    go_on.set()
    assert (told, len(looks)) == ([0, 0, 0], 1)


async def test_a_draining_process_says_so(api: Api) -> None:
    assert await value(api, "draining") == 0
    api.context.draining.is_set = True
    assert await value(api, "draining") == 1


async def test_the_process_tells_of_itself(api: Api) -> None:
    text = await scraped(api)
    assert "process_cpu_seconds_total" in text
    assert "process_open_fds" in text
    assert re.search(r'stacksona_gate_build_info\{database="sqlite",python="3\.[0-9.]+",version="[^"]+"\} 1\.0', text)


async def test_labels_are_bounded(api: Api) -> None:
    await lived_in(api)
    before = len((await scraped(api)).splitlines())
    for number in range(20):
        await api.post(f"/api/agent/tasks/other-{number}/requests", refund(tool_name=f"tool-{number}"))
        await api.get(DECISIONS, request_id=f"req_{number}")
        await api.http.request("GET", f"/nothing/{number}")
    assert len((await scraped(api)).splitlines()) <= before + 3  # tool_unknown, poll 404
