"""What the lines of a list have by the hundred, written as HTML here: as macros of a template they took half of the
inbox's time."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from stacksona_gate.domain.times import rfc3339
from stacksona_gate.web.payloads import Value
from stacksona_gate.web.text import line, marked, shown
from stacksona_gate.web.wording import duration, moment


def values(some: Iterable[Value]) -> Markup:
    """Arguments of an action with where they stand, on one line."""
    return marked('<p class="values">' + "".join([_pair(value) for value in some]) + "</p>")


def _pair(value: Value) -> str:
    seen = (
        f'<span class="text">“{line(value.text)}”</span>'
        if value.is_text
        else f'<span class="literal">{shown(value.text)}</span>'
    )
    return f'<span class="pair"><span class="path">{line(value.path)}</span> {seen}</span> '


def since(at: int, now: int) -> Markup:
    """How long ago that was."""
    return _relative("since", at, now - at)


def until(at: int, now: int) -> Markup:
    """How long it is until then."""
    return _relative("until", at, max(at - now, 0))


def _relative(kind: str, at: int, lasts: int) -> Markup:
    return marked(
        f'<time datetime="{rfc3339(at)}" data-relative="{kind}" title="{moment(at)}">{duration(lasts)}</time>'
    )
