"""Waiting for what another process does: it cannot tell, so it is looked at, in one way everywhere."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.report import BenchBroken


def until(holds: Callable[[], bool], what: str, *, seconds: float, every: float) -> float:
    """Looks ``every`` so many seconds whether it holds, for ``seconds`` at most. Returns the seconds that it took, late
    by one look at most. Raises BenchBroken, which says ``what`` did not come, and what ``holds`` raises.
    """
    begun = time.perf_counter()
    while not holds():
        if time.perf_counter() > begun + seconds:
            raise BenchBroken(f"{what}: not within {seconds:.0f} s")
        time.sleep(every)
    return time.perf_counter() - begun
