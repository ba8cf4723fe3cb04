"""Queued webhooks to receivers of which some hang, against the same webhooks without those: one run after the other."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from bench.loader import Loader
from bench.prepare import settings_for
from bench.processes import ROOT
from bench.report import BenchBroken, Line, ratios, spread
from stacksona_gate.delivery.addresses import AddressGuard
from stacksona_gate.delivery.sender import Sender
from stacksona_gate.delivery.worker import DeliveryWorker
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.ids import FIRST_TENANT
from stacksona_gate.domain.webhooks import APPROVED, DeliveryFilter
from stacksona_gate.main import opened
from stacksona_gate.service.agents import create_agent
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.webhooks import put
from stacksona_gate.store.base import Tx

_ENDPOINTS: Final = 100
_HANGING: Final = 20
_PATIENCE: Final = 120.0


@dataclass(frozen=True, slots=True)
class _Run:
    """Seconds until the last webhook of a receiver that answers was written down, and what was on disk then."""

    seconds: float
    delivered: int
    waiting: int
    taken: int
    """Webhooks of receivers that hang of which an attempt was begun."""


def measure(folder: Path, loader: Loader, *, quick: bool) -> list[Line]:
    """Raises BenchBroken."""
    each, rounds = (20, 3) if quick else (100, 3)
    runs: dict[bool, list[_Run]] = {False: [], True: []}
    with _receivers() as ports:
        for turn in range(rounds):
            for hanging in (False, True) if turn % 2 == 0 else (True, False):
                database = folder / f"deliveries-{turn}-{hanging}.db"
                before = _count(ports[0])
                run = uvloop.run(_run(database, ports, each, hanging=hanging))
                _check(run, each, _count(ports[0]) - before, hanging=hanging)
                runs[hanging].append(run)
    healthy, beside = ([run.seconds for run in runs[hanging]] for hanging in (False, True))
    ratio = ratios(beside, healthy)
    count = each * (_ENDPOINTS - _HANGING)
    last = runs[True][-1]
    print(
        f"deliveries: rows on disk of the last run beside {_HANGING} that hang: {last.delivered:,} delivered,"
        f" {last.waiting:,} pending, {last.taken:,} of those begun",
        flush=True,
    )
    return [
        Line(f"{count:,} webhooks to {_ENDPOINTS - _HANGING} receivers", f"{spread(healthy)} s"),
        Line("  webhooks per second", f"{spread([count / seconds for seconds in healthy])}/s"),
        Line(f"  beside {each * _HANGING:,} to {_HANGING} that hang", f"{spread(beside)} s"),
        Line("  the second / the first", str(ratio), "at most 1.2", ratio.middle <= 1.2),
    ]


async def _run(database: Path, ports: list[int], each: int, *, hanging: bool) -> _Run:
    async with opened(settings_for(f"sqlite:///{database}")) as gate:
        await _queue(gate, ports, each, hanging=hanging)
        wanted = each * (_ENDPOINTS - _HANGING)
        worker = DeliveryWorker(gate, Sender(AddressGuard.of("127.0.0.0/8", "")))
        begun = time.perf_counter()
        worker.start()
        while gate.deliveries["delivered"] < wanted:
            if time.perf_counter() - begun > _PATIENCE:
                raise BenchBroken(f"{gate.deliveries['delivered']:,} of {wanted:,} in {_PATIENCE:.0f} s")
            await asyncio.sleep(0.005)
        seconds = time.perf_counter() - begun
        await worker.stop(0)
        return _Run(seconds, *await gate.store.scan(_rows))


async def _queue(gate: Gate, ports: list[int], each: int, *, hanging: bool) -> None:
    """Receivers in good standing everywhere: nobody knows yet which of them hang."""
    for number, port in enumerate(ports):
        hangs = number % (_ENDPOINTS // _HANGING) == 0
        if hangs and not hanging:
            continue
        url = f"http://127.0.0.1:{port}/{'hang' if hangs else 'hook'}"
        await gate.store.write(lambda tx, n=number, url=url: _fill(tx, gate, n, url, each))  # type: ignore[misc]


def _fill(tx: Tx, gate: Gate, number: int, url: str, each: int) -> None:
    made = create_agent(tx, gate.env, gate.root, COMMAND_LINE, FIRST_TENANT, f"agent-{number}", webhook_url=url)
    endpoint = tx.webhooks.find_endpoint(FIRST_TENANT, made.made.id)
    assert endpoint is not None
    for item in range(each):
        put(
            tx,
            gate.env,
            endpoint,
            APPROVED,
            {"event": APPROVED, "number": item, "message": "a word to a reviewer " * 10},
        )


def _rows(tx: Tx) -> tuple[int, int, int]:
    listed = tx.webhooks.list_deliveries(FIRST_TENANT, DeliveryFilter(limit=1_000_000))
    waiting = [one for one in listed if one.state == "pending"]
    return sum(one.state == "delivered" for one in listed), len(waiting), sum(one.attempts > 0 for one in waiting)


def _check(run: _Run, each: int, arrived: int, *, hanging: bool) -> None:
    wanted, left = each * (_ENDPOINTS - _HANGING), each * _HANGING if hanging else 0
    if (run.delivered, run.waiting) != (wanted, left) or arrived < wanted:
        raise BenchBroken(
            f"{run.delivered} delivered and {run.waiting} waiting on disk, {arrived} arrived: not {wanted}"
        )


@contextmanager
def _receivers() -> Iterator[list[int]]:
    """The ports of receivers in another process."""
    command = [sys.executable, "-m", "bench.receivers", str(_ENDPOINTS)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def _count(port: int) -> int:
    """Calls that were answered."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/count", timeout=5) as answer:
        return int(json.loads(answer.read()).get("/hook", 0))
