"""Webhook receivers in a process of their own. usage: python -m bench.receivers COUNT

Prints the ports as JSON, one receiver each. ``/hook`` answers 204, ``/hang`` takes the call and never answers,
``/count`` says how many calls came in whole.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from contextlib import AsyncExitStack

import uvloop

_YES = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"


class Receivers:
    """All of them, and what they got by path."""

    def __init__(self) -> None:
        self.got: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            path = head.split(" ")[1]
            if path == "/count":
                body = json.dumps(self.got).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                return
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            await reader.readexactly(length)
            self.got[path] += 1
            if path == "/hang":
                await reader.read()
            writer.write(_YES)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # whoever called gave up
        finally:
            writer.close()


async def main(count: int) -> None:
    receivers = Receivers()
    async with AsyncExitStack() as stack:
        servers = [await asyncio.start_server(receivers.serve, "127.0.0.1", 0, backlog=512) for _ in range(count)]
        for server in servers:
            await stack.enter_async_context(server)
        print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
