"""A PostgreSQL database as one side of a copy."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg import errors
from psycopg.types.numeric import Int8Dumper

from stacksona_gate.domain.errors import Conflict, Unavailable
from stacksona_gate.store.copying import Columns, Kind, quoted
from stacksona_gate.store.postgres_address import CONNECTION_DEFAULTS, connection_parameters
from stacksona_gate.store.rows import Row

KINDS: Final[dict[str, Kind]] = {"text": str, "bigint": int, "integer": int, "bytea": bytes}
NAME: Final = "stacksona-gate db copy"
LOCK_MILLISECONDS: Final = 5000
LEAVING_SECONDS: Final = 3.0
"""How long sessions of gates are waited for that were just told to end."""

_LIMITS: Final = (
    "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;"
    f" SET LOCAL lock_timeout = {LOCK_MILLISECONDS}"
)
_TABLES: Final = (
    "SELECT relname FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())"
    " AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY relname"
)
_COLUMNS: Final = (
    "SELECT attname, CAST(format_type(atttypid, NULL) AS TEXT), CAST(attidentity AS TEXT) FROM pg_attribute"
    " WHERE attrelid = CAST(CAST($1 AS TEXT) AS REGCLASS) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
)
_PARENTS: Final = (
    "SELECT relname FROM pg_constraint JOIN pg_class ON pg_class.oid = confrelid"
    " WHERE contype = 'f' AND conrelid = CAST(CAST($1 AS TEXT) AS REGCLASS)"
)
_TRIGGERED: Final = (
    "SELECT DISTINCT relname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid WHERE NOT tgisinternal"
    " AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())"
)
_GATES: Final = (
    "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1"
    " AND pid <> pg_backend_pid()"
)


class PostgresSide:
    """Implements store.copying.Side. Nobody else writes to the tables meanwhile."""

    def __init__(self, url: str, *, writing: bool) -> None:
        """``writing``: nobody else reads them either. Raises Unavailable, and Conflict when a gate is connected."""
        parameters = {**connection_parameters(url), "application_name": NAME}
        with _told_errors():
            self._connection = psycopg.connect(**parameters, autocommit=True, cursor_factory=psycopg.RawCursor)
        self._connection.adapters.register_dumper(int, Int8Dumper)
        self._connection.prepare_threshold = None
        try:
            with _told_errors():
                self._require_alone()
                self._begin("ACCESS EXCLUSIVE" if writing else "SHARE")
        except BaseException:
            self.close()
            raise

    def _require_alone(self) -> None:
        deadline = time.monotonic() + LEAVING_SECONDS
        while (connected := self.all(_GATES, CONNECTION_DEFAULTS["application_name"])[0][0]) > 0:
            if time.monotonic() > deadline:
                raise Conflict(
                    f"gates have {connected} connections to the database {self._connection.info.dbname}: stop them"
                    " first; where a pooler keeps connections open, tell it to close them"
                )
            time.sleep(0.05)

    def _begin(self, mode: str) -> None:
        tables = ", ".join(map(quoted, self._names()))
        # The lock before the first look: what is seen is what nobody changes any more.
        self._connection.execute(f"BEGIN ISOLATION LEVEL REPEATABLE READ; {_LIMITS}".encode())
        try:
            if tables:
                self._connection.execute(f"LOCK TABLE {tables} IN {mode} MODE".encode())
        except errors.LockNotAvailable:
            raise Conflict(f"the database {self._connection.info.dbname} is in use: stop what runs on it") from None

    def _names(self) -> list[str]:
        return [row[0] for row in self.all(_TABLES)]

    def tables(self) -> dict[str, Columns]:
        return {
            table: {name: KINDS[kind] for name, kind, _ in self.all(_COLUMNS, quoted(table))} for table in self._names()
        }

    def parents(self, table: str) -> set[str]:
        return {row[0] for row in self.all(_PARENTS, quoted(table))}

    def all(self, sql: str, *parameters: str | int) -> list[Row]:
        with _told_errors():
            return self._connection.execute(sql.encode(), parameters).fetchall()

    def read(self, table: str, columns: Sequence[str]) -> Iterator[Row]:
        statement = f"SELECT {', '.join(map(quoted, columns))} FROM {quoted(table)}"  # noqa: S608 - of the catalogue
        with _told_errors(), self._connection.cursor() as cursor:
            yield from cursor.stream(statement.encode())

    def write(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        statement = f"COPY {quoted(table)} ({', '.join(map(quoted, columns))}) FROM STDIN"
        with _told_errors(), self._connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            for row in rows:
                copy.write_row(row)

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        triggered = [quoted(row[0]) for row in self.all(_TRIGGERED)]
        for table in triggered:
            self._run(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield
        for table in triggered:
            self._run(f"ALTER TABLE {table} ENABLE TRIGGER USER")
        for table in self._names():
            self._go_on_after_highest(table)

    def _go_on_after_highest(self, table: str) -> None:
        for column, _, identity in self.all(_COLUMNS, quoted(table)):
            if identity:
                name = quoted(column)
                next_number = self.all(f"SELECT COALESCE(MAX({name}), 0) + 1 FROM {quoted(table)}")[0][0]  # noqa: S608
                self._run(f"ALTER TABLE {quoted(table)} ALTER COLUMN {name} RESTART WITH {next_number}")

    def _run(self, statement: str) -> None:
        with _told_errors():
            self._connection.execute(statement.encode())

    def commit(self) -> None:
        self._run("COMMIT")

    def close(self) -> None:
        """Undoes what was not committed."""
        self._connection.close()


@contextmanager
def _told_errors() -> Iterator[None]:
    """The server's words, without the values that it names in the lines after the first."""
    try:
        yield
    except psycopg.Error as error:
        raise Unavailable(f"PostgreSQL refused: {error.diag.message_primary or error}") from error
