"""Regular expressions by RE2: time linear in the text, whatever the pattern."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import re2

MAX_PATTERN = 1_000
MAX_PROGRAM_BYTES = 1 << 20
MAX_PLACES = 500


class PatternRefused(ValueError):
    """RE2 does not take the pattern. The text says why."""


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """A function that tells whether ``pattern`` is found anywhere in a text.

    The pattern counts as written: case-sensitive without ``(?i)``, ``^`` and ``$`` only at the ends without ``(?m)``.
    Raises ``PatternRefused`` for lookahead, backreferences, syntax errors and programs of over 1 MiB.
    """
    search = _compile(pattern).search
    return lambda text: search(text.encode()) is not None


def compile_spans(pattern: str) -> Callable[[str], Iterator[tuple[int, int]]]:
    """A function that gives the places of a text where ``pattern`` is found, none of them empty.

    The pattern counts as for ``compile_pattern``. Looking far ahead from many places is what even RE2 takes long over:
    of more than MAX_PLACES the text is one place. Raises ``PatternRefused``, also for what is found in an empty text.
    """
    compiled = _compile(pattern)
    if compiled.search(b"") is not None:
        raise PatternRefused("the pattern is found in an empty text, so it names no place of any text")

    def places(text: str) -> Iterator[tuple[int, int]]:
        encoded = text.encode()
        found = [match.span() for match in islice(compiled.finditer(encoded), MAX_PLACES + 1)]
        if len(found) > MAX_PLACES:
            found = [(0, len(encoded))]
        characters, at = 0, 0
        for start, end in found:
            first = characters + len(encoded[at:start].decode())
            characters, at = first + len(encoded[start:end].decode()), end
            if end > start:
                yield first, characters

    return places


def _compile(pattern: str) -> re2._Regexp:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_PROGRAM_BYTES
    options.never_capture = True
    try:
        # Over bytes RE2 still reads UTF-8, and the binding does not translate offsets nobody asked for.
        return re2.compile(pattern.encode(), options)
    except (re2.error, UnicodeEncodeError) as error:
        raise PatternRefused(_reason(error)) from error


def _reason(error: Exception) -> str:
    reason = error.args[0]
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
