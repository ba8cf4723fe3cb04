"""Which faults happen when: a function of the seed alone."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

FIRST_SECONDS: Final = 4.0
"""Calm at the beginning."""
CALM: Final = (1.5, 4.0)
"""Seconds between two faults, from and to."""
BESIDE: Final = 0.25
"""The share of faults that begin while the one before them lasts."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A fault. ``lasts``: seconds, from and to. ``where``: databases that it can be done to."""

    name: str
    what: str
    lasts: tuple[float, float]
    where: tuple[str, ...] = ("sqlite", "postgresql", "pair")

    @property
    def group(self) -> str:
        """Two of one group never overlap: the end of one would be the end of the other."""
        return self.name.partition("-")[0].replace("sync", "disk").replace("notifications", "database")


_PG: Final = ("postgresql",)
_ONE_DISK: Final = ("sqlite", "postgresql")
_PAIR: Final = ("pair",)

KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("node-kill", "SIGKILL of a node, and a new one", (0.0, 2.0)),
        Kind("node-freeze", "SIGSTOP of a node until its leases are over, and SIGCONT", (11.0, 14.0)),
        Kind("database-kill", "SIGKILL of PostgreSQL with all its processes, and a new start", (0.2, 2.0), _PG),
        Kind("database-promote", "the primary is lost for good, and its standby promoted", (0.2, 2.0), _PAIR),
        Kind("client-cut", "connections between callers and a node are cut", (0.2, 1.0)),
        Kind("client-hang", "what callers and a node say to each other stays on the way", (2.0, 7.0)),
        Kind("database-cut", "connections between a node and PostgreSQL are cut", (0.2, 3.0), _PG),
        Kind("database-hang", "connections to PostgreSQL hang, then are half open", (3.0, 13.0), _PG),
        Kind("database-slow", "every message between a node and PostgreSQL takes longer", (3.0, 6.0), _PG),
        Kind("notifications-lost", "NOTIFY does not arrive at a node", (4.0, 8.0), _PG),
        Kind("disk-full", "no space left for the database", (2.0, 6.0), _ONE_DISK),
        Kind("disk-read-only", "the database's disk takes no writes", (2.0, 6.0), _ONE_DISK),
        Kind("sync-slow", "every fsync of the database takes longer", (3.0, 6.0), _ONE_DISK),
        Kind("clock-forth", "a node's clock is set forth", (3.0, 8.0)),
        Kind("clock-back", "a node's clock is set back", (3.0, 8.0)),
        Kind("webhooks-twice", "webhooks are taken, and the connection cut before the answer", (3.0, 6.0)),
        Kind("webhooks-fail", "the receiver answers 500, or hangs", (2.0, 5.0)),
    )
}


@dataclass(frozen=True, slots=True)
class Fault:
    """``at`` and ``lasts``: seconds, from the beginning of the load. ``target``: a node's number, where it has one.
    ``size``: from 0 to 1, how bad."""

    number: int
    kind: str
    at: float
    lasts: float
    target: int
    size: float

    @property
    def end(self) -> float:
        return self.at + self.lasts


def plan(seed: int, seconds: float, kinds: Sequence[str], nodes: int) -> list[Fault]:
    """Faults for so many seconds: each kind once, in an order of its own, then each again.

    Two of the same group never overlap.
    """
    chance = random.Random(f"plan {seed}")
    faults: list[Fault] = []
    at = FIRST_SECONDS
    order = _order(chance, kinds)
    kind = next(order, None)
    while kind is not None:
        lasts, following = chance.uniform(*KINDS[kind].lasts), next(order)
        if at + lasts > seconds:
            break
        numbers = round(at, 3), round(lasts, 3), chance.randrange(nodes), round(chance.random(), 3)
        faults.append(Fault(len(faults), kind, *numbers))
        at = _next(chance, faults, KINDS[following].group)
        kind = following
    return faults


def _order(chance: random.Random, kinds: Sequence[str]) -> Iterator[str]:
    """Without end, each as often as any other."""
    while kinds:
        yield from chance.sample(sorted(kinds), len(kinds))


def _next(chance: random.Random, faults: list[Fault], group: str) -> float:
    """When one of this group begins: while the last one lasts, now and then; never three at a time."""
    last, others_over = faults[-1], max((fault.end for fault in faults[-2:-1]), default=0.0)
    beside = last.at + last.lasts * chance.uniform(0.2, 0.8)
    if chance.random() < BESIDE and last.lasts > 1.0 and beside > others_over and KINDS[last.kind].group != group:
        return beside
    return max(last.end, others_over) + chance.uniform(*CALM)


def kinds_for(database: str, named: Sequence[str] = ()) -> list[str]:
    """Those that can be done to a database, or of the named ones those. Raises KeyError for a name that is none."""
    wanted = [KINDS[name] for name in named] if named else list(KINDS.values())
    return [kind.name for kind in wanted if database in kind.where]
