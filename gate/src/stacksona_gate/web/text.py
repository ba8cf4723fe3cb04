"""Hostile text as HTML: every value isolated, everything that hides in it visible, nothing cut off."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from markupsafe import Markup, escape

from stacksona_gate.domain.display import Piece, fold, reveal, warnings
from stacksona_gate.domain.redaction import PLACEHOLDER, MaskedText

LINE_FOLDS_AT: Final = 160
"""Characters of a text shown on one line of a list."""
BLOCK_FOLDS_AT: Final = 4_000
"""Characters of a text shown before the rest is folded."""

_FOLDED: Final = Markup(
    '<div class="block">{head}</div><details class="rest"><summary>Show the other {count:,} characters</summary>'
    '<div class="block">{rest}</div></details>'
)


def marked(html: str) -> Markup:
    """HTML of our own making, everything that came from outside escaped in it: a tenth of the time that adding up
    ``Markup`` takes, which escapes its parts anew."""
    return str.__new__(Markup, html)


def shown(text: str) -> Markup:
    """The text as inline HTML: escaped, in ``<bdi>``, hidden and look-alike characters marked."""
    return marked(f"<bdi>{_marked(text)}</bdi>")


def line(text: str) -> Markup:
    """As ``shown``, of a long text the beginning and how much follows: for lists, where nothing is decided."""
    if len(text) <= LINE_FOLDS_AT:
        return shown(text)
    head, rest = _folded(text, LINE_FOLDS_AT)
    if not rest:
        return shown(text)
    return shown(head) + Markup(' <span class="more">+{:,} characters</span>').format(len(rest))


def block(text: str, limit: int = BLOCK_FOLDS_AT) -> Markup:
    """As ``shown``, as a block that keeps line breaks; what is over ``limit`` can be unfolded."""
    head, rest = _folded(text, limit)
    if not rest:
        return Markup('<div class="block">{}</div>').format(shown(text))
    return _FOLDED.format(head=shown(head), rest=shown(rest), count=len(rest))


def warned(text: str) -> Markup:
    """What to know before believing the text, as a callout; empty for honest text."""
    if _is_bare(text):
        return marked("")
    sentences = warnings(text)
    if not sentences:
        return Markup("")
    items = Markup("").join(
        Markup("<li>This {}</li>").format(shown(sentence)) if sentence else Markup("") for sentence in sentences
    )
    return Markup('<ul class="warning">{}</ul>').format(items)


def plain(text: str) -> str:
    """The text for attributes and titles, where nothing can be marked: hidden characters spelled out."""
    return "".join(piece.text for piece in reveal(text))


def _folded(text: str, limit: int) -> tuple[str, str]:
    head, rest = fold(text, limit)
    return (MaskedText(head), MaskedText(rest)) if isinstance(text, MaskedText) else (head, rest)


_MASKED: Final = Markup(
    '<span class="mark masked" title="masked: you may not see this">{}<span class="unseen"> masked</span></span>'
)


def _marked(text: str) -> Markup:
    if not isinstance(text, MaskedText):
        return _revealed(text)
    parts, at = [], 0
    for found in PLACEHOLDER.finditer(text):
        parts += [_revealed(text[at : found.start()]), _MASKED.format(found[1])]
        at = found.end()
    return Markup("").join((*parts, _revealed(text[at:])))


def _revealed(text: str) -> Markup:
    if _is_bare(text):
        return escape(text)
    return Markup("").join(_piece(piece) for piece in reveal(text))


def _is_bare(text: str) -> bool:
    """Nothing can hide in it."""
    return text.isascii() and text.isprintable()


def _piece(piece: Piece) -> Markup:
    if piece.kind == "plain":
        return escape(piece.text)
    return _kept_mark(piece) if len(piece.original) <= _SHORT else _mark(piece)


def _mark(piece: Piece) -> Markup:
    mark = Markup('<span class="mark {kind}" title="{label}">{text}</span>')
    return mark.format(kind=piece.kind, label=piece.label, text=piece.text)


_SHORT: Final = 16
"""Characters of a mark worth keeping; a longer run would fill the memory with what an agent sent."""
_kept_mark = lru_cache(maxsize=1024)(_mark)  # the same few over and over, in a text made to take long
