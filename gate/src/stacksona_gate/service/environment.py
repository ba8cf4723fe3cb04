"""What use-cases take from the world: time, randomness, settings. Tests put their own here."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from stacksona_gate.domain.audit import Actor, Entry, entry, entry_randomness
from stacksona_gate.domain.canonical import canonicalize
from stacksona_gate.domain.ids import ulid
from stacksona_gate.domain.tenants import NO_LIMITS, TenantLimits
from stacksona_gate.domain.times import DAY
from stacksona_gate.store.base import Tx
from stacksona_gate.telemetry.measures import Measures
from stacksona_gate.telemetry.spans import Spans


def _nothing(point: str) -> None:
    """What happens at a fault point, outside the tests of crashes."""


def system_clock() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


class Randomness(threading.local):
    """The system's random bytes, fetched a page at a time: a system call for each id costs more than the id.

    Every thread has a page of its own: no byte is ever given twice.
    """

    PAGE: Final = 4096

    def __init__(self) -> None:
        self._page = b""
        self._used = 0

    def __call__(self, count: int) -> bytes:
        if count > self.PAGE:
            return os.urandom(count)
        if self._used + count > len(self._page):
            self._page, self._used = os.urandom(self.PAGE), 0
        start, self._used = self._used, self._used + count
        return self._page[start : self._used]


@dataclass(frozen=True, slots=True)
class Limits:
    """Each is a setting."""

    held_requests: int = 1000
    """Answers held open at once per agent, by all processes together."""
    discovered_tools: int = 500
    """Unknown tool names kept per tenant."""
    thread_lasts: int = DAY
    """Microseconds a thread waits when nothing else says."""
    approval_lasts: int = DAY
    """Microseconds an approval stays redeemable when its tool does not say."""
    deliveries_per_endpoint: int = 4
    """Webhooks on their way at once to one endpoint, from this process."""
    tenant: TenantLimits = NO_LIMITS
    """What holds for workspaces that have no limits of their own."""
    deliveries_at_once: int = 200
    """Webhooks on their way at once, from this process."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Time, randomness, addresses and limits."""

    public_url: str = "http://127.0.0.1:8420"
    clock: Callable[[], int] = system_clock
    randomness: Callable[[int], bytes] = field(default_factory=Randomness)
    limits: Limits = field(default_factory=Limits)
    measures: Measures = field(default_factory=Measures)
    spans: Spans | None = None
    reached: Callable[[str], None] = _nothing
    """Told by name of the points at which a crash would matter most."""

    def now(self) -> int:
        return self.clock()

    def shared_now(self, tx: Tx) -> int:
        """The time of day that all processes go by in what they leave to each other, such as leases and waits: by the
        database's clock where there may be several machines."""
        return tx.leases.now(self.now())

    def monotonic(self) -> float:
        """Seconds for deadlines inside this process; steps of the clock do not move it."""
        return time.monotonic()

    def id(self, prefix: str, now: int) -> str:
        """A fresh id that sorts by time: ``req_…``, ``THR-…``, ``agt_…``."""
        return prefix + ulid(now, self.randomness(10))

    def secret(self, prefix: str) -> str:
        """A secret of 256 random bits, in hex behind its prefix."""
        return prefix + self.randomness(32).hex()

    def entry(
        self,
        event: str,
        *,
        tenant_id: str,
        at: int,
        actor: Actor,
        objects: Mapping[str, str],
        private: Mapping[str, object] | None = None,
        canonical: Mapping[str, bytes] | None = None,
        policy_version: int | None = None,
        status: str | None = None,
        reason_code: str | None = None,
    ) -> Entry:
        """An audit entry. ``private`` holds values as they are, ``canonical`` ones already in RFC 8785 form."""
        values = dict(canonical or {})
        if private:
            values |= {name: canonicalize(value) for name, value in private.items() if value is not None}
        return entry(
            event,
            tenant_id=tenant_id,
            at=at,
            actor=actor,
            randomness=self.randomness(entry_randomness(len(values))),
            objects=objects,
            private=values,
            policy_version=policy_version,
            status=status,
            reason_code=reason_code,
        )
