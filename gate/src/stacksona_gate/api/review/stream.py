"""Telling people's programs that something changed; they look again with their own session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Final

from stacksona_gate.api.http import Call, Events
from stacksona_gate.api.people import PeopleContext
from stacksona_gate.domain.errors import Forbidden, Unauthenticated
from stacksona_gate.service.people import Person

SETTLE_SECONDS: Final = 0.2
"""A burst of changes is one event: its readers read everything again anyway."""


async def stream_changes(context: PeopleContext, call: Call) -> Events:
    """Tells when something changed, as server-sent events.

    `changed` comes when anything of the workspace changed, a comment at least every 15 seconds. The stream ends
    when the session or token is no longer valid.
    """
    person = await context.person(call)
    context.streams.require_place(person.user.id)  # a full house is a 429 here, not an event later
    return Events(_changes(context, call, person))


async def _changes(context: PeopleContext, call: Call, person: Person) -> AsyncIterator[bytes]:
    waiting = closing(context.gate.wakeups.for_tenant(person.user.tenant_id))
    with context.streams.place(person.user.id), waiting as waiter:
        yield b""
        while True:
            changed = await waiter.wait(context.heartbeat)
            if context.draining.is_set or not await _still(context, call, person):
                return
            yield b"event: changed\ndata: {}\n\n" if changed else b""
            if changed:
                await asyncio.sleep(SETTLE_SECONDS)


async def _still(context: PeopleContext, call: Call, person: Person) -> bool:
    """Whether the call's session or token still is this person's."""
    try:
        return (await context.person(call)).user.id == person.user.id
    except (Unauthenticated, Forbidden):
        return False
