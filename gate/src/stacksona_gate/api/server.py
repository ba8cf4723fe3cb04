"""How the process ends: readiness first, then who waits, then what is on its way, and nothing of it is lost."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import socket
import struct
import sys
from contextlib import suppress
from types import FrameType
from typing import Final

import uvicorn

from stacksona_gate.api.agent.context import Context

GRACE_SECONDS: Final = 30
"""How long answers on their way are waited for once nothing more is taken."""
HANDSHAKE_SECONDS: Final = 0.2
"""For callers that have begun to connect."""
TICK_SECONDS: Final = 0.1
TAKEN_AT_ONCE: Final = 16
"""New connections in one turn of the event loop. By itself uvloop takes one for each socket that it listens on: of 64
callers that begin together with a busy gate the last would be heard after 64 turns."""
CLOSE: Final = (b"connection", b"close")

_ATTACH_FILTER: Final = 26
"""Linux's SO_ATTACH_FILTER, which Python has no name for."""
_NOT_SYN: Final = (
    (0x30, 0, 0, 13),  # the byte of TCP's flags
    (0x45, 0, 1, 0x02),  # is SYN among them?
    (0x06, 0, 0, 0),  # then the packet is dropped
    (0x06, 0, 0, 0xFFFFFFFF),
)

log = logging.getLogger(__name__)


class GateServer(uvicorn.Server):
    """Told to end (SIGTERM), it says that it is not ready and serves on for a while, so that whoever sends calls here
    learns of it. Then held answers leave, what is on its way is answered, and the process ends.

    Ctrl-C ends it without the while. A second signal skips what is left of the while, a third what is on its way.
    """

    def __init__(self, config: uvicorn.Config, context: Context, *, notice_seconds: float = 0.0) -> None:
        super().__init__(config)
        self._context = context
        self.notice_seconds = notice_seconds
        self._signals: list[int] = []

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._signals.append(sig)
        self._captured_signals = [sig]
        self.should_exit = True
        self.force_exit = len(self._signals) > 2

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        listeners = [each for server in self.servers for each in server.sockets]
        with suppress(OSError):  # with too few descriptors there are fewer
            for listening in listeners * (TAKEN_AT_ONCE - 1):
                self.servers.append(await self._listen_again(listening))

    async def _listen_again(self, listening: socket.socket) -> asyncio.Server:
        """At the same socket, by another number."""
        again = socket.socket(fileno=os.dup(listening.fileno()))
        return await asyncio.get_running_loop().create_server(
            self._connected, sock=again, backlog=self.config.backlog, ssl=self.config.ssl
        )

    def _connected(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._context.draining.is_announced = True
        await self._give_notice()
        await self._let_nobody_in()
        self._context.draining.is_set = True
        self._context.gate.wakeups.wake_all()
        await super().shutdown(sockets)

    async def _give_notice(self) -> None:
        """Calls are answered as ever, and connections end with their answers: callers go elsewhere by themselves."""
        self.config.encoded_headers.append(CLOSE)
        await self.on_tick(0)
        if self._signals[:1] != [signal.SIGTERM]:
            return
        log.info("told to end: not ready from now on, serving for %g seconds more", self.notice_seconds)
        for number in range(round(self.notice_seconds / TICK_SECONDS)):
            if len(self._signals) > 1:
                return
            await asyncio.sleep(TICK_SECONDS)
            await self.on_tick(number)

    async def _let_nobody_in(self) -> None:
        """A socket that is closed resets the connections that nobody has taken from it yet: first there are none."""
        for server in self.servers:
            for listening in server.sockets:
                refuse_newcomers(listening)
        if not self.force_exit:
            await asyncio.sleep(HANDSHAKE_SECONDS)


def refuse_newcomers(listening: socket.socket) -> None:
    """Lets who has begun to connect finish, and nobody else begin. Linux only; elsewhere nothing happens."""
    if sys.platform != "linux" or listening.family not in (socket.AF_INET, socket.AF_INET6):
        return
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in _NOT_SYN))
    with suppress(OSError):
        listening.setsockopt(
            socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HL", len(_NOT_SYN), ctypes.addressof(program))
        )
