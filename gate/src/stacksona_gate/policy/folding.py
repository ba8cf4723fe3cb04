"""Text as ``contains`` compares it, so that look-alike spellings of one word are one word."""

from __future__ import annotations

import re
from functools import lru_cache
from unicodedata import combining, normalize

DEFAULT_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f-\u1160\u17b4-\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Unicode's Default_Ignorable_Code_Point, unassigned ones included, as the inside of a character class."""

MAX_COMBINING_RUN = 256
LONG_TEXT = 1_000

IGNORABLE = re.compile(f"[{DEFAULT_IGNORABLE}]")
_LONG_RUN = re.compile(rb"[^\0]{%d}" % (MAX_COMBINING_RUN + 1))
_DECOMPOSES_TO_MARKS = {ord(mark): "\u0301" for mark in "\u0f73\u0f75\u0f81\uff9e\uff9f"}


class Unfoldable(ValueError):
    """The text has a run of combining marks that no writing has."""


def fold(text: str) -> str:
    """``text`` after NFKC, casefold and without default-ignorable characters. Folding twice changes nothing.

    Raises ``Unfoldable`` for a run of over 256 combining marks.
    """
    if text.isascii():
        return text.lower()
    return _fold_long(text) if len(text) > LONG_TEXT else _fold(text)


def _fold(text: str) -> str:
    bare = IGNORABLE.sub("", text)
    _refuse_long_runs(bare)
    # Casefolding can undo NFKC, and NFKC can bring back ignorable characters: hence both once more.
    return IGNORABLE.sub("", normalize("NFKC", normalize("NFKC", bare).casefold()))


# Many rules may look at one long text, and folding 250 KB can take 200 ms.
_fold_long = lru_cache(maxsize=8)(_fold)


def _refuse_long_runs(text: str) -> None:
    # normalize() sorts each run of marks by insertion: 100,000 of them would hold the gate up for seconds.
    if len(text) > MAX_COMBINING_RUN and _LONG_RUN.search(bytes(map(combining, text.translate(_DECOMPOSES_TO_MARKS)))):
        raise Unfoldable(f"more than {MAX_COMBINING_RUN} combining marks in a row")
