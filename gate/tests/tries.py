"""Promises of so many seconds, on a machine that may stand still for some of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

TRIES: Final = 7
PAUSE: Final = 3.0
"""Seconds after a try that took too long, and more after each further one: a slow half minute goes by."""


def _is_settled(took: list[float], bound: float, tries: int) -> bool:
    """More were within the bound than not, or there were enough of them."""
    return len(took) == tries or _balance(took, bound) > 0


def mostly_within(bound: float, take: Callable[[], float]) -> None:
    """One try where it is within the bound. Else most of a few: once may be the machine, more often is the gate."""
    took: list[float] = []
    while not _is_settled(took, bound, TRIES):
        time.sleep(_pause(took, bound))
        took.append(take())
    assert _balance(took, bound) > 0, f"seconds: {took}"


async def mostly_within_async(bound: float, take: Callable[[], Awaitable[float]], tries: int) -> None:
    """As ``mostly_within``, for what takes minutes: of few tries."""
    took: list[float] = []
    while not _is_settled(took, bound, tries):
        await asyncio.sleep(_pause(took, bound))
        took.append(await take())
    assert _balance(took, bound) > 0, f"seconds: {took}"


def _balance(took: list[float], bound: float) -> int:
    return sum(1 if one <= bound else -1 for one in took)


def _pause(took: list[float], bound: float) -> float:
    return PAUSE * sum(one > bound for one in took) if took and took[-1] > bound else 0.0
