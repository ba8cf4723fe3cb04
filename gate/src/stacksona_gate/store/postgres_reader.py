"""The threads that read from PostgreSQL for callers that wait: many look-ups over one state of the data."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import psycopg

from stacksona_gate.domain.errors import Unavailable
from stacksona_gate.store.base import Tx
from stacksona_gate.store.jobs import Job, Jobs, answer, take
from stacksona_gate.store.postgres_connection import READ
from stacksona_gate.store.postgres_transactions import Line


class Reader(threading.Thread):
    """Takes the queries that wait and runs them in one transaction: its state was not there before any of them was
    asked, so that each sees whatever was answered before."""

    def __init__(self, jobs: Jobs, line: Line, *, number: int) -> None:
        super().__init__(name=f"gate-reader-{number}", daemon=True)
        self._jobs = jobs
        self._line = line

    def run(self) -> None:
        last = False
        while not last:
            batch, last = take(self._jobs, None)
            if batch:
                self._read(batch)
        self._jobs.put(None)  # the others end too
        self._line.close()

    def _read(self, batch: list[Job]) -> None:
        try:
            self._line.transact(READ, lambda rows, tx: _ask(tx, batch), told=lambda _: answer(batch))
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, Unavailable):
                for job in batch:
                    self._read([job])
                return
            for job in batch:
                job.error = error
            answer(batch)


def _ask(tx: Tx, batch: Sequence[Job]) -> None:
    """Raises psycopg.Error, which ends the transaction for all."""
    for job in batch:
        job.result = job.error = None
        query: Any = job.work
        try:
            job.result = query(tx)
        except psycopg.Error:
            raise
        except Exception as error:
            job.error = error
