from decimal import Decimal

import pytest

from stacksona_gate.policy.messages import Words, short, shown
from stacksona_gate.policy.model import Rule


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain", "plain"),
        ("Größe 😀", "Größe 😀"),
        ("a\nb", "a\\u000ab"),
        ("a\x1b[31m", "a\\u001b[31m"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u200bb", "a\\u200bb"),
        ("a\u3164b", "a\\u3164b"),
        ("a\u2800b", "a\\u2800b"),
        ("a\U000e0041", "a\\U000e0041"),
        ("a\ufe0f", "a\\ufe0f"),
        ("\ud800", "\\ud800"),
    ],
)
def test_a_character_that_hides_is_shown_as_its_code(text: str, seen: str) -> None:
    assert shown(text) == seen


def test_a_long_text_is_cut_with_an_ellipsis() -> None:
    assert shown("x" * 80) == "x" * 80
    assert shown("x" * 81) == "x" * 79 + "…"
    assert shown("\u200b" * 80) == "\\u200b" * 13 + "…"


def test_a_message_has_at_most_three_hundred_characters() -> None:
    assert short("x" * 300) == "x" * 300
    assert short("x" * 301) == "x" * 299 + "…"


def test_the_longest_names_make_a_message_that_fits() -> None:
    rule = Rule("rul_1", "\u200b" * 200, "regex", "p\u202e" * 100, "review", pattern="x")
    assert len(Words(rule).describe("matched", "x")) <= 300


def test_a_value_that_cannot_be_described_does_not_lose_the_verdict() -> None:
    rule = Rule("rul_1", "R", "contains", "t", "review", values=("fraud",))
    assert Words(rule).describe("matched", "harmless") == "t cannot be shown"
    assert (
        Words(Rule("rul_1", "R", "upper_limit", "n", "review", limit=Decimal(1))).describe("matched", None)
        == "n ? is over 1"
    )
