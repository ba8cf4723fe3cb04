"""JSON in its one spelling (RFC 8785), the digest of it, and reading JSON without guessing.

What the gate would refuse is refused here with the place named: the agent's author sees it where it happens.
"""

from __future__ import annotations

import hashlib
import json
import math
from json.encoder import encode_basestring
from typing import Any, Final, NoReturn

from stacksona._errors import InvalidRequest

MAX_INTEGER: Final = 2**53 - 1
"""Largest integer that every JSON reader keeps exactly (RFC 7493 section 2.2)."""
MAX_DEPTH: Final = 32
"""Objects and lists inside one another that the gate reads; the body is the first."""

_UPPER_EXPONENT: Final = 21
_LOWER_EXPONENT: Final = -6


def canonicalize(value: object, where: str = "value", *, depth: int = MAX_DEPTH) -> bytes:
    """The RFC 8785 bytes of None, bool, int, float, str, list or tuple, and dict with string keys.

    ``where`` names the value in errors; ``depth`` is how many objects and lists may be inside one another. Raises
    InvalidRequest for what the gate would not read: NaN or infinity, an integer beyond ±(2^53-1), also as a float,
    half of a surrogate pair, a key that is no string, any other type, deeper nesting.
    """
    try:
        return _text(value, where, depth).encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{where}: a text holds half of a surrogate pair; send whole characters") from None


def payload_digest(payload: object) -> str:
    """``sha-256:`` and the hexadecimal SHA-256 of the payload's RFC 8785 form. Raises InvalidRequest."""
    return digest_of(canonicalize(payload, "payload"))


def digest_of(canonical: bytes) -> str:
    """The same for bytes that are canonical already."""
    return "sha-256:" + hashlib.sha256(canonical).hexdigest()


def read_object(text: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8. Raises ValueError for anything else, for a key twice, and for NaN or infinity."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=_object, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _text(value: object, where: str, depth: int) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return encode_basestring(str.__str__(value))
    if isinstance(value, int):
        return _integer(int(value), where)
    if isinstance(value, float):
        return _float(float(value), where)
    if not isinstance(value, (dict, list, tuple)):
        _refuse(where, f"{type(value).__name__} is not JSON; send text, numbers, booleans, None, lists and dicts")
    if depth == 0:
        _refuse(where, "nested too deeply")
    if isinstance(value, dict):
        return _members(value, where, depth - 1)
    return "[" + ",".join([_text(item, f"{where}[{i}]", depth - 1) for i, item in enumerate(value)]) + "]"


def _members(value: dict[object, object], where: str, depth: int) -> str:
    keys = []
    for key in value:
        if not isinstance(key, str):
            _refuse(where, f"a key is {type(key).__name__}, not text")
        keys.append(key)
    keys.sort(key=lambda key: key.encode("utf-16-be"))
    members = [f"{encode_basestring(key)}:{_text(value[key], _inside(where, key), depth)}" for key in keys]
    return "{" + ",".join(members) + "}"


def _inside(where: str, key: str) -> str:
    return f"{where}.{key if key.isprintable() and len(key) <= 60 else ascii(key[:60])}"


def _integer(value: int, where: str) -> str:
    if not -MAX_INTEGER <= value <= MAX_INTEGER:
        _refuse(where, "an integer beyond ±(2^53-1) would change on its way; send it as text")
    return str(value)


def _float(value: float, where: str) -> str:
    """As ECMA-262 writes a Number: the shortest digits, the exponent from 1e21 on and below 1e-6."""
    if not math.isfinite(value):
        _refuse(where, "NaN and infinity are not JSON; leave the field out or send a finite number")
    if value.is_integer() and abs(value) < 10**_UPPER_EXPONENT:
        return _integer(int(value), where)
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    return ("-" if value < 0 else "") + _written(digits.rstrip("0"), point)


def _written(digits: str, point: int) -> str:
    """``digits`` with the decimal point after the first ``point`` of them. Not for whole numbers below 1e21."""
    if 0 < point <= _UPPER_EXPONENT:
        return f"{digits[:point]}.{digits[point:]}"
    if _LOWER_EXPONENT < point <= 0:
        return "0." + "0" * -point + digits
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{point - 1:+d}"


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return members


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _refuse(where: str, why: str) -> NoReturn:
    raise InvalidRequest(f"{where}: {why}")
