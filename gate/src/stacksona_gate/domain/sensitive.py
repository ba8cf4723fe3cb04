"""What is recognised by its form: card numbers, keys, mail addresses, bank accounts. Linear in the text's length.

Each takes the folded text and the text itself, of the same length, and gives spans with what may be seen of them.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Final, NamedTuple

MASK: Final = "••••"
NOTHING: Final = "\0"
"""What a character that shows nothing is folded to."""
_SPACES: Final = frozenset({"Zs", "Zl", "Zp"})
_NOTHINGS: Final = frozenset({"Cf", "Mn", "Me", "Cc"})


class Span(NamedTuple):
    """A stretch of a text to mask; ``shown`` is what may be seen of it, ``••••`` included."""

    start: int
    end: int
    shown: str = MASK


class _Folding(dict[int, str]):
    """Character by character, so that a place in the folded text is the place in the text."""

    def __missing__(self, code: int) -> str:
        self[code] = folded = _folded(chr(code))
        return folded


def _folded(character: str) -> str:
    if character.isascii():
        return character
    digit = unicodedata.digit(character, None)
    if digit is not None:
        return str(digit)
    category = unicodedata.category(character)
    if category in _NOTHINGS:
        return NOTHING
    if category in _SPACES:
        return " "
    if category == "Pd" or character == "\u2212":
        return "-"
    plain = unicodedata.normalize("NFKC", character)
    return plain if len(plain) == 1 else character


_FOLDING: Final = _Folding()


def folded(text: str) -> str:
    """Digits and letters of any width or style as ASCII, dashes as ``-``, spaces as one kind, what hides as NUL.

    Raises UnicodeEncodeError for a lone surrogate: nothing that holds one is looked through.
    """
    if text.isascii():
        return text
    text.encode()
    return text.translate(_FOLDING)


# Card numbers (ISO/IEC 7812-1)

_CARD_LEAST, _CARD_MOST = 13, 19
_DIGITS: Final = re.compile(r"[0-9](?:[ \-./_\t\r\n\0]{0,3}+[0-9]){12,}+")
_GROUP: Final = re.compile(r"[0-9]+")
_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def card_numbers(text: str, original: str) -> Iterator[Span]:
    """13 to 19 digits that begin as cards do and whose check digit is right, also with blanks or dashes between."""
    for run in _DIGITS.finditer(text):
        yield from _cards_in(run.group(), run.start())


def _cards_in(run: str, offset: int) -> Iterator[Span]:
    at = [index for index, character in enumerate(run) if character.isdigit()]
    digits = [int(run[index]) for index in at]
    sums = _luhn_sums(digits)
    groups = list(_GROUP.finditer(run))
    ends = {bisect_left(at, group.end() - 1) + 1 for group in groups}
    free = 0
    for group in groups:
        first = bisect_left(at, group.start())
        last = _card_from(first, digits, sums, ends) if first >= free and _begins(digits, first) else None
        if last is not None:
            shown = MASK + "".join(map(str, digits[last - 4 : last]))
            yield Span(offset + at[first], offset + at[last - 1] + 1, shown)
            free = last


def _card_from(first: int, digits: list[int], sums: tuple[list[int], list[int]], ends: set[int]) -> int | None:
    """Where the longest card number from here ends. Whole groups of digits only: of any longer number, a tenth of
    its parts would pass for one."""
    for last in range(min(first + _CARD_MOST, len(digits)), first + _CARD_LEAST - 1, -1):
        doubled = sums[last % 2]
        if last in ends and not (doubled[last] - doubled[first]) % 10:
            return last
    return None


def _luhn_sums(digits: list[int]) -> tuple[list[int], list[int]]:
    """Running sums of the Luhn weights for numbers that end at an even and at an odd place."""
    even = accumulate((_DOUBLED[d] if i % 2 == 0 else d for i, d in enumerate(digits)), initial=0)
    odd = accumulate((_DOUBLED[d] if i % 2 == 1 else d for i, d in enumerate(digits)), initial=0)
    return list(even), list(odd)


def _begins(digits: list[int], first: int) -> bool:
    """Issuers' numbers: 3 to 6, and 22 to 27. Moments in microseconds begin with 1."""
    if len(digits) - first < _CARD_LEAST:
        return False
    return 3 <= digits[first] <= 6 or (digits[first] == 2 and 2 <= digits[first + 1] <= 7)


# Keys

_WORD: Final = r"A-Za-z0-9_\-"
_KEYS: Final = re.compile(
    rf"""
    (?<![A-Za-z0-9])(?:
      (?P<named>(?:sk|pk|rk|sg|sv|sp|whsec|gh[oprsu]|github_pat|glpat|xox[a-z]|xapp|npm|hf|shp(?:at|ca|pa|ss)|dop_v1|pypi)
        [_-])[{_WORD}./+=]{{16,}}+
      |(?P<aws>A(?:KIA|SIA|GPA|IDA|ROA|NPA))[A-Z0-9]{{12,}}+
      |(?P<google>AIza)[{_WORD}]{{20,}}+
      |(?P<mail>SG\.)[{_WORD}.]{{20,}}+
    )
    |(?<![{_WORD}])(?P<jwt>eyJ)[{_WORD}]{{8,}}+\.[{_WORD}]{{4,}}+(?:\.[{_WORD}]*+)?
    |(?P<pem>-----BEGIN)[ A-Z0-9]{{0,40}}PRIVATE[ ]KEY(?:[ ]BLOCK)?-----
    """,
    re.VERBOSE,
)
_PEM_END: Final = re.compile(r"-----END[ A-Z0-9]{0,40}-----")
_DIGIT: Final = re.compile(r"[0-9]")


def api_keys(text: str, original: str) -> Iterator[Span]:
    """Keys and tokens by their known beginnings, JSON Web Tokens, private keys in PEM."""
    at = 0
    while (found := _KEYS.search(text, at)) is not None:
        at = found.end()
        if found.lastgroup == "pem":
            end = _PEM_END.search(text, at)
            at = len(text) if end is None else end.end()
            yield Span(found.start(), at, MASK)
        elif found.lastgroup != "named" or _DIGIT.search(text, found.start(), at):
            shown = "" if found.lastgroup == "jwt" else found[found.lastgroup or 0]
            yield Span(found.start(), at, shown + MASK)


# Mail addresses

_LOCAL: Final = r"A-Za-z0-9.!#$%&*+/=?^_`{|}~\-\0\x80-\U0010ffff"
_LABEL: Final = r"[A-Za-z0-9\-\0\x80-\U0010ffff]++"
_MAIL: Final = re.compile(rf"(?<![{_LOCAL}])[{_LOCAL}]++@{_LABEL}(?:\.{_LABEL})++")
_NOT_HOST: Final = re.compile(r"[^A-Za-z0-9.\-]")


def mail_addresses(text: str, original: str) -> Iterator[Span]:
    """``name@host.example``. The host stays to be seen: whether a mail leaves the house is what reviewers decide on."""
    if "@" in text:
        for found in _MAIL.finditer(text):
            host = _NOT_HOST.sub("?", found.group().partition("@")[2])
            yield Span(*found.span(), f"{MASK}@{host[:100]}")


# Bank accounts (ISO 13616)

_IBAN: Final = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?:[ \-\0]?[A-Za-z0-9]){11,30}")
_IBAN_LEAST, _IBAN_MOST = 15, 34


def ibans(text: str, original: str) -> Iterator[Span]:
    """International bank account numbers whose check digits are right."""
    at = 0
    while (found := _IBAN.search(text, at)) is not None:
        end = _iban_end(found.group())
        at = found.start() + (end or 4)
        if end is not None:
            number = found.group()[:end]
            shown = "".join(filter(str.isalnum, number))
            yield Span(found.start(), at, f"{shown[:2].upper()}{MASK}{shown[-4:]}")


def _iban_end(candidate: str) -> int | None:
    """Where the longest number with right check digits ends; words may follow it."""
    at = [index for index, character in enumerate(candidate) if character.isalnum()]
    letters = [candidate[index] for index in at]
    for length in range(min(_IBAN_MOST, len(letters)), _IBAN_LEAST - 1, -1):
        turned = letters[4:length] + letters[:4]
        if int("".join(str(int(letter, 36)) for letter in turned)) % 97 == 1:
            return at[length - 1] + 1
    return None


BUILT_IN: Final = {
    "card_number": card_numbers,
    "api_key": api_keys,
    "email": mail_addresses,
    "iban": ibans,
}
BY_DEFAULT: Final = ("card_number", "api_key", "email")
