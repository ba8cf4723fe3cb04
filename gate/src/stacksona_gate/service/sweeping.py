"""What becomes due while nobody asks: expiry and reminders. Any node may sweep, several at once too.

All of it rests on columns. A sweep that dies half way is rolled back; the next one, of any process, does it. Whoever
reads or decides a thread checks its time as well: a late sweep is never unsafe.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from stacksona_gate.domain.errors import Unavailable
from stacksona_gate.domain.times import SECOND
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.reminders import remind_all
from stacksona_gate.service.threads import expire_all
from stacksona_gate.store.base import Tx
from stacksona_gate.telemetry.outages import Outage

MOST: Final = 50
"""Threads per transaction: decisions in the same commit wait for them."""
SHARE: Final = 0.15
"""The part of its time that a sweep may take up while others write."""
LEAST_SECONDS: Final = 0.1
MOST_SECONDS: Final = 0.5
"""Between two looks: the clock may be set, and another node may make something due."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Swept:
    """``is_all``: nothing that was due is left. ``seconds``: how long the writer was busy with it."""

    is_all: bool
    seconds: float


async def keep_sweeping(gate: Gate) -> None:
    """Sweeps until it is cancelled. Its own pauses are of a clock that nobody sets.

    It asks the database twice a second whatever else happens: so it is the one to say that the database is away.
    """
    outage = Outage(log, "the database is away or too slow", "the database is back")
    while True:
        wait = MOST_SECONDS
        try:
            wait = await sweep(gate)
            outage.succeeded()
        except Unavailable as error:
            outage.failed(error.__cause__ or error)
        except Exception:
            log.exception("nothing was swept")
        await asyncio.sleep(wait)


async def sweep(gate: Gate) -> float:
    """Does everything that is due. Returns the seconds until the next look. Raises Unavailable."""
    while True:
        due = await gate.store.read(lambda tx: tx.requests.next_due())
        wait = MOST_SECONDS if due is None else (due - gate.env.now()) / SECOND
        if wait > 0:
            return min(max(wait, LEAST_SECONDS), MOST_SECONDS)
        before = gate.store.load().writes
        swept = await gate.store.write(lambda tx: sweep_some(tx, gate.env), holds=True)
        if swept.is_all:
            return LEAST_SECONDS
        if gate.store.load().writes > before + 1:
            await asyncio.sleep(swept.seconds * (1 / SHARE - 1))


def sweep_some(tx: Tx, env: Environment) -> Swept:
    """Does up to MOST of what is due of each kind."""
    begun, now = env.monotonic(), env.now()
    overdue = {request.id: request for request in tx.requests.list_overdue(now, MOST)}
    due = tx.requests.list_reminders_due(now, MOST)
    is_all = max(len(overdue), len(due)) < MOST
    overdue |= {request.id: request for request in due if request.is_overdue(now)}
    expire_all(tx, env, tuple(overdue.values()))
    remind_all(tx, env, [request for request in due if request.id not in overdue])
    return Swept(is_all, env.monotonic() - begun)
