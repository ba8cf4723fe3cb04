"""Numbered migrations: SQL files applied in order, each once, under the database's own lock."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

from stacksona_gate.domain.errors import Unavailable
from stacksona_gate.store.rows import Rows

_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file; ``number`` is its first four digits."""

    number: int
    name: str
    sql: str


def all_migrations() -> list[Migration]:
    """Every migration of this version, in order."""
    folder = resources.files("stacksona_gate.store").joinpath("migrations")
    found = []
    for file in folder.iterdir():
        match = _NAME.fullmatch(file.name)
        if match:
            found.append(Migration(int(match[1]), file.name, file.read_text("utf-8")))
    return sorted(found, key=lambda migration: migration.number)


def statements(sql: str, dialect: Mapping[str, str]) -> list[str]:
    """The statements of a file, placeholders filled in. Semicolons end statements and stand nowhere else, but in what a
    placeholder stands for: ``after_audit`` is the trigger by which an audit entry waits to be sealed.
    """
    without_comments = re.sub(r"--[^\n]*", "", sql)
    found = [statement.strip() for statement in without_comments.split(";") if statement.strip()]
    for placeholder, text in dialect.items():
        found = [statement.replace("{" + placeholder + "}", text) for statement in found]
    return found


def apply_migrations(rows: Rows, dialect: Mapping[str, str]) -> list[str]:
    """Applies what is missing inside the transaction that is open. Returns the names applied.

    Raises Unavailable when the database is newer than this version of the gate.
    """
    rows.run("CREATE TABLE IF NOT EXISTS migrations (number BIGINT PRIMARY KEY, name TEXT NOT NULL)")
    applied = {row[0] for row in rows.all("SELECT number FROM migrations")}
    known = all_migrations()
    unknown = applied - {migration.number for migration in known}
    if unknown:
        raise Unavailable(
            f"the database has migration {max(unknown)}, which this version does not know: upgrade the gate"
        )
    names = []
    for migration in known:
        if migration.number not in applied:
            for statement in statements(migration.sql, dialect):
                rows.run(statement)
            rows.run("INSERT INTO migrations (number, name) VALUES ($1, $2)", migration.number, migration.name)
            names.append(migration.name)
    return names
