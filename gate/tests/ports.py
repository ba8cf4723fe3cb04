"""Ports for servers that tests start."""

from __future__ import annotations

import secrets
import socket
from typing import Final

LEAST: Final = 10_240
MOST: Final = 32_000
"""Below what systems give to connections (Linux: from 32,768 on): nobody is given a port between its choice and its
use. Each process begins at one of its own, and none is given out twice for a long time."""

_next: int = LEAST + secrets.randbelow(MOST - LEAST)


def free_port() -> int:
    """One at which nobody listens."""
    global _next
    while True:
        port, _next = _next, _next + 1 if _next < MOST else LEAST
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
