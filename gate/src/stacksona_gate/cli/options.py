"""Options that many commands have."""

from __future__ import annotations

import re
from typing import Annotated, Final

import typer

from stacksona_gate.config import variable
from stacksona_gate.domain.ids import FIRST_TENANT as FIRST_TENANT

DATABASE_HELP: Final = (
    "Where decisions are kept: sqlite:///relative.db, sqlite:////absolute.db or postgresql://user@host/database."
    f" Else {variable('database_url')}."
)
_DURATION: Final = re.compile(r"([0-9]{1,8})([smhd]?)")
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def _or_above(ctx: typer.Context, value: str | None) -> str | None:
    """The command's own ``--database``, else the one before the command."""
    above: str | None = ctx.find_root().params.get("database")
    return value or above


def duration(text: str | int) -> int:
    """Seconds of ``90``, ``30s``, ``15m``, ``24h`` or ``7d``."""
    match = _DURATION.fullmatch(str(text))
    if match is None:
        raise typer.BadParameter(f"{text!r} is no duration; write it like 30s, 15m, 24h or 7d")
    return int(match[1]) * _SECONDS[match[2]]


TENANT_HELP: Final = "The workspace, by name or id."
TopDatabase = Annotated[str | None, typer.Option("--database", metavar="URL", help=DATABASE_HELP)]
Database = Annotated[str | None, typer.Option("--database", metavar="URL", help=DATABASE_HELP, callback=_or_above)]
Tenant = Annotated[str, typer.Option("--tenant", metavar="NAME", help=TENANT_HELP)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Port = Annotated[int, typer.Option("--port", min=1, max=65_535, help="Port to listen on.")]
