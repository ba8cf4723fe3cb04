"""Who makes a call on the people APIs: a signed-in browser or a personal token, never an agent's key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from stacksona_gate.api.http import Call
from stacksona_gate.domain.audit import Actor
from stacksona_gate.domain.errors import Forbidden, Unauthenticated
from stacksona_gate.domain.people import User, may_administer, may_audit
from stacksona_gate.service.administration import acting_admin
from stacksona_gate.service.decisions import DrainFlag
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.holds import PERSONS, Holds
from stacksona_gate.service.people import Person, person_of_session, person_of_token, still
from stacksona_gate.service.sessions import CSRF_HEADER, cookie_name, require_csrf
from stacksona_gate.service.transactions import Tx

STREAMS_PER_PERSON: Final = 20
HEARTBEAT_SECONDS: Final = 15.0
_READING: Final = frozenset({"GET", "HEAD"})
_CSRF: Final = CSRF_HEADER.lower().encode()


@dataclass(slots=True)
class PeopleContext:
    """The running people APIs."""

    gate: Gate
    draining: DrainFlag
    streams: Holds = field(default_factory=lambda: Holds(STREAMS_PER_PERSON, PERSONS, retry_after=5))
    heartbeat: float = HEARTBEAT_SECONDS
    """Seconds after which a silent stream says that it is alive, and looks whether its reader still may listen."""

    async def person(self, call: Call) -> Person:
        """Whose call it is; a token wins over a cookie.

        Raises Unauthenticated, and Forbidden for a signed-in browser's changing call without its session's CSRF token.
        """
        if call.header(b"authorization") is not None:
            return await self._theirs(call, await person_of_token(self.gate, _token(call)))
        signed_in = await self._signed_in(call)
        if signed_in is None or signed_in.session is None:
            raise Unauthenticated("sign in, or send a personal token: Authorization: Bearer sp_…")
        if call.scope["method"] not in _READING:
            require_csrf(
                signed_in.session,
                call.header(_CSRF),
                public_url=self.gate.env.public_url,
                origin=call.header(b"origin"),
                sec_fetch_site=call.header(b"sec-fetch-site"),
            )
        return await self._theirs(call, signed_in)

    async def _theirs(self, call: Call, person: Person) -> Person:
        """The call is their workspace's: it waits for its turn among that one's."""
        if call.tenant_id is not None:
            return person
        turns, tenant_id = self.gate.turns, person.user.tenant_id
        call.tenant_id = tenant_id
        if call.scope["method"] in _READING:
            waited = await turns.enter(tenant_id)
            call.left = partial(turns.leave, tenant_id)
            if waited:
                return await self.person(call)  # who may have been signed out meanwhile
        return person

    async def _signed_in(self, call: Call) -> Person | None:
        cookie = cookie_value(call, cookie_name(self.gate.env.public_url))
        return await person_of_session(self.gate, cookie) if cookie else None

    async def admin(self, call: Call) -> Person:
        """Raises Unauthenticated, Forbidden."""
        person = await self.person(call)
        if not may_administer(person.user):
            raise Forbidden("this is for admins: ask one of them")
        return person

    async def auditor(self, call: Call) -> Person:
        """Somebody who may read configuration and log. Raises Unauthenticated, Forbidden."""
        person = await self.person(call)
        if not may_audit(person.user):
            raise Forbidden("this is for admins and auditors: ask one of them")
        return person

    async def write[T](self, person: Person, unit: Callable[[Tx, User], T]) -> T:
        """Runs a use-case in one transaction, which looks again whether the person still is one. See ``still``."""
        return await self.gate.store.write(still(self.gate.env, person, unit))

    async def change[T](self, person: Person, unit: Callable[[Tx, Actor], T]) -> T:
        """As ``write``, for admins. Raises Forbidden."""
        return await self.write(person, lambda tx, user: unit(tx, acting_admin(user)))


def _token(call: Call) -> str:
    scheme, _, token = (call.header(b"authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("the Authorization header is malformed: send Bearer and a personal token (sp_…)")
    return token.strip()


def cookie_value(call: Call, name: str) -> str | None:
    """A cookie of the call; the first where a name comes twice."""
    for pair in (call.header(b"cookie") or "").split(";"):
        given, equals, value = pair.strip().partition("=")
        if given == name and equals:
            return value.strip().strip('"')
    return None
