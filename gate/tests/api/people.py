"""The small world of the factories, spoken to over HTTP as people and their programs do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx2
from gate.tests.factories import World, password_hash, world
from starlette.types import ASGIApp

from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.people import User
from stacksona_gate.main import build_app
from stacksona_gate.service.people import change_user, create_token, sign_in
from stacksona_gate.service.requests import Answer

PASSWORD: Final = "correct horse battery staple"
ORIGIN: Final = "http://127.0.0.1:8420"


@dataclass(slots=True)
class House:
    """A gate and who calls it. ``as_…`` are clients that carry a personal token."""

    world: World
    app: ASGIApp
    nobody: httpx2.AsyncClient
    ada: httpx2.AsyncClient
    """Admin."""
    rita: httpx2.AsyncClient
    """Reviewer."""
    rob: httpx2.AsyncClient
    """Another reviewer."""
    olga: httpx2.AsyncClient
    """Auditor."""

    def client(self, **headers: str) -> httpx2.AsyncClient:
        return _client(self.app, **headers)

    async def token(self, user: User) -> str:
        return await _token(self.world, user)

    async def client_of(self, user: User) -> httpx2.AsyncClient:
        return self.client(authorization=f"Bearer {await self.token(user)}")

    async def signed_in(self, user: User) -> tuple[httpx2.AsyncClient, str]:
        """A browser's client with its cookie, and the CSRF token that its pages hold."""
        w = self.world
        hashed = password_hash(PASSWORD)
        await w.write(lambda tx: change_user(tx, w.env, COMMAND_LINE, user.tenant_id, user.id, password_hash=hashed))
        begun = await sign_in(w.gate, user.tenant_id, user.email, PASSWORD, "127.0.0.1")
        return self.client(cookie=f"stacksona_session={begun.cookie}"), begun.session.csrf

    async def thread(self, amount: object = 500, **asked: Any) -> str:
        """A thread that waits for people."""
        return thread_id(await self.world.ask(amount, **asked))

    async def events(self) -> list[str]:
        """The audit log's events, oldest first."""
        return [entry.event for entry in await self.world.entries()]


def thread_id(answer: Answer) -> str:
    assert answer.thread_id is not None
    return answer.thread_id


def path(thread: str, rest: str = "") -> str:
    return f"/api/review/threads/{thread}{rest}"


@asynccontextmanager
async def house_of(w: World) -> AsyncIterator[House]:
    """Everybody's clients over a world."""
    app, _ = build_app(w.gate)
    clients = [
        _client(app, authorization=f"Bearer {await _token(w, user)}")
        for user in (w.admin, w.reviewer, w.other_reviewer, w.auditor)
    ]
    yield House(w, app, _client(app), *clients)


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    async with world() as w, house_of(w) as made:
        yield made


async def _token(w: World, user: User) -> str:
    _, secret = await w.write(lambda tx: create_token(tx, w.env, COMMAND_LINE, user, "test"))
    return secret


def _client(app: ASGIApp, **headers: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=ORIGIN, headers=headers)
