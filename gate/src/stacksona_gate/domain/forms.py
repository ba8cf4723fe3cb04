"""Forms as bodies: ``application/x-www-form-urlencoded`` read into the same values as JSON.

Platforms that build JSON by text substitution let a hostile value close its own quote and add a field. A form value
cannot: every field stands alone, percent-encoded. Whatever two readers could understand differently is refused.

Names are percent-decoded once, then read as ``field``, ``payload[a][b]``, ``summary[0]`` or ``metadata[k]``. Inside
``payload`` the text after the last colon of the last key is a type: ``string``, ``number``, ``boolean`` or ``json``;
so a last key that holds a colon itself needs one, ``payload[a:b:string]``. Elsewhere a colon is only a character.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal, NoReturn
from urllib.parse import unquote_to_bytes

from stacksona_gate.domain.canonical import MAX_INTEGER
from stacksona_gate.domain.errors import FieldError, Invalid, Malformed
from stacksona_gate.domain.reading import MAX_DEPTH, quote, read_json, read_number

MAX_FIELDS = 1_000
LIST_FIELDS = frozenset({"summary", "attachments"})
"""Top-level fields whose first bracket is a list index; in every other field digits are an object key."""

ScalarType = Literal["integer", "boolean", "string"]
_Path = tuple[str, ...]

_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]+\])*+)")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,15})")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_BOOLEANS = {"true": True, "false": False}


def read_form(body: bytes) -> dict[str, object]:
    """The value that a form body means. Top-level scalars stay strings until ``convert_scalars``.

    Raises Invalid, naming the field: more than 1,000 fields, a field without ``=``, bad UTF-8 or percent escapes, a
    malformed bracket, an unknown type or a value that is not of its type, one place named twice (also once with and
    once without a type), a place that is both a value and an object, list indexes with gaps, nesting over 32 (the form
    itself is the first level), ``payload``, ``summary`` or ``attachments`` given as one value.
    """
    form = _Form()
    for field in _fields(body):
        form.add(*field)
    return _with_lists(form.value)


def convert_scalars(fields: Mapping[str, object], types: Mapping[str, ScalarType]) -> dict[str, object]:
    """The same fields with the named top-level ones converted; ``expires_in=60`` becomes the integer 60.

    Integers are JSON integers within ±(2^53-1), booleans exactly ``true`` or ``false``. Raises Invalid naming every
    field that is not of its type, blank ones and objects too. Fields without a type are left as they are.
    """
    converted, errors = dict(fields), []
    for name in fields.keys() & types.keys():
        try:
            converted[name] = _SCALARS[types[name]](fields[name])
        except ValueError as error:
            errors.append(FieldError(name, str(error)))
    if errors:
        raise Invalid("some fields are not of their type", errors=tuple(sorted(errors, key=lambda error: error.field)))
    return converted


class _Form:
    """Places found so far: each is a value or an object, once."""

    def __init__(self) -> None:
        self.value: dict[str, object] = {}
        self._values: set[_Path] = set()
        self._objects: dict[_Path, dict[str, object]] = {(): self.value}

    def add(self, name: str, path: _Path, value: object) -> None:
        if path in self._values:
            _refuse(name, "is given twice; send it once")
        if path in self._objects:
            _refuse(name, "is a value here and an object elsewhere in the form; send one of the two")
        self._object(name, path[:-1])[path[-1]] = value
        self._values.add(path)

    def _object(self, name: str, path: _Path) -> dict[str, object]:
        if path in self._objects:
            return self._objects[path]
        if path in self._values:
            _refuse(name, "is inside something that is a value elsewhere in the form; send one of the two")
        child = self._objects[path] = {}
        self._object(name, path[:-1])[path[-1]] = child
        return child


def _fields(body: bytes) -> list[tuple[str, _Path, object]]:
    if body.count(b"&") >= MAX_FIELDS:
        _refuse("", f"has more than {MAX_FIELDS} fields; send less, or JSON")
    return [_field(raw) for raw in body.split(b"&") if raw]


def _field(raw: bytes) -> tuple[str, _Path, object]:
    raw_name, equals, raw_value = raw.partition(b"=")
    name = _unescape(raw_name, "", "has a name with")
    if not equals:
        hint = "; a JSON body needs Content-Type: application/json" if name.lstrip()[:1] in ("{", "[") else ""
        _refuse(name, f"has no '='; write name=value, with nothing after the '=' for a blank value{hint}")
    path, kind = _place(name)
    return name, path, _typed(name, kind, _unescape(raw_value, name, "has"), len(path))


def _unescape(raw: bytes, name: str, what: str) -> str:
    if _BAD_ESCAPE.search(raw):
        _refuse(name, f"{what} a % without two hexadecimal digits; write %25 for a percent sign")
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        _refuse(name, f"{what} bytes that are not UTF-8; encode it as UTF-8, then percent-encode")


def _place(name: str) -> tuple[_Path, str]:
    match = _NAME.fullmatch(name)
    if match is None:
        _refuse(name, "has a malformed name; write field, field[key] or field[key][key], no key empty")
    keys = match[2][1:-1].split("][") if match[2] else []
    kind = "string"
    if match[1] == "payload" and keys:
        keys[-1], kind = _key_and_type(name, keys[-1])
    path = (match[1], *keys)
    _check_place(name, path)
    return path, kind


def _key_and_type(name: str, key: str) -> tuple[str, str]:
    bare, colon, kind = key.rpartition(":")
    if not colon:
        return key, "string"
    if kind not in _TYPED:
        _refuse(name, f"has no known type after ':'; use {', '.join(_TYPED)}, also after a key that holds a colon")
    if not bare:
        _refuse(name, "has a type and no key; write payload[key:type]")
    return bare, kind


def _check_place(name: str, path: _Path) -> None:
    if len(path) > MAX_DEPTH:
        _refuse(name, f"is nested over {MAX_DEPTH} deep; send a flatter form")
    if path == ("payload",) or path[0].startswith("payload:"):
        _refuse(name, "cannot be one value; write payload[key]=value for each key, or send JSON")
    if len(path) == 1 and name in LIST_FIELDS:
        _refuse(name, f"is a list; write {name}[0]=…")
    if path[0] in LIST_FIELDS and not (path[1].isascii() and path[1].isdecimal()):
        _refuse(name, f"needs an index; write {path[0]}[0]")


def _typed(name: str, kind: str, text: str, depth: int) -> object:
    try:
        return _TYPED[kind](text, depth)
    except (Malformed, ValueError) as error:
        _refuse(name, f"is not of the type {kind}: {error}")


def _boolean(text: object) -> bool:
    if isinstance(text, str) and text in _BOOLEANS:
        return _BOOLEANS[text]
    raise ValueError("write true or false")


def _integer(text: object) -> int:
    if isinstance(text, str) and _INTEGER.fullmatch(text) and abs(int(text)) <= MAX_INTEGER:
        return int(text)
    raise ValueError("write a whole number in digits, within ±(2^53-1)")


def _string(text: object) -> str:
    if isinstance(text, str):
        return text
    raise ValueError("write one text, without brackets in the name")


def _json(text: str, depth: int) -> object:
    return read_json(text.encode(), max_depth=MAX_DEPTH - depth)


def _with_lists(form: dict[str, object]) -> dict[str, object]:
    for name in LIST_FIELDS & form.keys():
        form[name] = _list(name, form[name])
    return form


def _list(name: str, items: object) -> list[object]:
    assert isinstance(items, dict)  # noqa: S101 - a list field given as one value was refused before
    missing = next((index for index in range(len(items)) if str(index) not in items), None)
    if missing is not None:
        _refuse(f"{name}[{missing}]", "is missing; number a list 0, 1, 2 … without gaps or leading zeros")
    return [items[str(index)] for index in range(len(items))]


def _refuse(name: str, why: str) -> NoReturn:
    detail = f"the form field {quote(name)} {why}" if name else f"the form {why}"
    raise Invalid(detail, errors=(FieldError(name[:200], why),))


_TYPED: dict[str, Callable[[str, int], object]] = {
    "string": lambda text, _: text,
    "number": lambda text, _: read_number(text),
    "boolean": lambda text, _: _boolean(text),
    "json": _json,
}
_SCALARS: dict[ScalarType, Callable[[object], object]] = {"integer": _integer, "boolean": _boolean, "string": _string}
