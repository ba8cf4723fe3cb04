"""Waiting for what other tasks and processes do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def until[T](look: Callable[[], Awaitable[T | None]], patience: float = 20.0) -> T:
    """What ``look`` gives once it gives something."""
    end = asyncio.get_running_loop().time() + patience
    while True:
        found = await look()
        if found is not None:
            return found
        assert asyncio.get_running_loop().time() < end, "it did not happen in time"
        await asyncio.sleep(0.05)
