"""Hostile text shown as text: nothing hidden, nothing that passes for something else without being marked.

Nothing is escaped for HTML here, and right-to-left letters stay what they are: a page escapes, and wraps in ``<bdi>``.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Literal, NamedTuple

from stacksona_gate.domain.confusables import (
    BIDI,
    CONTROL,
    CYRILLIC_TWINS,
    EMOJI,
    GREEK_TWINS,
    INVISIBLE,
    JOINING,
    LATIN,
    MARKS,
    SCRIPTS,
    SPACE,
    STYLED,
    VIRAMAS,
)

Kind = Literal["plain", "bidi", "invisible", "control", "space", "lookalike", "combining"]

MARKS_IN_A_ROW = 4
"""Hebrew, Tibetan and Vietnamese need up to four; more only pile up over other lines."""

_NAMED = 4
_WORDS_QUOTED = 3
_LONGEST_CLUSTER = 64


class Piece(NamedTuple):  # not a dataclass: a hostile text makes half a million, and these are made twice as fast
    """A stretch of the text. ``text`` is what to show, ``original`` what stood there; all originals are the input.

    ``plain`` and ``lookalike`` show the original, ``space`` one ``␣`` per character, the others ``⟦U+202E⟧``.
    ``label`` names the characters for a reader who asks; it is empty for ``plain``.
    """

    text: str
    kind: Kind
    original: str
    label: str = ""


class _Suspect(NamedTuple):
    start: int
    word: str
    script: str
    """One of SCRIPTS, or "styled"."""
    mixed: bool
    """Beside Latin letters in the same word; else the whole word imitates Latin."""


def reveal(text: str) -> tuple[Piece, ...]:
    """The text in pieces, everything that hides, reorders or imitates marked as such. Linear in its length.

    Left plain: joiners inside emoji and between letters of scripts that need them, emoji variation selectors and the
    three tag flags, CR before LF, words wholly in one script (unless each letter of it imitates Latin in an otherwise
    Latin text), Greek letters of formulas.
    """
    pieces: list[Piece] = []
    made: dict[tuple[Kind, str], Piece] = {}  # the same few over and over, in a text made to take long
    at = 0
    for start, end, kind in sorted([*_hidden(text), *_imitating(text)]):
        if at < start:
            pieces.append(Piece(text[at:start], "plain", text[at:start]))
        key = (kind, text[start:end])
        pieces.append(made.get(key) or made.setdefault(key, _piece(*key)))
        at = end
    if at < len(text):
        pieces.append(Piece(text[at:], "plain", text[at:]))
    return tuple(pieces)


def warnings(text: str) -> tuple[str, ...]:
    """What a reviewer should know before believing the text, each a short sentence without its subject.

    Empty for honest text in any language; unusual spaces are marked by ``reveal`` but warned of nowhere.
    """
    found: Counter[str] = Counter()
    for start, end, kind in _hidden(text):
        found[kind] += end - start
    counted = [_count(found[kind], noun) for kind, noun in _NOUNS.items() if found[kind]]
    return (*counted, *_word_warnings(_suspects(text)))


def fold(text: str, limit: int) -> tuple[str, str]:
    """The first ``limit`` characters at most, and the rest. Both together are the text.

    The cut is not inside an accented letter, an emoji sequence, a flag or a surrogate pair, unless that one is over 64
    characters long.
    """
    if len(text) <= limit:
        return text, ""
    candidates = range(limit, max(limit - _LONGEST_CLUSTER, 0), -1)
    cut = next((at for at in candidates if not _is_inside_cluster(text, at)), limit)
    return text[:cut], text[cut:]


_TAG_FLAG = "\U0001f3f4\U000e0067\U000e0062(?:{})\U000e007f".format(
    "|".join("".join(chr(0xE0000 + ord(letter)) for letter in nation) for nation in ("eng", "sct", "wls"))
)
_QUIET = (
    f"{_TAG_FLAG}|(?<=[{EMOJI}])[\ufe0e\ufe0f]|(?<=[0-9#*])\ufe0f(?=\u20e3)|(?<=[{EMOJI}\ufe0f])\u200d(?=[{EMOJI}])"
    f"|(?<=[{JOINING}])[\u200c\u200d](?=[{JOINING}])|(?<=[{VIRAMAS}])\u200d|(?<=[\u1820-\u18aa])[\u180b-\u180f]"
)
_HIDDEN = re.compile(  # with ++, as each round of a + keeps a place to come back to: 180 bytes for every character
    f"(?=[{BIDI}{CONTROL}{SPACE}{INVISIBLE}{MARKS}\r\U0001f3f4])(?:(?:{_QUIET})|(?P<bidi>[{BIDI}]+)"
    f"|(?P<control>(?:[{CONTROL}]|\r(?!\n))++)|(?P<space>[{SPACE}]+)|(?P<invisible>[{INVISIBLE}]+)"
    f"|(?P<combining>[{MARKS}]{{{MARKS_IN_A_ROW + 1},}})|[{MARKS}]+)"
)
_WORD = re.compile(rf"[\w{MARKS}{INVISIBLE}{BIDI}]+")
_UNSEEN = re.compile(f"[{INVISIBLE}{BIDI}]+")
_BESIDE_LETTERS = re.compile(f"[{INVISIBLE}{BIDI}{MARKS}]+")
_LATIN = re.compile(f"[{LATIN}]")
_STYLED = re.compile(f"[{STYLED}]+")
_SCRIPTS = {name: re.compile(f"[{letters}]+") for name, letters in SCRIPTS.items()}
_BESIDE_LATIN = _SCRIPTS | {"Greek": re.compile(f"[{GREEK_TWINS}]+")}
_TWINS = {"Greek": re.compile(rf"[{GREEK_TWINS}\d_]+"), "Cyrillic": re.compile(rf"[{CYRILLIC_TWINS}\d_]+")}
_ANY_SUSPECT = re.compile(f"[{STYLED}{''.join(SCRIPTS.values())}]")
_NAMELESS = {"Cc": "CONTROL CHARACTER", "Cs": "LONE SURROGATE"}
_NOUNS = {
    "invisible": "contains {} hidden character",
    "bidi": "changes the reading direction with {} hidden character",
    "control": "contains {} control character",
    "combining": "piles up {} combining mark",
}


def _hidden(text: str) -> Iterator[tuple[int, int, Kind]]:
    for match in _HIDDEN.finditer(text):
        if match.lastgroup:
            yield match.start(), match.end(), match.lastgroup  # type: ignore[misc]


def _imitating(text: str) -> Iterator[tuple[int, int, Kind]]:
    for suspect in _suspects(text):
        for match in _letters(suspect).finditer(suspect.word):
            yield suspect.start + match.start(), suspect.start + match.end(), "lookalike"


def _letters(suspect: _Suspect) -> re.Pattern[str]:
    if suspect.script == "styled":
        return _STYLED
    return (_BESIDE_LATIN if suspect.mixed else _SCRIPTS)[suspect.script]


def _suspects(text: str) -> list[_Suspect]:
    if text.isascii() or not _ANY_SUSPECT.search(text):
        return []
    found, honest = [], set()
    judged: dict[str, list[tuple[str, bool | None]]] = {}
    for match in _WORD.finditer(text):
        word = match[0]
        for script, mixed in judged.get(word) or judged.setdefault(word, list(_judge(word))):
            if script in _TWINS and mixed is None:
                honest.add(script)
            else:
                found.append(_Suspect(match.start(), word, script, bool(mixed)))
    latin = _LATIN.search(text) is not None
    return [one for one in found if one.mixed or one.script == "styled" or (latin and one.script not in honest)]


def _judge(word: str) -> Iterator[tuple[str, bool | None]]:
    """The scripts that a word imitates Latin with. True: beside Latin. False: alone. None: honestly in that script."""
    if word.isascii() or not _ANY_SUSPECT.search(word):
        return
    styled = _STYLED.search(word) is not None
    if styled:
        yield "styled", False
    if styled or _LATIN.search(word):
        yield from ((script, True) for script, letters in _BESIDE_LATIN.items() if letters.search(word))
        return
    bare = _BESIDE_LETTERS.sub("", word)
    for script, twins in _TWINS.items():
        if _SCRIPTS[script].search(word) and not twins.fullmatch(bare):
            yield script, None
        elif _SCRIPTS[script].search(word) and len(bare) > 2:
            yield script, False


def _piece(kind: Kind, original: str) -> Piece:
    if kind == "lookalike":
        return Piece(original, kind, original, _names(original))
    if kind == "space":
        return Piece("␣" * len(original), kind, original, _names(original))
    return Piece(f"⟦{_code_points(original)}⟧", kind, original, _names(original) + _spelled_in_tags(original))


def _code_points(run: str) -> str:
    if len(run) > 1 and run.count(run[0]) == len(run):
        return f"U+{ord(run[0]):04X} ×{len(run)}"
    more = f" +{len(run) - _NAMED}" if len(run) > _NAMED else ""
    return " ".join(f"U+{ord(char):04X}" for char in run[:_NAMED]) + more


def _names(run: str) -> str:
    different = list(dict.fromkeys(run)) if len(run) > 1 else [run]
    more = f", {len(different) - _NAMED} more" if len(different) > _NAMED else ""
    return ", ".join(f"{_name(char)} U+{ord(char):04X}" for char in different[:_NAMED]) + more


def _name(char: str) -> str:
    return unicodedata.name(char, "") or _NAMELESS.get(unicodedata.category(char), "UNASSIGNED")


def _spelled_in_tags(run: str) -> str:
    """Tags are invisible ASCII: whole sentences can be hidden in them for a model to read."""
    spelled = "".join(chr(ord(char) - 0xE0000) for char in run if 0xE0020 <= ord(char) <= 0xE007E)
    return f', spells "{spelled}"' if spelled else ""


def _count(number: int, noun: str) -> str:
    return noun.format(number) + ("" if number == 1 else "s")


def _word_warnings(suspects: list[_Suspect]) -> list[str]:
    different = list({suspect[1:]: suspect for suspect in suspects}.values())
    sentences = [_sentence(suspect) for suspect in different[:_WORDS_QUOTED]]
    if len(different) > _WORDS_QUOTED:
        sentences.append(_count(len(different) - _WORDS_QUOTED, "has look-alike letters in {} more word"))
    return sentences


def _sentence(suspect: _Suspect) -> str:
    word = fold(_UNSEEN.sub("", suspect.word), 40)[0]
    if suspect.script == "styled":
        return f'disguises letters as full-width, mathematical or small capital ones in "{word}"'
    if suspect.mixed:
        return f'mixes Latin and {suspect.script} letters in "{word}"'
    return f'writes "{word}" in {suspect.script} letters that look Latin'


def _is_inside_cluster(text: str, at: int) -> bool:
    before, after = text[at - 1], text[at]
    if _EXTENDS.match(after) or unicodedata.category(after)[0] == "M":
        return True
    if before == "\u200d" or before + after == "\r\n":
        return True
    return _pairs_up(text, at) or (before in VIRAMAS and _JOINING.match(after) is not None)


def _pairs_up(text: str, at: int) -> bool:
    if "\ud800" <= text[at - 1] <= "\udbff":
        return "\udc00" <= text[at] <= "\udfff"
    flags = _FLAGS_BEFORE.search(text[max(0, at - _LONGEST_CLUSTER) : at])
    return _FLAG.match(text[at]) is not None and flags is not None and len(flags[0]) % 2 == 1


_EXTENDS = re.compile(f"[{INVISIBLE}\U0001f3fb-\U0001f3ff]")
_JOINING = re.compile(f"[{JOINING}]")
_FLAG = re.compile("[\U0001f1e6-\U0001f1ff]")
_FLAGS_BEFORE = re.compile("[\U0001f1e6-\U0001f1ff]+$")
