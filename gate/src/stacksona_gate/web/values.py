"""JSON that the gate keeps as text, read for a page. What an erased or odd value holds is shown as nothing."""

from __future__ import annotations

import json


def objects(text: str) -> dict[str, object]:
    """A kept JSON object."""
    value = json.loads(text)
    return value if isinstance(value, dict) else {}


def texts(text: str) -> tuple[str, ...]:
    """A kept JSON list of texts."""
    value = json.loads(text)
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def kept_text(private: str, name: str) -> str | None:
    """A text from beside an audit entry's leaf; None when it was never there or is erased."""
    kept = objects(private).get(name)
    value = kept.get("value") if isinstance(kept, dict) else None
    return value if isinstance(value, str) else None
