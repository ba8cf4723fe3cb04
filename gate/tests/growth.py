"""Whether work grows no faster than what it is given. It is told by comparing: a slow machine tells the same."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Final

TIMES: Final = 32
LINEAR: Final = 4.4
"""Growth below this is linear: caches and allocators take up to four times as much for what is 32 times as large."""
ROUNDS: Final = 5
LEAST_SECONDS: Final = 0.005


def growth[T](work: Callable[[T], object], made: Callable[[int], T], size: int) -> float:
    """How many times as long the work takes with what is made of ``size`` as with a 32nd of it 32 times over.

    About 1 where it is linear and 32 where it is quadratic. Both take long alike, so that whatever else the machine
    does meets both.
    """
    small, large = made(size // TIMES), made(size)
    work(small)  # what is made at the first use only is made now
    return ratio(lambda: _seconds(work, large), lambda: _seconds(work, small, TIMES), below=LINEAR)


def ratio(one: Callable[[], float], other: Callable[[], float], *, below: float) -> float:
    """How many times the other the one takes: of both the least in a few rounds, in turn, until that is ``below``."""
    ones, others, found = [], [], below
    for _ in range(ROUNDS):
        others.append(other())
        ones.append(one())
        found = min(ones) / min(others)
        if found < below:
            break
    return found


def _seconds[T](work: Callable[[T], object], given: T, times: int = 1) -> float:
    """What so many runs take; short ones are repeated until there is something to measure."""
    gc.collect()
    gc.disable()
    try:
        rounds, started = 0, time.process_time()
        while (taken := time.process_time() - started) < LEAST_SECONDS:
            for _ in range(times):
                work(given)
            rounds += 1
    finally:
        gc.enable()
    return taken / rounds
