"""Masking: which parts of a text or a JSON value somebody without the right to see them is shown as a placeholder.

A placeholder is ``⟦masked 1 ••••4242⟧``. Its number stands for the hidden value: within one thread the same value has
the same number and another value another, so that a change of what is hidden can be seen. What cannot be masked, for
whatever reason, is hidden whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from stacksona_gate.domain.canonical import canonicalize
from stacksona_gate.domain.errors import Invalid
from stacksona_gate.domain.reading import read_json
from stacksona_gate.domain.sensitive import MASK, Span, folded

OPEN: Final = "⟦masked"
CLOSE: Final = "⟧"
HIDDEN: Final = f"{OPEN} {MASK}{CLOSE}"
"""What stands for a text that is hidden whole."""
HIDDEN_OBJECT: Final = canonicalize({HIDDEN: HIDDEN}).decode()
PLACEHOLDER: Final = re.compile(rf"{OPEN}(?: [0-9]+)? ([^⟦⟧]*){CLOSE}")
TEXT_MOST: Final = 1_000_000
"""Characters of one text that are looked through; a longer one is hidden."""
DEPTH_MOST: Final = 64
PLACES_MOST: Final = 1_000
"""Paths of masked values that are listed."""
LITERALS_MOST: Final = 300
"""Values hidden by path that are looked for in a thread's words; with more of them, its words are hidden."""

_OURS: Final = re.compile("[⟦⟧]|••")
"""What is left of a placeholder, however it was cut."""
_LITERAL_MOST: Final = 1_000
_FORGED: Final = re.compile(rf"{OPEN}(?:[^⟦⟧]{{0,200}}{CLOSE})?")


Finder = Callable[[str, str], Iterable[Span]]
"""Finds what to mask. Takes the text folded by ``sensitive.folded`` and the text itself, of the same length."""
Path = tuple[str, ...]
"""Keys from the payload's outermost object inwards; ``*`` is any key and any place of a list."""


class MaskedText(str):
    """A text in which placeholders are the gate's own: whoever hides nothing never makes one."""

    __slots__ = ()


class EditRefused(Invalid):
    """An edit that moves, forges or cuts a placeholder. Its detail holds no hidden value."""

    code = "masked_value"


@dataclass(frozen=True, slots=True)
class Shown:
    """A JSON value as it is shown."""

    text: str
    """RFC 8785 form of the masked value."""
    places: tuple[str, ...]
    """Where something is masked, like ``items[0].card``; at most PLACES_MOST."""
    is_whole: bool = False
    """Everything is hidden: it could not be masked."""


class Masker:
    """Masks one thread, or one page of entries. Never raises and never shows what it could not look through."""

    def __init__(self, finders: Sequence[Finder], paths: Sequence[Path] = ()) -> None:
        self._finders = (_forged, *finders)
        self._paths = tuple(paths)
        self._numbers: dict[tuple[str, str], int] = {}
        self._literals: dict[str, None] = {}
        self._literal: re.Pattern[str] | None = None

    def text(self, text: str) -> str:
        """Words with placeholders for what is hidden in them; the same object when nothing is."""
        try:
            if len(self._literals) > LITERALS_MOST:
                return MaskedText(HIDDEN)
            return self._masked(text, [*self.spans(text), *self._repeated(text)])
        except Exception:
            return MaskedText(HIDDEN)

    def leaf(self, text: str) -> str:
        """As ``text`` for a text or a key of a JSON value; hidden values keep their numbers apart."""
        try:
            return self._masked(text, self.spans(text))
        except Exception:
            return MaskedText(self.placeholder("hidden", text, MASK))

    def json(self, text: str, *, by_path: bool) -> Shown:
        """A JSON text. ``by_path``: it is a payload, to which paths apply; anything else may repeat what they hide."""
        try:
            walk = _Walk(self, is_words=not by_path)
            value = walk.value(read_json(text.encode()), self._paths if by_path else (), "", 0)
            if not walk.count:
                return Shown(text, ())
            return Shown(MaskedText(canonicalize(value).decode()), tuple(walk.places))
        except Exception:
            return Shown(MaskedText(HIDDEN_OBJECT), ("",), is_whole=True)

    def value(self, value: object, *, by_path: bool) -> object:
        """As ``json`` for a value that is read already; the same object when nothing is hidden in it."""
        try:
            walk = _Walk(self, is_words=not by_path)
            shown = walk.value(value, self._paths if by_path else (), "", 0)
            return shown if walk.count else value
        except Exception:
            return HIDDEN

    def restored(self, original: str, edited: dict[str, object]) -> dict[str, object]:
        """An edited payload with the hidden values back in the places that they were shown in.

        ``original`` is the payload that was shown. Raises EditRefused for a placeholder anywhere else, or changed.
        """
        shown, value = self.json(original, by_path=True), read_json(original.encode())
        if shown.is_whole:
            if canonicalize(edited) != canonicalize(read_json(shown.text.encode())):
                raise EditRefused("the payload is hidden from you: somebody who may see it can edit it")
        else:
            mirror = _Walk(self).value(value, self._paths, "", 0)
            value = _restored(value, mirror, edited, "payload")
        if not isinstance(value, dict):
            raise EditRefused("the edited payload has to be an object")
        return value

    def placeholder(self, kind: str, hidden: str, shown: str) -> str:
        """``kind`` keeps the number 1 and the text "1" apart."""
        number = self._numbers.setdefault((kind, hidden), len(self._numbers) + 1)
        return f"{OPEN} {number} {shown}{CLOSE}"

    def learn(self, value: object) -> None:
        """Hides a value that a path hides wherever the thread's words repeat it."""
        for literal in _literals(value):
            if len(self._literals) > LITERALS_MOST:
                return
            self._literals[literal] = None
        self._literal = None

    def spans(self, text: str) -> list[Span]:
        """What the patterns mask."""
        if len(text) > TEXT_MOST:
            return [Span(0, len(text))]
        plain = folded(text)
        return [span for find in self._finders for span in find(plain, text) if span.end > span.start]

    def _masked(self, text: str, spans: list[Span]) -> str:
        if not spans:
            return text
        parts: list[str] = []
        at = 0
        for start, end, shown in _merged(spans):
            parts += (text[at:start], self.placeholder("text", text[start:end], shown))
            at = end
        return MaskedText("".join((*parts, text[at:])))

    def _repeated(self, text: str) -> Iterator[Span]:
        if not self._literals:
            return
        if self._literal is None:
            longest_first = sorted(self._literals, key=len, reverse=True)
            self._literal = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
        yield from (Span(*match.span()) for match in self._literal.finditer(text))


@dataclass(slots=True)
class _Walk:
    """One way through a JSON value."""

    masker: Masker
    places: list[str] = field(default_factory=list)
    count: int = 0
    is_words: bool = False
    """Its texts are the thread's words, like a summary: no payload."""

    def value(self, value: object, paths: tuple[Path, ...], place: str, depth: int) -> object:
        """``paths``: what is left of those that lead here."""
        if depth > DEPTH_MOST:
            raise RecursionError("nested too deeply to look through")
        if any(not path for path in paths):
            return self._by_path(value, place)
        if isinstance(value, str):
            return self._noted(value, self._text(value), place)
        if isinstance(value, dict):
            return self._object(value, paths, place, depth)
        if isinstance(value, list):
            return [
                self.value(item, _inner(paths, str(index)), f"{place}[{index}]", depth + 1)
                for index, item in enumerate(value)
            ]
        return value if value is None or isinstance(value, bool) else self._number(value, place)

    def _object(self, value: dict[str, object], paths: tuple[Path, ...], place: str, depth: int) -> dict[str, object]:
        shown: dict[str, object] = {}
        for key, item in value.items():
            inner = f"{place}.{key}" if place else key
            name = self._noted(key, self._text(key), inner)
            if name in shown:
                raise ValueError("two keys are masked alike")
            shown[name] = self.value(item, _inner(paths, key), inner, depth + 1)
        return shown

    def _text(self, text: str) -> str:
        return self.masker.text(text) if self.is_words else self.masker.leaf(text)

    def _number(self, number: object, place: str) -> object:
        text = canonicalize(number).decode()
        spans = self.masker.spans(text)
        if not spans:
            return number
        return self._noted(text, self.masker.placeholder("number", text, spans[0].shown), place)

    def _by_path(self, value: object, place: str) -> str:
        self.masker.learn(value)
        hidden = canonicalize(value).decode()
        return self._noted("", self.masker.placeholder("path", hidden, MASK), place)

    def _noted(self, original: str, shown: str, place: str) -> str:
        if shown == original:
            return original
        self.count += 1
        if len(self.places) < PLACES_MOST:
            self.places.append(str(self.masker.leaf(place)))
        return str(shown)


def _inner(paths: tuple[Path, ...], step: str) -> tuple[Path, ...]:
    return tuple(path[1:] for path in paths if path[0] in ("*", step)) if paths else ()


def _merged(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for span in sorted(spans, key=lambda one: (one.start, -one.end)):
        last = merged[-1] if merged else None
        if last is None or span.start >= last.end:
            merged.append(span)
        elif span.end > last.end:
            # What one of them shows of its end may be what the other hides.
            merged[-1] = Span(last.start, span.end)
    return merged


def _forged(folded_text: str, text: str) -> Iterator[Span]:
    """Placeholders that are not ours."""
    if OPEN in text:
        yield from (Span(*match.span()) for match in _FORGED.finditer(text))


def _literals(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from (key, *_literals(item))
    elif isinstance(value, list):
        for item in value:
            yield from _literals(item)
    elif isinstance(value, str):
        # A rule's message shows the number that a text holds without the zeros before it.
        yield from (one for one in (value[:_LITERAL_MOST], value.strip(), value.lstrip("0")) if one)
    elif value is not None and not isinstance(value, bool):
        yield from (canonicalize(value).decode(), str(value))


def _restored(original: object, shown: object, edited: object, place: str) -> object:
    if _same(shown, edited):
        return original
    if isinstance(original, dict) and isinstance(shown, dict) and isinstance(edited, dict):
        names = dict(zip(shown, original, strict=True))
        restored: dict[str, object] = {}
        for key, item in edited.items():
            if key in names:
                name = names[key]
                restored[name] = _restored(original[name], shown[key], item, f"{place}.{key}")
            else:
                restored[_unmasked(key, place)] = _unmasked(item, f"{place}.{key}")
        return restored
    if isinstance(original, list) and isinstance(shown, list) and isinstance(edited, list):
        return [
            _restored(original[index], shown[index], item, f"{place}[{index}]")
            if index < len(shown)
            else _unmasked(item, f"{place}[{index}]")
            for index, item in enumerate(edited)
        ]
    return _unmasked(edited, place)


def _same(one: object, other: object) -> bool:
    """Equal as JSON: 1, 1.0 and true are three things to Python's ``==`` or one, and here two."""
    if type(one) is not type(other):
        both = (int, float)
        return type(one) in both and type(other) in both and canonicalize(one) == canonicalize(other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(item, other[key]) for key, item in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other


def _unmasked[V](value: V, place: str) -> V:
    """``value``, which nobody showed like this. Raises EditRefused when there is a placeholder in it, whole or not."""
    for text in _strings(value):
        if _OURS.search(text):
            raise EditRefused(
                f"a masked value is not where it was shown, or was changed, at {place[:200]}: leave each masked value"
                " untouched in its place, replace it whole or take it out",
            )
    return value


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
