"""A TCP proxy that can be told to cut, delay, withhold, leave half open, and drop PostgreSQL's notifications."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

CHUNK: Final = 65_536
CONNECT_SECONDS: Final = 3.0
NOTIFICATION: Final = ord("A")

Filter = Callable[[bytes], bytes]


class NotificationFilter:
    """What a PostgreSQL server sends, without the notifications in it while told so. Only for connections without TLS:
    the first message is then one with a length."""

    def __init__(self, is_on: Callable[[], bool], dropped: Callable[[], None]) -> None:
        self._is_on = is_on
        self._dropped = dropped
        self._rest = b""

    def __call__(self, data: bytes) -> bytes:
        data, passed, place = self._rest + data, [], 0
        while len(data) - place >= 5:
            end = place + 1 + struct.unpack_from("!I", data, place + 1)[0]
            if end > len(data):
                break
            if data[place] == NOTIFICATION and self._is_on():
                self._dropped()
            else:
                passed.append(data[place:end])
            place = end
        self._rest = data[place:]
        return b"".join(passed)


@dataclass(eq=False)
class Proxy:
    """From a port of its own to another one. ``reads_postgresql``: it can drop notifications."""

    port: int
    target: int
    host: str = "127.0.0.1"
    """Of the target."""
    reads_postgresql: bool = False
    delay: float = 0.0
    is_cut: bool = False
    loses_notifications: bool = False
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("cut", "withheld", "delayed", "lost"), 0))
    _flows: asyncio.Event = field(default_factory=asyncio.Event)
    _links: set[_Link] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def start(self) -> None:
        self._flows.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        await asyncio.gather(*(link.task for link in self._links), return_exceptions=True)

    def cut(self) -> None:
        """Every connection that there is, at once."""
        for link in self._links:
            self.counts["cut"] += 1
            link.abort()

    def hold(self) -> None:
        """From now on nothing passes, and nobody is told."""
        self._flows.clear()

    def flow(self, *, half_open: bool = False) -> None:
        """What waits goes on. ``half_open``: not on the connections that there were; their far end is gone, and the
        near end is never told."""
        if half_open:
            for link in self._links:
                link.forget()
        self._flows.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        link = _Link(self, reader, writer, task)
        self._links.add(link)
        try:
            if not self.is_cut:
                await link.run()
        except asyncio.CancelledError:
            return  # the run is over: nobody asks for this task
        finally:
            self._links.discard(link)
            link.abort()

    async def passing(self, data: bytes, link: _Link) -> bool:
        """Waits for as long as it is told to. False: these bytes never arrive."""
        if self.delay:
            self.counts["delayed"] += 1
            await asyncio.sleep(self.delay)
        if not self._flows.is_set():
            self.counts["withheld"] += 1
            await self._flows.wait()
        return not link.is_forgotten

    def asks(self) -> Filter:
        """What becomes of the bytes to the target, on one connection."""
        return lambda data: data

    def filter(self) -> Filter:
        """What becomes of the bytes from it."""
        if not self.reads_postgresql:
            return lambda data: data
        return NotificationFilter(lambda: self.loses_notifications, self._count_lost)

    def _count_lost(self) -> None:
        self.counts["lost"] += 1


class _Link:
    """One connection and the one behind it."""

    def __init__(
        self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, task: asyncio.Task[None]
    ) -> None:
        self.task = task
        self.is_forgotten = False
        self._proxy = proxy
        self._near = (reader, writer)
        self._far: asyncio.StreamWriter | None = None

    async def run(self) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            await self._proxy.passing(b"", self)
            opening = asyncio.open_connection(self._proxy.host, self._proxy.target)
            reader, writer = await asyncio.wait_for(opening, CONNECT_SECONDS)
            self._far = writer
            near_reader, near_writer = self._near
            await asyncio.gather(
                self._pump(near_reader, writer, self._proxy.asks()),
                self._pump(reader, near_writer, self._proxy.filter()),
            )

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, changed: Filter) -> None:
        while True:
            data = await reader.read(CHUNK)
            passes = await self._proxy.passing(data, self)  # an end is told no sooner than bytes are
            if self.is_forgotten and reader is not self._near[0]:
                return  # the near end is never told
            if not data:
                break
            if passes:
                writer.write(changed(data))
                await writer.drain()
        self.abort()

    def forget(self) -> None:
        self.is_forgotten = True
        if self._far is not None:
            self._far.transport.abort()

    def abort(self) -> None:
        for writer in (self._near[1], self._far):
            if writer is not None:
                writer.transport.abort()
