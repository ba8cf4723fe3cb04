"""Time as whole microseconds since 1970 UTC, and as RFC 3339 text at the edges."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(moment: int) -> str:
    """``2026-11-24T21:12:00Z``; microseconds only where there are any."""
    seconds, rest = divmod(moment, SECOND)
    return f"{_to_the_second(seconds)}.{rest:06d}Z" if rest else _to_the_second(seconds) + "Z"


@lru_cache(maxsize=64)
def _to_the_second(seconds: int) -> str:
    # Many moments fall into one second: formatting each anew showed in the profile.
    return (_EPOCH + timedelta(seconds=seconds)).isoformat().removesuffix("+00:00")


def rfc3339_or_none(moment: int | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def parse_rfc3339(text: str) -> int:
    """Microseconds of an RFC 3339 time with its zone. Raises ValueError for anything else."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time needs its zone, as in 2026-11-24T21:12:00Z")
    return round((moment - _EPOCH) / timedelta(microseconds=1))
