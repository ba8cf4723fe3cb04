"""Masking by pattern and by path: what is hidden, what stays, what an edit may do, and that failing hides."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gate.tests.growth import LINEAR, growth
from hypothesis import given, settings, strategies as st

from stacksona_gate.domain.redaction import (
    HIDDEN,
    HIDDEN_OBJECT,
    LITERALS_MOST,
    OPEN,
    TEXT_MOST,
    EditRefused,
    Finder,
    MaskedText,
    Masker,
    Path,
)
from stacksona_gate.domain.sensitive import BUILT_IN, BY_DEFAULT, MASK, Span, folded

CARD = "4242424242424242"
OTHER_CARD = "5555555555554444"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nAAAA\n-----END RSA PRIVATE KEY-----"


def masker(*paths: str, finders: tuple[Finder, ...] | None = None) -> Masker:
    chosen = tuple(BUILT_IN.values()) if finders is None else finders
    return Masker(chosen, [tuple(path.split(".")) for path in paths])


def shown(payload: object, *paths: str) -> Any:
    return json.loads(masker(*paths).json(json.dumps(payload), by_path=True).text)


def fails(_plain: str, _text: str) -> Iterator[Span]:
    yield from _gives_up()


def _gives_up() -> Iterator[Span]:
    raise RuntimeError("the engine gave up")


# By pattern


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"pay {CARD} now", "pay ⟦masked 1 ••••4242⟧ now"),
        ("4242 4242 4242 4242 12/29 123", "⟦masked 1 ••••4242⟧ 12/29 123"),
        ("5555-5555-5555-4444", "⟦masked 1 ••••4444⟧"),
        ("378282246310005", "⟦masked 1 ••••0005⟧"),
        ("6011 1111 1111 1117", "⟦masked 1 ••••1117⟧"),
        ("2223003122003222", "⟦masked 1 ••••3222⟧"),
        ("４２４２４２４２４２４２４２４２", "⟦masked 1 ••••4242⟧"),
        ("٤٢٤٢٤٢٤٢٤٢٤٢٤٢٤٢", "⟦masked 1 ••••4242⟧"),
        ("4242\u200b4242\u00a04242\u20114242", "⟦masked 1 ••••4242⟧"),
        ("4\u03322\u03324\u03322\u03324242 4242 4242", "⟦masked 1 ••••4242⟧"),
        ("𝟒𝟐𝟒𝟐𝟒𝟐𝟒𝟐𝟒𝟐𝟒𝟐𝟒𝟐𝟒𝟐", "⟦masked 1 ••••4242⟧"),
        (f'{{"nested": "{CARD}"}}', '{"nested": "⟦masked 1 ••••4242⟧"}'),
        (f"card{CARD}x", "card⟦masked 1 ••••4242⟧x"),
        (f"12 {CARD} 99", "12 ⟦masked 1 ••••4242⟧ 99"),
        ("STRIPE=sk_live_4eC39HqLyjWDarjtT1zdp7dc;", "STRIPE=⟦masked 1 sk_••••⟧;"),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "⟦masked 1 ghp_••••⟧"),
        ("xoxb-2048-11111-aaaaaaaaaaaa", "⟦masked 1 xoxb-••••⟧"),
        ("AKIAIOSFODNN7EXAMPLE", "⟦masked 1 AKIA••••⟧"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLmi1", "⟦masked 1 whsec_••••⟧"),
        *((f"{kind}_{'0a' * 32}", f"⟦masked 1 {kind}_••••⟧") for kind in ("sg", "sv", "sp")),
        (f"Bearer {JWT}", "Bearer ⟦masked 1 ••••⟧"),
        (f"a {PEM} b", "a ⟦masked 1 ••••⟧ b"),
        ("-----BEGIN PRIVATE KEY-----\nnever ends", "⟦masked 1 ••••⟧"),
        ("to ana.b+c@example.com, please", "to ⟦masked 1 ••••@example.com⟧, please"),
        ("ana@exämple.de", "⟦masked 1 ••••@ex?mple.de⟧"),
        ("ＡＮＡ＠example．com", "⟦masked 1 ••••@example.com⟧"),
        ("DE89 3704 0044 0532 0130 00 EUR", "⟦masked 1 DE••••3000⟧ EUR"),
        ("GB82WEST12345698765432", "⟦masked 1 GB••••5432⟧"),
    ],
)
def test_what_has_the_form_of_a_secret_is_masked(text: str, masked: str) -> None:
    assert masker().text(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "refund 500 to order 20261124-12",
        "4242424242424241",
        f"0000{CARD}",
        "1795694400000000",
        "9999999999999995",
        "4242 4242 4242",
        "desk_drawer_number_five_1",
        "sk_buff_head_of_the_list",
        "@mention and a@b",
        "DE00 3704 0044 0532 0130 00",
        "eyJust a word.",
        "",
    ],
)
def test_everything_else_comes_back_as_the_same_object(text: str) -> None:
    assert masker().text(text) is text


def test_the_default_patterns_leave_bank_accounts() -> None:
    default = Masker([BUILT_IN[name] for name in BY_DEFAULT])
    assert default.text("GB82WEST12345698765432") == "GB82WEST12345698765432"


def test_the_same_value_has_the_same_number_and_another_another() -> None:
    m = masker()
    assert m.text(f"{CARD} {OTHER_CARD}") == "⟦masked 1 ••••4242⟧ ⟦masked 2 ••••4444⟧"
    assert m.text(OTHER_CARD) == "⟦masked 2 ••••4444⟧"


def test_a_placeholder_that_an_agent_wrote_is_itself_masked() -> None:
    assert masker().text("pay ⟦masked 7 ••••4242⟧ now") == "pay ⟦masked 1 ••••⟧ now"


def test_where_patterns_overlap_nothing_of_either_is_shown() -> None:
    def first(_plain: str, _text: str) -> Iterator[Span]:
        yield Span(0, 6, "••••cdef")

    def second(_plain: str, _text: str) -> Iterator[Span]:
        yield Span(3, 9, "••••")

    assert masker(finders=(first, second)).text("abcdefghij") == "⟦masked 1 ••••⟧j"


def test_folding_keeps_every_place() -> None:
    text = "é４\u200b–𝟒ﷺ\u00a0"
    assert (folded(text), len(folded(text))) == ("é4\0-4ﷺ ", len(text))


# By path, and inside JSON


def test_a_path_hides_the_whole_value_and_says_where() -> None:
    payload = {"customer": {"name": "Ana", "age": 3}, "items": [{"pin": 1, "n": 1}, {"pin": 2, "n": 2}], "x": [True]}
    found = masker("customer", "items.*.pin", "x.0").json(json.dumps(payload), by_path=True)
    assert json.loads(found.text) == {
        "customer": "⟦masked 1 ••••⟧",
        "items": [{"pin": "⟦masked 2 ••••⟧", "n": 1}, {"pin": "⟦masked 3 ••••⟧", "n": 2}],
        "x": ["⟦masked 4 ••••⟧"],
    }
    assert set(found.places) == {"customer", "items[0].pin", "items[1].pin", "x[0]"}


def test_a_star_is_any_key() -> None:
    assert shown({"a": {"pin": 1}, "b": {"pin": 2, "n": 3}}, "*.pin")["b"]["n"] == 3
    assert CARD not in json.dumps(shown({"a": {"pin": CARD}}, "*.pin"))


def test_paths_are_for_payloads_alone() -> None:
    assert masker("name").json('{"name":"Ana"}', by_path=False).text == '{"name":"Ana"}'


def test_numbers_are_masked_as_they_are_written() -> None:
    assert shown({"card": 4242424242424242, "price": 42.5}) == {"card": "⟦masked 1 ••••4242⟧", "price": 42.5}


def test_a_number_and_the_text_of_it_are_two_values() -> None:
    values = shown([4242424242424242, CARD])
    assert values[0] != values[1]


def test_a_card_as_a_key_is_masked() -> None:
    found = masker().json(json.dumps({CARD: 1}), by_path=True)
    assert CARD not in found.text
    assert CARD not in repr(found.places)


def test_words_that_repeat_what_a_path_hides_are_masked_too() -> None:
    m = masker("name", "amount")
    m.json('{"amount":0.5,"name":"Ana Maria"}', by_path=True)
    assert m.text("Refund to Ana Maria; amount 0.5 is over 0.2") == (
        "Refund to ⟦masked 3 ••••⟧; amount ⟦masked 4 ••••⟧ is over 0.2"
    )
    assert m.text("Anamaria") == "Anamaria"


def test_with_too_many_values_hidden_by_path_words_are_hidden_whole() -> None:
    m = masker("all")
    m.json(json.dumps({"all": [f"v{i}" for i in range(LITERALS_MOST + 1)]}), by_path=True)
    assert m.text("hello") == HIDDEN


# Failing hides


@pytest.mark.parametrize("text", [CARD, "harmless", "x\ud800y"])
def test_an_engine_that_fails_hides_the_text(text: str) -> None:
    assert masker(finders=(fails,)).text(text) == HIDDEN


def test_half_a_surrogate_pair_hides_the_text() -> None:
    assert masker().text("x\ud800 y") == HIDDEN


def test_an_engine_that_fails_hides_every_text_of_a_payload() -> None:
    found = masker(finders=(fails,)).json('{"a":"secret","b":[7]}', by_path=True)
    assert "secret" not in found.text
    assert "7" not in found.text


def test_a_text_that_is_too_long_is_hidden() -> None:
    assert masker().text("x" * (TEXT_MOST + 1)) == f"⟦masked 1 {MASK}⟧"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 90 + "1" + "}" * 90, "no json " + CARD, '{"a":"\\ud800"}'])
def test_what_cannot_be_walked_through_is_hidden_whole(text: str) -> None:
    found = masker().json(text, by_path=True)
    assert (found.text, found.is_whole) == (HIDDEN_OBJECT, True)


def test_a_value_in_memory_that_is_too_deep_is_hidden() -> None:
    deep: object = CARD
    for _ in range(5_000):
        deep = [deep]
    assert masker().value(deep, by_path=True) == HIDDEN


def test_masked_texts_are_told_from_texts() -> None:
    assert isinstance(masker().text(CARD), MaskedText)
    assert not isinstance(masker().text("x"), MaskedText)


# Edits


PAYLOAD: dict[str, Any] = {
    "card": 4242424242424242,
    "to": "ana@example.com",
    "customer": {"name": "Ana", "id": 7},
    "items": [{"secret": "same", "n": 1}, {"secret": "same", "n": 2}, {"secret": "other", "n": 3}],
    "note": f"charge {CARD} please",
    OTHER_CARD: "by card",
    "flag": True,
}
PATHS = ("customer.name", "items.*.secret")


def edit() -> tuple[dict[str, Any], dict[str, Any]]:
    """What a reviewer sees of PAYLOAD, twice: to change, and to look up in."""
    text = masker(*PATHS).json(json.dumps(PAYLOAD), by_path=True).text
    return json.loads(text), json.loads(text)


def restored(edited: dict[str, Any]) -> dict[str, object]:
    return masker(*PATHS).restored(json.dumps(PAYLOAD), edited)


def test_an_untouched_payload_comes_back_as_it_was() -> None:
    edited, _ = edit()
    assert CARD not in json.dumps(edited)
    assert restored(edited) == PAYLOAD


def test_an_edit_elsewhere_leaves_masked_values_as_they_were() -> None:
    edited, _ = edit()
    edited["customer"]["id"] = 8
    edited["new"] = [1]
    assert restored(edited) == {**PAYLOAD, "customer": {"name": "Ana", "id": 8}, "new": [1]}


def test_a_masked_value_may_be_taken_out_or_replaced_whole() -> None:
    edited, _ = edit()
    del edited["card"]
    edited["to"] = "rob@example.org"
    del edited["items"][2]
    assert restored(edited) == {
        **{key: value for key, value in PAYLOAD.items() if key != "card"},
        "to": "rob@example.org",
        "items": PAYLOAD["items"][:2],
    }


def test_true_is_not_one_and_a_number_may_be_written_in_two_ways() -> None:
    edited, _ = edit()
    edited["flag"] = 1
    edited["customer"]["id"] = 7.0
    back = restored(edited)
    assert (back["flag"], type(back["flag"])) == (1, int)
    assert back["customer"] == {"name": "Ana", "id": 7}


Edited = dict[str, Any]


def swap(edited: Edited, one: str, other: str) -> None:
    edited[one], edited[other] = edited[other], edited[one]


def keyed(seen: Edited) -> str:
    return next(key for key in seen if key.startswith(OPEN))


MOVES: dict[str, Callable[[Edited, Edited], object]] = {
    "to another field": lambda e, seen: e.update(flag=seen["card"]),
    "two swapped": lambda e, seen: swap(e, "card", "to"),
    "up a list": lambda e, seen: e["items"].pop(1),
    "down a list": lambda e, seen: e["items"].insert(0, {"secret": "mine", "n": 0}),
    "to a longer list": lambda e, seen: e["items"].append(seen["items"][0]),
    "under another key": lambda e, seen: e.update(customer={"nom": seen["customer"]["name"]}),
    "as a key": lambda e, seen: e.update({seen["card"]: 1}),
    "a masked key elsewhere": lambda e, seen: e["customer"].update({keyed(seen): 1}),
    "cut": lambda e, seen: e.update(note=seen["note"][:12]),
    "its head cut off": lambda e, seen: e.update(card=seen["card"][5:]),
    "words around it changed": lambda e, seen: e.update(note=seen["note"] + "!"),
    "another number": lambda e, seen: e.update(card="⟦masked 99 ••••4242⟧"),
    "made up": lambda e, seen: e.update(new={"deep": ["⟦masked 1 ••••⟧"]}),
    "retyped as the page shows it": lambda e, seen: e.update(card="••••4242"),
    "inside another text": lambda e, seen: e.update(flag=f"x {seen['card']} y"),
    "in an object instead of a text": lambda e, seen: e.update(card={"value": seen["card"]}),
    "an object as a text": lambda e, seen: e.update(customer=json.dumps(seen["customer"], ensure_ascii=False)),
}


@pytest.mark.parametrize("move", MOVES)
def test_a_placeholder_that_is_not_where_it_was_is_refused(move: str) -> None:
    edited, seen = edit()
    MOVES[move](edited, seen)
    with pytest.raises(EditRefused) as refused:
        restored(edited)
    assert refused.value.code == "masked_value"
    assert CARD not in refused.value.detail


def test_equal_values_that_change_places_stay_equal() -> None:
    edited, seen = edit()
    edited["items"][0], edited["items"][1] = seen["items"][1], seen["items"][0]
    assert restored(edited) == {**PAYLOAD, "items": [PAYLOAD["items"][i] for i in (1, 0, 2)]}


def test_a_payload_that_is_hidden_whole_can_be_approved_and_not_edited() -> None:
    deep = '{"a":' * 40 + "1" + "}" * 40
    m = masker()
    assert m.restored('{"a":"x"}', {"a": "x"}) == {"a": "x"}
    with pytest.raises(Exception, match="deep"):
        m.restored(deep, {"a": 1})


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.sampled_from([CARD, OTHER_CARD, "", MASK, OPEN])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "pin", CARD, MASK]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(payload=st.dictionaries(st.sampled_from(["a", "b", "pin", CARD]), JSON, max_size=4))
def test_whatever_is_shown_and_sent_back_untouched_is_what_was_there(payload: dict[str, Any]) -> None:
    paths: list[Path] = [("*", "pin"), ("pin",)]
    text = json.dumps(payload)
    seen = Masker(list(BUILT_IN.values()), paths).json(text, by_path=True).text
    assert CARD not in seen
    assert Masker(list(BUILT_IN.values()), paths).restored(text, json.loads(seen)) == payload


# Cost


@pytest.mark.parametrize(
    "unit",
    ["4", "3", "4929 ", "4\u200b", "sk_", "-eyJ", "a@", "a@a.", "-----BEGIN PRIVATE KEY-----", "AB12", OPEN, "é"],
    ids=ascii,
)
def test_250_kilobytes_are_masked_in_linear_time(unit: str) -> None:
    assert growth(lambda text: masker().text(text), lambda size: unit * (size // len(unit)), 250_000) < LINEAR
