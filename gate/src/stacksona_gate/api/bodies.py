"""Reads a request's body, never more of it than allowed."""

from __future__ import annotations

from starlette.types import Message, Receive

from stacksona_gate.domain.errors import TooLarge


class ClientGone(Exception):
    """The client closed the connection before its body was complete: there is nobody to answer."""


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body. Raises ``TooLarge`` as soon as it passes ``limit`` bytes, ``ClientGone`` on a disconnect."""
    message = await receive()
    chunk = _chunk(message)
    if len(chunk) > limit:
        raise _too_large(limit)
    if not message.get("more_body", False):
        return chunk
    return await _read_rest(receive, limit, chunk)


async def _read_rest(receive: Receive, limit: int, first: bytes) -> bytes:
    chunks, size, more = [first], len(first), True
    while more:
        message = await receive()
        chunk = _chunk(message)
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _chunk(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGone
    chunk: bytes = message.get("body", b"")
    return chunk


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is over {limit} bytes. Send a smaller one.")
