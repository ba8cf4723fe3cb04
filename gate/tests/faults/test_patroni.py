"""The guide to Patroni: its own commands make the servers, and gates follow whom it makes the primary."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from gate.tests.docs.pages import blocks, page
from gate.tests.faults.crowd import PATIENCE, RESUME_SECONDS, TRIES, untrue
from gate.tests.faults.sites import SOUND, site
from gate.tests.outbox import until
from gate.tests.patroni import NAMES, PAGE, Cluster, cluster
from gate.tests.tries import mostly_within_async


async def promoted(servers: Cluster, number: int) -> float:
    """Once a server takes writes."""
    await until(lambda: asyncio.to_thread(servers.takes_writes, number), PATIENCE)
    return time.monotonic()


@pytest.mark.slow
async def test_gates_follow_a_switchover_and_a_failover_and_nothing_that_was_told_is_lost(tmp_path: Path) -> None:
    await mostly_within_async(RESUME_SECONDS, lambda: seconds_to_resume(tmp_path), TRIES)


async def seconds_to_resume(folder: Path) -> float:
    """After the switchover or the failover, whichever took longer."""
    with cluster() as servers:
        async with site(servers.url()) as place, place.crowd() as crowd:
            await crowd.busy()
            switching = asyncio.create_task(asyncio.to_thread(servers.guide, 0, "switchover"))
            since = await promoted(servers, 1)
            switched = await crowd.resumed(since)
            await switching
            await asyncio.to_thread(servers.wait_for, 0, "Sync Standby")
            await crowd.busy(since)

            await asyncio.to_thread(servers.kill, 1)
            lost = time.monotonic()
            since = await promoted(servers, 0)
            failed_over = await crowd.resumed(since)
            await crowd.busy(since)

            await asyncio.to_thread(servers.start, 1)
            await asyncio.to_thread(servers.wait_for, 1, "Sync Standby")
            await asyncio.to_thread(servers.guide, 0, "strict")
            assert await place.log_verdicts(folder) == SOUND
        assert untrue(crowd.history, servers.administrators_url(0)) == []
    print(  # noqa: T201
        f"decided again {switched:.1f} s after the switchover's promotion and {failed_over:.1f} s after the failover's,"
        f" which came {since - lost:.1f} s after the loss; {len(crowd.history)} answers held"
    )
    assert crowd.strange == []
    return max(switched, failed_over)


def test_the_guide_has_no_commands_that_are_not_run_here() -> None:
    assert len(blocks(page(PAGE), "sh")) == 1 + len(NAMES)
