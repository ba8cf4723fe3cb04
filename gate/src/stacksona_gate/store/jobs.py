"""What waits to be written, and who waits for it: how an event loop and a writing thread meet."""

from __future__ import annotations

import asyncio
import logging
import queue
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgspec import Struct

from stacksona_gate.domain.approvals import Redemption
from stacksona_gate.domain.errors import Unavailable, Unknown
from stacksona_gate.store.base import RedemptionEntries, Submission, Tx
from stacksona_gate.telemetry.trace import CURRENT, Trace

COMMIT_SECONDS: Final = 10.0
"""How long a caller waits for the database before it is told that it is not there."""
WAITING_MOST: Final = 20_000
"""Jobs in the queue beyond which new ones are refused at once."""
BATCH_MOST: Final = 512
NAMED_MOST: Final = 20

log = logging.getLogger(__name__)

Redeeming = tuple[Redemption, RedemptionEntries]


@dataclass(frozen=True, slots=True)
class Unit:
    """A use-case. ``holds``: it holds whatever it decides on, as store.base.Store.write says."""

    run: Callable[[Tx], Any]
    holds: bool


class Job(Struct, eq=False):
    """Something to do in the next transaction, and who waits for it.

    A msgspec struct: every decision makes one, and a dataclass takes four times as long.
    """

    work: Submission | Redeeming | Unit | Callable[[Tx], Any]
    """A callable is a query."""
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    deadline: float
    """In the loop's time."""
    trace: Trace | None = None
    """What it belongs to, for log lines of the threads that do it."""
    started: bool = False
    abandoned: bool = False
    result: Any = None
    error: BaseException | None = None


Jobs = queue.SimpleQueue[list[Job] | None]
"""What an event loop hands over in one turn; None: the end."""


def take(jobs: Jobs, seconds: float | None) -> tuple[list[Job], bool]:
    """Everything that waits, up to the batch's size; whether this is the end. ``seconds``: how long to wait for any."""
    batch: list[Job] = []
    try:
        handed = jobs.get(timeout=seconds)
        while handed is not None:
            batch += _started(handed)
            if len(batch) >= BATCH_MOST:
                return batch, False
            handed = jobs.get_nowait()
    except queue.Empty:
        return batch, False
    return batch, True


def asked_in(batch: Sequence[Job]) -> dict[str, object]:
    """What a log line about a whole batch names: the calls that are in it, a few of them where they are many."""
    calls = [job.trace.http_request_id for job in batch if job.trace is not None and job.trace.http_request_id]
    return {"writes": len(batch), "http_request_ids": calls[:NAMED_MOST]}


def answer(batch: Sequence[Job]) -> None:
    """One wake-up per event loop, not one per caller."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in batch:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, jobs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, jobs)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.info("%d answers had nobody left to wait for them", len(jobs))


def _started(jobs: list[Job]) -> list[Job]:
    """The jobs that nobody gave up. Started first, then asked: who gives up in between says «may or may not»."""
    for job in jobs:
        job.started = True
    return [job for job in jobs if not job.abandoned]


def _settle(jobs: list[Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)


class Desks:
    """Takes jobs from any event loop and hands them to one queue."""

    def __init__(self, jobs: Jobs, seconds: float) -> None:
        """``seconds``: how long a caller waits at most."""
        self._jobs = jobs
        self._seconds = seconds
        self._desks: dict[asyncio.AbstractEventLoop, _Desk] = {}

    async def put(self, work: Any) -> Any:
        """Raises what the work ended in, Unavailable when the time is over."""
        if self._jobs.qsize() > WAITING_MOST:
            raise Unavailable("the store takes no more writes now: nothing was decided, try again", retry_after=1)
        loop = asyncio.get_running_loop()
        job = Job(work, loop, loop.create_future(), loop.time() + self._seconds, CURRENT.get())
        desk = self._desks.get(loop)
        if desk is None:
            desk = self._desks[loop] = _Desk(loop, self._jobs, self._seconds)
        desk.take(job)
        try:
            return await job.future
        except asyncio.CancelledError:
            job.abandoned = True
            raise

    def unanswered(self) -> tuple[int, float]:
        """How many callers wait, and for how many seconds the first of them does."""
        waiting = [desk.unanswered() for desk in tuple(self._desks.values())]
        return sum(count for count, _ in waiting), max((age for _, age in waiting), default=0.0)

    def hand_over(self) -> None:
        """Whatever the loops have not handed over yet."""
        for desk in self._desks.values():
            desk.hand_over()


class _Desk:
    """Where one event loop's jobs pass: handed over once per turn of the loop, given up when time is over.

    Both per job showed in the profile: a hand-over each makes small batches, a timer each costs more than the queue.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, jobs: Jobs, seconds: float) -> None:
        self._loop = loop
        self._jobs = jobs
        self._seconds = seconds
        self._new: list[Job] = []
        self._waiting: deque[Job] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def take(self, job: Job) -> None:
        while self._waiting and self._waiting[0].future.done():
            self._waiting.popleft()
        self._waiting.append(job)
        if not self._new:
            self._loop.call_soon(self.hand_over)
        self._new.append(job)
        if self._timer is None:
            self._timer = self._loop.call_at(job.deadline, self._look)

    def unanswered(self) -> tuple[int, float]:
        jobs = [job for job in tuple(self._waiting) if not job.future.done()]
        if not jobs:
            return 0, 0.0
        return len(jobs), max(0.0, self._loop.time() - (jobs[0].deadline - self._seconds))

    def hand_over(self) -> None:
        if self._new:
            jobs, self._new = self._new, []
            self._jobs.put(jobs)

    def _look(self) -> None:
        now = self._loop.time()
        while self._waiting and (self._waiting[0].future.done() or self._waiting[0].deadline <= now):
            _give_up(self._waiting.popleft())
        self._timer = self._loop.call_at(self._waiting[0].deadline, self._look) if self._waiting else None


def _give_up(job: Job) -> None:
    if not job.future.done():
        job.abandoned = True
        state = (
            "may or may not have been decided: ask again with the same Idempotency-Key"
            if job.started
            else "was not decided"
        )
        error = Unknown if job.started else Unavailable
        job.future.set_exception(error(f"the database did not answer in time; this {state}", retry_after=5))
