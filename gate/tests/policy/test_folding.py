import sys
from unicodedata import combining, normalize

import pytest
from hypothesis import given, strategies as st

from stacksona_gate.policy.folding import _DECOMPOSES_TO_MARKS, IGNORABLE, MAX_COMBINING_RUN, Unfoldable, fold

EVERY_CHARACTER = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]


@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(
    st.text(), st.text(), st.sampled_from("\u00ad\u034f\u200b\u202e\u2060\ufeff\ufe0f\U000e0061\U000e0fff\u3164\uffa0")
)
def test_a_default_ignorable_character_changes_nothing_anywhere(before: str, after: str, hidden: str) -> None:
    assert fold(before + hidden + after) == fold(before + after)


@given(st.text(alphabet=st.characters(codec="ascii")))
def test_plain_text_is_folded_as_all_text_is(text: str) -> None:
    assert fold(text) == normalize("NFKC", normalize("NFKC", text).casefold())


def test_folding_every_single_character_is_stable() -> None:
    assert [character for character in EVERY_CHARACTER if fold(fold(character)) != fold(character)] == []


def test_the_characters_that_decompose_to_marks_are_all_known() -> None:
    found = {
        ord(character)
        for character in EVERY_CHARACTER
        if not combining(character) and combining(normalize("NFKD", character)[0])
    }
    assert found == set(_DECOMPOSES_TO_MARKS)


def test_the_ignorable_characters_are_as_many_as_unicode_says() -> None:
    assert sum(1 for character in EVERY_CHARACTER if IGNORABLE.match(character)) == 4174


@pytest.mark.parametrize("mark", ["\u0301\u0323", "\u0f73\u0f71", "\uff9e\u0301"])
def test_a_long_run_of_combining_marks_is_refused(mark: str) -> None:
    with pytest.raises(Unfoldable):
        fold("a" + mark * MAX_COMBINING_RUN)


def test_a_long_text_with_many_short_runs_is_folded() -> None:
    assert fold("E\u0301\u0323" * 1_000) == "\u1eb9\u0301" * 1_000


def test_many_rules_on_one_hostile_text_fold_it_once() -> None:
    text = "\ufdfa" * 20_000
    assert fold(text) is fold(text)
