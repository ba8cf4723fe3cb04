"""The same request as a form and as JSON."""

from __future__ import annotations

import pytest
from gate.tests.api.agent.calls import ASK, FORM, TASK, VALIDATE, Api, problem, refund

from stacksona_gate.domain.canonical import digest

FIELDS = {"tool_name": "issue_refund", "subject": "Refund"}


async def test_values_of_a_form_stay_texts_in_the_digest(api: Api) -> None:
    form = {**FIELDS, "payload[amount]": "100", "payload[ok]": "true"}
    decision = (await api.post(ASK, form=form)).json()
    assert decision["payload_digest"] == digest({"amount": "100", "ok": "true"})


async def test_a_number_rule_reads_a_forms_text(api: Api) -> None:
    statuses = [
        (await api.post(ASK, form={**FIELDS, "payload[amount]": amount})).json()["status"]
        for amount in ("100", "500", "6000")
    ]
    assert statuses == ["allow", "pending_review", "reject"]


async def test_a_typed_form_and_its_json_have_one_digest(api: Api) -> None:
    payload = {"amount": 100, "ok": True, "note": "a & b", "to": {"iban": "DE1"}, "tags": ["x", 1, None]}
    form = {
        **FIELDS,
        "payload[amount:number]": "100",
        "payload[ok:boolean]": "true",
        "payload[note]": "a & b",
        "payload[to][iban]": "DE1",
        "payload[tags:json]": '["x",1,null]',
    }
    by_form = (await api.post(ASK, form=form)).json()
    by_json = (await api.post(ASK, {**FIELDS, "payload": payload})).json()
    assert by_form["payload_digest"] == by_json["payload_digest"] == digest(payload)
    assert by_form["status"] == by_json["status"]


async def test_every_field_can_be_sent_as_a_form(api: Api) -> None:
    form = {
        **FIELDS,
        "workflow_name": "Support",
        "task_label": "Order 1",
        "risk_level": "high",
        "preview": "Dear customer",
        "summary[0]": "first",
        "summary[1]": "second",
        "payload[amount:number]": "500",
        "metadata[run]": "42",
        "expires_in": "60",
        "attachments[0][name]": "a.txt",
        "attachments[0][content_type]": "text/plain",
        "attachments[0][data]": "aGVsbG8=",
    }
    decision = (await api.post(ASK, form=form)).json()
    request = await api.request(decision)
    assert (request.workflow_name, request.task_label, request.risk_level) == ("Support", "Order 1", "high")
    assert (request.preview, request.summary) == ("Dear customer", '["first","second"]')
    assert (decision["metadata"], decision["expires_at"]) == ({"run": "42"}, "2026-11-26T12:01:00Z")
    assert api.counted()["attachments"] == 1


async def test_a_value_cannot_leave_its_field(api: Api) -> None:
    hostile = '1", "amount": 1}&payload[amount]=1'
    form = {**FIELDS, "payload[amount]": "6000", "payload[note]": hostile}
    decision = (await api.post(ASK, form=form)).json()
    assert decision["status"] == "reject"
    assert decision["payload_digest"] == digest({"amount": "6000", "note": hostile})


async def test_a_blank_value_is_present(api: Api) -> None:
    decision = (await api.post(ASK, form={**FIELDS, "payload[amount]": "100", "payload[note]": ""})).json()
    assert decision["payload_digest"] == digest({"amount": "100", "note": ""})


REFUSED = {
    "a repeated name": "payload[a]=1&payload[a]=2",
    "a repeated field": "subject=other",
    "the same place typed and untyped": "payload[a]=1&payload[a:number]=1",
    "a value and an object": "payload[a]=1&payload[a][b]=1",
    "a malformed bracket": "payload[a=1",
    "an empty bracket": "payload[]=1",
    "a payload as one value": "payload=%7B%7D",
    "a payload as one typed value": "payload:json=%7B%7D",
    "bad UTF-8": "payload[a]=%FF",
    "a broken escape": "payload[a]=%zz",
    "no equals sign": "payload[a]",
    "a number that is none": "payload[a:number]=12x",
    "a number that is not exact": "payload[a:number]=0.1000000000000000055",
    "a boolean that is none": "payload[a:boolean]=yes",
    "json that is none": "payload[a:json]=%7B",
    "json with a key twice": "payload[a:json]=%7B%22b%22:1,%22b%22:2%7D",
    "an unknown type": "payload[a:date]=1",
    "a gap in a list": "summary[1]=x",
    "an expiry in words": "expires_in=soon",
    "metadata with an object": "metadata[a][b]=1",
    "too many fields": "&".join(f"payload[{n}]=1" for n in range(1000)),
    "nesting": "payload" + "[a]" * 40 + "=1",
}


@pytest.mark.parametrize("more", REFUSED.values(), ids=REFUSED.keys())
async def test_a_form_with_two_readings_is_422_and_nothing_is_decided(api: Api, more: str) -> None:
    before = api.counted()
    raw = "tool_name=issue_refund&subject=Refund&payload[amount]=1&" + more
    made = problem(await api.post(ASK, raw=raw, headers={"content-type": FORM}), 422)
    assert made["errors"]
    assert api.counted() == before


async def test_a_thousand_fields_are_read(api: Api) -> None:
    form = {**FIELDS, "payload[amount]": "1", **{f"payload[f{n}]": "1" for n in range(997)}}
    assert (await api.post(ASK, form=form)).json()["status"] == "allow"


async def test_a_form_with_a_charset_is_a_form(api: Api) -> None:
    headers = {"content-type": "Application/X-WWW-Form-Urlencoded; charset=UTF-8"}
    answer = await api.post(ASK, raw="tool_name=issue_refund&subject=s&payload[amount]=1", headers=headers)
    assert answer.json()["status"] == "allow"


async def test_json_declared_as_a_form_is_422_with_a_hint(api: Api) -> None:
    made = problem(await api.post(ASK, refund(1), headers={"content-type": FORM}), 422)
    assert "application/json" in made["detail"]


async def test_an_approval_is_redeemed_by_form(api: Api) -> None:
    decision = await api.ask(100)
    form = {
        "task_id": "task-1",
        "signature": decision["approval_token"],
        "tool_name": "issue_refund",
        "payload[amount:number]": "100",
        "payload[currency]": "usd",
        "payload[customer_id]": "cus_99",
    }
    assert (await api.post(VALIDATE, form=form)).json()["valid"] is True


async def test_a_payload_of_texts_is_not_the_approved_payload_of_numbers(api: Api) -> None:
    decision = await api.ask(100)
    form = {
        "task_id": "task-1",
        "signature": decision["approval_token"],
        "tool_name": "issue_refund",
        "payload[amount]": "100",
        "payload[currency]": "usd",
        "payload[customer_id]": "cus_99",
    }
    assert problem(await api.post(VALIDATE, form=form), 403)["reason"] == "payload_mismatch"


async def test_events_and_outcomes_are_taken_as_forms(api: Api) -> None:
    decision = await api.ask(100)
    event = await api.post(TASK + "/events", form={"event_type": "task.started", "payload[step]": "1"})
    outcome = await api.post(
        TASK + "/outcomes", form={"request_id": decision["request_id"], "status": "failed", "detail": "no money"}
    )
    assert (event.status_code, outcome.status_code) == (201, 201)


async def test_a_revision_is_taken_as_a_form(api: Api) -> None:
    decision = await api.ask()
    form = {"event_type": "revision", "thread_id": decision["thread_id"], "payload[amount:number]": "400"}
    answer = await api.post(TASK + "/events", form=form)
    assert (answer.status_code, answer.json()["revision"]) == (200, 2)
