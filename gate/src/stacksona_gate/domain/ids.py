"""Identifiers: how they look. Time and randomness are arguments."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford base 32: no I, L, O, U."""

FIRST_TENANT: Final = "default"
"""Id of the workspace that every installation begins with."""

TASK_ID: Final = re.compile(r"[A-Za-z0-9._:\-]{1,200}", re.ASCII)
TOOL_NAME: Final = re.compile(r"[A-Za-z0-9._:/\-]{1,200}", re.ASCII)
THREAD_ID: Final = re.compile(r"THR-[0-9A-HJKMNP-TV-Z]{26}", re.ASCII)

_PAIRS: Final = tuple(a + b for a in ALPHABET for b in ALPHABET)
"""Ten bits at a time: half the steps of five."""


def ulid(now: int, randomness: bytes) -> str:
    """A ULID: 48 bits of milliseconds, 80 bits of randomness, so that ids sort by time.

    ``now`` is microseconds since 1970 UTC, ``randomness`` exactly ten bytes.
    Source: the ULID specification (github.com/ulid/spec).
    """
    high, low = int.from_bytes(randomness[:5]), int.from_bytes(randomness[5:])
    # Spelled out: a loop over the eight pairs takes half as long again, and every decision makes two ids.
    return (
        f"{_moment(now // 1000)}"
        f"{_PAIRS[high >> 30]}{_PAIRS[high >> 20 & 1023]}{_PAIRS[high >> 10 & 1023]}{_PAIRS[high & 1023]}"
        f"{_PAIRS[low >> 30]}{_PAIRS[low >> 20 & 1023]}{_PAIRS[low >> 10 & 1023]}{_PAIRS[low & 1023]}"
    )


@lru_cache(maxsize=16)
def _moment(milliseconds: int) -> str:
    """The first ten characters: many ids share a millisecond."""
    return "".join([_PAIRS[(milliseconds >> shift) & 1023] for shift in range(40, -1, -10)])


def is_task_id(text: str) -> bool:
    return TASK_ID.fullmatch(text) is not None


def is_tool_name(text: str) -> bool:
    return TOOL_NAME.fullmatch(text) is not None
