"""Agents that wait: what each of them costs in memory, and how soon a click wakes them."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import Final

import uvloop

from bench.loader import Loader
from bench.prepare import Prepared, get_text, post_text, prepare, request_template
from bench.processes import Server, serving
from bench.report import BenchBroken, Line, percentile
from bench.wire import Line as Wire
from bench.wire import connect

WAITERS: Final = 5000
_AGENTS: Final = 10
"""Each holds 500 answers: half of what the default setting allows."""
_AT_ONCE: Final = 50
_BETWEEN_CLICKS: Final = 0.01
_REVIEW_AMOUNT: Final = 400.0


@dataclass(slots=True)
class Waiter:
    """An agent's connection, and the thread it waits for."""

    key: str
    thread_id: str
    wire: Wire | None = None
    decision: asyncio.Task[str] | None = None


@dataclass(frozen=True, slots=True)
class Woken:
    """What was measured. Times are milliseconds from the click."""

    kilobytes: float
    clicks: list[float]
    fan_out: list[float]


def measure(folder: Path, loader: Loader, *, quick: bool) -> list[Line]:
    """Raises BenchBroken when a waiter was told anything but its approval."""
    prepared = prepare(folder, "longpoll", agents=_AGENTS)
    with serving(prepared.path) as server:
        woken = uvloop.run(_measure(prepared, server, 200 if quick else 1000))
    print(f"\nlong-poll: {WAITERS:,} waiting, each woken with a signed approval")
    return _lines(woken)


def _lines(woken: Woken) -> list[Line]:
    p50, p99 = percentile(woken.clicks, 50), percentile(woken.clicks, 99)
    first, middle, last = min(woken.fan_out), percentile(woken.fan_out, 50), max(woken.fan_out)
    return [
        Line(
            f"{WAITERS:,} waiting agents, memory each",
            f"{woken.kilobytes:.1f} KB",
            "under 24 KB",
            woken.kilobytes < 24,
        ),
        Line(
            f"click to wake, {len(woken.clicks)} clicks", f"p50 {p50:.2f} p99 {p99:.2f} ms", "p99 under 50 ms", p99 < 50
        ),
        Line(
            f"{len(woken.fan_out):,} approved and woken at once",
            f"{first:.0f} / {middle:.0f} / {last:.0f} ms",
            "first / p50 / last",
        ),
    ]


async def _measure(prepared: Prepared, server: Server, clicks: int) -> Woken:
    waiters = await _opened(prepared, server.port)
    await _read_all(waiters, server.port)
    before = server.resident_bytes()
    await _wait_all(waiters, server.port)
    kilobytes = (server.resident_bytes() - before) / WAITERS / 1024
    random.Random(1).shuffle(waiters)
    clicker = await connect(server.port)
    singles, rest = waiters[:clicks], waiters[clicks:]
    taken = []
    for waiter in singles:
        taken += await _click(clicker, server.port, [waiter])
        await asyncio.sleep(_BETWEEN_CLICKS)
    return Woken(kilobytes, taken, await _click(clicker, server.port, rest))


async def _opened(prepared: Prepared, port: int) -> list[Waiter]:
    """A thread for each waiter."""
    wires = [await connect(port) for _ in range(_AT_ONCE)]
    keys = [prepared.keys[number % _AGENTS] for number in range(WAITERS)]

    async def one(wire: Wire, number: int) -> Waiter:
        text = request_template(port, keys[number], _REVIEW_AMOUNT) % (0, number)
        status, body = await wire.ask(text)
        answer = json.loads(body)
        if status != 200 or answer["status"] != "pending_review":
            raise BenchBroken(f"not a thread to wait for: {status} {body[:300]!r}")
        return Waiter(keys[number], answer["thread_id"])

    made = []
    for numbers in batched(range(WAITERS), _AT_ONCE):
        made += await asyncio.gather(*(one(wires[i], number) for i, number in enumerate(numbers)))
    for wire in wires:
        wire.close()
    return made


async def _read_all(waiters: Sequence[Waiter], port: int) -> None:
    """Each thread once without waiting: the database's cache is not a waiter's memory."""
    wire = await connect(port)
    for waiter in waiters:
        await wire.ask(get_text(port, f"/api/agent/decisions?thread_id={waiter.thread_id}", waiter.key))
    wire.close()
    await asyncio.sleep(1)


async def _wait_all(waiters: Sequence[Waiter], port: int) -> None:
    """Connects everybody; returns when the server holds them all."""
    for group in batched(waiters, _AT_ONCE):
        for waiter, wire in zip(group, await asyncio.gather(*(connect(port) for _ in group)), strict=True):
            waiter.wire = wire
            waiter.decision = asyncio.create_task(_decided(waiter, wire, port))
    wire = await connect(port)
    for _ in range(100):
        _, metrics = await wire.ask(get_text(port, "/metrics"))
        held = next(line for line in metrics.decode().splitlines() if line.startswith("stacksona_gate_held_answers "))
        if float(held.split()[1]) >= WAITERS:
            break
        await asyncio.sleep(0.1)
    else:
        raise BenchBroken(f"not everybody waits: {held}")
    await asyncio.sleep(1)
    wire.close()


async def _decided(waiter: Waiter, wire: Wire, port: int) -> str:
    """Waits as an agent does, again and again, until it is decided. Returns the status."""
    text = get_text(port, f"/api/agent/decisions?thread_id={waiter.thread_id}&wait=60", waiter.key)
    while True:
        status, body = await wire.ask(text)
        answer = json.loads(body)
        if status != 200:
            raise BenchBroken(f"a waiter was refused: {status} {body[:300]!r}")
        if answer["status"] != "pending_review":
            return str(answer["status"]) if "approval_token" in answer else "no token"


async def _click(clicker: Wire, port: int, waiters: Sequence[Waiter]) -> list[float]:
    """Approves; returns how long each waiter's answer took, counted from here."""
    threads = json.dumps([waiter.thread_id for waiter in waiters])
    begun = time.perf_counter()
    status, body = await clicker.ask(post_text(port, "/bench/approvals", "", threads))
    if status != 200:
        raise BenchBroken(f"not approved: {status} {body[:300]!r}")
    taken = []
    for waiter in waiters:
        assert waiter.decision is not None
        assert waiter.wire is not None
        if await waiter.decision != "approved":
            raise BenchBroken(f"a waiter was told {waiter.decision.result()}")
        taken.append((waiter.wire.answered_at - begun) * 1000)
        waiter.wire.close()
    return taken
