"""What other processes committed: told by NOTIFY at once, and looked for in the tables in case that was lost.

NOTIFY is sent after the commit, by a connection of its own, for everything that gathered meanwhile: inside the
transactions, PostgreSQL would let one commit at a time (docs/adr/0010). What a process that died in between did not
tell, and what a connection that broke did not bring, the others find when they look.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import psycopg

from stacksona_gate.domain.errors import Unavailable
from stacksona_gate.store.base import Change
from stacksona_gate.store.postgres_connection import READ, PostgresRows, Repeat, array_literal
from stacksona_gate.store.postgres_transactions import Line
from stacksona_gate.store.queries.tenants import CONFIGURATION
from stacksona_gate.store.rows import Row
from stacksona_gate.telemetry.outages import Outage

CHANNEL: Final = "stacksona_gate"
PAYLOAD_MOST: Final = 7500
"""Bytes; PostgreSQL takes less than 8,000."""
LOOK_SECONDS: Final = 0.5
"""How often the tables are looked at when notifications arrive."""
LOOK_ALONE_SECONDS: Final = 0.2
"""The same where none can arrive: behind a pooler without an address of its own to listen at."""
MISSING_SECONDS: Final = 30.0
"""How long a number that is missing in the audit log is looked for: longer than a transaction takes. It may have been
given to one that was undone."""
MISSING_MOST: Final = 100_000
"""Numbers that are looked for at once: somebody may have set the sequence forward."""
ENTRIES_MOST: Final = 10_000
"""Audit entries per look; when there are more, the next look follows at once."""

_ENTRY: Final = "SELECT seq, CASE WHEN thread_id IS NOT NULL THEN tenant_id END, request_id FROM audit"
_NEW: Final = f"{_ENTRY} WHERE seq > $1 ORDER BY seq LIMIT $2"
_LATE: Final = f"{_ENTRY} WHERE seq = ANY(CAST($1 AS BIGINT[]))"

log = logging.getLogger(__name__)

Publish = Callable[[Sequence[Change]], None]


class Notifier(threading.Thread):
    """Tells other processes what this one committed, once for all that was committed in the meantime."""

    def __init__(self, line: Line, name: str) -> None:
        """``name``: this process's, which knows by it what it has told itself."""
        super().__init__(name="gate-notifier", daemon=True)
        self._line = line
        self._name = name
        self._waiting: queue.SimpleQueue[Sequence[Change] | None] = queue.SimpleQueue()

    def tell(self, changes: Sequence[Change]) -> None:
        self._waiting.put(changes)

    def run(self) -> None:
        last = False
        while not last:
            changes, last = self._take()
            if changes:
                self._send(changes)
        self._line.close()

    def stop(self) -> None:
        self._waiting.put(None)
        self.join()

    def _take(self) -> tuple[dict[Change, None], bool]:
        """Without doubles."""
        gathered: dict[Change, None] = {}
        told = self._waiting.get()
        while told is not None:
            gathered |= dict.fromkeys(told)
            try:
                told = self._waiting.get_nowait()
            except queue.Empty:
                return gathered, False
        return gathered, True

    def _send(self, changes: Iterable[Change]) -> None:
        try:
            with self._line.limited() as rows:
                for payload in payloads(self._name, changes):
                    rows.one("SELECT pg_notify($1, $2)", CHANNEL, payload)
        except (psycopg.Error, OSError) as error:
            log.info("other processes were not told and will look for themselves: %s", error)
            self._line.close()


def payloads(name: str, changes: Iterable[Change]) -> list[str]:
    """Changes as texts of bounded size: the sender, then a tenant and a request per line."""
    texts = [name]
    for change in changes:
        line = f"\n{change.tenant_id} {change.request_id}"
        if len(texts[-1].encode()) + len(line.encode()) > PAYLOAD_MOST:
            texts.append(name)
        texts[-1] += line
    return texts


def told_changes(payload: str, name: str) -> list[Change]:
    """The changes of a payload that another process sent; none of this process's own."""
    sender, *lines = payload.split("\n")
    if sender == name:
        return []
    return [Change(tenant_id, request_id) for tenant_id, _, request_id in (line.partition(" ") for line in lines)]


class Listener(threading.Thread):
    """Waits for notifications, and looks at the tables now and then."""

    def __init__(
        self,
        connect: Callable[[], PostgresRows],
        line: Line,
        publish: Publish,
        name: str,
        *,
        confirm: Callable[[], None],
    ) -> None:
        """``connect``: to where notifications arrive; ``line``: to where the tables are read; ``confirm``: raises
        psycopg.OperationalError while that server cannot show that what it says holds."""
        super().__init__(name="gate-listener", daemon=True)
        self._connect = connect
        self._confirm = confirm
        self._look = Look(line)
        self._line = line
        self._publish = publish
        self._name = name
        self._rows: PostgresRows | None = None
        self._stopped = threading.Event()
        self._deaf = Outage(
            log,
            "notifications do not arrive; the tables are looked at every 200 ms instead",
            "notifications arrive again",
        )
        self.ready = threading.Event()
        """Set once everything that is committed from now on is heard of."""

    def run(self) -> None:
        while not self._stopped.is_set():
            begun = time.monotonic()
            self._look_around()
            try:
                self._listen(begun)
                self._deaf.succeeded()
            except (psycopg.Error, OSError) as error:
                self._hang_up()
                if not self._stopped.is_set():
                    self._deaf.failed(error)
                self._stopped.wait(LOOK_ALONE_SECONDS)
        self._hang_up()
        self._line.close()

    def stop(self) -> None:
        self._stopped.set()
        rows = self._rows
        if rows is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                rows.cut()
        self.join()

    def _look_around(self) -> None:
        try:
            self._confirm()
            changes = self._look.changes()
        except (Unavailable, Repeat, psycopg.OperationalError) as error:
            log.debug("cannot look at the tables: %s", error)
            return
        self.ready.set()
        if changes:
            self._publish(changes)

    def _listen(self, begun: float) -> None:
        """Until it is time for another look."""
        rows = self._rows or self._opened()
        if rows.pooled:
            self._stopped.wait(LOOK_ALONE_SECONDS)
            return
        while not self._stopped.is_set() and (left := begun + LOOK_SECONDS - time.monotonic()) > 0:
            if rows.outdated:
                raise psycopg.OperationalError("the server is not kept to any more")
            for notification in rows.connection.notifies(timeout=min(left, LOOK_ALONE_SECONDS), stop_after=1):
                changes = told_changes(notification.payload, self._name)
                if changes:
                    self._publish(changes)

    def _opened(self) -> PostgresRows:
        rows = self._rows = self._connect()
        if rows.pooled:
            log.warning("the address to listen at is a pooler's: changes are looked for every 200 ms")
        else:
            rows.execute(f"LISTEN {CHANNEL}")
        return rows

    def _hang_up(self) -> None:
        if self._rows is not None:
            self._rows.close()
            self._rows = None


class Look:
    """Finds in the tables what was committed since the last look, in whatever order it became visible."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._versions: dict[str, int] = {}
        self._sum: tuple[int, str] | None = None
        self._highest: int | None = None
        self._missing: dict[int, float] = {}

    def changes(self) -> list[Change]:
        """Raises Unavailable, Repeat: the next look then finds what this one would have. The first finds nothing."""
        before = self._versions, self._sum, self._highest, dict(self._missing)
        try:
            found, _ = self._line.transact(READ, lambda rows, tx: self._configurations(rows) + self._requests(rows))
        except BaseException:
            self._versions, self._sum, self._highest, self._missing = before
            raise
        return found

    def _configurations(self, rows: PostgresRows) -> list[Change]:
        """Versions only grow and tenants stay, so that an equal sum is an equal state."""
        row = rows.one("SELECT COUNT(*), CAST(COALESCE(SUM(config_version), 0) AS TEXT) FROM tenants")
        if row == self._sum or row is None:
            return []
        first, self._sum = self._sum is None, (row[0], row[1])
        before, self._versions = self._versions, dict(rows.all("SELECT id, config_version FROM tenants"))
        moved = [tenant_id for tenant_id, version in self._versions.items() if before.get(tenant_id) != version]
        return [] if first else [Change(tenant_id, CONFIGURATION) for tenant_id in moved]

    def _requests(self, rows: PostgresRows) -> list[Change]:
        if self._highest is None:
            self._begin(rows)
            return []
        found = list[Row]()
        if self._missing:
            found += rows.all(_LATE, array_literal(self._missing))
            for row in found:
                self._missing.pop(row[0], None)
        new = rows.all(_NEW, self._highest, ENTRIES_MOST)
        self._note([row[0] for row in new])
        return [Change(row[1], row[2]) for row in found + new if row[1] is not None]

    def _begin(self, rows: PostgresRows) -> None:
        """What was begun before the first look may become visible after it."""
        row = rows.one("SELECT COALESCE(MAX(seq), 0) FROM audit")
        self._highest = row[0] if row else 0
        first = max(0, self._highest - ENTRIES_MOST)
        self._expect(first + 1, [row[0] for row in rows.all("SELECT seq FROM audit WHERE seq > $1", first)])

    def _note(self, seqs: Sequence[int]) -> None:
        over = time.monotonic() - MISSING_SECONDS
        self._missing = {seq: since for seq, since in self._missing.items() if since > over}
        if seqs:
            first, self._highest = (self._highest or 0) + 1, seqs[-1]
            self._expect(max(first, seqs[-1] - MISSING_MOST), seqs)

    def _expect(self, first: int, seqs: Sequence[int]) -> None:
        """Numbers from ``first`` up to the last of ``seqs`` that are not among them."""
        if seqs:
            self._missing |= dict.fromkeys(set(range(first, max(seqs))).difference(seqs), time.monotonic())


def new_name() -> str:
    """Of a process among those on one database."""
    return secrets.token_hex(8)
