"""A click on one node wakes an agent that waits at another: two gates on one PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Final

import psycopg
import uvloop

from bench.loader import Loader
from bench.peers.postgres import create_database, postgres, version
from bench.prepare import Prepared, get_text, post_text, prepare_database, request_template
from bench.processes import Server, serving
from bench.report import BenchBroken, Line, percentile, spread
from bench.speed import aimed
from bench.wire import Line as Wire, connect

_REVIEW_AMOUNT: Final = 400.0
_AT_REST: Final = 0.03
"""Seconds before a click: the pace of the clicks. The one who waits is held by then."""


def measure(folder: Path, loader: Loader, *, quick: bool) -> list[Line]:
    """Raises BenchBroken when a waiter was told anything but its approval, or an approval is not on disk."""
    clicks = 100 if quick else 500
    with postgres() as address:
        told = version(address)
        notified = _clicked(create_database(address, "notified"), clicks, silent=False)
        looking = _clicked(create_database(address, "looking"), clicks // 4, silent=True)
    p50, p99 = percentile(notified, 50), percentile(notified, 99)
    lost50, lost99 = percentile(looking, 50), percentile(looking, 99)
    print(f"\nwake: {told}, two gates; {len(notified) + len(looking)} clicks at one, each woke its agent at the other")
    return [
        aimed(
            "wake.other_node",
            f"click to wake at another node, {len(notified)} clicks",
            spread([p99]),
            f"p50 {p50:.1f} p99 {p99:.1f} ms",
            p50=p50,
            on=told,
        ),
        Line(f"the same with no notification sent, {len(looking)} clicks", f"p50 {lost50:.0f} p99 {lost99:.0f} ms"),
    ]


def _clicked(url: str, clicks: int, *, silent: bool) -> list[float]:
    """How long each waiter's answer took, in milliseconds from the click. ``silent``: what the one node commits, the
    other has to find in the tables."""
    prepared = prepare_database(url)
    with serving(url, tell_nothing=silent) as one, serving(url, tell_nothing=silent) as other:
        taken = uvloop.run(_measured(prepared, one, other, clicks))
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT COUNT(*) FROM requests WHERE status = 'approved'").fetchone()
    if row is None or row[0] != clicks:
        raise BenchBroken(f"{clicks} clicks answered, {row} approvals on disk")
    return taken


async def _measured(prepared: Prepared, one: Server, other: Server, clicks: int) -> list[float]:
    clicker, asker, waiting = await connect(one.port), await connect(one.port), await connect(other.port)
    taken = []
    for number in range(clicks):
        status, body = await asker.ask(request_template(one.port, prepared.keys[0], _REVIEW_AMOUNT) % (0, number))
        if status != 200:
            raise BenchBroken(f"not a thread to wait for: {status} {body[:300]!r}")
        taken.append(await _click(clicker, waiting, prepared.keys[0], json.loads(body)["thread_id"], one, other))
    for wire in (clicker, asker, waiting):
        wire.close()
    return taken


async def _click(clicker: Wire, waiting: Wire, key: str, thread: str, one: Server, other: Server) -> float:
    path = f"/api/agent/decisions?thread_id={thread}&wait=60"
    answer = asyncio.create_task(waiting.ask(get_text(other.port, path, key)))
    await asyncio.sleep(_AT_REST)
    if answer.done():
        raise BenchBroken("nobody waited")
    begun = time.perf_counter()
    status, body = await clicker.ask(post_text(one.port, "/bench/approvals", "", json.dumps([thread])))
    if status != 200:
        raise BenchBroken(f"not approved: {status} {body[:300]!r}")
    status, body = await answer
    if status != 200 or json.loads(body)["status"] != "approved":
        raise BenchBroken(f"a waiter was told {status} {body[:300]!r}")
    return (waiting.answered_at - begun) * 1000
