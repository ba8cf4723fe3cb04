"""The part that the policy sides share: answers for the table, and as many judgements as go into the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bench.peers.questions import TABLE
from bench.peers.side import Handler

type Judge = Callable[[dict[str, Any]], str]


def handlers(judge: Judge) -> dict[str, Handler]:
    """For ``side.serve``. ``judge`` takes a payload as the agent sends it and returns the status."""

    async def answers() -> dict[str, Any]:
        return {"answers": [judge(payload) for payload, _ in TABLE]}

    async def judge_table(seconds: float) -> dict[str, Any]:
        payloads = [payload for payload, _ in TABLE]
        judged, begun = 0, time.perf_counter()
        while (took := time.perf_counter() - begun) < seconds:
            for payload in payloads:
                judge(payload)
            judged += len(payloads)
        return {"answers": judged, "seconds": took}

    return {"answers": answers, "judge": judge_table}
