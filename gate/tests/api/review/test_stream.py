"""Being told that something changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from gate.tests.api.people import House
from gate.tests.factories import PATIENCE

from stacksona_gate.api.http import Call, Events
from stacksona_gate.api.people import STREAMS_PER_PERSON, PeopleContext
from stacksona_gate.api.review.stream import stream_changes
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.errors import TooMany
from stacksona_gate.service.decisions import DrainFlag
from stacksona_gate.service.people import change_user

CHANGED = b"event: changed\ndata: {}\n\n"


def a_call(token: str) -> Call:
    async def receive() -> Any:
        return await asyncio.Future()

    return Call({"method": "GET"}, receive, "id", {b"authorization": f"Bearer {token}".encode()})


async def chunks(home: House, *, heartbeat: float = 0.05) -> tuple[PeopleContext, AsyncIterator[bytes]]:
    context = PeopleContext(home.world.gate, DrainFlag(), heartbeat=heartbeat)
    events = await stream_changes(context, a_call(await home.token(home.world.reviewer)))
    assert isinstance(events, Events)
    return context, events.chunks


async def until(found: AsyncIterator[bytes], wanted: bytes) -> None:
    async with asyncio.timeout(PATIENCE):
        async for chunk in found:
            if chunk == wanted:
                return
    raise AssertionError("the stream ended")


async def test_a_change_is_told(home: House) -> None:
    _, found = await chunks(home, heartbeat=5)
    assert await anext(found) == b""
    waiting = asyncio.create_task(until(found, CHANGED))
    await home.thread()
    await waiting


async def test_a_silent_stream_says_that_it_is_alive(home: House) -> None:
    _, found = await chunks(home)
    assert [await anext(found) for _ in range(3)] == [b"", b"", b""]


async def test_a_stream_ends_with_the_right_to_listen(home: House) -> None:
    w = home.world
    context, found = await chunks(home)
    await anext(found)
    await w.write(lambda tx: change_user(tx, w.env, COMMAND_LINE, w.tenant_id, w.reviewer.id, active=False))
    async with asyncio.timeout(PATIENCE):
        assert CHANGED not in [chunk async for chunk in found]
    assert context.streams.count == 0


async def test_a_stream_ends_when_the_process_drains(home: House) -> None:
    context, found = await chunks(home)
    await anext(found)
    context.draining.is_set = True
    async with asyncio.timeout(PATIENCE):
        assert [chunk async for chunk in found] == []


async def test_a_person_holds_a_few_streams_and_no_more(home: House) -> None:
    context, _ = await chunks(home)
    for _ in range(STREAMS_PER_PERSON):
        context.streams.enter(home.world.reviewer.id)
    with pytest.raises(TooMany):
        await stream_changes(context, a_call(await home.token(home.world.reviewer)))
