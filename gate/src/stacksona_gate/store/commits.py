"""What a thread that writes has committed."""

from __future__ import annotations

import time
from collections.abc import Sequence

from stacksona_gate.store.jobs import Job
from stacksona_gate.telemetry.measures import SIZES, USUAL, Histogram
from stacksona_gate.telemetry.spans import Spans


class Commits:
    """One thread adds to it, any thread reads it."""

    def __init__(self) -> None:
        self.sizes = Histogram(SIZES)
        """Writes in each."""
        self.seconds = Histogram(USUAL)
        self.spans: Spans | None = None

    def add(self, batch: Sequence[Job], begun: float) -> None:
        """These went to disk together, just now. ``begun``: by ``time.perf_counter``."""
        took = time.perf_counter() - begun
        self.sizes.observe(len(batch))
        self.seconds.observe(took)
        if self.spans is not None:
            self.spans.committed([job.trace for job in batch], took)
