"""The documentation's files, and what is in them."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
TOP: Final = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
_BLOCK: Final = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def pages() -> list[Path]:
    return [*(ROOT / name for name in TOP), *sorted((ROOT / "docs").rglob("*.md"))]


def page(name: str) -> str:
    return (ROOT / name).read_text()


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language, without the indentation of the list that they stand in."""
    return [textwrap.dedent(found[3]) for found in _BLOCK.finditer(text) if found[2] == language]


def links(text: str) -> list[str]:
    """Targets of links and images, outside of blocks."""
    return _LINK.findall(_BLOCK.sub("", text))


def anchors(text: str) -> set[str]:
    """What ``#…`` may name: the headings, as they are turned into anchors."""
    headings = re.findall(r"^#+ (.+)$", _BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
