"""Whoever is told by webhook: checks what arrives, and does not always behave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from typing import Final

from chaos.history import Recorder
from chaos.people import Agent
from stacksona_gate.delivery.signatures import verified
from stacksona_gate.domain.times import SECOND

READ_SECONDS: Final = 10.0
HANG_SECONDS: Final = 20.0
"""Longer than a sender waits."""
OK_ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
BROKEN_ANSWER: Final = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Receiver:
    """On a port of its own. Misbehaves at the first arrival of a webhook only: its second one, seconds later, is what
    the sender promises, and the third would take minutes."""

    def __init__(self, recorder: Recorder, seed: str) -> None:
        self.port = 0
        self.agents: list[Agent] = []
        self.takes_twice = False
        self.fails = False
        self.counts: Counter[str] = Counter()
        self._recorder = recorder
        self._chance = random.Random(f"receiver {seed}")
        self._arrived: Counter[str] = Counter()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
                path, headers, body = await asyncio.wait_for(_read(reader), READ_SECONDS)
                await self._answer(writer, self._received(path, headers, body))
        finally:
            self._tasks.discard(task)
            writer.close()

    def _received(self, path: str, headers: dict[str, str], body: bytes) -> str:
        """Writes it down; how to answer."""
        name, told = headers.get("webhook-id", ""), json.loads(body)
        secrets = [agent.webhook_secret for agent in self.agents if path.endswith(f"/{agent.name}")]
        sent_at = int(headers.get("webhook-timestamp", "0")) * SECOND
        self._arrived[name] += 1
        how = self._how(name)
        self.counts[how] += 1
        self._recorder.note(
            "webhook",
            id=name,
            event=told.get("event"),
            thread=told.get("thread_id"),
            request=told.get("request_id"),
            decision=told.get("decision"),
            reason=told.get("reason_code"),
            is_signed=verified(secrets, headers, body, sent_at),
            answered=how,
        )
        return how

    def _how(self, name: str) -> str:
        if self._arrived[name] > 1:
            return "ok"
        if self.takes_twice:
            return "cut"
        if self.fails:
            return self._chance.choice(("broken", "hang"))
        return self._chance.choices(("ok", "slow", "cut", "broken", "hang"), (80, 8, 6, 4, 2))[0]

    async def _answer(self, writer: asyncio.StreamWriter, how: str) -> None:
        if how == "cut":
            writer.transport.abort()
            return
        if how in ("slow", "hang"):
            await asyncio.sleep(1.0 if how == "slow" else HANG_SECONDS)
        writer.write(BROKEN_ANSWER if how in ("broken", "hang") else OK_ANSWER)
        await writer.drain()

    @property
    def repeated(self) -> int:
        """Webhooks that arrived more than once."""
        return sum(number > 1 for number in self._arrived.values())


async def _read(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    """Path, headers by lower-case name, body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in head[1:] if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return head[0].split(" ")[1], headers, body
