"""What workspaces and agents may use: calls per second, threads that wait, content that is kept.

Nothing is counted in the database per call. Calls are counted in memory, and nodes that are asked for the same
workspace share its limit out once a second by how often each was asked. Waiting threads and content are measured in the
background: how late is said at each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from stacksona_gate.domain.errors import OverLimit
from stacksona_gate.domain.ids import ALPHABET, ulid
from stacksona_gate.domain.tenants import TenantLimits, in_force, read_limits
from stacksona_gate.domain.times import MINUTE, SECOND
from stacksona_gate.service.environment import Environment
from stacksona_gate.store.base import Measured, Store, Tx

ROUND_SECONDS: Final = 1.0
"""Between two rounds: shares and waiting threads are at most this old."""
DEMAND_LASTS: Final = 3 * SECOND
"""How long what a node told of its calls counts: three rounds."""
STORED_EVERY: Final = 10 * SECOND
"""Between two looks at what workspaces with a limit on it keep."""
RECOUNT_EVERY: Final = 60 * MINUTE
"""Between two counts from the first request on: what was erased is noticed then."""
RECOUNT_FULL: Final = 5 * MINUTE
"""The same while a workspace is over its limit."""
PAGE: Final = 20_000
"""Requests looked at per step of a count: tens of milliseconds of a thread that decides nothing."""
SETTLED: Final = 20 * SECOND
"""Ids older than that are committed or never will be: they are counted once."""
LAST_ID: Final = ALPHABET[-1] * 26
"""After every ULID, also where a database sorts texts as a language does: punctuation may come before all of them."""
MEGABYTE: Final = 1_000_000
_ROOM: Final = "shorten its retention, or ask its operator for more"
COUNTED_MOST: Final = 1_000_000
"""Waiting threads are counted no further."""


@dataclass(slots=True)
class Bucket:
    """A token bucket: holds a second's worth, fills up evenly."""

    limit: int
    rate: float
    """This node's share of the limit."""
    tokens: float
    at: int
    asked: int = 0
    """Calls since the last round, refused ones too."""

    def take(self, now: int) -> bool:
        self.asked += 1
        # A clock that was set back gives nothing and takes nothing away.
        passed = max(0, now - self.at)
        self.at = now
        self.tokens = min(max(self.rate, 1.0), self.tokens + passed * self.rate / SECOND)
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass(slots=True)
class _Waiting:
    """Threads that wait in a workspace: counted, and opened here since."""

    counted: int
    opened: int = 0


@dataclass(slots=True)
class _Kept:
    """What a workspace keeps. ``mark``: up to this time it was counted once and for all."""

    counted_at: int
    mark: str = ""
    requests: int = 0
    bytes: int = 0
    total: tuple[int, int] = (0, 0)
    """Requests and bytes, with what is too young for the mark; stands until a whole count is through."""


@dataclass(slots=True)
class Quotas:
    """One per process. Its methods are called in the event loop."""

    store: Store
    env: Environment
    is_shared: bool = False
    """Whether other nodes may serve the same workspaces."""
    node: str = field(init=False)
    _buckets: dict[str, Bucket] = field(default_factory=dict)
    _elsewhere: dict[str, int] = field(default_factory=dict)
    """Calls of the last seconds at other nodes, by subject."""
    _waiting: dict[str, _Waiting] = field(default_factory=dict)
    _kept: dict[str, _Kept] = field(default_factory=dict)
    _full: dict[str, OverLimit] = field(default_factory=dict)
    _next_look: int = 0

    def __post_init__(self) -> None:
        self.node = self.env.id("node_", self.env.now())

    def take_call(self, tenant_id: str, limit: int) -> None:
        """Counts a call of a workspace's agent or verifier. Raises OverLimit."""
        if not self._take("w " + tenant_id, limit):
            raise OverLimit(
                f"this workspace may call {limit:,} times a second: wait a second, or ask its operator for more",
                code="workspace_rate",
                quota="workspace",
                limit=limit,
                window=1,
                retry_after=1,
            )

    def take_ask(self, tenant_id: str, agent_id: str, limit: int) -> None:
        """Counts a question of an agent with a limit of its own. Raises OverLimit."""
        if not self._take(f"a {tenant_id} {agent_id}", limit):
            raise OverLimit(
                f"this agent may ask {limit:,} times a second: wait a second",
                code="agent_rate",
                quota="agent",
                limit=limit,
                window=1,
                retry_after=1,
            )

    def _take(self, subject: str, limit: int) -> bool:
        now = self.env.now()
        bucket = self._buckets.get(subject)
        if bucket is None or bucket.limit != limit:
            rate = self._first_share(subject, limit)
            bucket = self._buckets[subject] = Bucket(limit, rate, max(rate, 1.0), now)
        return bucket.take(now)

    def _first_share(self, subject: str, limit: int) -> float:
        """What others leave, before this node has told them of its own calls; at least half."""
        return max(limit - self._elsewhere.get(subject, 0), limit / 2) if self._elsewhere else float(limit)

    async def open_thread(self, tenant_id: str, limit: int) -> None:
        """Counts a thread that is about to wait. Raises OverLimit.

        Threads of other nodes, and those that are decided, are counted within a second.
        """
        waiting = self._waiting.get(tenant_id)
        if waiting is None:
            counted = await self.store.read(lambda tx: tx.requests.count_pending(tenant_id, most=limit))
            waiting = self._waiting.setdefault(tenant_id, _Waiting(counted))
        if waiting.counted + waiting.opened >= limit:
            raise OverLimit(
                f"{limit:,} threads of this workspace wait for people, and no more may: decide or cancel some of them",
                code="workspace_pending_threads",
                quota="pending-threads",
                limit=limit,
                retry_after=5,
            )
        waiting.opened += 1

    def require_room(self, tenant_id: str) -> None:
        """Raises OverLimit where a workspace keeps more than it may, as of the last look."""
        error = self._full.get(tenant_id)
        if error is not None:
            raise error

    async def round(self) -> None:
        """What is done once a second. Raises Unavailable."""
        await self._share_out()
        await self._count_waiting()
        now = self.env.now()
        if not 0 <= self._next_look - now < STORED_EVERY:
            self._next_look = now + STORED_EVERY - SECOND
            await self._measure()

    async def _share_out(self) -> None:
        """Shares limits out among nodes: each gets what it is asked for, and its part of what is left over.

        The shares of nodes that have heard of each other make up the limit.
        """
        asked = {subject: bucket.asked for subject, bucket in self._buckets.items() if bucket.asked}
        for subject in self._buckets.keys() - asked.keys():
            del self._buckets[subject]  # not asked for a second: the next call finds a full one
        for bucket in self._buckets.values():
            bucket.asked = 0
        if not self.is_shared:
            return
        if asked:
            await self.store.write(lambda tx: self._tell(tx, asked), holds=True)
        told = await self.store.scan(self._list_told) if self._is_limited else []
        self._elsewhere, nodes = {}, dict[str, int]()
        for subject, node, count in told:
            if node != self.node:
                self._elsewhere[subject] = self._elsewhere.get(subject, 0) + count
                nodes[subject] = nodes.get(subject, 1) + 1
        for subject, count in asked.items():
            known = self._buckets.get(subject)
            if known is not None:
                known.rate = share(known.limit, count, self._elsewhere.get(subject, 0), nodes.get(subject, 1))

    def _tell(self, tx: Tx, asked: Mapping[str, int]) -> None:
        now = self.env.shared_now(tx)
        tx.installations.tell_demands(self.node, asked, now=now, until=now + DEMAND_LASTS)

    def _list_told(self, tx: Tx) -> list[tuple[str, str, int]]:
        return tx.installations.list_demands(self.env.shared_now(tx))

    @property
    def _is_limited(self) -> bool:
        return bool(self._buckets or self._elsewhere) or bool(self.env.limits.tenant.requests_per_second)

    async def _count_waiting(self) -> None:
        for tenant_id, waiting in list(self._waiting.items()):
            before = waiting.opened
            counted = await self.store.scan(lambda tx, t=tenant_id: tx.requests.count_pending(t, most=COUNTED_MOST))  # type: ignore[misc]
            # What was opened while it was counted may be counted twice, for a second: never too little.
            waiting.counted, waiting.opened = counted, waiting.opened - before
            if not waiting.counted and not waiting.opened:
                del self._waiting[tenant_id]

    async def _measure(self) -> None:
        limited = await self.store.scan(lambda tx: list(_limited(tx, self.env)))
        for gone in self._kept.keys() - {tenant_id for tenant_id, _ in limited}:
            del self._kept[gone]
            self._full.pop(gone, None)
        for tenant_id, limits in limited:
            kept = await self._counted(tenant_id)
            error = _over(limits, *kept.total)
            if error is None:
                self._full.pop(tenant_id, None)
            else:
                self._full[tenant_id] = error

    async def _counted(self, tenant_id: str) -> _Kept:
        now = self.env.now()
        known = self._kept.get(tenant_id)
        every = RECOUNT_FULL if tenant_id in self._full else RECOUNT_EVERY
        if known is None or not 0 <= now - known.counted_at < every:
            known = _Kept(now)
        settled = ulid(max(now - SETTLED, 0), bytes(10))
        requests, size = await self._between(tenant_id, known.mark, settled)
        # Together with the mark: of a count that was broken off, nothing is counted twice.
        known.requests, known.bytes, known.mark = known.requests + requests, known.bytes + size, settled
        requests, size = await self._between(tenant_id, settled, LAST_ID)
        known.total = (known.requests + requests, known.bytes + size)
        self._kept[tenant_id] = known
        return known

    async def _between(self, tenant_id: str, mark: str, until: str) -> tuple[int, int]:
        """Requests and bytes of ids from one time to another, looked at page by page."""
        requests = size = 0
        for prefix, count in (("req_", _requests), ("att_", _attachments)):
            after, end = prefix + mark, prefix + until
            while after:
                found = await self.store.scan(lambda tx, c=count, a=after, e=end: c(tx, tenant_id, a, e))  # type: ignore[misc]
                requests, size, after = requests + found.requests, size + found.bytes, found.reached
        return requests, size


def share(limit: int, own: int, others: int, nodes: int) -> float:
    """A node's part of a limit that ``nodes`` are asked for: by how often each was, when that is too often."""
    total = own + others
    if total > limit:
        return limit * own / total
    return own + (limit - total) / nodes


def _requests(tx: Tx, tenant_id: str, after: str, until: str) -> Measured:
    return tx.requests.measure(tenant_id, after=after, until=until, limit=PAGE)


def _attachments(tx: Tx, tenant_id: str, after: str, until: str) -> Measured:
    return tx.conversation.measure_attachments(tenant_id, after=after, until=until, limit=PAGE // 20)


def _limited(tx: Tx, env: Environment) -> Iterator[tuple[str, TenantLimits]]:
    """Workspaces with a limit on what they keep."""
    for tenant in tx.tenants.list_all():
        limits = in_force(read_limits(tenant.limits), env.limits.tenant)
        if limits.stored_requests is not None or limits.stored_megabytes is not None:
            yield tenant.id, limits


def _over(limits: TenantLimits, requests: int, size: int) -> OverLimit | None:
    most, megabytes = limits.stored_requests, size // MEGABYTE
    if most is not None and requests >= most:
        return OverLimit(
            f"this workspace keeps {requests:,} requests and may keep {most:,}: {_ROOM}",
            code="workspace_stored_requests",
            quota="stored-requests",
            limit=most,
            retry_after=60,
        )
    most = limits.stored_megabytes
    if most is not None and megabytes >= most:
        return OverLimit(
            f"this workspace keeps {megabytes:,} MB and may keep {most:,}: {_ROOM}",
            code="workspace_stored_megabytes",
            quota="stored-megabytes",
            limit=most,
            retry_after=60,
        )
    return None
