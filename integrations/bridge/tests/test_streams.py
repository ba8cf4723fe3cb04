"""Streams from Dify: passed on event by event, cut where they are cut, and without the tokens of kept forms."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from integrations.bridge.tests.fake_dify import FakeRun, served, written
from integrations.bridge.tests.house import TOKEN, House, house
from integrations.bridge.tests.test_gatekeeper import approval, first_thread, gone, not_held, starts, until_answered
from stacksona_bridge.events import BLOCK_MOST, Splitter, TooLong, data_of
from stacksona_bridge.passing import strip

START = "/v1/workflows/run"
CALL = {"inputs": {}, "response_mode": "streaming", "user": "user-1"}


@pytest.fixture
async def at() -> AsyncIterator[House]:
    async with house() as made:
        yield made


@asynccontextmanager
async def on_a_socket(at: House) -> AsyncIterator[httpx2.AsyncClient]:
    """A bridge whose answers arrive piece by piece, as they do not in this process."""
    not_held(at)
    bridge = at.bridges[-1]
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with (
        served(bridge.build()) as url,
        httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as client,
    ):
        yield client
        assert bridge.passing is not None
        await bridge.passing.finish()


async def taken(client: httpx2.AsyncClient, path: str = START) -> bytes:
    async with client.stream("POST", path, json=CALL) as answer:
        return b"".join([piece async for piece in answer.aiter_bytes()])


async def cut(client: httpx2.AsyncClient) -> bytes:
    """What came until the connection was cut, which it must be."""
    pieces = bytearray()
    try:
        async with client.stream("POST", START, json=CALL) as answer:
            async for piece in answer.aiter_bytes():
                pieces += piece
    except httpx2.RemoteProtocolError:
        return bytes(pieces)
    raise AssertionError("it was not cut")


async def test_events_without_tokens_are_passed_byte_for_byte(at: House) -> None:
    said = (
        b'data: {"event":"node_started", "x": "\xc3\xbc\\u00fc"}\r\n\r\n: note\n\nevent: ping\n\ndata: no json\n\nlast'
    )

    async def chunks(run: FakeRun) -> AsyncIterator[bytes]:
        for at_byte in range(0, len(said), 7):
            yield said[at_byte : at_byte + 7]

    at.dify.chunks = chunks
    async with on_a_socket(at) as client:
        assert await taken(client, "/v1/chat-messages") == said


async def test_an_event_arrives_before_the_next_one_is_made(at: House) -> None:
    goes_on = asyncio.Event()

    async def chunks(run: FakeRun) -> AsyncIterator[bytes]:
        yield b'data: {"n": 1}\n\n'
        await goes_on.wait()
        yield b'data: {"n": 2}\n\n'

    at.dify.chunks = chunks
    async with on_a_socket(at) as client, client.stream("POST", START, json=CALL) as answer:
        pieces = answer.aiter_bytes()
        assert await anext(pieces) == b'data: {"n": 1}\n\n'
        goes_on.set()
        assert await anext(pieces) == b'data: {"n": 2}\n\n'


async def test_a_form_in_a_stream_becomes_a_question_and_shows_no_token(at: House) -> None:
    form = approval()
    starts(at, form)
    async with on_a_socket(at) as client:
        said = await taken(client)
    events = [data_of(block) for block in Splitter().feed(said)]
    assert [event and event["event"] for event in events] == [
        "workflow_started",
        "human_input_required",
        "workflow_paused",
    ]
    assert form.token.encode() not in said
    assert [one["payload"]["amount"] for one in await at.threads()] == ["500"]


async def test_what_policy_decides_at_once_is_answered_behind_the_stream(at: House) -> None:
    starts(at, approval("100"))
    async with on_a_socket(at) as client:
        await taken(client)
    assert (await until_answered(next(iter(at.dify.runs.values()))))[0] == "approve"


@pytest.mark.parametrize("after", [b"", b'data: {"event": "node_st'])
async def test_a_stream_that_is_cut_is_cut_for_the_caller(at: House, after: bytes) -> None:
    async def chunks(run: FakeRun) -> AsyncIterator[bytes]:
        yield b'data: {"n": 1}\n\n' + after
        raise ConnectionResetError

    at.dify.chunks = chunks
    async with on_a_socket(at) as client:
        assert await cut(client) == b'data: {"n": 1}\n\n'


@pytest.mark.parametrize(
    "broken",
    [b'data: {"form_token": "abc', b'data: {"form\\u005ftoken": "abc"\n\n', b'data: "form_token"}\n\n'],
    ids=["broken off", "escaped", "no json"],
)
async def test_what_may_hold_a_token_and_cannot_be_read_is_not_passed(at: House, broken: bytes) -> None:
    async def chunks(run: FakeRun) -> AsyncIterator[bytes]:
        yield broken

    at.dify.chunks = chunks
    async with on_a_socket(at) as client:
        assert await cut(client) == b""


async def test_a_caller_who_hangs_up_does_not_keep_the_form_from_the_gate(at: House) -> None:
    hung_up = asyncio.Event()
    form = approval()

    async def chunks(run: FakeRun) -> AsyncIterator[bytes]:
        yield b'data: {"n": 1}\n\n'
        await hung_up.wait()
        for _ in range(200):
            yield b"event: ping\n\n"
        yield written(run.event("human_input_required", form.data()))

    at.dify.chunks = chunks
    async with on_a_socket(at) as client:
        async with client.stream("POST", START, json=CALL) as answer:
            await anext(answer.aiter_bytes())
        hung_up.set()
        assert (await first_thread(at))["payload"]["amount"] == "500"


async def test_a_gate_that_is_away_ends_the_stream_with_an_error(at: House) -> None:
    starts(at, approval())
    async with on_a_socket(at) as client:
        at.bridges[-1].passing.gatekeeper.gate = gone()  # type: ignore[union-attr]
        said = await cut(client)
    last = data_of(said.split(b"\n\n")[-2])
    assert last is not None
    assert (last["event"], last["code"]) == ("error", "gate_unavailable")
    assert b"form_token" not in said


# Splitting and stripping


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_events_are_split_wherever_the_pieces_end(end: bytes, size: int) -> None:
    text = b"data: 1" + end + b"data: 2" + end + b"rest"
    splitter, found = Splitter(), list[bytes]()
    for start in range(0, len(text), size):
        found += splitter.feed(text[start : start + size])
    assert (found, splitter.rest) == ([b"data: 1" + end, b"data: 2" + end], b"rest")


def test_an_event_without_end_is_not_collected_for_ever() -> None:
    splitter = Splitter()
    assert splitter.feed(b"x" * BLOCK_MOST) == []
    with pytest.raises(TooLong):
        splitter.feed(b"x")


def test_every_token_of_a_kept_node_is_taken_out_and_no_other() -> None:
    said: dict[str, Any] = {
        "data": [
            {"node_id": "kept", "form_token": "1"},
            {"node_id": "kept", "form_token": "2", "inner": {"form_token": "3"}},
            {"node_id": "open", "form_token": "4"},
        ]
    }
    assert strip(said, {"kept": None})
    assert [token for token in "1234" if f'"{token}"' in json.dumps(said)] == ["4"]


def test_a_form_of_an_open_node_is_not_touched() -> None:
    assert not strip({"node_id": "open", "form_token": "4"}, {"kept": None})
    assert strip({"form_token": "4"}, {"kept": None})
