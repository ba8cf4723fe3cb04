"""The one thread that writes: takes what waits, runs it in one transaction, commits once, answers everybody.

A use-case that fails is undone alone (savepoint). A commit that fails is everybody's failure: nobody is answered
with a decision that is not on disk.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import apsw

from stacksona_gate.domain.errors import Unavailable
from stacksona_gate.store.base import DELIVERIES, Change, Submission, Tx
from stacksona_gate.store.batches import redeem_batch, submit_batch
from stacksona_gate.store.commits import Commits
from stacksona_gate.store.jobs import Job, Jobs, answer, asked_in, take
from stacksona_gate.store.queries.tenants import CONFIGURATION
from stacksona_gate.store.queries.transaction import SqlTx
from stacksona_gate.store.sqlite_connection import SQLiteRows, mapped_errors
from stacksona_gate.telemetry.trace import CURRENT

IDLE_SECONDS: Final = 0.25
"""How often an idle writer looks whether another process has committed."""

UNSEEN_MOST: Final = 500

log = logging.getLogger(__name__)


class Writer(threading.Thread):
    """Owns the only writing connection. ``publish`` is called in this thread after each commit with what changed."""

    def __init__(
        self,
        open_rows: Callable[[], SQLiteRows],
        publish: Callable[[Sequence[Change]], None],
        reached: Callable[[str], None] | None = None,
    ) -> None:
        """``reached``: told before and after a commit that decides about something to be sent."""
        super().__init__(name="gate-writer", daemon=True)
        self.jobs: Jobs = queue.SimpleQueue()
        self.commits = Commits()
        self._open_rows = open_rows
        self._publish = publish
        self._reached = reached
        self._rows: SQLiteRows | None = None
        self._tx: Tx | None = None
        self._data_version = -1
        self._audit_seq: int | None = None
        self._unseen = 0
        self._config_versions: dict[str, int] = {}

    def run(self) -> None:
        while True:
            batch, last = take(self.jobs, IDLE_SECONDS)
            if batch:
                self._write(batch)
            elif not last:
                self._look_around()
            if last:
                break
        if self._rows is not None:
            self._rows.close()

    def _write(self, batch: list[Job]) -> None:
        changes: list[Change] = []
        begun = time.perf_counter()
        try:
            with mapped_errors():
                rows = self._opened()
                rows.begin()
                changes = self._foreign_changes(rows)
                if any(change.request_id == CONFIGURATION for change in changes):
                    rows.forget_keys()  # another process may have put another key to use
                rows.changes = []
                self._run(rows, batch)
                seen = self._seen(rows, len(batch))
                self._tell("decision.before_commit", rows)
                rows.execute("COMMIT")
                self._tell("decision.after_commit", rows)
            if seen is not None:
                self._audit_seq, self._config_versions = seen
            if any(change.request_id == CONFIGURATION for change in rows.changes):
                rows.forget_keys()  # another key may be in use
            self.commits.add(batch, begun)
            changes += rows.changes
        except BaseException as error:
            self._roll_back()
            failure = (
                error
                if isinstance(error, Unavailable)
                else Unavailable("the commit failed: nothing was decided, try again")
            )
            log.error("commit failed: %s", error.__cause__ or error, extra={"fields": asked_in(batch)})
            for job in batch:
                job.result, job.error = None, failure
        # Watchers first: who is answered finds the caches dropped.
        if changes:
            self._publish(changes)
        answer(batch)

    def _tell(self, point: str, rows: SQLiteRows) -> None:
        if self._reached is not None and any(change.request_id == DELIVERIES for change in rows.changes):
            self._reached(point)

    def _opened(self) -> SQLiteRows:
        if self._rows is None or self._tx is None:
            self._rows = self._open_rows()
            self._tx = SqlTx(self._rows)
            self._data_version = -1
        return self._rows

    def _run(self, rows: SQLiteRows, batch: list[Job]) -> None:
        submits = [job for job in batch if isinstance(job.work, Submission)]
        redeems = [job for job in batch if isinstance(job.work, tuple)]
        _run_list(rows, submits, lambda works: submit_batch(rows, works))
        _run_list(rows, redeems, lambda works: redeem_batch(rows, works))
        for job in batch:
            if callable(job.work):
                CURRENT.set(job.trace)
                _run_one(rows, job, job.work, self._tx)
        CURRENT.set(None)

    def _foreign_changes(self, rows: SQLiteRows) -> list[Change]:
        """What other processes committed since this one last looked; the audit log is the list of it. At first, nothing
        has been told that could be wrong by now."""
        version = rows.data_version()
        if version == self._data_version:
            return []
        changes = [] if self._audit_seq is None else _told_since(rows, self._audit_seq)
        for tenant_id, config_version in rows.all("SELECT id, config_version FROM tenants"):
            if self._config_versions.get(tenant_id) != config_version:
                changes.append(Change(tenant_id, CONFIGURATION))
        self._audit_seq, self._config_versions = self._state(rows)
        self._data_version = version  # last: a look that failed is made again
        return changes

    def _seen(self, rows: SQLiteRows, jobs: int) -> tuple[int, dict[str, int]] | None:
        """What this process's own commits make known: not to be taken for another's later.

        Looked up when configuration changed, and now and then: what is announced twice costs one look too many.
        """
        self._unseen += jobs
        if self._unseen < UNSEEN_MOST and not any(change.request_id == CONFIGURATION for change in rows.changes):
            return None
        self._unseen = 0
        return self._state(rows)

    def _state(self, rows: SQLiteRows) -> tuple[int, dict[str, int]]:
        row = rows.one("SELECT MAX(seq) FROM audit")
        versions = {row[0]: row[1] for row in rows.all("SELECT id, config_version FROM tenants")}
        return (row[0] or 0) if row else 0, versions

    def _look_around(self) -> None:
        """An idle moment: has the command line, or another process, changed something?"""
        try:
            rows = self._opened()
            if rows.data_version() != self._data_version:
                rows.execute("BEGIN")
                changes = self._foreign_changes(rows)
                rows.execute("COMMIT")
                if changes:
                    self._publish(changes)
        except (apsw.Error, OSError) as error:
            log.warning("cannot read the database: %s", error)
            self._roll_back()

    def _roll_back(self) -> None:
        """Leaves no transaction open; a connection that cannot even do that is replaced."""
        if self._rows is None:
            return
        self._rows.forget_keys()
        try:
            if self._rows.connection.in_transaction:
                self._rows.execute("ROLLBACK")
        except (apsw.Error, OSError):
            self._rows, self._tx = None, None


def _told_since(rows: SQLiteRows, seq: int) -> list[Change]:
    sql = "SELECT tenant_id, request_id FROM audit WHERE seq > $1 AND thread_id IS NOT NULL"
    return [Change(tenant_id, request_id) for tenant_id, request_id in rows.all(sql, seq)]


def _run_list(rows: SQLiteRows, jobs: list[Job], operation: Callable[[list[Any]], Sequence[Any]]) -> None:
    """All at once; when one of them fails, each alone, so that it fails alone."""
    if not jobs:
        return
    mark = len(rows.changes)
    rows.execute("SAVEPOINT several")
    try:
        results = operation([job.work for job in jobs])
    except Exception as error:
        _undo(rows, "several", mark)
        if len(jobs) == 1:
            jobs[0].error = _told(error)
            return
        for job in jobs:
            _run_list(rows, [job], operation)
        return
    rows.execute("RELEASE several")
    for job, result in zip(jobs, results, strict=True):
        job.result = result


def _run_one(rows: SQLiteRows, job: Job, unit: Callable[[Tx], Any], tx: Tx | None) -> None:
    mark = len(rows.changes)
    rows.execute("SAVEPOINT one")
    try:
        assert tx is not None  # noqa: S101 - opened together with the connection
        with mapped_errors():
            job.result = unit(tx)
    except Exception as error:
        _undo(rows, "one", mark)
        job.error = _told(error)
        return
    rows.execute("RELEASE one")


def _undo(rows: SQLiteRows, savepoint: str, mark: int) -> None:
    del rows.changes[mark:]
    rows.forget_keys()
    rows.execute(f"ROLLBACK TO {savepoint}")
    rows.execute(f"RELEASE {savepoint}")


def _told(error: Exception) -> BaseException:
    """What the caller is told: the driver's errors in the contract's words, everything else as it is."""
    try:
        with mapped_errors():
            raise error
    except Exception as told:
        return told
