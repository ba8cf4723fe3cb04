"""Regular expressions by RE2: time linear in the text, whatever the pattern."""

from __future__ import annotations

from collections.abc import Callable

import re2

MAX_PATTERN = 1_000
MAX_PROGRAM_BYTES = 1 << 20


class PatternRefused(ValueError):
    """RE2 does not take the pattern. The text says why."""


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """A function that tells whether ``pattern`` is found anywhere in a text.

    The pattern counts as written: case-sensitive without ``(?i)``, ``^`` and ``$`` only at the ends without ``(?m)``.
    Raises ``PatternRefused`` for lookahead, backreferences, syntax errors and programs of over 1 MiB.
    """
    search = _compile(pattern).search
    return lambda text: search(text.encode()) is not None


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
