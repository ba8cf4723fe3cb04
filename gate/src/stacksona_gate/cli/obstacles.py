"""What keeps a database from being used, in words that say what to do next."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from stacksona_gate.config import Settings, is_postgresql, shown_address, sqlite_path

NEXT_STEPS: Final = (
    ("password authentication failed|no password supplied", "give the password in ~/.pgpass or PGPASSWORD"),
    ("(role|database) .*does not exist", "make it first, as docs/how-to/postgresql.md shows"),
    ("no pg_hba.conf entry|pg_hba.conf rejects", "let this machine in, in the server's pg_hba.conf"),
    ("[Cc]onnection refused|timeout|timed out|[Nn]o route to host", "see that the server runs, and host and port"),
    ("resolve|translate host name|[Nn]ame or service not known", "see that the host's name is right"),
    ("certificate|SSL", "see sslmode and sslrootcert in the address"),
    ("takes no writes", "name the server that does, or all of them: docs/how-to/failover.md"),
    ("permission denied", "the database must belong to this role: docs/how-to/postgresql.md"),
    ("too many|connection slots", "raise max_connections, or use a pooler: docs/how-to/pgbouncer.md"),
)
_QUOTED: Final = re.compile(r"""(?<!\w)(["'])(.*?)\1""")


def obstacle(settings: Settings, cause: BaseException | None) -> str | None:
    """What is in the way of the database, where it can be said. ``cause``: the driver's error."""
    if is_postgresql(settings.database_url):
        return None if cause is None else _in_the_way_of_a_server(settings.database_url, str(cause))
    return _in_the_way_of_a_file(Path(sqlite_path(settings.database_url)))


def _in_the_way_of_a_server(url: str, text: str) -> str:
    """The driver's words without what is quoted in them, unless the address shows it too: a password that was written
    into the address wrongly is taken for a part of the host's name."""
    shown = shown_address(url)
    first = next((line.strip() for line in text.splitlines() if line.strip()), "it does not answer")
    said = _QUOTED.sub(lambda found: found[0] if found[2] and found[2] in shown else '"…"', first)
    steps = (step for pattern, step in NEXT_STEPS if re.search(pattern, first))
    return "; ".join(filter(None, (said, next(steps, ""))))


def _in_the_way_of_a_file(path: Path) -> str | None:
    """What keeps the file from ever being opened, so that trying again would not help."""
    if path.is_dir():
        return "this is a folder: name a file in it"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}: make it first"
    if path.is_file() and not os.access(path, os.R_OK | os.W_OK):
        return "this user may not read and write the file"
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return f"this user may not write in the folder {path.parent}, where the database has files beside it"
    if path.is_file() and _first_bytes(path) not in (b"", b"SQLite format 3\x00"):
        return "this is no SQLite database: name another file"
    return None


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)
