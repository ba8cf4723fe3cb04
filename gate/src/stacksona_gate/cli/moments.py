"""Times as people write them on a command line."""

from __future__ import annotations

import re
from typing import Final

import typer

from stacksona_gate.domain.times import parse_rfc3339

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


def moment(option: str, text: str | None) -> int | None:
    """Microseconds of an RFC 3339 time, or of a day's beginning in UTC. A usage error for anything else."""
    if text is None:
        return None
    try:
        return parse_rfc3339(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{option} takes a time as 2026-11-24T21:12:00Z, or a day as 2026-11-24") from None
