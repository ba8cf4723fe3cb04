"""The threads that write to PostgreSQL: decisions and redemptions in batches, every other unit by itself."""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg

from stacksona_gate.domain.errors import Conflict, GateError, Unavailable
from stacksona_gate.store.base import Change, Submission
from stacksona_gate.store.batches import redeem_batch, submit_batch
from stacksona_gate.store.commits import Commits
from stacksona_gate.store.jobs import Job, Jobs, Unit, answer, asked_in, take
from stacksona_gate.store.postgres_connection import HELD, WATCHED, ConfigurationNeeded, PostgresRows
from stacksona_gate.store.postgres_transactions import Line, is_undone_by_another
from stacksona_gate.telemetry.trace import CURRENT

TRIES: Final = 30
"""How often a transaction is run again because others were in its way."""
PAUSE_SECONDS: Final = 0.002
"""Grows with every try, and is drawn by lot, so that two do not meet again and again."""

log = logging.getLogger(__name__)

Publish = Callable[[Sequence[Change]], None]


class Batches(threading.Thread):
    """Takes the submissions and redemptions that wait and writes them in one transaction."""

    def __init__(self, line: Line, publish: Publish) -> None:
        super().__init__(name="gate-writer", daemon=True)
        self.jobs: Jobs = queue.SimpleQueue()
        self.commits = Commits()
        self._line = line
        self._publish = publish

    def run(self) -> None:
        last = False
        while not last:
            batch, last = take(self.jobs, None)
            if batch:
                changes = self._write(batch)
                # Watchers first: who is answered finds the caches dropped.
                if changes:
                    self._publish(changes)
                answer(batch)
        self._line.close()

    def _write(self, batch: list[Job]) -> list[Change]:
        """All at once. When one of them fails it is looked for by halves, so that it fails alone."""
        for number in range(TRIES):
            begun = time.perf_counter()
            try:
                results, changes = self._line.transact(HELD, lambda rows, tx: _operate(rows, batch))
            except Unavailable as error:
                return _fail(batch, error)
            except Exception as error:
                if len(batch) > 1:
                    middle = len(batch) // 2
                    return self._write(batch[:middle]) + self._write(batch[middle:])
                if not is_undone_by_another(error) or number == TRIES - 1:
                    return _fail(batch, _told(error))
                _pause(number)
                continue
            self.commits.add(batch, begun)
            for job, result in zip(batch, results, strict=True):
                job.result = result
            return changes
        raise AssertionError("unreachable: the last try answers")


def _operate(rows: PostgresRows, batch: Sequence[Job]) -> list[Any]:
    submissions = [(i, job.work) for i, job in enumerate(batch) if isinstance(job.work, Submission)]
    redemptions = [(i, job.work) for i, job in enumerate(batch) if isinstance(job.work, tuple)]
    results: dict[int, Any] = {}
    if submissions:
        results |= zip([i for i, _ in submissions], submit_batch(rows, [work for _, work in submissions]), strict=True)
    if redemptions:
        results |= zip([i for i, _ in redemptions], redeem_batch(rows, [work for _, work in redemptions]), strict=True)
    return [results[i] for i in range(len(batch))]


def _fail(batch: Sequence[Job], error: BaseException) -> list[Change]:
    log.error("commit failed: %s", _cause(error), extra={"fields": asked_in(batch)})
    for job in batch:
        job.result, job.error = None, error
    return []


def _cause(error: BaseException) -> object:
    """For the log: the server's first sentence. Its details may quote the row that it refused, subject and all."""
    cause = error.__cause__ or error
    primary = cause.diag.message_primary if isinstance(cause, psycopg.Error) else None
    return primary or cause


def _told(error: Exception) -> BaseException:
    """What the caller is told. A transaction that never came through was never committed."""
    if isinstance(error, GateError):
        return error
    told = Unavailable("the database is busy with others: nothing was decided, try again", retry_after=1)
    told.__cause__ = error
    return told


def _pause(number: int) -> None:
    time.sleep(random.random() * PAUSE_SECONDS * min(number + 1, 20))  # noqa: S311 - nobody gains by guessing it


class Units(threading.Thread):
    """One of several threads that run units, each in a transaction of its own."""

    def __init__(self, jobs: Jobs, line: Line, publish: Publish, *, number: int) -> None:
        super().__init__(name=f"gate-unit-{number}", daemon=True)
        self.commits = Commits()
        self._jobs = jobs
        self._line = line
        self._publish = publish

    def run(self) -> None:
        while (handed := self._jobs.get()) is not None:
            if len(handed) > 1:
                self._jobs.put(handed[1:])  # for the other threads
            job = handed[0]
            job.started = True
            if not job.abandoned and isinstance(job.work, Unit):
                self._write(job, job.work)
        self._jobs.put(None)  # the others end too
        self._line.close()

    def _write(self, job: Job, unit: Unit) -> None:
        CURRENT.set(job.trace)
        begun = time.perf_counter()
        try:
            job.result, changes = self._transact(unit)
        except Exception as error:
            job.error = error
        else:
            self.commits.add([job], begun)
            if changes:
                self._publish(changes)
        answer([job])

    def _transact(self, unit: Unit) -> tuple[Any, list[Change]]:
        how, held = (HELD if unit.holds else WATCHED), frozenset[str]()
        for number in range(TRIES):
            try:
                return self._line.transact(how, lambda rows, tx: unit.run(tx), held)
            except ConfigurationNeeded as needed:
                # Who changes configuration has it alone from the start: what it looked at before may have moved.
                how, held = HELD, held | needed.tenant_ids
            except Exception as error:
                if not is_undone_by_another(error):
                    raise
                if number == TRIES - 1:
                    raise _told(error) from error
                _pause(number)
        raise Conflict("somebody else changes this all the time: try again")
