"""One reading of a JSON text: what two readers could understand differently is refused, as the gate refuses it."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn

INTEGER_MOST: Final = 2**53 - 1
DEPTH_MOST: Final = 32
_DIGITS_MOST: Final = 400


class Malformed(Exception):
    """The text has no one reading. The message says why and quotes nothing of it."""


def read_json(text: bytes) -> Any:
    """The value. Raises Malformed for: bad UTF-8, broken JSON, a key twice, NaN or infinity, a number that is not
    exactly the double it would be read as, an integer beyond ±(2^53-1), half of a surrogate pair, nesting over 32."""
    try:
        value = _DECODER.decode(text.decode())
        if _depth(value) > DEPTH_MOST:
            raise Malformed(f"nested more than {DEPTH_MOST} objects and lists deep")
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Malformed("half of a surrogate pair: send whole characters") from None
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise Malformed("not JSON in UTF-8") from None
    except RecursionError:
        raise Malformed("nested too deeply") from None
    return value


def read_object(text: bytes) -> dict[str, Any]:
    """The same for an object."""
    value = read_json(text)
    if not isinstance(value, dict):
        raise Malformed("send a JSON object")
    return value


def _depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("a key appears twice in one object: send each once")
    return members


def _integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > INTEGER_MOST:
        raise Malformed("an integer beyond ±(2^53-1): send it as a string")
    return int(text)


def _float(text: str) -> float:
    try:
        number = float(text)
        is_exact = len(text) <= _DIGITS_MOST and Decimal(text) == Decimal(repr(number))
    except (InvalidOperation, ValueError, OverflowError):
        is_exact = False
    if not is_exact:
        raise Malformed("a number is not exactly the double that it would be read as: send it as a string")
    if number.is_integer() and INTEGER_MOST < abs(number) < 1e21:
        raise Malformed("an integer beyond ±(2^53-1): send it as a string")
    return number


def _constant(text: str) -> NoReturn:
    raise Malformed("NaN and infinity are not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)
