"""The real gate in this process, for both clients: over ASGI, and from a thread for the one that blocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from gate.tests.api.agent.calls import Api, api_world

from stacksona import AsyncGate, Gate

URL = "https://testserver"


class Bridge(httpx2.BaseTransport):
    """Lets a thread call an application on the loop."""

    def __init__(self, app: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = httpx2.ASGITransport(app=app)
        self._loop = loop

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return asyncio.run_coroutine_threadsafe(self._handle(request), self._loop).result(60)

    async def _handle(self, request: httpx2.Request) -> httpx2.Response:
        copied = httpx2.Request(request.method, request.url, headers=request.headers, content=request.read())
        answer = await self._inner.handle_async_request(copied)
        return httpx2.Response(answer.status_code, headers=answer.headers, content=await answer.aread())


@dataclass
class Real:
    """Who reviews: ``api.review``."""

    api: Api
    client: AsyncGate
    blocking: Gate

    def with_key(self, key: str) -> AsyncGate:
        return AsyncGate(URL, key, transport=httpx2.ASGITransport(app=self.api.app))


@asynccontextmanager
async def real_gate(**options: Any) -> AsyncIterator[Real]:
    async with api_world(**options) as api:
        key = api.world.key
        blocking = Gate(URL, key, transport=Bridge(api.app, asyncio.get_running_loop()), patience=5)
        async with AsyncGate(URL, key, transport=httpx2.ASGITransport(app=api.app), patience=5) as client:
            yield Real(api, client, blocking)
