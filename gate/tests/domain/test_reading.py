from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from gate.tests.growth import LINEAR, growth
from hypothesis import example, given, strategies as st

from stacksona_gate.domain.canonical import MAX_INTEGER, canonicalize, digest
from stacksona_gate.domain.errors import GateError, Malformed
from stacksona_gate.domain.reading import number_literal_is_exact, quote, read_json, read_number

CONFORMANCE = Path(__file__).parents[3] / "conformance"


def cases(path: str) -> list[Any]:
    rows = json.loads((CONFORMANCE / path).read_text())
    return [pytest.param(row, id=row.get("name") or row.get("ieee754")) for row in rows]


def body_of(case: dict[str, Any]) -> bytes:
    body = bytes.fromhex(case["body_hex"]) if "body_hex" in case else str(case["body"]).encode()
    return body * int(case.get("repeat", 1))


FLOATS = st.floats(allow_nan=False, allow_infinity=False).filter(lambda f: not MAX_INTEGER < abs(f) < 1e21)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | FLOATS | TEXTS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20)
DECIMALS = st.from_regex(
    r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
    fullmatch=True,
    alphabet=st.characters(codec="ascii"),
)
JSON_PIECES = st.sampled_from(
    [
        '"',
        "\\",
        "\\u",
        "d800",
        "0061",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        '"a"',
        '"\\u0061"',
        "1",
        "e",
        ".",
        "-",
        "null",
        "NaN",
        " ",
        "\0",
        "é",
    ]
)


@pytest.mark.parametrize("case", cases("canonical/reading-refused.json"))
def test_every_refusal_vector_is_malformed_and_says_why(case: dict[str, Any]) -> None:
    with pytest.raises(Malformed) as refused:
        read_json(body_of(case))
    assert 10 < len(refused.value.detail) < 400
    refused.value.detail.encode()


@given(VALUES, st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n")]), st.booleans())
def test_what_python_writes_is_read_back_the_same(value: Any, separators: tuple[str, str], ascii_only: bool) -> None:
    body = json.dumps(value, separators=separators, ensure_ascii=ascii_only).encode()
    assert read_json(body) == value
    assert digest(read_json(body)) == digest(value)


@given(VALUES)
def test_canonical_bytes_are_read_back_to_the_same_bytes(value: Any) -> None:
    written = canonicalize(value)
    assert canonicalize(read_json(written)) == written


@given(st.dictionaries(TEXTS, SCALARS, min_size=1), SCALARS, st.data())
def test_a_key_given_twice_is_refused_wherever_it_stands(
    value: dict[str, Any], again: Any, data: st.DataObject
) -> None:
    key = data.draw(st.sampled_from(sorted(value)))
    members = [*value.items(), (key, again)]
    written = ",".join(f"{json.dumps(k, ensure_ascii=data.draw(st.booleans()))}:{json.dumps(v)}" for k, v in members)
    with pytest.raises(Malformed, match="twice"):
        read_json(f'[1,{{"x":{{{written}}}}}]'.encode())


@given(st.binary() | st.lists(JSON_PIECES).map(lambda pieces: "".join(pieces).encode()))
@example(b"[" * 100_000)
@example(b'{"":' * 100_000)
@example(b'"' * 100_001)
@example(b'"\\' * 100_000)
def test_any_bytes_give_a_value_or_a_refusal(body: bytes) -> None:
    try:
        value = read_json(body)
    except GateError as refused:
        refused.detail.encode()
    else:
        assert canonicalize(value) == canonicalize(json.loads(body))


@given(DECIMALS)
def test_a_number_is_exact_when_it_equals_the_shortest_form_of_its_double(text: str) -> None:
    shortest = repr(float(text))
    expected = "inf" not in shortest and Decimal(text) == Decimal(shortest)
    assert number_literal_is_exact(text) is expected


@given(DECIMALS)
def test_a_number_is_read_alike_alone_and_in_a_body(text: str) -> None:
    try:
        alone = read_number(text)
    except Malformed:
        with pytest.raises(Malformed):
            read_json(f"[{text}]".encode())
    else:
        assert read_json(f"[{text}]".encode()) == [alone]


@pytest.mark.parametrize(
    "text", ["0.1", "0.10", "1e2", "-0", "-0.0", "1E+2", "1e0000000000001", "0e99999999999999999", "1e21"]
)
def test_exact_numbers(text: str) -> None:
    assert number_literal_is_exact(text)
    assert read_number(text) == float(text)


@pytest.mark.parametrize(
    "text", ["", "-", "abc", "NaN", "1_0", " 1", "1\n", "٣", "0x1", "+1", "01", "1.", ".1", "1e", "--1", "inf"]
)
def test_what_is_no_json_number_is_refused(text: str) -> None:
    assert not number_literal_is_exact(text)
    with pytest.raises(Malformed, match="number"):
        read_number(text)


def test_whole_literals_are_integers_and_others_floats() -> None:
    value = read_json(b"[1,1.0,-0,1e2]")
    assert isinstance(value, list)
    assert [type(item) for item in value] == [int, float, int, float]


def test_padding_with_zeros_does_not_change_a_number() -> None:
    assert read_json(b"[1." + b"0" * 100_000 + b"]") == [1.0]
    assert read_json(b"[0." + b"0" * 9 + b"1" + b"0" * 100_000 + b"e10]") == [1.0]
    assert read_json(b"[0." + b"0" * 99_999 + b"1e100000]") == [1.0]
    assert read_json(b"[10e-" + b"0" * 100_000 + b"1]") == [1.0]


def test_brackets_inside_texts_do_not_count_as_nesting() -> None:
    value = ["[" * 1000, '"{' * 1000, "\\" * 99 + "["]
    assert read_json(json.dumps(value).encode()) == value
    assert read_json(b"[" + b",".join([b"[[{}]]"] * 1000) + b"]") == [[[{}]]] * 1000


def test_a_text_of_many_digits_is_no_integer() -> None:
    assert read_json(b'{"card":"9999999999999999999"}') == {"card": "9999999999999999999"}


def test_a_lower_limit_of_nesting_can_be_asked_for() -> None:
    assert read_json(b'{"a":[]}', max_depth=2) == {"a": []}
    with pytest.raises(Malformed, match="more than 1"):
        read_json(b'{"a":[]}', max_depth=1)


def test_a_refusal_quotes_hostile_text_shortly_and_in_ascii() -> None:
    with pytest.raises(Malformed) as refused:
        read_json(b'{"\\ud800' + b"x" * 10_000 + b'":1,"\\ud800' + b"x" * 10_000 + b'":2}')
    assert refused.value.detail.isascii()
    assert len(refused.value.detail) < 200
    assert quote("\u202e" * 100).isascii()


@pytest.mark.parametrize(
    "body",
    [
        lambda size: b"[" * size,
        lambda size: b'"\\"' * (size // 3),
        lambda size: b"[]," * (size // 3),
        lambda size: b'{"a":1,' * (size // 7),
        lambda size: b"[1" + b"0" * size + b"]",
        lambda size: b"[0." + b"1" * size + b"]",
        lambda size: b'"[' + b"\\" * size,
    ],
    ids=lambda body: repr(body(8)[:8]),
)
def test_a_hostile_body_of_the_full_size_is_refused_in_linear_time(body: Callable[[int], bytes]) -> None:
    def refused(given: bytes) -> None:
        with pytest.raises(Malformed):
            read_json(given)

    assert growth(refused, body, 2**18) < LINEAR
