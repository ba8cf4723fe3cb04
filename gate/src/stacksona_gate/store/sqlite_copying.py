"""An SQLite file as one side of a copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import apsw

from stacksona_gate.domain.errors import Conflict, Invalid, NotFound, Unavailable
from stacksona_gate.store.copying import Columns, Kind, quoted
from stacksona_gate.store.rows import Row
from stacksona_gate.store.sqlite_connection import BUSY_MILLISECONDS

KINDS: Final[dict[str, Kind]] = {"TEXT": str, "BIGINT": int, "INTEGER": int, "BLOB": bytes}


class SQLiteSide:
    """Implements store.copying.Side. Nobody else has the file open meanwhile, not even to read."""

    def __init__(self, path: str) -> None:
        """Raises NotFound, Unavailable, and Conflict when another process has the file open."""
        try:
            self._connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
        except apsw.CantOpenError:
            raise NotFound(f"there is no database at {path}") from None
        self._connection.set_busy_timeout(BUSY_MILLISECONDS)
        try:
            with _told_errors():
                self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        # Before anything is read: then whoever has the file open, if only to read, is in the way.
        try:
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
            self._connection.execute("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")
            self._connection.execute("BEGIN EXCLUSIVE")
        except apsw.BusyError:
            raise Conflict(f"{self._connection.filename} is in use: stop the gate that runs on it first") from None

    def tables(self) -> dict[str, Columns]:
        names = self.all("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'")
        return {name: self._columns(name) for (name,) in names}

    def _columns(self, table: str) -> Columns:
        return {name: KINDS[kind] for name, kind in self.all("SELECT name, type FROM pragma_table_info($1)", table)}

    def parents(self, table: str) -> set[str]:
        return {row[0] for row in self.all('SELECT "table" FROM pragma_foreign_key_list($1)', table)}

    def all(self, sql: str, *parameters: str | int) -> list[Row]:
        with _told_errors():
            # By name: ``$1`` is a name to SQLite, and positions would be filled in order of first appearance.
            return self._connection.execute(sql, {str(i + 1): one for i, one in enumerate(parameters)}).fetchall()

    def read(self, table: str, columns: Sequence[str]) -> Iterator[Row]:
        statement = f"SELECT {', '.join(map(quoted, columns))} FROM {quoted(table)}"  # noqa: S608 - of the catalogue
        with _told_errors():
            try:
                yield from self._connection.execute(statement)
            except UnicodeDecodeError:
                raise Invalid(f"table {table} holds a text that is not UTF-8") from None

    def write(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        chosen, marks = ", ".join(map(quoted, columns)), ", ".join("?" * len(columns))
        with _told_errors():
            self._connection.executemany(f"INSERT INTO {quoted(table)} ({chosen}) VALUES ({marks})", rows)  # noqa: S608

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        triggers = self.all("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
        for name, _ in triggers:
            self.all(f"DROP TRIGGER {quoted(name)}")
        yield
        for _, made_by in triggers:
            self.all(made_by)

    def commit(self) -> None:
        self.all("COMMIT")

    def close(self) -> None:
        """Undoes what was not committed."""
        self._connection.close()


@contextmanager
def _told_errors() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise Unavailable(f"SQLite refused: {error}") from error
