"""Numbers as exact decimals: what counts as one, and how one is shown."""

from __future__ import annotations

import re
from decimal import Decimal

MAX_NUMBER_TEXT = 64
_LARGE = 10**18

_NUMBER_TEXT = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


def number_of(value: object) -> int | Decimal | None:
    """``value`` as a number that compares exactly, or None where it is none.

    Types are compared by identity: a bool is an int to Python and never a number to a rule.
    """
    kind = type(value)
    if kind is int:
        return value  # type: ignore[return-value]
    if kind is float:
        # Through the shortest text: 0.1 is the decimal 0.1, not the double's 0.1000000000000000055.
        return _finite(Decimal(repr(value)))
    if kind is str:
        return _number_of_text(value)  # type: ignore[arg-type]
    return _finite(value) if kind is Decimal else None  # type: ignore[arg-type]


def plain(number: int | Decimal) -> str:
    """``number`` for people: without an exponent, unless the digits would run on and on."""
    if type(number) is int and -_LARGE < number < _LARGE:
        return str(number)
    exact = Decimal(number)
    return format(exact, "f") if abs(exact.adjusted()) <= MAX_NUMBER_TEXT else str(exact)


def _number_of_text(text: str) -> Decimal | None:
    # fullmatch with [0-9]: `$` would let a final newline through and \d other scripts' digits.
    return Decimal(text) if len(text) <= MAX_NUMBER_TEXT and _NUMBER_TEXT.fullmatch(text) else None


def _finite(number: Decimal) -> Decimal | None:
    return number if number.is_finite() else None
