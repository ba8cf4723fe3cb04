"""The pages on a real server in a thread, and a world behind it that tests can reach into."""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import uvicorn
from gate.tests.factories import PASSWORD, PATIENCE, TENANT, Clock, World, password_hash, world
from starlette.applications import Starlette

from stacksona_gate.domain.agents import key_hash
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.people import Session
from stacksona_gate.domain.times import HOUR
from stacksona_gate.service import people
from stacksona_gate.service.decisions import DrainFlag
from stacksona_gate.service.environment import system_clock
from stacksona_gate.store.base import Tx
from stacksona_gate.web.routes import routes

T = TypeVar("T")

__all__ = ["PASSWORD", "Site", "served"]


class WallClock(Clock):
    """Browsers have a clock of their own: both must agree."""

    def __call__(self) -> int:
        return system_clock()


class Site:
    """A running server."""

    def __init__(self, url: str, w: World, loop: asyncio.AbstractEventLoop) -> None:
        self.url = url
        self.w = w
        self._loop = loop

    def run(self, work: Callable[[World], Awaitable[T]]) -> T:
        """Does something in the server's world."""

        async def working() -> T:
            return await work(self.w)

        return asyncio.run_coroutine_threadsafe(working(), self._loop).result(PATIENCE)

    def session(self, name: str) -> str:
        """The cookie of a fresh session: signing in itself is slow on purpose."""
        return self.run(lambda w: _start_session(w, name))


class _Server(uvicorn.Server):
    """Says when it takes calls."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()


async def _start_session(w: World, name: str) -> str:
    cookie, now = secrets.token_hex(16), w.env.now()

    def unit(tx: Tx) -> None:
        user = people.get_user(tx, TENANT, f"{name}@example.com")
        tx.people.insert_session(Session(TENANT, key_hash(cookie), user.id, secrets.token_hex(16), now, now + HOUR))

    await w.write(unit)
    return cookie


@contextmanager
def served() -> Iterator[Site]:
    """Everybody in the world can sign in with PASSWORD."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    ready: list[Site] = []
    started, ending = threading.Event(), asyncio.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(listener, ready, started, ending)), daemon=True)
    thread.start()
    assert started.wait(PATIENCE), "the server did not start"
    site = ready[0]
    try:
        yield site
    finally:
        site._loop.call_soon_threadsafe(ending.set)
        thread.join(PATIENCE)


async def _serve(listener: socket.socket, ready: list[Site], started: threading.Event, ending: asyncio.Event) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with world(clock=WallClock()) as w:
        w.gate.env = replace(w.gate.env, public_url=url)
        await w.write(lambda tx: _set_passwords(tx, w))
        draining = DrainFlag()
        app = Starlette(routes=routes(w.gate, draining))
        server = _Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        serving = asyncio.create_task(server.serve([listener]))
        async with asyncio.timeout(PATIENCE):
            await server.is_up.wait()
        ready.append(Site(url, w, asyncio.get_running_loop()))
        started.set()
        await ending.wait()
        draining.is_set = server.should_exit = True
        w.gate.wakeups.wake_all()
        await serving


def _set_passwords(tx: Tx, w: World) -> None:
    for user in (w.admin, w.reviewer, w.other_reviewer, w.auditor):
        people.change_user(tx, w.env, COMMAND_LINE, TENANT, user.id, password_hash=password_hash())
