"""The three forms of an export as one: a header, and entries that are read one at a time.

Everything in the file is hostile. Lines are JSON with one reading only; a key twice is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Literal, Never

import msgspec
from msgspec import UNSET, Struct, UnsetType

from stacksona_gate.domain.errors import Malformed
from stacksona_gate.domain.reading import read_json

FORMAT: Final = "stacksona-audit-1"
MAX_LINE: Final = 64 * 1024 * 1024
"""Bytes of one line."""
MAX_DOCUMENT: Final = 256 * 1024 * 1024
"""Bytes of a thread's export, which is read whole."""
MAX_DEPTH: Final = 64
_EVIDENCE: Final = re.compile(rb'<script\b[^>]*\bid="evidence"[^>]*>(.*?)</script\s*>', re.DOTALL | re.IGNORECASE)


class Consistency(Struct):
    """That the log of ``size`` extends the one of ``since``."""

    since: int = msgspec.field(name="from")
    proof: list[str]


class Header(Struct):
    """What an export says about itself. Nothing of it is proven before it was held against the checkpoint."""

    format: Literal["stacksona-audit-1"]
    kind: Literal["tenant", "range", "thread"]
    origin: str
    tenant: str
    size: int
    entries: int
    checkpoint: str
    public_key: str
    exported_at: str
    start: str | None = msgspec.field(name="from", default=None)
    to: str | None = None
    thread_id: str | None = None
    request_id: str | None = None
    consistency: Consistency | None = None


class Line(Struct, forbid_unknown_fields=True):
    """One entry. A field beyond these would look like evidence and be none."""

    index: int
    leaf: str
    private: dict[str, Any]
    proof: list[str] | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Row:
    """An entry with the number of its line (None in a thread's export), or what is wrong with it."""

    line: int | None
    entry: Line | Malformed


@dataclass(frozen=True, slots=True)
class Export:
    header: Header
    form: Literal["jsonl", "json", "html"]
    rows: Iterator[Row]
    """To be gone through once."""


def read_export(file: BinaryIO) -> Export:
    """Reads the header, and entries as they are asked for. Raises Malformed."""
    first = file.readline(MAX_LINE + 1)
    if first.startswith(b"#"):
        raise Malformed("this is a table, which proves nothing by itself: export as JSON Lines, JSON or a page")
    if first.lstrip()[:1] == b"<" or not first.strip():
        return _of_document(first + _rest(file, first), "html")
    if len(first) > MAX_LINE:
        return _of_document(first + _rest(file, first), "json")
    try:
        top = read_json(first, max_depth=MAX_DEPTH)
    except Malformed:
        # A document on many lines, unless a line was meant: then what is wrong is in the line.
        if b'"format"' in first or not file.peek(1):  # type: ignore[attr-defined]
            raise
        return _of_document(first + _rest(file, first), "json")
    if isinstance(top, dict) and "log" in top:
        rest = _rest(file, first)
        return _of_document(first + rest, "json") if rest.strip() else _of_thread(top, "json")
    return Export(_header(top), "jsonl", _rows(file))


def _rest(file: BinaryIO, first: bytes) -> bytes:
    rest = file.read(MAX_DOCUMENT - len(first) + 1)
    if len(first) + len(rest) > MAX_DOCUMENT:
        raise Malformed(f"a thread's export has at most {MAX_DOCUMENT} bytes")
    return rest


def _of_document(body: bytes, form: Literal["json", "html"]) -> Export:
    if form == "html":
        embedded = _EVIDENCE.findall(body)
        if len(embedded) != 1:
            raise Malformed(f"the page holds {len(embedded)} scripts with the id evidence; an export has exactly one")
        body = embedded[0]
    return _of_thread(read_json(body, max_depth=MAX_DEPTH), form)


def _of_thread(document: object, form: Literal["json", "html"]) -> Export:
    if not (isinstance(document, dict) and isinstance(document.get("entries"), list)):
        raise Malformed("a thread's export has a log and a list of entries")
    return Export(_header(document.get("log")), form, (Row(None, _entry(value)) for value in document["entries"]))


def _rows(file: BinaryIO) -> Iterator[Row]:
    number = 1
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            yield Row(number, Malformed(f"a line has at most {MAX_LINE} bytes"))
            return
        yield Row(number, _parsed(line))


def _parsed(line: bytes) -> Line | Malformed:
    try:
        return _entry(read_json(line, max_depth=MAX_DEPTH))
    except Malformed as error:
        return error


def _header(value: object) -> Header:
    try:
        return msgspec.convert(value, Header)
    except msgspec.ValidationError as error:
        _refuse(f"the header of an export in the format {FORMAT} is not like this: {error}")


def _entry(value: object) -> Line | Malformed:
    try:
        return msgspec.convert(value, Line)
    except msgspec.ValidationError as error:
        return Malformed(f"an entry is not like this: {error}")


def _refuse(what: str) -> Never:
    raise Malformed(what)
