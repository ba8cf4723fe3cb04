"""The contract between use-cases and databases. Use-cases know this file alone.

``Tx`` is one open transaction (or one consistent read). A use-case is a plain function over it: it never commits,
never rolls back, never waits. Times are microseconds, ids are text, JSON is text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from stacksona_gate.domain.approvals import Redeemed, Redemption, Refused
from stacksona_gate.domain.audit import Entry
from stacksona_gate.store.configuration import (
    Agents as Agents,
    Installation as Installation,
    Installations as Installations,
    Keys as Keys,
    People as People,
    Policies as Policies,
    PolicyVersion as PolicyVersion,
    SigningKey as SigningKey,
    Tenant as Tenant,
    Tenants as Tenants,
    Verifiers as Verifiers,
)
from stacksona_gate.store.evidence import Contents, Log, Wrapping
from stacksona_gate.store.outbox import Leases, Nodes, Notices, Webhooks
from stacksona_gate.store.requests import (
    Conversation as Conversation,
    Erasure as Erasure,
    Idempotency as Idempotency,
    Measured as Measured,
    Mismatch as Mismatch,
    Reading as Reading,
    Readings as Readings,
    RedemptionEntries as RedemptionEntries,
    Replayed as Replayed,
    Replays as Replays,
    Requests as Requests,
    Stale as Stale,
    Stored as Stored,
    Submission as Submission,
    Submitted as Submitted,
)
from stacksona_gate.telemetry.measures import Histogram
from stacksona_gate.telemetry.spans import Spans

T = TypeVar("T")


class Audit(Protocol):
    def append(self, entry: Entry) -> None: ...
    def append_all(self, entries: Sequence[Entry]) -> None:
        """In one statement. For entries about requests that the caller has written: it is they who wake watchers."""
        ...

    def list_entries(
        self, tenant_id: str, *, request_id: str | None = None, before: int | None = None, limit: int = 100
    ) -> list[tuple[int, Entry]]:
        """Newest first, each with its sequence number."""
        ...


class Tx(Protocol):
    """One transaction, by noun."""

    @property
    def tenants(self) -> Tenants: ...
    @property
    def agents(self) -> Agents: ...
    @property
    def verifiers(self) -> Verifiers: ...
    @property
    def keys(self) -> Keys: ...
    @property
    def policies(self) -> Policies: ...
    @property
    def requests(self) -> Requests: ...
    @property
    def readings(self) -> Readings: ...
    @property
    def conversation(self) -> Conversation: ...
    @property
    def people(self) -> People: ...
    @property
    def audit(self) -> Audit: ...
    @property
    def replays(self) -> Replays: ...
    @property
    def contents(self) -> Contents: ...
    @property
    def installations(self) -> Installations: ...
    @property
    def erasure(self) -> Erasure: ...
    @property
    def leases(self) -> Leases: ...
    @property
    def nodes(self) -> Nodes: ...
    @property
    def log(self) -> Log: ...
    @property
    def webhooks(self) -> Webhooks: ...
    @property
    def notices(self) -> Notices: ...


DELIVERIES: Final = "deliveries"


@dataclass(frozen=True, slots=True)
class Change:
    """A request that a commit touched. An empty ``request_id`` stands for the tenant's configuration, DELIVERIES for
    something to be sent."""

    tenant_id: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Load:
    """What was committed so far, and who waits for more."""

    batch_sizes: Histogram
    """Writes in each commit."""
    commit_seconds: Histogram
    unanswered: int
    """Writes handed over whose callers still wait."""
    oldest_seconds: float
    """How long the first of those does."""
    connections: int
    """That this process has open."""
    database: str
    """``sqlite`` or ``postgresql``."""

    @property
    def commits(self) -> int:
        return sum(self.batch_sizes.counts)

    @property
    def writes(self) -> int:
        return int(self.batch_sizes.total)


Watcher = Callable[[Sequence[Change]], None]


class Store(Protocol):
    """A database. Every method raises domain.errors.Unavailable when the database is not there."""

    def unlock(self, wrapping: Wrapping) -> None:
        """Gives what content is encrypted with. Before it, what rests encrypted can be neither written nor read."""
        ...

    async def submit(self, submission: Submission) -> Submitted:
        """Writes a decision; returns after the commit."""
        ...

    async def redeem(self, attempt: Redemption, entries: RedemptionEntries) -> Redeemed | Refused | Stale:
        """Checks and redeems in one step; of any number at once, one wins. Stale: nothing was looked at."""
        ...

    async def write(self, unit: Callable[[Tx], T], *, holds: bool = False) -> T:
        """Runs a use-case in a transaction of its own; returns after the commit. What it raises undoes it alone.

        It may be run several times, until one of them counts. ``holds``: it holds whatever it decides on (a lease, rows
        that are locked or compared when they are set), so that the database need not watch what else happens.
        """
        ...

    async def read(self, query: Callable[[Tx], T]) -> T:
        """Runs a few look-ups by key over one state of the data."""
        ...

    async def scan(self, query: Callable[[Tx], T]) -> T:
        """As ``read``, for listings: runs where it delays no decision."""
        ...

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Calls ``watcher`` in this event loop after each commit that touched a request or the configuration, other
        processes' commits included. Returns what ends it."""
        ...

    @property
    def parted(self) -> frozenset[str]:
        """Tables in partitions, as of the last ``tend``: of them nothing is deleted row by row that goes with its
        partition."""
        ...

    async def tend(self, now: int, *, whatever_size: bool = False) -> list[str]:
        """Keeps tables that grow in partitions: made ahead, and dropped when all that is in them is over. Returns what
        was done, in words; nothing where the database has no need of it. ``whatever_size``: however small they are.
        """
        ...

    def load(self) -> Load:
        """For metrics."""
        ...

    def trace(self, spans: Spans | None) -> None:
        """Makes a span of each commit from now on."""
        ...


class DatabaseStore(Store, Protocol):
    """A store as the process that owns it has it."""

    def start(self) -> list[str]:
        """Migrates and begins to write. Returns the migrations applied."""
        ...

    def migrate(self) -> list[str]:
        """Brings the tables up to this version, without starting. Returns the migrations applied."""
        ...

    def close(self) -> None:
        """Finishes what waits, then closes."""
        ...

    def scrub(self) -> bool:
        """Clears what was erased out of the files, as far as they are within reach. False: it is done later."""
        ...

    def compact(self) -> None:
        """Writes the tables anew without what was deleted. Writers wait meanwhile."""
        ...
