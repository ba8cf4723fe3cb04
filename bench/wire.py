"""Many connections in one event loop: callers that wait for minutes, and remember when they were answered."""

from __future__ import annotations

import asyncio
import time
from typing import cast

from bench.callers import content_length
from bench.report import BenchBroken

Answer = tuple[int, bytes]


class Line(asyncio.Protocol):
    """One connection, one question at a time. ``answered_at`` is when the newest answer was complete."""

    def __init__(self) -> None:
        self.answered_at = 0.0
        self._received = b""
        self._answer: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < content_length(head.lower()) or self._answer is None:
            return
        self.answered_at = time.perf_counter()
        self._received = b""
        self._answer.set_result((int(head.split(b" ", 2)[1]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(BenchBroken("the server closed a connection that waited"))

    async def ask(self, text: str) -> Answer:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(text.encode())
        return await self._answer

    def close(self) -> None:
        self._transport.close()


async def connect(port: int) -> Line:
    _, line = await asyncio.get_running_loop().create_connection(Line, "127.0.0.1", port)
    return line
