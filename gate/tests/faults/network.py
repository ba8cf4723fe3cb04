"""A network that can be cut: it takes everything in and delivers nothing any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

PIECE = 65_536


@dataclass(slots=True)
class Network:
    """The way to one port on this machine. Its event loop is a thread's of its own: tests may wait for processes."""

    target: int
    port: int = 0
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _flows: asyncio.Event = field(default_factory=asyncio.Event)
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    def cut(self) -> None:
        """Connections stay, new ones are taken, nothing arrives anywhere: as when a cable is pulled."""
        self.loop.call_soon_threadsafe(self._flows.clear)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        ends = [writer]
        try:
            await self._flows.wait()
            there, away = await asyncio.open_connection("127.0.0.1", self.target)
            ends.append(away)
            await asyncio.gather(self._pass(reader, away), self._pass(there, writer))
        except (OSError, asyncio.CancelledError):
            pass  # nobody is at the other end, or the test is over
        finally:
            for end in ends:
                end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(PIECE):
                await self._flows.wait()
                writer.write(piece)
                await writer.drain()
        await self._flows.wait()
        writer.close()

    async def begin(self) -> asyncio.Server:
        self._flows.set()
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def end(self, server: asyncio.Server) -> None:
        server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await asyncio.sleep(0.01)  # connections that were let go are closed by then


@contextmanager
def network(target: int) -> Iterator[Network]:
    """A way to a port, whole at first."""
    made = Network(target)
    thread = threading.Thread(target=made.loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(made.begin(), made.loop).result(10)
    try:
        yield made
    finally:
        asyncio.run_coroutine_threadsafe(made.end(server), made.loop).result(10)
        made.loop.call_soon_threadsafe(made.loop.stop)
        thread.join()
        made.loop.close()
