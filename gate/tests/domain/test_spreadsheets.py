"""Cells that a spreadsheet shows and never runs."""

from __future__ import annotations

import pytest

from stacksona_gate.domain.spreadsheets import cell


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "  =1", "＝1", "'=1"])
def test_what_a_spreadsheet_could_run_is_a_text(text: str) -> None:
    assert cell(text) == "'" + text


@pytest.mark.parametrize("text", ["", "12", "a=1", "2026-11-24T00:00:00Z", "it's"])
def test_anything_else_stays_as_it_is(text: str) -> None:
    assert cell(text) == text
