"""Cells that a spreadsheet shows and never runs."""

from __future__ import annotations

from typing import Final

RUNS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet may take for the beginning of a formula, full-width forms included."""


def cell(text: str) -> str:
    """``text``, with an apostrophe before it where a spreadsheet could run it; a reader takes that one off again.

    What begins with an apostrophe gets one too: otherwise nobody could tell the two apart.
    """
    return "'" + text if text.lstrip(" ").startswith((*RUNS, "'")) else text
