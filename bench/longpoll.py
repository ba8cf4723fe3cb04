"""Agents that wait: what each of them costs in memory, and how soon a click wakes them."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import batched
from pathlib import Path
from typing import Final

import uvloop

from bench.loader import Loader
from bench.prepare import Prepared, get_text, post_text, prepare, request_template
from bench.processes import Server, serving, settle
from bench.report import BenchBroken, Line, Spread, percentile, ratios, spread
from bench.speed import aimed
from bench.waiting import until
from bench.wire import Line as Wire, connect

WAITERS: Final = 5000
_AGENTS: Final = 10
"""Each holds 500 answers: half of what the default setting allows."""
_AT_ONCE: Final = 50
_BETWEEN_CLICKS: Final = 0.01
"""Seconds: the pace of the clicks."""
_REVIEW_AMOUNT: Final = 400.0
_CALLERS: Final = 64


@dataclass(slots=True)
class Waiter:
    """An agent's connection, and the thread it waits for."""

    key: str
    thread_id: str
    wire: Wire | None = None
    decision: asyncio.Task[str] | None = None


@dataclass(frozen=True, slots=True)
class Woken:
    """What was measured. Times are milliseconds from the click; ``decisions`` is the rate of decisions while all wait,
    over that of a gate where nobody does.
    """

    kilobytes: float
    clicks: list[float]
    fan_out: list[float]
    decisions: Spread


def measure(folder: Path, loader: Loader, *, quick: bool) -> list[Line]:
    """Raises BenchBroken when a waiter was told anything but its approval."""
    prepared, alone = prepare(folder, "longpoll", agents=_AGENTS), prepare(folder, "alone")
    with serving(prepared.path) as server, serving(alone.path) as other:
        texts = [(each, request_template(each.port, who.keys[0])) for each, who in ((server, prepared), (other, alone))]

        def decide() -> Spread:
            return _beside(loader, texts, 2 if quick else 5, 1 if quick else 2)

        woken = uvloop.run(_measure(prepared, server, 200 if quick else 1000, decide))
    print(f"\nlong-poll: {WAITERS:,} waiting, each woken with a signed approval")
    return _lines(woken)


def _lines(woken: Woken) -> list[Line]:
    p50, p99 = percentile(woken.clicks, 50), percentile(woken.clicks, 99)
    first, middle, last = min(woken.fan_out), percentile(woken.fan_out, 50), max(woken.fan_out)
    return [
        aimed(
            "held.memory",
            f"{WAITERS:,} waiting agents, memory each",
            spread([woken.kilobytes]),
            f"{woken.kilobytes:.1f} KB",
        ),
        aimed("held.decisions", f"{_CALLERS} callers beside them / without them", woken.decisions),
        aimed(
            "wake.same_node",
            f"click to wake, {len(woken.clicks)} clicks",
            spread([p99]),
            f"p50 {p50:.2f} p99 {p99:.2f} ms",
            p50=p50,
        ),
        Line(
            f"{len(woken.fan_out):,} approved and woken at once",
            f"{first:.0f} / {middle:.0f} / {last:.0f} ms",
            "first / p50 / last",
        ),
    ]


def _beside(loader: Loader, texts: Sequence[tuple[Server, str]], rounds: int, seconds: int) -> Spread:
    """Decisions of 64 callers at both gates in turn; the first of ``texts`` over the second."""
    rates: tuple[list[float], list[float]] = ([], [])
    for server, text in texts:
        loader.run(server.port, text, _CALLERS, 1)
    for turn in range(rounds):
        for number in (0, 1) if turn % 2 else (1, 0):
            server, text = texts[number]
            settle(*(each for each, _ in texts))
            rates[number].append(loader.run(server.port, text, _CALLERS, seconds).rate)
    return ratios(*rates)


async def _measure(prepared: Prepared, server: Server, clicks: int, decide: Callable[[], Spread]) -> Woken:
    waiters = await _opened(prepared, server.port)
    await _read_all(waiters, server.port)
    await asyncio.to_thread(settle, server)
    before = server.resident_bytes()
    await _wait_all(waiters, server)
    await asyncio.to_thread(settle, server)
    kilobytes = (server.resident_bytes() - before) / WAITERS / 1024
    decisions = await asyncio.to_thread(decide)
    random.Random(1).shuffle(waiters)
    clicker = await connect(server.port)
    singles, rest = waiters[:clicks], waiters[clicks:]
    taken = []
    for waiter in singles:
        taken += await _click(clicker, server.port, [waiter])
        await asyncio.sleep(_BETWEEN_CLICKS)
    return Woken(kilobytes, taken, await _click(clicker, server.port, rest), decisions)


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


async def _wait_all(waiters: Sequence[Waiter], server: Server) -> None:
    """Connects everybody; returns when the server holds them all."""
    for group in batched(waiters, _AT_ONCE):
        for waiter, wire in zip(group, await asyncio.gather(*(connect(server.port) for _ in group)), strict=True):
            waiter.wire = wire
            waiter.decision = asyncio.create_task(_decided(waiter, wire, server.port))
    held = partial(until, lambda: server.told("held_answers") >= WAITERS, "everybody's waiting", seconds=60, every=0.1)
    await asyncio.to_thread(held)


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
