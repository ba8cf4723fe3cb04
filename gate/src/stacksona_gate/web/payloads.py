"""An action's arguments for people: as a table, as text to edit, and as the difference between two versions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple
from urllib.parse import quote_plus

from stacksona_gate.domain.canonical import canonicalize
from stacksona_gate.domain.display import reveal
from stacksona_gate.domain.reading import read_json
from stacksona_gate.domain.redaction import MaskedText

ROWS_MOST: Final = 1_000
"""Rows of a table; what a payload has beyond them stands in its canonical form, which is always complete."""
KEY_VALUES: Final = 3
GLANCED_AT: Final = 20_000
"""Payloads with more characters show no key values in lists: parsing them for a glance costs too much."""
EDITED_MOST: Final = 400_000
"""Characters of a payload that can be edited on a page."""
SENT_MOST: Final = 1_500_000
"""Bytes of it as a browser sends it: deep nesting and foreign letters make it several times as long."""

_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class Value(NamedTuple):  # not a dataclass: a list makes hundreds, and these are made in a third of the time
    """One leaf of a payload. ``kind``: text, number, yes/no, nothing, or an empty list or object."""

    path: str
    kind: str
    text: str
    """A text as it is, everything else as canonical JSON writes it."""

    @property
    def is_text(self) -> bool:
        return self.kind == "text"

    @property
    def is_nested(self) -> bool:
        return not _PLAIN_KEY.fullmatch(self.path)


@dataclass(frozen=True, slots=True)
class Table:
    """The first rows of a payload, and whether there are more."""

    rows: tuple[Value, ...]
    is_complete: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """One place that differs. ``old`` None: new; ``new`` None: taken away."""

    path: str
    old: Value | None
    new: Value | None

    @property
    def what(self) -> str:
        if self.old is None:
            return "added"
        return "removed" if self.new is None else "changed"

    @property
    def kinds(self) -> str:
        """A number that becomes a text looks the same and is not."""
        kinds = dict.fromkeys(value.kind for value in (self.old, self.new) if value is not None)
        return " → ".join(kinds)


def table(payload: str) -> Table:
    """``payload`` is in RFC 8785 form."""
    rows = tuple(islice(_rows(payload), ROWS_MOST + 1))
    return Table(rows[:ROWS_MOST], len(rows) <= ROWS_MOST)


def key_values(payload: str) -> tuple[Value, ...]:
    """What a reader of one line should know: the first few values, outer ones first, numbers before texts."""
    if len(payload) > GLANCED_AT:
        return ()
    rows = [row for row in islice(_rows(payload), 50) if row.kind in ("number", "text", "yes/no")]
    return tuple(sorted(rows, key=lambda row: (row.is_nested, row.kind != "number"))[:KEY_VALUES])


def _rows(payload: str) -> Iterator[Value]:
    rows = leaves(read_json(payload.encode()))
    if not isinstance(payload, MaskedText):
        return rows
    return (Value(MaskedText(row.path), row.kind, MaskedText(row.text)) for row in rows)


def leaves(value: object, path: str = "") -> Iterator[Value]:
    """Every leaf with its path: ``items[0].price``; keys that are no plain word stand in brackets and quotes."""
    if isinstance(value, dict) and value:
        for key, member in value.items():
            yield from leaves(member, path + _step(key, first=not path))
    elif isinstance(value, list) and value:
        for index, member in enumerate(value):
            yield from leaves(member, f"{path}[{index}]")
    else:
        yield Value(path, _kind(value), value if isinstance(value, str) else canonicalize(value).decode())


def _step(key: str, *, first: bool) -> str:
    if not _PLAIN_KEY.fullmatch(key):
        return f"[{json.dumps(key, ensure_ascii=False)}]"
    return key if first else "." + key


_KINDS: Final[dict[type, str]] = {
    str: "text",
    bool: "yes/no",
    type(None): "nothing",
    dict: "empty object",
    list: "empty list",
}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "number")


def differences(old: str, new: str) -> tuple[Difference, ...]:
    """Place by place, in the order of the new version; what was taken away last."""
    before = {row.path: row for row in _rows(old)}
    after = {row.path: row for row in _rows(new)}
    changed = [Difference(path, before.get(path), row) for path, row in after.items() if before.get(path) != row]
    removed = [Difference(path, row, None) for path, row in before.items() if path not in after]
    return (*changed, *removed)


def editable(payload: str) -> str | None:
    """The payload as indented JSON for a text box, where nothing can be marked: what hides stands escaped.

    None where it is too long: the box is sent with every verdict, and must leave room to reject.
    """
    text = json.dumps(read_json(payload.encode()), indent=2, ensure_ascii=False)
    if len(text) > EDITED_MOST:
        return None
    pieces = reveal(text)
    shown = "".join(one.text if one.kind in ("plain", "lookalike") else _escaped(one.original) for one in pieces)
    return shown if len(quote_plus(shown.replace("\n", "\r\n"))) <= SENT_MOST else None


def _escaped(text: str) -> str:
    """As JSON escapes, one per UTF-16 unit: ``json.dumps`` would leave DEL as it is."""
    units = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in zip(units[::2], units[1::2], strict=True))
