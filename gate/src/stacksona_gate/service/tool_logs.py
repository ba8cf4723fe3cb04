"""Reading a tool's own log of what it executed: CSV or JSON Lines, line by line, from anybody.

A log that can be read in two ways is refused with its line: a wrong reading must never pass for «nothing found».
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, BinaryIO, Final, NoReturn

from stacksona_gate.domain.errors import Invalid
from stacksona_gate.domain.reading import quote
from stacksona_gate.domain.times import parse_rfc3339

RECORD_MOST: Final = 1_048_576
"""Bytes of one record."""
COLUMNS_MOST: Final = 1000
NUMBER_MOST: Final = 64
"""Characters of a number."""
NAMED_MOST: Final = 50
"""Columns that an error names."""
KNOWN: Final = ("request_id", "thread_id", "tool", "payload", "payload_digest", "executed_at")
"""What a column may be besides a place in the payload. A column that bears one of these names needs no mapping."""
PAYLOAD: Final = "payload."


@dataclass(frozen=True, slots=True)
class Executed:
    """One record: something that the tool says it executed. ``line`` is where it ends, counted from 1."""

    line: int
    request_id: str
    """Empty: the record names none."""
    thread_id: str
    tool: str | None
    payload: object
    """None: the log holds no whole payload."""
    digest: str | None
    values: Mapping[str, object]
    """By place in the payload. A CSV's are texts; a JSON Lines log's numbers are int or Decimal."""
    executed_at: int | None


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column is what: ``known`` by the names in KNOWN, ``values`` by place in the payload."""

    known: Mapping[str, str]
    values: Mapping[str, str]

    def all(self) -> set[str]:
        return {*self.known.values(), *self.values.values()}


def parse_mapping(text: str) -> Columns:
    """``request_id=Reference,amount=Total``: what it is, ``=``, and the column. Raises Invalid."""
    known: dict[str, str] = {}
    values: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, column = (piece.strip() for piece in part.partition("="))
        if not (name and equals and column):
            raise Invalid(f"--map holds {quote(part)}: write request_id=column,amount=column")
        kept, place = (known, name) if name in KNOWN else (values, name.removeprefix(PAYLOAD))
        if place in kept:
            raise Invalid(f"--map names {quote(name)} twice")
        kept[place] = column
    return Columns(known, values)


def read_log(file: BinaryIO, form: str, wanted: Columns) -> Iterator[Executed]:
    """The log's records in its order. ``form``: ``csv`` or ``jsonl``.

    Raises Invalid with the line of what cannot be read, and for a mapped column that the log does not have.
    """
    lines = _Lines(file)
    return _read_csv(lines, wanted) if form == "csv" else _read_json_lines(lines, wanted)


class _Lines:
    """Text lines of a file, none read into memory that is over the limit."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.number = 0
        self.taken = 0
        """Bytes since ``start_record``."""

    def start_record(self) -> None:
        self.taken = 0

    def __iter__(self) -> Iterator[str]:
        while raw := self._file.readline(RECORD_MOST + 1):
            self.number += 1
            self.taken += len(raw)
            if self.taken > RECORD_MOST:
                self.refuse(f"a record is over {RECORD_MOST:,} bytes: is a quote not closed?")
            yield self._text(raw)

    def refuse(self, why: str) -> NoReturn:
        raise Invalid(f"line {self.number}: {why}")

    def _text(self, raw: bytes) -> str:
        if self.number == 1:
            if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
                self.refuse("this is UTF-16: save the file as UTF-8")
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if b"\0" in raw:
            self.refuse("there is a zero byte: this is no text file in UTF-8")
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            self.refuse(f"byte {error.start + 1} is not UTF-8: save the file as UTF-8")


# CSV


def _read_csv(lines: _Lines, wanted: Columns) -> Iterator[Executed]:
    source = iter(lines)
    first = next(source, None)
    if first is None:
        raise Invalid("the file is empty: its first line names the columns")
    reader = csv.reader(_chain(first, source), delimiter=_delimiter(first), strict=True)
    header = _next(reader, lines)
    columns = _settled(wanted, _checked_header(header or [], lines))
    places = {name: i for i, name in enumerate(header or [])}
    while (row := _next(reader, lines)) is not None:
        if not row:
            continue
        if len(row) != len(places):
            lines.refuse(f"there are {len(row)} fields, and {len(places)} columns in the first line")
        yield _record(lines, columns, lambda column, row=row: row[places[column]], as_text=True)  # type: ignore[misc]


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _delimiter(header: str) -> str:
    """Spreadsheets of some countries write semicolons, and exports of databases tabs."""
    return max(",;\t", key=header.count)


def _next(reader: Any, lines: _Lines) -> list[str] | None:
    lines.start_record()
    try:
        row: list[str] | None = next(reader, None)
    except csv.Error as error:
        lines.refuse(f"not CSV: {error}")
    return row


def _checked_header(header: list[str], lines: _Lines) -> list[str]:
    if len(header) > COLUMNS_MOST:
        lines.refuse(f"there are {len(header):,} columns; at most {COLUMNS_MOST:,} are read")
    twice = next((name for i, name in enumerate(header) if name in header[:i]), None)
    if twice is not None:
        lines.refuse(f"the column {quote(twice)} is there twice")
    return header


def _settled(wanted: Columns, there: Iterable[str]) -> Columns:
    """The mapping, with the columns that go by a known name. Raises Invalid for a column that is not there."""
    names = list(there)
    missing = sorted(wanted.all() - set(names))
    if missing:
        raise Invalid(f"there is no column {quote(missing[0])}; {_listed(names)}")
    columns = _with_known(wanted, names)
    if "request_id" not in columns.known and "thread_id" not in columns.known:
        raise Invalid(f"say which column holds the request: --map request_id=COLUMN; {_listed(names)}")
    return columns


def _listed(names: list[str]) -> str:
    shown = ", ".join(quote(name) for name in names[:NAMED_MOST])
    return f"the columns are {shown}{' …' if len(names) > NAMED_MOST else ''}"


# JSON Lines


def _read_json_lines(lines: _Lines, wanted: Columns) -> Iterator[Executed]:
    """Columns are the objects' keys, or places in them. Not every object must have them all: one of them must."""
    there: dict[str, None] = {}
    missing = wanted.all()
    columns = wanted
    for text in lines:
        lines.start_record()
        if not text.strip():
            continue
        row = _object_of(text, lines)
        if len(there) < COLUMNS_MOST and not row.keys() <= there.keys():
            there |= dict.fromkeys(row)
            columns = _with_known(wanted, there)
        missing = {column for column in missing if _inside(row, column) is None}
        yield _record(lines, columns, lambda column, row=row: _inside(row, column), as_text=False)  # type: ignore[misc]
    _settled(wanted, [*there, *(wanted.all() - missing)])


def _with_known(wanted: Columns, there: Iterable[str]) -> Columns:
    known = {name: name for name in KNOWN if name in there and name not in wanted.all()}
    return Columns(known | dict(wanted.known), wanted.values)


def _inside(row: dict[str, object], column: str) -> object:
    """The value of a key, or of a place in objects inside one another; None where there is none."""
    if column in row:
        return row[column]
    value: object = row
    for key in column.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _object_of(text: str, lines: _Lines) -> dict[str, object]:
    try:
        row = _DECODE(text)
    except Invalid as error:
        lines.refuse(error.detail)
    except json.JSONDecodeError as error:
        lines.refuse(f"not JSON: {error.msg} at column {error.colno}")
    except RecursionError:
        lines.refuse("nested too deeply")
    if not isinstance(row, dict):
        lines.refuse("not a JSON object: each line is one, as {…}")
    if not _is_whole_text(text, row):
        lines.refuse("a text holds half of a surrogate pair")
    return row


def _is_whole_text(text: str, row: object) -> bool:
    if "\\u" not in text:
        return True
    try:
        json.dumps(row, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return False
    return True


def _pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise Invalid(f"the key {quote(twice)} is there twice in one object")
    return made


def _whole(text: str) -> int:
    return int(_short(text))


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(_short(text))
    except InvalidOperation:
        raise Invalid(f"the number {quote(text)} is out of range") from None


def _short(text: str) -> str:
    if len(text) > NUMBER_MOST:
        raise Invalid(f"a number has over {NUMBER_MOST} characters")
    return text


def _no_constant(text: str) -> NoReturn:
    raise Invalid(f"{text} is not JSON")


_DECODE: Final = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_int=_whole, parse_float=_decimal, parse_constant=_no_constant
).decode


def json_in(text: str) -> object:
    """The JSON value that a cell holds. Raises Invalid."""
    try:
        return _DECODE(text)
    except (json.JSONDecodeError, RecursionError):
        raise Invalid("not JSON") from None


# Records


def _record(lines: _Lines, columns: Columns, cell: Callable[[str], object], *, as_text: bool) -> Executed:
    known = {name: cell(column) for name, column in columns.known.items()}
    return Executed(
        lines.number,
        _text(known, "request_id", lines),
        _text(known, "thread_id", lines),
        _text(known, "tool", lines) or None,
        _payload(known.get("payload"), lines, as_text=as_text),
        _text(known, "payload_digest", lines) or None,
        {place: cell(column) for place, column in columns.values.items()},
        _moment(_text(known, "executed_at", lines), lines),
    )


def _text(known: Mapping[str, object], name: str, lines: _Lines) -> str:
    value = known.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        lines.refuse(f"{name} is not a text")
    return value.strip()


def _payload(value: object, lines: _Lines, *, as_text: bool) -> object:
    if value is None or value == "":
        return None
    if as_text or isinstance(value, str):
        try:
            value = json_in(str(value))
        except Invalid as error:
            lines.refuse(f"the payload cannot be read: {error.detail}")
    if not isinstance(value, dict):
        lines.refuse("the payload is not a JSON object")
    return value


def _moment(text: str, lines: _Lines) -> int | None:
    if not text:
        return None
    try:
        return parse_rfc3339(text)
    except (ValueError, OverflowError):
        lines.refuse(f"executed_at is {quote(text)}: write a time with its zone, as 2026-11-24T21:12:00Z")
