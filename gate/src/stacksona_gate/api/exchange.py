"""One request and its answer, as ``api/protocol.py`` serves it: what uvicorn's class lacks for thousands that wait.

A held answer needs no task: the application may end without having answered and be called again when there is
something to say (``park``). And an answer whose headers are written already goes out in one piece (``write``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn._types import ASGI3Application, HTTPScope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

_OK: Final = b"HTTP/1.1 200 OK\r\n"
_CLOSE: Final = b"connection: close\r\n"


class Signal:
    """An ``asyncio.Event`` that costs nothing until somebody waits for it."""

    __slots__ = ("_is_set", "_waiting")

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: list[asyncio.Future[None]] | None = None

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        waiting, self._waiting = self._waiting, None
        for future in waiting or ():
            if not future.done():
                future.set_result(None)

    def clear(self) -> None:
        self._is_set = False

    async def wait(self) -> bool:
        if not self._is_set:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting = [*(self._waiting or ()), future]
            await future
        return True


class Flow(FlowControl):
    """Most connections never wait to write: without an event each."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = False
        self.write_paused = False
        writable = Signal()
        writable.set()
        self._is_writable_event = cast("asyncio.Event", writable)


class Parked(Protocol):
    """A held answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or parks again."""
        ...

    def arm(self, due: Callable[[bool], None]) -> None:
        """Calls ``due`` once, when it is to be called."""
        ...

    def gone(self) -> None:
        """The caller has hung up: nothing is to be answered any more."""
        ...


class Connection(Protocol):
    """What an exchange needs of its connection."""

    def start(self, exchange: Exchange, app: ASGIApp) -> None:
        """Runs an application in a task."""
        ...

    def release(self, exchange: Exchange) -> None:
        """Forgets the head of its request."""
        ...


class Exchange(RequestResponseCycle):
    """A request and its answer."""

    connection: Connection | None = None
    """Until it is answered."""
    parked: Parked | None = None

    async def run_asgi(self, app: ASGI3Application) -> None:
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException as error:
            self.logger.exception("Exception in ASGI application", exc_info=error)
            await self._fail()
        else:
            if self.parked is None and not self.response_complete and not self.disconnected:
                self.logger.error("ASGI callable returned without completing response.")
                await self._fail()
        finally:
            if self.parked is None:
                self._part()

    async def _fail(self) -> None:
        if self.response_started:
            self.transport.close()
        else:
            await self.send_500_response()

    def _part(self) -> None:
        """It and its connection no longer know each other: nothing is left for the garbage collector."""
        self.connection = None
        self.on_response = _nothing

    def park(self, parked: Parked) -> None:
        """To be called last by an application that returns without having answered."""
        if self.disconnected or self.connection is None:
            parked.gone()
            return
        self.parked = parked
        method = self.scope["method"]
        # Only what the answer needs is kept: there may be thousands like this one, for minutes.
        self.connection.release(self)
        self.scope = _SCOPES[method] if method in _SCOPES else cast("HTTPScope", {"type": "http", "method": method})
        self.body = bytearray()
        parked.arm(self._resume)

    def _resume(self, changed: bool) -> None:
        parked, self.parked = self.parked, None
        if parked is not None and self.connection is not None:
            self.connection.start(self, parked)

    def hang_up(self) -> None:
        """The caller is gone."""
        self.disconnected = True
        self.message_event.set()
        parked, self.parked = self.parked, None
        if parked is not None:
            self._part()
            parked.gone()

    def write(self, head: bytes, body: bytes) -> bool:
        """Sends a whole 200 whose header lines are written already, their values checked. False: use ``send``."""
        if self.flow.write_paused or self.response_started:
            return False
        if self.disconnected:
            return True
        lines = [_OK, *(b"%s: %s\r\n" % field for field in self.default_headers), head]
        if not self.keep_alive:
            lines.append(_CLOSE)
        lines.append(b"\r\n")
        if self.scope["method"] != "HEAD":
            lines.append(body)
        self.response_started = self.response_complete = True
        self.transport.write(b"".join(lines))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True


def _nothing() -> None:
    """Nobody is told."""


_SCOPES: Final[dict[str, HTTPScope]] = {
    method: cast("HTTPScope", {"type": "http", "method": method}) for method in ("GET", "HEAD")
}
