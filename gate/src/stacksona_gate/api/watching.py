"""What operators see of calls: how many, how long, and a line for those that the settings ask for."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final

from stacksona_gate.telemetry.measures import Histogram, Measures
from stacksona_gate.telemetry.spans import Spans
from stacksona_gate.telemetry.trace import CURRENT, Trace

GONE: Final = 499
"""Counted for a caller that hung up before it was answered; never sent."""
LINES_FROM: Final = {"all": 0, "failures": 500, "none": 1000}
"""The lowest HTTP status that gets a line, by the setting's value."""

log = logging.getLogger("stacksona_gate.access")


@dataclass(slots=True)
class Watch:
    """Shared by all endpoints of a process. ``access_log``: all, failures or none."""

    measures: Measures = field(default_factory=Measures)
    access_log: str = "none"
    spans: Spans | None = None

    def of(self, name: str, route: str) -> Watched:
        """``name``: method and pattern of the path, which hold nothing of the caller. ``route``: the metrics' label."""
        answers, seconds = self.measures.answers(route), self.measures.histogram(route)
        return Watched(self.measures, name, answers, seconds, LINES_FROM[self.access_log], self.spans)


@dataclass(slots=True)
class Watched:
    """One operation."""

    measures: Measures
    name: str
    answers: Counter[int]
    seconds: Histogram
    lines_from: int
    spans: Spans | None

    def done(self, status: int, begun: float) -> None:
        """Answered at once. ``begun``: perf_counter when the call came."""
        took = perf_counter() - begun
        self.answers[status] += 1
        self.seconds.observe(took)
        if self.spans is not None:
            self.spans.end(CURRENT.get(), status)
        if status >= self.lines_from:
            self._line(status, took)

    def opened(self, status: int, begun: float, route: str | None = None, trace: Trace | None = None) -> None:
        """An answer that was held, or that goes on: how long it took says nothing about the gate.

        ``trace``: of the call, where it is not the running task's.
        """
        answers = self.answers if route is None else self.measures.answers(route)
        answers[status] += 1
        if self.spans is not None:
            self.spans.end(trace or CURRENT.get(), status)
        if status >= self.lines_from:
            self._line(status, perf_counter() - begun)

    def _line(self, status: int, took: float) -> None:
        log.log(
            logging.WARNING if status >= 500 else logging.INFO,
            "%s %d",
            self.name,
            status,
            extra={"fields": {"status": status, "seconds": round(took, 6)}},
        )
