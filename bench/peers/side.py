"""What every side runs on: orders come in as lines of JSON, and answers go out so. Only the standard library."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

type Handler = Callable[..., Awaitable[dict[str, Any]]]
type Once = Callable[[], Awaitable[float]]
"""Does one piece of work; returns the seconds from the approval to the go-ahead, or 0 where nobody approves."""


async def serve(handlers: Mapping[str, Handler]) -> None:
    """Answers ``{"do": name, …}`` with what the handler of that name returns, until the input ends."""
    answers = _own_output()
    print_answer(answers, {"ready": True})
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        try:
            answer = await handlers[order.pop("do")](**order)
        except Exception:  # told to the one who asked, who ends the run
            answer = {"error": traceback.format_exc()}
        print_answer(answers, answer)


def _own_output() -> int:
    """Where answers go. What libraries print goes to the errors instead."""
    answers = os.dup(1)
    os.dup2(2, 1)
    return answers


def print_answer(output: int, answer: Mapping[str, Any]) -> None:
    os.write(output, json.dumps(answer).encode() + b"\n")


class Tally:
    """How often one kind of work was done to its end, warming up included: as much must be on disk."""

    def __init__(self) -> None:
        self.done = 0

    async def run(self, once: Once, callers: int, seconds: float) -> dict[str, float]:
        """Callers in a closed loop, each ending what it has begun. Latencies are milliseconds."""
        whole: list[float] = []
        resumes: list[float] = []
        begun = time.perf_counter()
        end = begun + seconds

        async def call() -> None:
            while (start := time.perf_counter()) < end:
                resumes.append(await once())
                whole.append(time.perf_counter() - start)

        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(call())
        took = time.perf_counter() - begun
        self.done += len(whole)
        return {"answers": len(whole), "seconds": took} | _points("whole", whole) | _points("resume", resumes)


def _points(name: str, values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {f"{name}_p{part}": ordered[(len(ordered) - 1) * part // 100] * 1000 for part in (50, 99)}
