from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from gate.tests.growth import LINEAR, growth
from hypothesis import example, given, strategies as st

from stacksona_gate.domain.canonical import canonicalize
from stacksona_gate.domain.errors import GateError, Invalid
from stacksona_gate.domain.forms import convert_scalars, read_form

CONFORMANCE = Path(__file__).parents[3] / "conformance"


def cases(path: str) -> list[Any]:
    rows = json.loads((CONFORMANCE / path).read_text())
    return [pytest.param(row, id=row.get("name") or row.get("ieee754")) for row in rows]


PIECES = st.sampled_from(
    [
        "payload",
        "summary",
        "[",
        "]",
        "[a]",
        "[0]",
        "[a:json]",
        ":number",
        "=",
        "&",
        "1",
        "%5B",
        "%",
        "+",
        "%ff",
        "{",
        '"',
        "\0",
    ]
)
KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="[]"), min_size=1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize("case", cases("forms/accepted.json"))
def test_every_accepted_vector_means_its_value(case: dict[str, Any]) -> None:
    value = read_form(case["body"].encode())
    assert canonicalize(value) == canonicalize(case["value"])


@pytest.mark.parametrize("case", cases("forms/refused.json"))
def test_every_refused_vector_names_its_field(case: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        read_form(case["body"].encode())
    assert [error.field for error in refused.value.errors] == [case["field"]]
    assert len(refused.value.detail) < 400


@pytest.mark.parametrize("case", cases("forms/converted.json"))
def test_every_conversion_vector_holds(case: dict[str, Any]) -> None:
    fields = read_form(case["body"].encode())
    if "value" in case:
        assert repr(convert_scalars(fields, case["types"])) == repr(case["value"])
    else:
        with pytest.raises(Invalid) as refused:
            convert_scalars(fields, case["types"])
        assert [error.field for error in refused.value.errors] == case["fields"]


@given(st.dictionaries(KEYS, TEXTS, min_size=1))
def test_any_texts_come_back_from_a_payload(payload: dict[str, str]) -> None:
    body = "&".join(f"payload[{quote_plus(key)}:string]={quote_plus(text)}" for key, text in payload.items())
    assert read_form(body.encode()) == {"payload": payload}


@given(st.binary() | st.lists(PIECES).map(lambda pieces: "".join(pieces).encode()))
@example(b"&" * 100_000)
@example(b"a" + b"[a]" * 50_000 + b"=1")
@example(b"payload[a:json]=" + b"[" * 100_000)
@example(b"summary[" + b"9" * 10_000 + b"]=1")
def test_any_bytes_give_a_value_or_a_refusal(body: bytes) -> None:
    try:
        value = read_form(body)
    except GateError as refused:
        refused.detail.encode()
    else:
        canonicalize(value)


def test_a_thousand_fields_are_read() -> None:
    assert len(read_form("&".join(f"a{index}=" for index in range(1000)).encode())) == 1000


def test_a_refusal_says_what_to_write_instead() -> None:
    with pytest.raises(Invalid, match="Content-Type: application/json"):
        read_form(b'{"tool_name": "x"}')
    with pytest.raises(Invalid, match=r"payload\[key\]=value"):
        read_form(b"payload={}")


def test_converting_leaves_what_was_given_alone() -> None:
    fields = read_form(b"expires_in=60")
    assert convert_scalars(fields, {"expires_in": "integer"}) == {"expires_in": 60}
    assert fields == {"expires_in": "60"}


def test_a_thousand_deep_fields_are_read_in_linear_time() -> None:
    def body(fields: int) -> bytes:
        return "&".join(f"payload{'[k]' * 30}[{index}]={'%20' * 80}" for index in range(fields)).encode()

    assert growth(read_form, body, 1000) < LINEAR
