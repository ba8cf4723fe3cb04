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
    was_told = False

    async def cancelled_when_told() -> T:
        task = asyncio.current_task()
        assert task is not None

        def told() -> None:
            nonlocal was_told
            if not was_told:
                task.cancel()
            was_told = True

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told)
        return await work

    try:
        return asyncio.run(cancelled_when_told())
    finally:
        if was_told:
            raise SystemExit(128 + signal.SIGTERM)
