"""``stacksona-bridge serve``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

import msgspec
import uvicorn
from stacksona import ConfigurationError

from stacksona_bridge.app import Bridge, build_bridge
from stacksona_bridge.settings import Config, Invalid, read_settings

HEAD_MOST = 32 * 1024
CONNECTIONS_MOST = 2000


class Lines(logging.Formatter):
    """One JSON object per line. Bodies, tokens and queries are in none: nobody passes them here."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        line = {"timestamp": moment, "level": record.levelname.lower(), "event": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode("utf-8", "replace")


class Server(uvicorn.Server):
    """Says not ready, and lets waiting calls go, as soon as the process is told to end."""

    def __init__(self, config: uvicorn.Config, bridge: Bridge) -> None:
        super().__init__(config)
        self._bridge = bridge

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._bridge.draining.set()
        await super().shutdown(sockets)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit code 2 for settings that cannot be used."""
    parser = argparse.ArgumentParser(prog="stacksona-bridge", description="The bridge to Stacksona Gate.")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="serve until told to end; settings are BRIDGE_… variables")
    serve.add_argument("--host", help="address to listen on, in place of BRIDGE_HOST")
    serve.add_argument("--port", type=int, help="port, in place of BRIDGE_PORT")
    given = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    try:
        config = read_settings(os.environ)
        config = replace(config, host=given.host or config.host, port=config.port if given.port is None else given.port)
        asyncio.run(serve_bridge(config))
    except (Invalid, ConfigurationError) as error:
        sys.stderr.write(f"stacksona-bridge: {error}\n")
        return 2
    return 0


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(0)


async def serve_bridge(config: Config) -> None:
    """Serves until SIGTERM or SIGINT. Prints its address once it answers."""
    _configure_logging(config.log_level)
    bridge = build_bridge(config)
    server = Server(_uvicorn(config, bridge), bridge)
    announcing = asyncio.create_task(_announce(server, config.host))
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await server.serve()
    finally:
        announcing.cancel()


def _uvicorn(config: Config, bridge: Bridge) -> uvicorn.Config:
    return uvicorn.Config(
        bridge.build(),
        host=config.host,
        port=config.port,
        http="h11",
        h11_max_incomplete_event_size=HEAD_MOST,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS_MOST,
        timeout_graceful_shutdown=config.drain_seconds,
    )


async def _announce(server: Server, host: str) -> None:
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    sys.stdout.write(f"Stacksona Bridge on http://{f'[{host}]' if ':' in host else host}:{port}\n")
    sys.stdout.flush()


def _configure_logging(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for name in ("httpx2", "httpcore2", "h11"):
        logging.getLogger(name).setLevel(logging.WARNING)  # they write addresses, which hold tokens


if __name__ == "__main__":
    sys.exit(main())
