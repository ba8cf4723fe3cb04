from __future__ import annotations

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given, strategies as st

from stacksona_gate.domain.canonical import MAX_INTEGER, canonical_text, canonicalize, digest
from stacksona_gate.domain.errors import GateError, Invalid
from stacksona_gate.domain.reading import read_json

CONFORMANCE = Path(__file__).parents[3] / "conformance"


def cases(path: str) -> list[Any]:
    rows = json.loads((CONFORMANCE / path).read_text())
    return [pytest.param(row, id=row.get("name") or row.get("ieee754")) for row in rows]


TEXTS = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("\0\b\t\n\f\r\x1f\x7f\u2028\ue000\uffff\U0001f600")
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([-0.0, 5e-324, 1e-5, 1e15, 1e16, 1e21, 1.0])
SCALARS = st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | FLOATS | TEXTS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=40)


@pytest.mark.parametrize("case", cases("canonical/values.json"))
def test_every_value_vector_has_its_bytes_and_hash(case: dict[str, str]) -> None:
    value = read_json(case["json"].encode())
    assert canonicalize(value).decode() == case["canonical"]
    assert digest(value) == f"sha-256:{case['sha256']}"
    assert canonicalize(read_json(case["canonical"].encode())).decode() == case["canonical"]


@pytest.mark.parametrize("case", cases("canonical/numbers.json"))
def test_every_number_vector_is_written_or_refused(case: dict[str, str]) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(case["ieee754"]))
    if "refused" in case:
        with pytest.raises(Invalid, match="finite"):
            canonicalize([number])
    else:
        assert canonicalize(number).decode() == case["canonical"]


@given(VALUES)
def test_both_ways_of_writing_agree(value: Any) -> None:
    assert canonicalize(value) == rfc8785.dumps(value)


@given(st.dictionaries(st.text(st.sampled_from("az\ud7ff\ue000\uffff\U00010000\U0010ffff")), st.integers(0, 9)))
def test_keys_beyond_ascii_are_sorted_by_utf16_units(value: dict[str, int]) -> None:
    keys = list(json.loads(canonicalize(value)))
    assert keys == sorted(value, key=lambda key: key.encode("utf-16-be"))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_comes_back_from_its_canonical_form(number: float) -> None:
    assert float(canonicalize(number)) == number


@given(TEXTS)
def test_a_single_text_is_written_like_any_value(text: str) -> None:
    assert canonical_text(text) == canonicalize(text) == rfc8785.dumps(text)


@given(VALUES)
def test_digest_is_the_sha256_of_the_bytes(value: Any) -> None:
    assert digest(value) == "sha-256:" + hashlib.sha256(rfc8785.dumps(value)).hexdigest()


def test_a_tuple_is_a_list() -> None:
    assert canonicalize({"a": (1, ("b",))}) == b'{"a":[1,["b"]]}'


@pytest.mark.parametrize(
    "value",
    [
        MAX_INTEGER + 1,
        -MAX_INTEGER - 1,
        10**5000,
        math.nan,
        math.inf,
        -math.inf,
        "\ud800",
        "\ud83d\ude00",
        {"\udc00": 1},
        {1: 2},
        {True: 1},
        {None: 1},
        {b"a": 1},
        b"bytes",
        bytearray(b"x"),
        {1, 2},
        object(),
        1 + 2j,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_carry_is_refused_at_any_depth(value: object) -> None:
    for hostile in (value, [value], {"a": {"b": [1.0, value]}}):
        with pytest.raises(Invalid):
            canonicalize(hostile)


def test_nesting_without_end_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)
    deep: object = 1
    for _ in range(100_000):
        deep = [deep]
    for value in (endless, deep):
        with pytest.raises(Invalid, match="nested"):
            canonicalize(value)


def test_a_refusal_never_repeats_the_value() -> None:
    with pytest.raises(Invalid) as refused:
        canonicalize({"secret\ud800": 1})
    assert "secret" not in refused.value.detail
    assert isinstance(refused.value, GateError)


def test_half_a_pair_is_refused_in_a_single_text() -> None:
    with pytest.raises(Invalid, match="surrogate"):
        canonical_text("a\ud800")
