"""Identifiers: how they look. Time and randomness are arguments."""

from __future__ import annotations

import re
from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford base 32: no I, L, O, U."""

TASK_ID: Final = re.compile(r"[A-Za-z0-9._:\-]{1,200}", re.ASCII)
TOOL_NAME: Final = re.compile(r"[A-Za-z0-9._:/\-]{1,200}", re.ASCII)
THREAD_ID: Final = re.compile(r"THR-[0-9A-HJKMNP-TV-Z]{26}", re.ASCII)
REQUEST_ID: Final = re.compile(r"req_[0-9A-HJKMNP-TV-Z]{26}", re.ASCII)

_PAIRS: Final = tuple(a + b for a in ALPHABET for b in ALPHABET)
"""Ten bits at a time: half the steps of five."""


def ulid(now: int, randomness: bytes) -> str:
    """A ULID: 48 bits of milliseconds, 80 bits of randomness, so that ids sort by time.

    ``now`` is microseconds since 1970 UTC, ``randomness`` exactly ten bytes.
    Source: the ULID specification (github.com/ulid/spec).
    """
    value = ((now // 1000) << 80) | int.from_bytes(randomness, "big")
    return "".join([_PAIRS[(value >> shift) & 1023] for shift in range(120, -1, -10)])


def is_task_id(text: str) -> bool:
    return TASK_ID.fullmatch(text) is not None


def is_tool_name(text: str) -> bool:
    return TOOL_NAME.fullmatch(text) is not None
