"""Random and mutated bodies: never a fault, never an `allow` that policy does not give to the strictly read value."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final
from urllib.parse import parse_qsl

import httpx2
import pytest
from gate.tests.api.agent.calls import ASK, FORM, TASK, VALIDATE, api_world
from hypothesis import HealthCheck, given, settings, strategies as st

LIMIT: Final = 250
JSON_BODY: Final = (
    b'{"tool_name":"issue_refund","subject":"Refund","risk_level":"high","payload":{"amount":100,"currency":"usd",'
    b'"to":{"iban":"DE1","tags":["a",1.5,null,true]}},"summary":["one","two"],"metadata":{"run":"1"},"expires_in":60}'
)
FORM_BODY: Final = (
    b"tool_name=issue_refund&subject=Refund&risk_level=high&payload[amount]=100&payload[currency]=usd"
    b"&payload[to][iban]=DE1&payload[n:number]=1.5&summary[0]=one&metadata[run]=1&expires_in=60"
)
PIECES: Final = [
    *(b'"amount":', b'"\\u0061mount":6000,', b"6000", b"1e400", b"1e2", b"NaN", b"-0", b"9007199254740993"),
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"null", b"\\ud800", b"\xff", b"\x00", b" ", b"0.1", b"//"),
    *(
        b"&",
        b"=",
        b"%",
        b"%00",
        b"%FF",
        b"payload[amount]=6000",
        b"payload[amount:number]=1",
        b"payload[amount:json]=1",
    ),
    *(b"payload[", b"]=", b"[0]", b"+", b"payload[amount][a]=1", b"&payload[amount]=100", b"\xef\xbb\xbf", b"\xc3"),
]
Spot = st.floats(0, 1, exclude_max=True)


@st.composite
def mutated(draw: st.DrawFn, body: bytes) -> bytes:
    """The body with a few pieces put in, taken out or doubled."""
    made = bytearray(body)
    for _ in range(draw(st.integers(1, 4))):
        start = int(draw(Spot) * (len(made) + 1))
        length = draw(st.integers(0, 30))
        piece = draw(st.sampled_from(PIECES) | st.binary(max_size=6))
        how = draw(st.sampled_from(["insert", "delete", "replace", "double"]))
        if how == "insert":
            made[start:start] = piece
        elif how == "delete":
            del made[start : start + length]
        elif how == "replace":
            made[start : start + length] = piece
        else:
            made[start:start] = made[start : start + length]
    return bytes(made)


AnyJson = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
Names = st.sampled_from(["tool_name", "subject", "payload", "metadata", "summary", "expires_in", "risk_level", "x"])
SHAPED = st.dictionaries(Names, AnyJson | st.just("issue_refund"), max_size=8).map(lambda v: json.dumps(v).encode())


# The oracle reads by itself: the standard library with a hook for keys, and a query parser of its own.


class Unreadable(Exception):
    """The oracle sees no single meaning."""


def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise Unreadable
    return dict(pairs)


def amount_of_json(body: bytes) -> object:
    try:
        value = json.loads(body.decode(), object_pairs_hook=once, parse_float=Decimal, parse_constant=float)
    except ValueError:
        raise Unreadable from None
    payload = value.get("payload") or {}
    return payload.get("amount")


def amount_of_form(body: bytes) -> object:
    pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=False, errors="strict", separator="&")
    found = [(name, value) for name, value in pairs if re.match(r"payload\[amount(:\w+)?\]", name)]
    if len(found) != 1:
        raise Unreadable
    name, value = found[0]
    return json.loads(value, parse_float=Decimal) if name.endswith((":json]", ":number]")) else value


def may_be_allowed(amount: object) -> bool:
    """By the policy of the test: a number up to the limit."""
    if isinstance(amount, str) and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", amount, re.ASCII):
        amount = Decimal(amount)
    return isinstance(amount, int | Decimal) and not isinstance(amount, bool) and amount <= LIMIT


def check(answer: httpx2.Response, body: bytes, amount_of: Callable[[bytes], object]) -> None:
    assert answer.status_code in (200, 201, 400, 403, 404, 409, 413, 415, 422), (answer.status_code, body)
    if answer.status_code != 200:
        assert "x-gate-decision" not in answer.headers
        assert answer.headers["content-type"] == "application/problem+json" or answer.status_code == 201
        return
    decision = answer.json()
    assert decision["status"] == answer.headers["x-gate-decision"]
    if decision["status"] == "allow":
        assert may_be_allowed(amount_of(body)), body


def send(body: bytes, content_type: str, amount_of: Callable[[bytes], object], path: str = ASK) -> None:
    answer = CALL(path, body, content_type)
    check(answer, body, amount_of)


class _Call:
    """One gate for a whole test: hypothesis is synchronous, the gate is not."""

    runner: asyncio.Runner | None = None
    http: httpx2.AsyncClient | None = None

    def __call__(self, path: str, body: bytes, content_type: str) -> httpx2.Response:
        assert self.runner is not None
        assert self.http is not None
        return self.runner.run(self.http.post(path, content=body, headers={"content-type": content_type}))


CALL: Final = _Call()


@pytest.fixture(autouse=True)
def gate() -> Any:
    with asyncio.Runner() as runner:
        world = api_world()
        api = runner.run(world.__aenter__())
        CALL.runner, CALL.http = runner, api.http
        yield
        runner.run(world.__aexit__(None, None, None))
        CALL.runner = CALL.http = None


def examples(number: int) -> settings:
    """Always the same ones; a failure names itself by its body."""
    quiet = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    return settings(max_examples=number, derandomize=True, database=None, suppress_health_check=quiet)


@given(mutated(JSON_BODY))
@examples(200)
def test_mutated_json_is_refused_or_decided_by_policy(body: bytes) -> None:
    send(body, "application/json", amount_of_json)


@given(mutated(FORM_BODY))
@examples(200)
def test_mutated_forms_are_refused_or_decided_by_policy(body: bytes) -> None:
    send(body, FORM, amount_of_form)


@given(SHAPED | st.binary(max_size=200))
@examples(150)
def test_any_json_and_any_bytes_are_refused_or_decided_by_policy(body: bytes) -> None:
    send(body, "application/json", amount_of_json)


@given(st.sampled_from([VALIDATE, TASK + "/events", TASK + "/outcomes"]), SHAPED | mutated(JSON_BODY))
@examples(100)
def test_the_other_calls_take_any_body_without_a_fault(path: str, body: bytes) -> None:
    answer = CALL(path, body, "application/json")
    assert answer.status_code < 500, body
    assert "x-gate-decision" not in answer.headers


@pytest.mark.slow
@given(mutated(JSON_BODY))
@examples(4000)
def test_four_thousand_mutated_json_bodies(body: bytes) -> None:
    send(body, "application/json", amount_of_json)


@pytest.mark.slow
@given(mutated(FORM_BODY))
@examples(4000)
def test_four_thousand_mutated_forms(body: bytes) -> None:
    send(body, FORM, amount_of_form)


@pytest.mark.slow
@given(SHAPED | st.binary(max_size=400))
@examples(2000)
def test_two_thousand_bodies_of_any_shape(body: bytes) -> None:
    send(body, "application/json", amount_of_json)
