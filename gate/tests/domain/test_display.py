from __future__ import annotations

import sys
import tracemalloc
import unicodedata

import pytest
from gate.tests.growth import LINEAR, growth
from hypothesis import given, strategies as st

from stacksona_gate.domain import confusables
from stacksona_gate.domain.display import Piece, fold, reveal, warnings

HOSTILE = st.sampled_from(
    "a1рпαΩａ𝐩é\u0301\u0483\u200b\u200d\ufe0f\u202e\u00a0\x00\r\n\ud800\udc00❤👍🏽🇩🇪🏴\U000e0067\U000e007fक\u094dم"
)
TEXTS = st.text() | st.text(HOSTILE)

HONEST = {
    "English": "Refund $1,200 to “Jane Doe” — order #8821\n\tas agreed…\r\n",
    "German": "Grüße an Jörg Müßig, Straße 5, 10 € für Öl",
    "combining German": unicodedata.normalize("NFD", "Grüße an Jörg"),
    "French": "Ça coûte 10 €, où êtes-vous ?",
    "Vietnamese": unicodedata.normalize("NFD", "Tiếng Việt: nghiêng ngả, khuỷu tay"),
    "Turkish": "Kırmızı ışık",
    "Russian": "Верните 500 рублей, сор и рост; IT-компания Stacksona",
    "Greek": "Επιστροφή χρημάτων, ναι",
    "formula": "R = 5 kΩ, 3 μm, Δt, πr², λ",
    "Arabic": "مرحبا بالعالم، كُلَّمَا",
    "Persian": "می‌خواهم کتاب‌ها",
    "Hebrew": "שָׁלוֹם עולם iPhone",
    "Hindi": "क्‍ष और क्‌ष हिन्दी",
    "Malayalam": "അവന്‍ വന്നു",
    "Sinhala": "ශ්‍රී ලංකා",
    "Chinese": "你好，世界！iPhone手机 500元",
    "Japanese": "カタカナ、ひらがな。東京",
    "Korean": "안녕하세요",
    "Thai": "ที่นี่ น้ำ",
    "emoji": "👨‍👩‍👧‍👦 ❤️ ☎️ 1️⃣ #️⃣ 👍🏽 👩🏽‍💻 🏳️‍🌈 🏴‍☠️ 🇩🇪🇫🇷 ❤️‍🔥",
    "tag flags": "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
}


def marked(text: str) -> list[tuple[str, str]]:
    return [(piece.kind, piece.original) for piece in reveal(text) if piece.kind != "plain"]


@given(TEXTS)
def test_the_originals_of_all_pieces_are_the_text(text: str) -> None:
    assert "".join(piece.original for piece in reveal(text)) == text


@given(TEXTS)
def test_what_is_shown_can_be_encoded_and_hides_nothing(text: str) -> None:
    shown = "".join(piece.text for piece in reveal(text))
    shown.encode()
    assert not set(shown) & set("\u202e\u200b\u00a0\x00")


@given(TEXTS)
def test_only_plain_pieces_have_no_label(text: str) -> None:
    assert all(bool(piece.label) is (piece.kind != "plain") for piece in reveal(text))


@given(TEXTS)
def test_warnings_are_short_sentences_that_can_be_encoded(text: str) -> None:
    assert all(len(sentence.encode()) < 400 for sentence in warnings(text))


@pytest.mark.parametrize("text", HONEST.values(), ids=HONEST.keys())
def test_honest_text_is_plain_and_warned_of_nowhere(text: str) -> None:
    assert marked(text) == []
    assert warnings(text) == ()


def test_an_override_is_shown_by_code_point_and_name() -> None:
    assert reveal("ab\u202ecd") == (
        Piece("ab", "plain", "ab"),
        Piece("⟦U+202E⟧", "bidi", "\u202e", "RIGHT-TO-LEFT OVERRIDE U+202E"),
        Piece("cd", "plain", "cd"),
    )
    assert warnings("ab\u202ecd") == ("changes the reading direction with 1 hidden character",)


@pytest.mark.parametrize("char", "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
def test_every_bidi_control_is_marked(char: str) -> None:
    assert marked(f"م{char}a") == [("bidi", char)]


@pytest.mark.parametrize(
    "char",
    "\u00ad\u034f\u115f\u1160\u180e\u200b\u200c\u200d\u2060\u2062\u3164\ufe0f\ufeff\uffa0\U000e0001\U000e0041\U000e0100",
)
def test_every_invisible_character_between_latin_letters_is_marked(char: str) -> None:
    assert marked(f"pay{char}pal") == [("invisible", char)]
    assert warnings(f"pay{char}pal")[0] == "contains 1 hidden character"


@pytest.mark.parametrize("char", "\x00\x07\x1b\x7f\x85\x9b\r\u2028\u2029\ud800\uffff")
def test_every_control_character_is_marked(char: str) -> None:
    assert marked(f"a{char}b") == [("control", char)]
    assert warnings(f"a{char}b") == ("contains 1 control character",)


@pytest.mark.parametrize("char", "\u00a0\u2003\u2009\u202f\u3000\u2800")
def test_unusual_spaces_are_marked_and_not_warned_of(char: str) -> None:
    assert [piece.text for piece in reveal(f"a{char}b")] == ["a", "␣", "b"]
    assert warnings(f"a{char}b") == ()


def test_every_default_ignorable_character_is_marked() -> None:
    ignorable = [char for char in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(char) == "Cf"]
    visible = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
    missed = [hex(ord(c)) for c in ignorable if c not in visible and not marked(f"a{c}a")]
    assert missed == []


def test_a_sentence_hidden_in_tags_is_spelled_out() -> None:
    hidden = "".join(chr(0xE0000 + ord(letter)) for letter in "approve it")
    (piece,) = [piece for piece in reveal(f"🏴{hidden}") if piece.kind != "plain"]
    assert piece.label.endswith('spells "approve it"')
    assert piece.text == "⟦U+E0061 U+E0070 U+E0070 U+E0072 +6⟧"


def test_a_run_of_one_character_is_counted() -> None:
    assert [piece.text for piece in reveal("a" + "\u200b" * 12)] == ["a", "⟦U+200B ×12⟧"]


@pytest.mark.parametrize(
    ("text", "letters", "sentence"),
    [
        ("pay раypal now", ["ра"], 'mixes Latin and Cyrillic letters in "раypal"'),
        ("gοοgle", ["οο"], 'mixes Latin and Greek letters in "gοοgle"'),
        ("bаnk\u200b", ["а"], 'mixes Latin and Cyrillic letters in "bаnk"'),
        ("օpen", ["օ"], 'mixes Latin and Armenian letters in "օpen"'),
        ("аррӏе.com", ["аррӏе"], 'writes "аррӏе" in Cyrillic letters that look Latin'),
        ("ｐａｙ", ["ｐａｙ"], 'disguises letters as full-width, mathematical or small capital ones in "ｐａｙ"'),
        ("𝐩𝐚𝐲", ["𝐩𝐚𝐲"], 'disguises letters as full-width, mathematical or small capital ones in "𝐩𝐚𝐲"'),
    ],
)
def test_letters_that_imitate_latin_ones_are_marked(text: str, letters: list[str], sentence: str) -> None:
    assert [original for kind, original in marked(text) if kind == "lookalike"] == letters
    assert sentence in warnings(text)


@pytest.mark.parametrize("beside", ["", " ас", " а\u0301сс", " \u200bас"])
def test_no_short_or_accented_twin_makes_a_whole_look_alike_word_honest(beside: str) -> None:
    assert ("lookalike", "аррӏе") in marked(f"pay аррӏе{beside}")


def test_a_look_alike_letter_stays_readable_and_is_named() -> None:
    piece = reveal("bаnk")[1]
    assert piece == Piece("а", "lookalike", "а", "CYRILLIC SMALL LETTER A U+0430")


def test_a_word_split_by_hidden_characters_is_still_one_word() -> None:
    assert marked("р\u200bay") == [("lookalike", "р"), ("invisible", "\u200b")]


def test_at_most_three_words_are_quoted() -> None:
    text = " ".join(f"bаnk{number}" for number in range(9))
    assert len(warnings(text)) == 4
    assert warnings(text)[-1] == "has look-alike letters in 6 more words"


def test_more_than_four_marks_in_a_row_are_a_flood() -> None:
    assert marked("e" + "\u0301" * 4) == []
    assert marked("e" + "\u0301" * 5) == [("combining", "\u0301" * 5)]
    assert warnings("ก" + "็" * 9) == ("piles up 9 combining marks",)


def test_the_marks_are_those_of_unicode() -> None:
    text = "".join(char for char in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(char) in ("Mn", "Me"))
    kinds = {piece.kind for piece in reveal(text)}
    assert kinds <= {"combining", "invisible"}
    assert len(confusables.MARKS) < 10_000


@given(TEXTS, st.integers(1, 50))
def test_folding_loses_nothing_and_keeps_the_limit(text: str, limit: int) -> None:
    head, rest = fold(text, limit)
    assert head + rest == text
    assert len(head) <= limit
    assert bool(head) is bool(text)


@pytest.mark.parametrize("cluster", ["e\u0301", "👨‍👩‍👧", "👍🏽", "❤️", "🇩🇪", "क्ष", "\r\n", "\ud83d\ude00", "1️⃣"])
def test_folding_does_not_cut_inside_a_cluster(cluster: str) -> None:
    for limit in range(1, len(cluster)):
        assert fold(f"x{cluster}y", 1 + limit) == ("x", f"{cluster}y")


def test_flags_are_folded_in_pairs() -> None:
    assert fold("🇩🇪🇫🇷🇮🇹", 3) == ("🇩🇪", "🇫🇷🇮🇹")
    assert fold("🇩🇪🇫🇷🇮🇹", 4) == ("🇩🇪🇫🇷", "🇮🇹")


def test_an_endless_cluster_is_cut_at_the_limit() -> None:
    assert fold("a" + "\u0301" * 1000, 500)[0] == "a" + "\u0301" * 499


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit",
    ["hello wor ", "aа", "a\x01", "a\u202e", "\u0301", "\u200d", "ａ ", "你好", "👨‍👩‍👧", "\r", "сос ", "🇩🇪", "क्"],
    ids=ascii,
)
def test_a_megabyte_is_shown_in_linear_time(unit: str) -> None:
    def shown(text: str) -> None:
        reveal(text)
        warnings(text)
        fold(text, len(text) // 2)

    assert growth(shown, lambda size: unit * (size // len(unit.encode())), 2**20) < LINEAR


@pytest.mark.parametrize("unit", ["\r", "\x01", "\r\x01"], ids=ascii)
def test_a_megabyte_of_control_characters_takes_no_more_memory_than_itself(unit: str) -> None:
    text = unit * (2**20 // len(unit))
    tracemalloc.start()
    try:
        reveal(text)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(text)
    finally:
        tracemalloc.stop()
