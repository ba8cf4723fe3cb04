"""What a rule found, said for people. No message is over 300 characters or shows a character that hides."""

from __future__ import annotations

import unicodedata
from typing import Literal

from stacksona_gate.policy.folding import IGNORABLE, fold
from stacksona_gate.policy.model import Rule
from stacksona_gate.policy.numbers import number_of, plain

type Outcome = Literal["matched", "not_matched", "missing", "wrong_type", "skipped"]

MAX_SHOWN = 80
MAX_MESSAGE = 300

_HIDING = frozenset(("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"))
_BRAILLE_BLANK = "\u2800"
_IS_NOT = {"contains": "text", "regex": "text"}


def shown(text: str, limit: int = MAX_SHOWN) -> str:
    """``text`` on at most ``limit`` characters: cut with an ellipsis, hiding characters as ``\\u200b``."""
    if len(text) <= limit and text.isascii() and text.isprintable():
        return text
    parts = [_escaped(character) for character in text[: limit + 1]]
    whole = "".join(parts)
    if len(whole) <= limit:
        return whole
    while len(whole) > limit - 1:
        parts.pop()
        whole = "".join(parts)
    return whole + "…"


def short(message: str) -> str:
    """``message`` on at most 300 characters."""
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"


class Words:
    """How one rule speaks. What does not depend on the question is put into words once: it shows per decision."""

    __slots__ = ("_bounds", "_parameter", "_rule")

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._parameter = shown(rule.parameter)
        self._bounds = _bounds(rule)

    def describe(self, outcome: Outcome, value: object) -> str:
        """What the rule found in ``value``, as one line. Never raises: a value that cannot be shown is left out."""
        try:
            return short(self._described(outcome, value))
        except Exception:
            # Only the wording failed; the verdict stands and must not be lost over it.
            return f"{self._parameter} cannot be shown"

    def _described(self, outcome: Outcome, value: object) -> str:
        match outcome:
            case "missing" | "skipped":
                return f"{self._parameter} is missing"
            case "wrong_type":
                return self._wrong_type(value)
            case _:
                return f"{self._parameter}{self._finding(value, outcome == 'matched')}"

    def _wrong_type(self, value: object) -> str:
        wanted = _IS_NOT.get(self._rule.type, "a number")
        right = isinstance(value, str) if wanted == "text" else number_of(value) is not None
        return f"{self._parameter} cannot be tested" if right else f"{self._parameter} is not {wanted}"

    def _finding(self, value: object, found: bool) -> str:
        rule = self._rule
        if rule.type == "contains":
            return _contained(rule, value, found)
        if rule.type == "regex":
            return f" {'matches' if found else 'does not match'} the pattern of rule {shown(rule.name)}"
        return f" {_number(value)} is {'' if found else 'not '}{self._bounds}"


def _bounds(rule: Rule) -> str:
    if rule.type == "between":
        return f"between {_number(rule.low)} and {_number(rule.high)}"
    return f"{'over' if rule.type == 'upper_limit' else 'under'} {_number(rule.limit)}"


def _number(value: object) -> str:
    number = number_of(value)
    if number is None:
        return "?"
    # A float has lost how it was written; a text or a limit is shown with the zeros it has.
    digits = plain(number)
    return shown(digits.removesuffix(".0") if isinstance(value, float) else digits)


def _contained(rule: Rule, value: object, found: bool) -> str:
    if not found:
        return f" contains none of the {len(rule.values)} values"
    text = fold(str(value))
    first = next(candidate for candidate in rule.values if fold(candidate) in text)
    return f' contains "{shown(first)}"'


def _escaped(character: str) -> str:
    return _code(character) if _hides(character) else character


def _hides(character: str) -> bool:
    if character.isascii():
        return not character.isprintable()
    if IGNORABLE.match(character) or character == _BRAILLE_BLANK:
        return True
    return unicodedata.category(character) in _HIDING


def _code(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
