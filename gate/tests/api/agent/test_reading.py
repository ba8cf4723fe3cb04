"""One reading: what two readers could understand differently is refused, and nothing is decided."""

from __future__ import annotations

import gzip
import json

import pytest
from gate.tests.api.agent.calls import ASK, FORM, REFUND, TASK, VALIDATE, Api, problem, refund

from stacksona_gate.domain.canonical import digest

HEAD = '{"tool_name":"issue_refund","subject":"s","payload":'
TWO_READINGS = {
    "a key twice": '{"amount":1,"amount":6000}}',
    "a key twice, once escaped": '{"amount":1,"\\u0061mount":6000}}',
    "a key twice, deep": '{"a":[{"b":{"c":1,"c":2}}]}}',
    "a top-level key twice": '{"amount":1},"payload":{"amount":6000}}',
    "a top-level key twice, once escaped": '{"amount":1},"\\u0070ayload":{"amount":6000}}',
    "NaN": '{"amount":NaN}}',
    "Infinity": '{"amount":Infinity}}',
    "-Infinity": '{"amount":-Infinity}}',
    "a number that no double is": '{"amount":0.1000000000000000055}}',
    "a number beyond doubles": '{"amount":1e400}}',
    "a number that vanishes": '{"amount":1e-400}}',
    "an integer beyond": '{"amount":9007199254740992}}',
    "an integer beyond below": '{"amount":-9007199254740992}}',
    "an integer beyond with a point": '{"amount":9007199254740993.0}}',
    "an integer beyond with an exponent": '{"amount":1e17}}',
    "a lone surrogate": '{"note":"\\ud800"}}',
    "a lone surrogate as key": '{"\\udc00":1}}',
    "surrogates in the wrong order": '{"note":"\\udc00\\ud800"}}',
    "nesting over 32": '{"a":' + "[" * 31 + "]" * 31 + "}}",
    "nesting without end": '{"a":' + "[" * 100_000,
    "leading zeros": '{"amount":01}}',
    "a plus sign": '{"amount":+1}}',
    "a comment": '{"amount":1/*0*/}}',
    "a comma at the end": '{"amount":1,}}',
    "single quotes": "{'amount':1}}",
    "two values": '{"amount":1}} {}',
    "no end": '{"amount":1',
    "a control character": '{"note":"\x01"}}',
}


@pytest.mark.parametrize("payload", TWO_READINGS.values(), ids=TWO_READINGS.keys())
async def test_a_body_with_two_readings_is_400_and_nothing_is_decided(api: Api, payload: str) -> None:
    before = api.counted()
    problem(await api.post(ASK, raw=HEAD + payload), 400, "malformed")
    assert api.counted() == before


NO_OBJECT = [b"", b" ", b"null", b"[]", b'"x"', b"5", b"\xff\xfe", b"\xef\xbb\xbf{}", b'{"a":"\xff"}', b"\x00", b"{"]


@pytest.mark.parametrize("raw", NO_OBJECT)
@pytest.mark.parametrize("path", [ASK, TASK + "/events", TASK + "/outcomes", VALIDATE])
async def test_what_is_no_json_object_is_400_everywhere(api: Api, path: str, raw: bytes) -> None:
    before = api.counted()
    problem(await api.post(path, raw=raw), 400, "malformed")
    assert api.counted() == before


@pytest.mark.parametrize("path", [TASK + "/events", TASK + "/outcomes", VALIDATE])
async def test_every_call_refuses_a_key_that_comes_twice(api: Api, path: str) -> None:
    problem(await api.post(path, raw='{"event_type":"a","event_type":"b"}'), 400, "malformed")


async def test_redemption_refuses_a_payload_with_two_readings_and_uses_nothing_up(api: Api) -> None:
    decision = await api.ask(100)
    raw = f'{{"task_id":"task-1","signature":"{decision["approval_token"]}","payload":{{"amount":100,"amount":1}}}}'
    problem(await api.post(VALIDATE, raw=raw), 400)
    assert (await api.redeem(decision)).status_code == 200


READ = {
    "nesting of 32": ('{"a":' + "[" * 30 + "]" * 30 + "}", None),
    "the largest integer": ('{"n":9007199254740991}', {"n": 9007199254740991}),
    "another spelling of a number": ('{"n":0.10}', {"n": 0.1}),
    "an exponent": ('{"n":1e2}', {"n": 100}),
    "minus zero": ('{"n":-0}', {"n": 0}),
    "a surrogate pair": ('{"n":"\\ud83d\\ude00"}', {"n": "\U0001f600"}),
    "an escaped key": ('{"\\u006e":1}', {"n": 1}),
    "spaces": (' { "n" : 1 } ', {"n": 1}),
}


@pytest.mark.parametrize(("payload", "value"), READ.values(), ids=READ.keys())
async def test_a_body_with_one_reading_is_read(api: Api, payload: str, value: object) -> None:
    answer = await api.post(ASK, raw=HEAD + payload + "}")
    assert answer.status_code == 200, answer.text
    assert value is None or answer.json()["payload_digest"] == digest(value)


def body_of(size: int, **fields: object) -> bytes:
    body = json.dumps({**REFUND, "payload": {"amount": 500, "pad": ""}, **fields}).encode()
    return body.replace(b'"pad": ""', b'"pad": "' + b"x" * (size - len(body)) + b'"')


async def test_a_body_of_256_kib_is_taken(api: Api) -> None:
    answer = await api.post(ASK, raw=body_of(256 * 1024))
    assert answer.json()["status"] == "pending_review"


@pytest.mark.parametrize("fields", [{}, {"attachments": []}, {"attachments": None}])
async def test_a_larger_body_without_attachments_is_413_and_nothing_is_decided(
    api: Api, fields: dict[str, object]
) -> None:
    before = api.counted()
    problem(await api.post(ASK, raw=body_of(256 * 1024 + 1, **fields)), 413, "too_large")
    assert api.counted() == before


async def test_a_body_over_7_mb_is_413_with_attachments_too(api: Api) -> None:
    before = api.counted()
    file = {"name": "a", "content_type": "b", "data": ""}
    problem(await api.post(ASK, raw=body_of(7 * 1024 * 1024 + 1, attachments=[file])), 413, "too_large")
    assert api.counted() == before


@pytest.mark.parametrize("path", [VALIDATE, TASK + "/outcomes"])
async def test_other_calls_take_256_kib(api: Api, path: str) -> None:
    problem(await api.post(path, raw=body_of(256 * 1024 + 1)), 413, "too_large")


async def test_a_large_form_is_413(api: Api) -> None:
    raw = "tool_name=issue_refund&subject=s&payload[a]=" + "x" * 256 * 1024
    problem(await api.post(ASK, raw=raw, headers={"content-type": FORM}), 413, "too_large")


@pytest.mark.parametrize(
    "kind", ["text/plain", "multipart/form-data; boundary=x", "application/xml", "application/jsonx", "json", "*/*"]
)
async def test_another_content_type_is_415_and_nothing_is_decided(api: Api, kind: str) -> None:
    before = api.counted()
    problem(await api.post(ASK, refund(1), headers={"content-type": kind}), 415, "unsupported_media_type")
    assert api.counted() == before


async def test_a_compressed_body_is_not_read(api: Api) -> None:
    raw = gzip.compress(b'{"tool_name":"issue_refund","subject":"s"}')
    problem(await api.post(ASK, raw=raw, headers={"content-encoding": "gzip"}), 400)


async def test_rules_and_digest_see_one_value(api: Api) -> None:
    answer = await api.post(ASK, raw=HEAD + '{"\\u0061mount":6000,"Amount":1}}')
    assert answer.json()["status"] == "reject"
    assert answer.json()["payload_digest"] == digest({"amount": 6000, "Amount": 1})
