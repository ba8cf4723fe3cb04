"""One spelling for one value: RFC 8785 (JSON Canonicalization Scheme), and the digest that is taken of it."""

from __future__ import annotations

import hashlib

import msgspec
import rfc8785

from stacksona_gate.domain.errors import Invalid

MAX_INTEGER = 2**53 - 1
"""Largest integer that every JSON reader keeps exactly (RFC 8785 section 3.1, RFC 7493 section 2.2)."""

# Looking at the value (3 us) and msgspec's sorted encoding (1 us) stand against 44 us of the library (520 bytes), and
# give the same bytes for the values that _is_plain lets through. Control characters, DEL and U+2028 are escaped alike.
_encode = msgspec.json.Encoder(order="deterministic").encode
_SIMPLE = frozenset({str, bool, type(None)})
_LEADS_OF_UPPER_BMP = (b"\xee", b"\xef")
_LEADS_OF_ASTRAL = (b"\xf0", b"\xf1", b"\xf2", b"\xf3", b"\xf4")


def canonicalize(value: object) -> bytes:
    """The RFC 8785 bytes of a JSON value: None, bool, int, float, str, list or tuple, dict with string keys.

    Raises Invalid for what JSON cannot carry unchanged: an integer beyond ±(2^53-1), NaN or infinity, a lone
    surrogate, a key that is no string, any other type, or nesting without end.
    """
    try:
        plain = value
        if _is_plain(plain) or _is_plain(plain := _with_integers(value)):
            encoded = _encode(plain)
            if not _sorts_differently_in_utf16(encoded):
                return encoded
        return rfc8785.dumps(value)  # type: ignore[arg-type]
    except (ValueError, TypeError, RecursionError) as error:
        raise Invalid(_what_is_wrong(error)) from error


def canonical_text(text: str) -> bytes:
    """The same as ``canonicalize`` for one string, without looking at its type. Raises Invalid for a lone surrogate."""
    try:
        return _encode(text)
    except UnicodeEncodeError as error:
        raise Invalid(_what_is_wrong(error)) from error


def digest(value: object) -> str:
    """``sha-256:`` and the hexadecimal SHA-256 of the canonical bytes. Raises as ``canonicalize`` does."""
    return "sha-256:" + hashlib.sha256(canonicalize(value)).hexdigest()


def _is_plain(value: object) -> bool:
    """Whether msgspec writes this value as RFC 8785 does, the order of keys beyond ASCII aside.

    Exact types only: msgspec would also write bytes, dates, sets and more, silently as something else.
    """
    kind = type(value)
    if kind in _SIMPLE:
        return True
    if kind is int:
        return -MAX_INTEGER <= value <= MAX_INTEGER  # type: ignore[operator]
    if kind is dict:
        return _is_plain_object(value)  # type: ignore[arg-type]
    if kind is list:
        return _are_plain(value)  # type: ignore[arg-type]
    # Beyond this range exponents are spelled differently, and of 1.0 RFC 8785 makes "1".
    return isinstance(value, float) and kind is float and 1e-4 <= abs(value) < 1e15 and not value.is_integer()


def _is_plain_object(value: dict[object, object]) -> bool:
    for key, item in value.items():
        if type(key) is not str:
            return False
        if type(item) not in _SIMPLE and not _is_plain(item):
            return False
    return True


def _are_plain(value: list[object]) -> bool:
    for item in value:  # noqa: SIM110 - a generator for all() takes twice as long
        if not _is_plain(item):
            return False
    return True


def _with_integers(value: object) -> object:
    """A copy in which 40.0 is 40, as RFC 8785 writes it: amounts are often whole, and the library takes 20 us."""
    kind = type(value)
    if kind is float:
        return int(value) if abs(value) < 1e15 and value.is_integer() else value  # type: ignore[arg-type,call-overload,attr-defined]
    if kind is dict:
        return {key: _with_integers(item) for key, item in value.items()}  # type: ignore[attr-defined]
    if kind is list:
        return [_with_integers(item) for item in value]  # type: ignore[attr-defined]
    return value


def _sorts_differently_in_utf16(encoded: bytes) -> bool:
    """RFC 8785 sorts keys by UTF-16 units, msgspec by code points: only U+E000-U+FFFF against astral differ."""
    if encoded.isascii():
        return False
    return any(lead in encoded for lead in _LEADS_OF_ASTRAL) and any(lead in encoded for lead in _LEADS_OF_UPPER_BMP)


def _what_is_wrong(error: Exception) -> str:
    # Never the value itself: it may be long, secret or impossible to encode.
    if isinstance(error, rfc8785.FloatDomainError):
        return "NaN and infinity are not JSON numbers; leave the field out or send a finite number"
    if isinstance(error, UnicodeEncodeError):
        return "a text holds half of a surrogate pair; send whole characters"
    if isinstance(error, RecursionError):
        return "the value is nested too deeply"
    text = str(error)
    if "UTF-8" in text:
        return "a text holds half of a surrogate pair; send whole characters"
    if "keys" in text:
        return "an object has a key that is not a string"
    if "unsupported type" in text:
        return (
            "the value holds something that is not JSON: only null, booleans, numbers, strings, lists and objects are"
        )
    return "an integer is beyond ±(2^53-1) and would change on its way; send it as a string"
