"""Numbers that are counted where things happen, and read when somebody asks for metrics.

Plain integers without locks: each is written by one thread alone, or by the event loop. A number that several threads
write is kept by each of them and added up when it is read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

FAST: Final = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.1, 1.0)
"""Bounds in seconds for work inside the process."""
USUAL: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds in seconds for calls and commits."""
LONG: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0, 86400.0)
"""Bounds in seconds for deliveries: the ladder of retries is hours long."""
SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Bounds for how many writes share a commit."""


class Histogram:
    """Counts by size, as Prometheus has them. ``bounds`` are inclusive upper ends, in rising order."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add(self, other: Histogram) -> Histogram:
        """Takes in what another thread counted, by the same bounds."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.total += other.total
        return self

    def buckets(self) -> list[tuple[str, float]]:
        """Upper ends and how many are at most as large, the last one ``+Inf``."""
        found, so_far = list[tuple[str, float]](), 0
        for bound, count in zip((*(str(float(one)) for one in self.bounds), "+Inf"), self.counts, strict=True):
            so_far += count
            found.append((bound, so_far))
        return found


def summed(histograms: Iterable[Histogram], bounds: tuple[float, ...]) -> Histogram:
    """One histogram of several. ``bounds``: what they have, and what the sum of none has."""
    total = Histogram(bounds)
    for one in histograms:
        total.add(one)
    return total


@dataclass(slots=True)
class Measures:
    """What one process counts beside its store. Keys become labels: none comes from a caller."""

    decisions: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By status and reason."""
    rule_seconds: Histogram = field(default_factory=lambda: Histogram(FAST))
    calls: dict[str, Counter[int]] = field(default_factory=dict)
    """Answers by route and HTTP status; 499: the caller hung up first."""
    call_seconds: dict[str, Histogram] = field(default_factory=dict)
    """By route, for those that answer at once."""
    limited: Counter[str] = field(default_factory=Counter)
    """429 by code."""
    wake_seconds: Histogram = field(default_factory=lambda: Histogram(USUAL))
    """From when a thread was decided until whoever held an answer open for it was told."""
    sign_in_failures: int = 0
    attempt_seconds: Histogram = field(default_factory=lambda: Histogram(USUAL))
    delivery_seconds: Histogram = field(default_factory=lambda: Histogram(LONG))
    """From when a delivery was made until it arrived."""

    def answers(self, route: str) -> Counter[int]:
        """Of a route, by HTTP status."""
        return self.calls.setdefault(route, Counter())

    def histogram(self, route: str) -> Histogram:
        """Of a route's answers."""
        return self.call_seconds.setdefault(route, Histogram(USUAL))
