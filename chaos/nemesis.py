"""Does the faults of a plan, and says of each whether it hit anything."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chaos.databases import Database, PostgresDatabase, PostgresPair
from chaos.disk import Disk
from chaos.history import Recorder
from chaos.nodes import Node, until_ready
from chaos.plan import Fault
from chaos.proxy import Proxy
from chaos.receiver import Receiver
from chaos.shim import CLOCK_OFFSET, CLOCK_READS, FAILED_WRITES, SLOW_SYNCS, Shim

WELL_SECONDS: Final = 15.0
"""How long the next fault waits for all nodes to be well again."""
LATE_MOST: Final = 60.0
"""Seconds, and a quarter of the time that has passed on top."""
STEPS: Final = (5, 45, 300, 3600, 7200)
"""Seconds that a clock is set by."""
SECOND: Final = 1_000_000_000

How = tuple[Callable[[], object], Callable[[], object], Callable[[], int]]
"""Three functions: begins a fault, ends it, counts what it hit so far."""


@dataclass(eq=False)
class Targets:
    """What there is to be hit."""

    nodes: list[Node]
    database: Database
    disk: Disk
    receiver: Receiver

    @property
    def disk_shims(self) -> list[Shim]:
        """Of whoever writes to the database's disk."""
        return self.database.shims or [node.shim for node in self.nodes]


@dataclass(eq=False)
class Nemesis:
    """``hits``: how many faults of each kind came to something; ``timeline``: a line for each."""

    targets: Targets
    recorder: Recorder
    hits: Counter[str] = field(default_factory=Counter)
    timeline: list[str] = field(default_factory=list)

    async def run(self, plan: Sequence[Fault], begun: float) -> None:
        """Each at its time, or later: what is down already shows nothing when it is hit. ``begun``: when the load
        began. What is late by more than LATE_MOST is left out."""
        running: set[asyncio.Task[None]] = set()
        late, over = 0.0, 0.0
        for fault in plan:
            if late > LATE_MOST + fault.at / 4:
                break
            await asyncio.sleep(max(0.0, begun + fault.at + late - time.monotonic()))
            if fault.at > over:
                await asyncio.gather(*running)
                await until_ready(self.targets.nodes, WELL_SECONDS)
                late = max(late, time.monotonic() - begun - fault.at)
            over = max(over, fault.end)
            running.add(asyncio.create_task(self._do(fault, begun)))
        await asyncio.gather(*running)

    async def _do(self, fault: Fault, begun: float) -> None:
        started = time.monotonic()
        async with self._happening(fault) as measure:
            await asyncio.sleep(fault.lasts)
        ended, hits = time.monotonic(), measure()
        self.hits[fault.kind] += hits > 0
        told = {"kind": fault.kind, "target": fault.target, "size": fault.size, "hits": hits}
        self.recorder.note("fault", begun=started, ended=ended, **told)
        words = f"node {fault.target}  size {fault.size:4.2f}  {ended - started:5.1f} s  hit {hits}"
        self.timeline.append(f"{started - begun:8.1f} s  {fault.kind:<20} {words}")

    @asynccontextmanager
    async def _happening(self, fault: Fault) -> AsyncIterator[Callable[[], int]]:
        """Does it, and undoes it. Gives what tells how often it hit, to be asked at the end."""
        begin, end, count = self._how(fault)
        before = count()
        try:
            await asyncio.to_thread(begin)
            yield lambda: count() - before
        finally:
            await asyncio.to_thread(end)

    def _how(self, fault: Fault) -> How:
        node = self.targets.nodes[fault.target]
        place, _, what = fault.kind.partition("-")
        if place == "node":
            return _node_fault(node, what)
        if place in ("client", "notifications"):
            return _link_fault(node.front if place == "client" else node.back, what, fault.size)
        if place == "database":
            if what == "kill":
                return _database_kill(self.targets.database)
            if what == "promote":
                return _promotion(self.targets.database, lambda: self.recorder.note("promoted"))
            return _link_fault(node.back, what, fault.size)
        if place == "clock":
            return _clock_fault(node.shim, what, fault.size)
        if place == "webhooks":
            return _receiver_fault(self.targets.receiver, what)
        return _disk_fault(self.targets, place + "-" + what, fault.size)


def _node_fault(node: Node, what: str) -> How:
    hits = Counter[str]()

    def kill() -> None:
        hits["all"] += node.is_running
        node.kill()

    def thaw() -> None:
        hits["all"] += node.process is not None and _state(node.process.pid) == "T"
        node.signal(signal.SIGCONT)

    if what == "kill":
        return kill, node.start, lambda: hits["all"]
    return lambda: node.signal(signal.SIGSTOP), thaw, lambda: hits["all"]


def _state(process: int) -> str:
    """As the system calls it: T is stopped."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _database_kill(database: Database) -> How:
    assert isinstance(database, PostgresDatabase)
    hits = Counter[str]()

    def kill() -> None:
        hits["all"] += database.is_running
        database.kill()

    return kill, database.start, lambda: hits["all"]


def _promotion(database: Database, promoted: Callable[[], object]) -> How:
    assert isinstance(database, PostgresPair)
    return database.lose, lambda: database.promote(promoted), lambda: database.promotions


def _link_fault(proxy: Proxy | None, what: str, size: float) -> How:
    assert proxy is not None
    loop = asyncio.get_running_loop()

    def told(work: Callable[[], object]) -> Callable[[], object]:
        """The proxies belong to the event loop."""
        return lambda: loop.call_soon_threadsafe(work)

    def cut() -> None:
        proxy.is_cut = True
        proxy.cut()

    ways: dict[str, tuple[Callable[[], object], Callable[[], object], str]] = {
        "cut": (cut, lambda: setattr(proxy, "is_cut", False), "cut"),
        "hang": (proxy.hold, lambda: proxy.flow(half_open=proxy.reads_postgresql and size > 0.5), "withheld"),
        "slow": (lambda: setattr(proxy, "delay", 0.03 + size / 5), lambda: setattr(proxy, "delay", 0.0), "delayed"),
        "lost": (
            lambda: setattr(proxy, "loses_notifications", True),
            lambda: setattr(proxy, "loses_notifications", False),
            "lost",
        ),
    }
    begin, end, count = ways[what]
    return told(begin), told(end), lambda: proxy.counts[count]


def _clock_fault(shim: Shim, what: str, size: float) -> How:
    step = STEPS[int(size * len(STEPS)) % len(STEPS)] * (1 if what == "forth" else -1)
    return (
        lambda: shim.tell(CLOCK_OFFSET, step * SECOND),
        lambda: shim.tell(CLOCK_OFFSET, 0),
        lambda: shim.told(CLOCK_READS),
    )


def _receiver_fault(receiver: Receiver, what: str) -> How:
    name = "takes_twice" if what == "twice" else "fails"
    counted = ("cut",) if what == "twice" else ("broken", "hang")
    return (
        lambda: setattr(receiver, name, True),
        lambda: setattr(receiver, name, False),
        lambda: sum(receiver.counts[how] for how in counted),
    )


def _disk_fault(targets: Targets, kind: str, size: float) -> How:
    disk, shims = targets.disk, targets.disk_shims

    def counted(number: int) -> Callable[[], int]:
        return lambda: sum(shim.told(number) for shim in shims)

    if kind == "disk-full":
        return lambda: disk.fill(shims), lambda: disk.clear(shims), counted(FAILED_WRITES)
    if kind == "disk-read-only":
        return lambda: disk.refuse(shims), lambda: disk.clear(shims), counted(FAILED_WRITES)
    milliseconds = int(150 + 850 * size)
    return lambda: disk.slow_down(shims, milliseconds), lambda: disk.slow_down(shims, 0), counted(SLOW_SYNCS)
