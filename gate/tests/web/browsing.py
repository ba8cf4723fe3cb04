"""A browser without a screen: asks the pages of a world, signed in or not, and reads what comes."""

from __future__ import annotations

import html
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import httpx2
from gate.tests.factories import World, world
from starlette.applications import Starlette

from stacksona_gate.domain.agents import key_hash
from stacksona_gate.domain.people import Session, User
from stacksona_gate.domain.times import HOUR
from stacksona_gate.service.sessions import cookie_name
from stacksona_gate.web.routes import routes

LOOPBACK: Final = "http://127.0.0.1:8420"
TAG: Final = re.compile(r"<[^>]*>")


@dataclass(slots=True)
class Visit:
    """One person at the pages; ``session`` None: nobody is signed in."""

    w: World
    client: httpx2.AsyncClient
    session: Session | None = None
    cookie: str = ""

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.client.get(path, headers=self._headers(headers))

    async def post(self, path: str, fields: dict[str, str] | None = None, **headers: str) -> httpx2.Response:
        """A form as one of our pages sends it; a field or header that is given replaces its own."""
        csrf = {} if self.session is None else {"csrf": self.session.csrf}
        return await self.client.post(path, data=csrf | (fields or {}), headers=self._headers(headers))

    def _headers(self, given: dict[str, str]) -> dict[str, str]:
        headers = {name.replace("_", "-"): value for name, value in given.items()}
        if self.cookie:
            headers["Cookie"] = f"{cookie_name(self.w.env.public_url)}={self.cookie}"
        return headers

    async def as_(self, user: User) -> Visit:
        """The same pages, signed in."""
        cookie, now = secrets.token_hex(8), self.w.clock.now
        session = Session(user.tenant_id, key_hash(cookie), user.id, secrets.token_hex(8), now, now + HOUR)
        await self.w.write(lambda tx: tx.people.insert_session(session))
        return Visit(self.w, self.client, session, cookie)


@asynccontextmanager
async def visiting(public_url: str = LOOPBACK, served_on: str = "") -> AsyncIterator[Visit]:
    """Pages of a fresh world, served on ``served_on``, which links call ``public_url``."""
    async with world() as w:
        w.gate.env = replace(w.gate.env, public_url=public_url)
        transport = httpx2.ASGITransport(Starlette(routes=routes(w.gate)))
        async with httpx2.AsyncClient(transport=transport, base_url=served_on or public_url) as client:
            yield Visit(w, client)


def words(page: httpx2.Response) -> str:
    """What a page says, without its tags."""
    return html.unescape(TAG.sub("", page.text))
