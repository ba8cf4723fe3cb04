"""The API's own pages: the reference and exports. No script, nothing from elsewhere."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stacksona_gate.domain.display import reveal

HTML_TYPE: Final = b"text/html; charset=utf-8"
_HERE: Final = Path(__file__).parent


def page(template: str, **values: object) -> bytes:
    """A template's page. Everything put into it is escaped."""
    return _templates().get_template(template).render(**values).encode()


def static(name: str) -> bytes:
    """A file that pages load. ``name`` is ours, never a caller's."""
    return (_HERE / "static" / name).read_bytes()


def visible(text: str) -> str:
    """Foreign text with nothing hidden in it; its line breaks stay."""
    return "\n".join("".join(piece.text for piece in reveal(line)) for line in text.split("\n"))


@cache
def _templates() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["visible"] = visible
    made.filters["compact"] = lambda value: json.dumps(value, ensure_ascii=False)
    made.filters["indented"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False)
    return made
