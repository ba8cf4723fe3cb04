"""The servers that an address names: the one that takes writes is found, made to prove itself, and kept to.

A primary that was killed and started again shows what it had committed before any standby had it. If the standby was
promoted meanwhile, that never happened; if not, it may still be lost. So with synchronous replication nothing is read
from a server before a commit of it came through: the standby then has all that was visible before.

The same is asked again every second of the server that is kept to. A primary that was cut from its standby, and this
gate with it, may not be the primary any more: it is not read from for longer than a few seconds.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final

import psycopg

from stacksona_gate.store.postgres_address import each_server
from stacksona_gate.store.postgres_connection import PostgresRows
from stacksona_gate.store.postgres_transactions import Line, Patience

PROOF_SECONDS: Final = 2.0
"""How long a server may take to show that its commits come through."""
CONFIRM_SECONDS: Final = 1.0
"""How often the server that is kept to shows it again."""
DOUBT_SECONDS: Final = 3.0
"""Once it could not for so long, nothing is read from it any more. A try takes two seconds, a look for other servers
some more: ten seconds after its last proof at most."""
PAUSE_SECONDS: Final = 0.1
"""After no server was found nobody tries again for so long; who waited for the try shares its end."""

_STATE: Final = (
    "SELECT current_setting('transaction_read_only'), current_setting('synchronous_standby_names'),"
    " current_setting('synchronous_commit'), (SELECT COUNT(*) FROM pg_stat_replication), current_setting('fsync')"
)
_PROOF: Final = "SELECT pg_logical_emit_message(true, 'stacksona-gate', '')"
"""Writes to the log only, where nobody reads it; its commit waits as every other does."""

UNRELIABLE: Final = (
    "this PostgreSQL tells commits before they are on disk (fsync or synchronous_commit is off):"
    " switch both on, a decision that was told must never be lost"
)

Open = Callable[[dict[str, Any], bool], PostgresRows]


class UnreliableServer(psycopg.OperationalError):
    """It tells commits before they are on disk."""


class Servers:
    """Of one address. Any thread may ask; one at a time tries."""

    def __init__(self, parameters: dict[str, Any], open_one: Open, patience: Patience) -> None:
        """``open_one``: connects to one server; the flag: to read only."""
        self._servers = each_server(parameters)
        self._open = open_one
        self._patience = patience
        self._lock = threading.Lock()
        self._failed: tuple[float, psycopg.OperationalError] | None = None
        self._slowness = [0.0] * len(self._servers)
        """Seconds that the last try took where it was in vain: who answers «not me» at once is asked first."""
        self._current: int | None = None
        self._connections: weakref.WeakKeyDictionary[PostgresRows, int] = weakref.WeakKeyDictionary()
        self._connections_lock = threading.Lock()

    def connect(self, *, read_only: bool = False) -> PostgresRows:
        """Raises psycopg.OperationalError."""
        asked = time.monotonic()
        with self._lock:
            if self._failed is not None and self._failed[0] > min(asked, time.monotonic() - PAUSE_SECONDS):
                raise type(self._failed[1])(str(self._failed[1])) from self._failed[1]
            try:
                rows = self._found(read_only)
            except psycopg.OperationalError as error:
                self._failed = (time.monotonic(), error)
                raise
            self._failed = None
            return rows

    def _found(self, read_only: bool) -> PostgresRows:
        errors = list[psycopg.OperationalError]()
        for number in sorted(range(len(self._servers)), key=lambda n: (self._slowness[n], n != self._current)):
            begun = time.monotonic()
            try:
                rows = self._proven(number, read_only)
            except psycopg.OperationalError as error:
                self._slowness[number] = time.monotonic() - begun
                errors.append(error)
                continue
            self._slowness[number] = 0.0
            self._keep_to(number, rows)
            return rows
        # The one that only wants to be set right, before those that are not there.
        kind = next((type(error) for error in errors if isinstance(error, UnreliableServer)), psycopg.OperationalError)
        raise kind("; ".join(str(error).strip() for error in errors))

    def _proven(self, number: int, read_only: bool) -> PostgresRows:
        rows = self._open(self._servers[number], read_only)
        try:
            with self._patience.limited(rows, PROOF_SECONDS):
                prove(rows)
        except BaseException:
            rows.close()
            raise
        return rows

    def _keep_to(self, number: int, rows: PostgresRows) -> None:
        """Whoever is connected to another server waits for one that does not take writes any more."""
        with self._connections_lock:
            self._connections[rows] = number
            if number != self._current:
                self._current = number
                self._leave([other for other, server in self._connections.items() if server != number])

    def doubt(self) -> None:
        """Nobody goes on with a connection that is there: whoever needs one has a server prove itself."""
        with self._connections_lock:
            self._leave(list(self._connections))

    def _leave(self, connections: Iterable[PostgresRows]) -> None:
        for rows in connections:
            rows.outdated = True
            self._patience.hasten(rows)


class Confirmation:
    """Asks the server that is kept to for its proof again and again. Of one thread."""

    def __init__(self, servers: Servers, line: Line) -> None:
        """``line``: a connection to it, which gives a try up by itself."""
        self._servers = servers
        self._line = line
        self._last = time.monotonic()

    def renew(self) -> None:
        """Raises psycopg.OperationalError when it did not come."""
        now = time.monotonic()
        if now - self._last < CONFIRM_SECONDS:
            return
        try:
            with self._line.limited() as rows:
                prove(rows)
        except (psycopg.Error, OSError) as error:
            self._line.close()
            if isinstance(error, UnreliableServer) or time.monotonic() - self._last >= DOUBT_SECONDS:
                self._servers.doubt()
            raise psycopg.OperationalError(str(error)) from error
        self._last = now


def prove(rows: PostgresRows) -> None:
    """Raises psycopg.OperationalError where nothing can be written, commits are told before they are on disk, or they
    wait for a standby that is not there."""
    found = rows.one(_STATE)
    if found is None or found[0] != "off":
        raise psycopg.OperationalError("the server takes no writes")
    if "off" in (found[2], found[4]):
        raise UnreliableServer(UNRELIABLE)
    if found[1] == "" or found[2] == "local":
        return
    if found[3] == 0:
        raise psycopg.OperationalError("no standby is there, and commits wait for one")
    rows.one(_PROOF)
