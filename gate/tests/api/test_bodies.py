"""Bodies, read piece by piece and no further than they may be."""

from __future__ import annotations

import pytest
from starlette.types import Receive

from stacksona_gate.api.bodies import ClientGone, read_body
from stacksona_gate.domain.errors import TooLarge


async def test_a_body_in_one_piece_is_read() -> None:
    assert await read_body(receiving({"body": b"abc"}), 3) == b"abc"


async def test_a_body_in_pieces_is_joined() -> None:
    pieces = receiving({"body": b"ab", "more_body": True}, {"body": b"", "more_body": True}, {"body": b"c"})
    assert await read_body(pieces, 3) == b"abc"


async def test_a_body_is_refused_at_the_piece_that_is_too_much() -> None:
    more = {"body": b"ab", "more_body": True}
    with pytest.raises(TooLarge):
        await read_body(receiving(more, more), 3)


async def test_a_single_piece_over_the_limit_is_refused() -> None:
    with pytest.raises(TooLarge):
        await read_body(receiving({"body": b"abcd"}), 3)


async def test_a_client_that_leaves_is_nobody_to_answer() -> None:
    gone = receiving({"body": b"a", "more_body": True}, {"type": "http.disconnect"})
    with pytest.raises(ClientGone):
        await read_body(gone, 3)


def receiving(*messages: dict[str, object]) -> Receive:
    waiting = list(messages)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", **waiting.pop(0)}

    return receive
