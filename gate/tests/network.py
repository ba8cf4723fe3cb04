"""A proxy that a test holds, in a thread of its own: tests may wait for processes meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chaos.proxy import Proxy
from gate.tests.factories import PATIENCE
from gate.tests.ports import free_port


@dataclass(slots=True)
class Network:
    """The way to one port on this machine, whole at first."""

    proxy: Proxy
    loop: asyncio.AbstractEventLoop

    @property
    def port(self) -> int:
        return self.proxy.port

    def hold(self) -> None:
        """From now on connections stay, new ones are taken, nothing arrives anywhere: as when a cable is pulled."""
        held = threading.Event()
        self.loop.call_soon_threadsafe(self.proxy.hold)
        self.loop.call_soon_threadsafe(held.set)
        assert held.wait(PATIENCE)


@contextmanager
def network(target: int) -> Iterator[Network]:
    """A way to a port."""
    proxy = Proxy(free_port(), target)
    with passing(proxy) as loop:
        yield Network(proxy, loop)


@contextmanager
def passing(proxy: Proxy) -> Iterator[asyncio.AbstractEventLoop]:
    """Runs it; the loop that it runs on."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def done(what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, loop).result(PATIENCE)

    try:
        done(proxy.start())
        yield loop
    finally:
        done(_end(proxy))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(proxy: Proxy) -> None:
    proxy.cut()
    proxy.flow()
    await proxy.stop()
    await asyncio.sleep(0.01)  # connections that were let go are closed by then
