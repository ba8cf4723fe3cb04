"""The witness over HTTP: one operation, small bodies, little patience."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import httptools

from stacksona_gate.verify.witness import MAX_BODY, Reply

PATH: Final = b"/add-checkpoint"
PATIENCE: Final = 10.0
"""Seconds in which a whole request must have come, the idle time before it included."""
MAX_CONNECTIONS: Final = 200
_MAX_REQUEST: Final = MAX_BODY + 16_384
_CHUNK: Final = 16_384

Answer = Callable[[bytes], Reply]


class _Request:
    """What httptools found so far."""

    def __init__(self) -> None:
        self.url, self.body, self.read = b"", bytearray(), 0
        self.expects = self.is_complete = self.is_followed = False

    def on_message_begin(self) -> None:
        self.is_followed = self.is_complete

    def on_url(self, url: bytes) -> None:
        self.url += b"" if self.is_complete else url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.expects |= name.lower() == b"expect" and value.lower() == b"100-continue"

    def on_body(self, body: bytes) -> None:
        if not self.is_complete:
            self.body += body

    def on_message_complete(self) -> None:
        self.is_complete = True


class WitnessServer:
    """Serves ``answer``, which takes the body of one request at a time."""

    def __init__(self, answer: Answer, patience: float = PATIENCE) -> None:
        self._answer, self._patience, self._open = answer, patience, 0

    async def start(self, host: str, port: int) -> asyncio.Server:
        """Raises OSError when the address cannot be had."""
        return await asyncio.start_server(self._serve, host, port, limit=_CHUNK)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            while self._open <= MAX_CONNECTIONS and await self._one(reader, writer):
                pass
        except (OSError, TimeoutError, asyncio.CancelledError):  # cancelled when the process ends: nothing to pass on
            writer.transport.abort()
        finally:
            self._open -= 1
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answers one request. Whether another may follow on the connection."""
        request = _Request()
        parser = httptools.HttpRequestParser(request)
        try:
            async with asyncio.timeout(self._patience):
                reply = await _receive(request, parser, reader, writer)
        except TimeoutError:
            reply = Reply(408, "the request took too long\n") if request.read else None
        if reply is None and not request.is_complete:
            return False
        stays = reply is None and parser.should_keep_alive() and not request.is_followed
        writer.write(_written(reply or self._routed(parser.get_method(), request), stays=stays))
        async with asyncio.timeout(self._patience):
            await writer.drain()
        return stays

    def _routed(self, method: bytes, request: _Request) -> Reply:
        if request.url != PATH:
            return Reply(404, "only /add-checkpoint is here\n")
        if method != b"POST":
            return Reply(405, "send a POST\n")
        return self._answer(bytes(request.body))


async def _receive(
    request: _Request,
    parser: httptools.HttpRequestParser,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> Reply | None:
    """Reads until the request is complete or its sender went away; a reply at once for what is no request."""
    while not request.is_complete:
        data = await reader.read(_CHUNK)
        if not data:
            return None
        request.read += len(data)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return Reply(400, "this is no HTTP request\n")
        if len(request.body) > MAX_BODY or request.read > _MAX_REQUEST:
            return Reply(413, f"a request has at most {MAX_BODY} bytes\n")
        if request.expects and not request.is_complete:
            request.expects = False
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return None


def _written(reply: Reply, *, stays: bool) -> bytes:
    body = reply.body.encode()
    head = [
        f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}",
        f"Content-Type: {reply.content_type}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        f"Connection: {'keep-alive' if stays else 'close'}",
    ]
    if reply.status == 405:
        head.append("Allow: POST")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body
