"""The loader for machines without wrk. Prints what the callers saw as one line of JSON.

usage: python -m bench.callers PORT FILE SEED CALLERS SECONDS [PAUSE]
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import cast

import uvloop

from bench.report import percentile

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "


class Tally:
    """What all callers have seen so far."""

    def __init__(self, template: bytes, seed: int, pause: float = 0.0) -> None:
        """``pause``: seconds on average between an answer and the next question."""
        self._pause = pause
        self._templates = template.split(b"\0")
        self._numbered = b"%08x" in template
        self._random = random.Random(seed)
        self._count = 0
        self.latencies: list[float] = []
        self.refused = 0
        self.lost = 0
        self.over = False

    def next_pause(self) -> float:
        return self._random.uniform(0, 2 * self._pause) if self._pause else 0.0

    def next_request(self) -> bytes:
        self._count += 1
        template = self._templates[self._count % len(self._templates)]
        return template % (self._random.getrandbits(31), self._count) if self._numbered else template


class Caller(asyncio.Protocol):
    """Asks again as soon as it is answered."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._received = b""
        self._asked = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._ask()

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        self._transport.write(self._tally.next_request())

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(_HEAD_END)
        if not found or len(body) < content_length(head):
            return
        self._received = b""
        self._tally.latencies.append((time.perf_counter() - self._asked) * 1e6)
        if not head.startswith(b"HTTP/1.1 200"):
            self._tally.refused += 1
        if not self._tally.over:
            self._ask_again()

    def _ask_again(self) -> None:
        pause = self._tally.next_pause()
        if pause:
            asyncio.get_running_loop().call_later(pause, self._ask)
        else:
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._tally.over:
            self._tally.lost += 1


def content_length(head: bytes) -> int:
    """Of an answer's head as the gate writes it."""
    start = head.index(_LENGTH) + len(_LENGTH)
    return int(head[start : head.find(b"\r", start)] if b"\r" in head[start:] else head[start:])


async def _run(port: int, template: bytes, seed: int, callers: int, seconds: float, pause: float) -> dict[str, float]:
    loop, tally = asyncio.get_running_loop(), Tally(template, seed, pause)
    begun = time.perf_counter()
    for _ in range(callers):
        await loop.create_connection(lambda: Caller(tally), "127.0.0.1", port)
    await asyncio.sleep(seconds)
    took, latencies = time.perf_counter() - begun, tally.latencies[:]
    tally.over = True
    return {
        "answers": len(latencies),
        "seconds": took,
        "p50": percentile(latencies, 50),
        "p99": percentile(latencies, 99),
        "refused": tally.refused,
        "lost": tally.lost,
    }


def main() -> None:
    port, file, seed, callers, seconds, *pause = sys.argv[1:]
    template = Path(file).read_bytes()
    thinks = float(pause[0]) if pause else 0.0
    print(json.dumps(uvloop.run(_run(int(port), template, int(seed), int(callers), float(seconds), thinks))))


if __name__ == "__main__":
    main()
