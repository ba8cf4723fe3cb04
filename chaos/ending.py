"""The end of a run that is told to end: everything is taken down that it put up."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any


def run_until_told[T](work: Coroutine[Any, Any, T]) -> T:
    """Runs it; SIGTERM cancels it, once. Raises SystemExit with 143 when it was told.

    A handler that raised would do so in whatever task happens to run: a second one that waits for that task raises it
    again, into the loop that cancels all the others, and what these had put up stays.
    """
    try:
        return asyncio.run(_cancelled_when_told(work))
    except asyncio.CancelledError:
        raise SystemExit(128 + signal.SIGTERM) from None


async def _cancelled_when_told[T](work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.current_task()
    assert task is not None

    def told() -> None:
        if not task.cancelling():
            task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told)
    return await work
