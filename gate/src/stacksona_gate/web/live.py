"""Tells open pages that something changed. They look again by themselves, with their own session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from stacksona_gate.domain.errors import TooMany
from stacksona_gate.service.decisions import DrainFlag
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.holds import Holds
from stacksona_gate.service.people import Person
from stacksona_gate.web.pages import HEADERS
from stacksona_gate.web.visitors import visitor

HEARTBEAT_SECONDS: Final = 15.0
SETTLE_SECONDS: Final = 0.2
"""A burst of changes is one event: pages read everything again anyway."""
STREAMS_PER_PERSON: Final = 20


class Live:
    """``GET /inbox/stream``."""

    def __init__(self, gate: Gate, draining: DrainFlag, *, heartbeat: float = HEARTBEAT_SECONDS) -> None:
        self._gate = gate
        self._draining = draining
        self._heartbeat = heartbeat
        self._holds = Holds(STREAMS_PER_PERSON)

    async def stream(self, request: Request) -> Response:
        """Server-sent events: ``changed`` when anything of the workspace did, ``over`` when the session is."""
        person = await visitor(self._gate, request)
        if person is None:
            return Response(status_code=401, headers=HEADERS)
        try:
            self._holds.require_place(person.user.id)
        except TooMany:
            return Response(status_code=429, headers=HEADERS)
        headers = {**HEADERS, "X-Accel-Buffering": "no"}
        return StreamingResponse(self._held(request, person), media_type="text/event-stream", headers=headers)

    async def _held(self, request: Request, person: Person) -> AsyncGenerator[str, None]:
        with self._holds.place(person.user.id):
            async for event in self.events(request, person.user.tenant_id):
                yield event

    async def events(self, request: Request, tenant_id: str) -> AsyncGenerator[str, None]:
        """Begins with a comment, so that proxies and browsers see the answer at once."""
        waiter = self._gate.wakeups.for_tenant(tenant_id)
        try:
            yield "retry: 2000\n: hello\n\n"
            while True:
                changed = await waiter.wait(self._heartbeat)
                if self._draining.is_set:
                    return
                if await visitor(self._gate, request) is None:
                    yield "event: over\ndata: \n\n"
                    return
                yield "event: changed\ndata: \n\n" if changed else ": alive\n\n"
                if changed:
                    await self._settle()
        finally:
            waiter.close()

    async def _settle(self) -> None:
        await asyncio.sleep(SETTLE_SECONDS)
