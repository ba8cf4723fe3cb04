"""One spelling for one payload, the same as the gate's and as another library's."""

from __future__ import annotations

import json
import math
import struct
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings, strategies as st

from stacksona import InvalidRequest, payload_digest
from stacksona._canonical import MAX_DEPTH, MAX_INTEGER, canonicalize, read_object

FOLDER = Path(__file__).parents[3] / "conformance/canonical"
VALUES: list[dict[str, Any]] = json.loads((FOLDER / "values.json").read_text())
NUMBERS: list[dict[str, Any]] = json.loads((FOLDER / "numbers.json").read_text())
SCALARS = (
    st.none()
    | st.booleans()
    | st.text()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def beyond(value: object) -> bool:
    """Whether a number in it is an integer that no reader keeps."""
    if isinstance(value, dict):
        return any(beyond(one) for one in value.values())
    if isinstance(value, list):
        return any(beyond(one) for one in value)
    return isinstance(value, float) and MAX_INTEGER < abs(value) < 1e21


@pytest.mark.parametrize("case", VALUES, ids=lambda case: str(case["name"]))
def test_values_are_written_as_the_conformance_files_say(case: dict[str, Any]) -> None:
    value = json.loads(case["json"])
    assert canonicalize(value).decode() == case["canonical"]
    assert payload_digest(value) == "sha-256:" + case["sha256"]


@pytest.mark.parametrize("case", NUMBERS, ids=lambda case: str(case["ieee754"]))
def test_numbers_are_written_as_rfc_8785_samples_or_refused(case: dict[str, Any]) -> None:
    (value,) = struct.unpack(">d", bytes.fromhex(case["ieee754"]))
    if "refused" in case or beyond(value):
        with pytest.raises(InvalidRequest):
            canonicalize(value)
    else:
        assert canonicalize(value).decode() == case["canonical"]


@settings(max_examples=500, deadline=None)
@given(JSON)
def test_every_value_is_written_as_the_library_writes_it(value: Any) -> None:
    if beyond(value):
        with pytest.raises(InvalidRequest):
            canonicalize(value)
    else:
        assert canonicalize(value) == rfc8785.dumps(value)


@settings(max_examples=1000, deadline=None)
@given(st.integers(0, 2**64 - 1))
def test_every_double_is_written_as_the_library_writes_it(bits: int) -> None:
    (value,) = struct.unpack(">d", bits.to_bytes(8, "big"))
    if math.isfinite(value) and not beyond(value):
        assert canonicalize(value) == rfc8785.dumps(value)


@settings(max_examples=300, deadline=None)
@given(JSON)
def test_what_is_written_reads_back_as_the_same(value: Any) -> None:
    if not beyond(value):
        assert canonicalize(json.loads(canonicalize(value))) == canonicalize(value)


class Level(IntEnum):
    HIGH = 3


def test_numbers_and_texts_of_subclasses_are_what_they_stand_for() -> None:
    assert canonicalize({"level": Level.HIGH, "pair": (1, 2.0)}) == b'{"level":3,"pair":[1,2]}'


@pytest.mark.parametrize(
    ("payload", "place"),
    [
        ({"a": {"b": [0, math.nan]}}, "payload.a.b[1]: NaN"),
        ({"a": -math.inf}, "payload.a: NaN"),
        ({"a": 2**53}, "payload.a: an integer"),
        ({"a": 1e17}, "payload.a: an integer"),
        ({"a": Decimal("1.5")}, "payload.a: Decimal"),
        ({"a": b"bytes"}, "payload.a: bytes"),
        ({"a": {1, 2}}, "payload.a: set"),
        ({1: "a"}, "payload: a key is int"),
        ({"a": "\ud800"}, "payload: a text holds half"),
        ({"\ud800": 1}, "payload: a text holds half"),
        ({"a\u202e": math.nan}, r"payload.'a\u202e'"),
    ],
)
def test_what_the_gate_would_refuse_is_refused_with_its_place(payload: Any, place: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        payload_digest(payload)
    assert str(refused.value).startswith(place)


def test_nesting_has_an_end_also_for_a_value_inside_itself() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidRequest, match="nested"):
        canonicalize(endless)
    deep: Any = 1
    for _ in range(MAX_DEPTH):
        deep = [deep]
    assert canonicalize(deep)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"a":1}x',
        b'{"a":1,"a":2}',
        b'{"a":1,"\\u0061":2}',
        b'{"a":NaN}',
        b"\xff{}",
        b"[" * 100_000,
    ],
)
def test_an_answer_with_two_readings_or_none_is_not_read(text: bytes) -> None:
    with pytest.raises(ValueError):
        read_object(text)
