"""Rows put into a store in tests of its nouns."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def each(insert: Callable[..., None], values: Iterable[object], *before: object) -> None:
    """Inserts one after the other."""
    for value in values:
        insert(*before, value)
