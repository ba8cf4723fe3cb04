"""The servers that an address names: the one that takes writes is found, made to prove itself, and kept to.

A primary that was killed and started again shows what it had committed before any standby had it. If the standby was
promoted meanwhile, that never happened; if not, it may still be lost. So with synchronous replication nothing is read
from a server before a commit of it came through: the standby then has all that was visible before.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Final

import psycopg

from stacksona_gate.store.postgres_connection import PostgresRows
from stacksona_gate.store.postgres_transactions import Patience

PROOF_SECONDS: Final = 2.0
"""How long a server may take to show that its commits come through."""
CONNECT_SECONDS: Final = "2"
"""How long one of several servers may take to answer: less than one alone may, as another may be the one."""
PAUSE_SECONDS: Final = 0.1
"""After no server was found nobody tries again for so long; who waited for the try shares its end."""

_STATE: Final = (
    "SELECT current_setting('synchronous_standby_names'), current_setting('synchronous_commit'),"
    " (SELECT COUNT(*) FROM pg_stat_replication)"
)
_PROOF: Final = "SELECT pg_logical_emit_message(true, 'stacksona-gate', '')"
"""Writes to the log only, where nobody reads it; its commit waits as every other does."""

Open = Callable[[dict[str, Any], bool], PostgresRows]


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

    def connect(self, *, read_only: bool = False) -> PostgresRows:
        """Raises psycopg.OperationalError."""
        asked = time.monotonic()
        with self._lock:
            if self._failed is not None and self._failed[0] > min(asked, time.monotonic() - PAUSE_SECONDS):
                raise psycopg.OperationalError(str(self._failed[1])) from self._failed[1]
            try:
                rows = self._found(read_only)
            except psycopg.OperationalError as error:
                self._failed = (time.monotonic(), error)
                raise
            self._failed = None
            return rows

    def _found(self, read_only: bool) -> PostgresRows:
        reasons = list[str]()
        for number in sorted(range(len(self._servers)), key=lambda n: (self._slowness[n], n != self._current)):
            begun = time.monotonic()
            try:
                rows = self._proven(number, read_only)
            except psycopg.OperationalError as error:
                self._slowness[number] = time.monotonic() - begun
                reasons.append(str(error).strip())
                continue
            self._slowness[number] = 0.0
            self._keep_to(number, rows)
            return rows
        raise psycopg.OperationalError("; ".join(reasons))

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
        self._connections[rows] = number
        if number != self._current:
            self._current = number
            for other, server in list(self._connections.items()):
                if server != number:
                    other.outdated = True
                    self._patience.hasten(other)


def prove(rows: PostgresRows) -> None:
    """Raises psycopg.OperationalError where commits wait for a standby that is not there."""
    found = rows.one(_STATE)
    if found is None or found[0] == "" or found[1] in ("off", "local"):
        return
    if found[2] == 0:
        raise psycopg.OperationalError("no standby is there, and commits wait for one")
    rows.one(_PROOF)


def each_server(parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """The parameters for each of the servers: libpq's lists of hosts, addresses and ports, taken apart."""
    lists = {name: str(parameters[name]).split(",") for name in ("host", "hostaddr", "port") if name in parameters}
    count = max([len(lists[name]) for name in ("host", "hostaddr") if name in lists], default=1)
    if count == 1:
        return [parameters]
    common = {name: value for name, value in parameters.items() if name not in lists}
    common |= {"connect_timeout": min(str(common.get("connect_timeout", CONNECT_SECONDS)), CONNECT_SECONDS, key=int)}
    return [
        common | {name: values[number if len(values) > 1 else 0] for name, values in lists.items()}
        for number in range(count)
    ]
