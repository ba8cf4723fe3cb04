"""JSON that the gate keeps as text, read for a page. What an erased or odd value holds is shown as nothing."""

from __future__ import annotations

import json

from stacksona_gate.domain.redaction import MaskedText


def objects(text: str) -> dict[str, object]:
    """A kept JSON object."""
    value = json.loads(text)
    if not isinstance(value, dict):
        return {}
    return {key: _like(text, one) for key, one in value.items()} if isinstance(text, MaskedText) else value


def texts(text: str) -> tuple[str, ...]:
    """A kept JSON list of texts."""
    value = json.loads(text)
    if not isinstance(value, list):
        return ()
    kind = MaskedText if isinstance(text, MaskedText) else str
    return tuple(kind(item) for item in value)


def kept_text(private: str, name: str) -> str | None:
    """A text from beside an audit entry's leaf; None when it was never there or is erased."""
    kept = objects(private).get(name)
    if not isinstance(kept, dict):
        return None
    value, shown = kept.get("value"), kept.get("shown")
    if isinstance(shown, str) and "value" not in kept:
        return MaskedText(shown)
    return value if isinstance(value, str) else None


def _like(text: str, item: object) -> object:
    """A text out of masked JSON is a masked text."""
    return MaskedText(item) if isinstance(text, MaskedText) and isinstance(item, str) else item
