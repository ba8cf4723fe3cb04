"""Asking: every field, its limits, and what the answer says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from gate.tests.api.agent.calls import ASK, DECISIONS, REFUND, Api, api_world, problem, refund
from gate.tests.factories import beside

from stacksona_gate.domain.canonical import digest

THREAD_ID = re.compile(r"THR-[0-9A-HJKMNP-TV-Z]{26}")


async def test_an_allowed_request_is_answered_at_once_with_a_token(api: Api) -> None:
    answer = await api.post(ASK, refund(100))
    decision = answer.json()
    assert answer.status_code == 200
    assert (decision["status"], decision["reason_code"]) == ("allow", "default")
    assert decision["approval_token"].count(".") == 2
    assert not {"thread_id", "expires_at", "review_url"} & decision.keys()


async def test_a_refused_request_is_a_200_with_reject_and_no_token(api: Api) -> None:
    answer = await api.post(ASK, refund(6000))
    decision = answer.json()
    assert answer.status_code == 200
    assert (decision["status"], decision["reason_code"], decision["rule"]["name"]) == (
        "reject",
        "rule",
        "Refunds over 5000",
    )
    assert "approval_token" not in decision


async def test_a_pending_request_names_its_thread_its_end_and_where_people_look(api: Api) -> None:
    decision = await api.ask()
    assert decision["status"] == "pending_review"
    assert THREAD_ID.fullmatch(decision["thread_id"])
    assert decision["expires_at"] == "2026-11-27T12:00:00Z"
    assert decision["review_url"] == f"http://127.0.0.1:8420/inbox/{decision['thread_id']}"
    assert "approval_token" not in decision


async def test_every_decision_has_the_fields_of_the_contract(api: Api) -> None:
    decision = await api.ask()
    assert decision == {
        "status": "pending_review",
        "request_id": decision["request_id"],
        "task_id": "task-1",
        "thread_id": decision["thread_id"],
        "reason_code": "rule",
        "message": "amount 500 is over 250",
        "rule": {"id": decision["rule"]["id"], "name": "Refunds over 250", "type": "upper_limit"},
        "policy_version": 1,
        "payload_digest": digest(REFUND["payload"]),
        "revision": 1,
        "expires_at": "2026-11-27T12:00:00Z",
        "review_url": decision["review_url"],
        "revision_requested": False,
        "metadata": {},
        "warnings": [],
    }


async def test_a_request_without_a_payload_is_one_with_an_empty_payload(api: Api) -> None:
    body = {"tool_name": "wire_transfer", "subject": "?"}
    decision = (await api.post(ASK, body)).json()
    assert decision["payload_digest"] == digest({})


async def test_content_type_may_be_missing_for_json(api: Api) -> None:
    request = api.http.build_request("POST", ASK, content=b'{"tool_name":"issue_refund","subject":"s"}')
    request.headers.pop("content-type", None)
    answer = await api.http.send(request)
    assert answer.status_code == 200


AT_THE_LIMIT: list[dict[str, Any]] = [
    {"tool_name": "a" * 200},
    {"tool_name": "A-Z.a_z:0/9"},
    {"subject": "s" * 500},
    {"subject": "\U0001f600" * 500},
    {"workflow_name": "w" * 200},
    {"workflow_name": ""},
    {"task_label": "l" * 200},
    {"preview": "p" * 20_000},
    {"preview": None},
    {"summary": ["x" * 1000] * 50},
    {"summary": []},
    {"risk_level": "low"},
    {"risk_level": "critical"},
    {"metadata": {f"{n:064}": "v" * 1000 for n in range(20)}},
    {"expires_in": 30},
    {"expires_in": 2_592_000},
    {"attachments": []},
]


@pytest.mark.parametrize("fields", AT_THE_LIMIT, ids=lambda fields: next(iter(fields)))
async def test_a_field_at_its_limit_is_taken(api: Api, fields: dict[str, Any]) -> None:
    answer = await api.post(ASK, {**REFUND, **fields})
    assert answer.status_code == 200, answer.text
    assert answer.json()["warnings"] == []


BEYOND: list[tuple[str, object]] = [
    ("tool_name", "a" * 201),
    ("tool_name", ""),
    ("tool_name", "issue refund"),
    ("tool_name", "issue_refund\n"),
    ("tool_name", "issue_refund\u200b"),
    ("tool_name", "issue_refünd"),
    ("tool_name", "a\\b"),
    ("tool_name", None),
    ("tool_name", 5),
    ("tool_name", ["issue_refund"]),
    ("subject", ""),
    ("subject", "s" * 501),
    ("subject", None),
    ("subject", 5),
    ("workflow_name", "w" * 201),
    ("workflow_name", 1),
    ("task_label", "l" * 201),
    ("risk_level", "none"),
    ("risk_level", "HIGH"),
    ("risk_level", None),
    ("risk_level", 3),
    ("preview", "p" * 20_001),
    ("preview", {"html": "x"}),
    ("summary", ["x"] * 51),
    ("summary", ["x" * 1001]),
    ("summary", "x"),
    ("summary", [1]),
    ("payload", []),
    ("payload", "x"),
    ("payload", 5),
    ("metadata", {"k" * 65: "v"}),
    ("metadata", {"k": "v" * 1001}),
    ("metadata", {"k": 5}),
    ("metadata", {"k": {"a": "b"}}),
    ("metadata", {str(n): "v" for n in range(21)}),
    ("metadata", ["v"]),
    ("expires_in", 29),
    ("expires_in", 2_592_001),
    ("expires_in", 60.5),
    ("expires_in", "60"),
    ("expires_in", True),
    ("expires_in", -1),
    ("attachments", {}),
    ("attachments", "x"),
]


@pytest.mark.parametrize(("field", "value"), BEYOND)
async def test_a_field_beyond_its_limit_is_422_naming_it_and_nothing_is_decided(
    api: Api, field: str, value: object
) -> None:
    before = api.counted()
    made = problem(await api.post(ASK, {**REFUND, field: value}), 422)
    assert made["errors"][0]["field"].partition(".")[0].partition("[")[0] == field
    assert api.counted() == before


@pytest.mark.parametrize("field", ["tool_name", "subject"])
async def test_a_required_field_that_is_missing_is_422_naming_it(api: Api, field: str) -> None:
    made = problem(await api.post(ASK, refund(**{field: None})), 422)
    assert [error["field"] for error in made["errors"]] == [field]


async def test_null_stands_for_an_optional_field_that_is_not_there(api: Api) -> None:
    nothing = dict.fromkeys(("workflow_name", "task_label", "preview", "summary", "metadata", "expires_in"))
    assert (await api.post(ASK, {**REFUND, **nothing})).json()["status"] == "pending_review"


@pytest.mark.parametrize("task", ["a", "t" * 200, "A-Z.a_z:0-9"])
async def test_a_task_id_of_the_alphabet_is_taken_as_it_is(api: Api, task: str) -> None:
    assert (await api.ask(task=task))["task_id"] == task


@pytest.mark.parametrize("task", ["t" * 201, "a b", "a%2Fb", "t%C3%A4sk", "a%0A", "a%00", "%FF", "a+b", "a@b"])
async def test_a_task_id_outside_its_alphabet_is_refused_and_nothing_is_decided(api: Api, task: str) -> None:
    before = api.counted()
    answer = await api.post(f"/api/agent/tasks/{task}/requests", REFUND)
    assert answer.status_code in (404, 422)
    problem(answer, answer.status_code)
    assert api.counted() == before


async def test_metadata_is_echoed_in_the_decision_and_when_it_is_polled(api: Api) -> None:
    decision = await api.ask(metadata={"run": "42", "ä": "ö"})
    assert decision["metadata"] == {"run": "42", "ä": "ö"}
    assert (await api.poll(decision))["metadata"] == {"run": "42", "ä": "ö"}


async def test_metadata_never_changes_the_answer(api: Api) -> None:
    decision = await api.ask(6000, metadata={"status": "allow", "approved": "true", "amount": "1"})
    assert decision["status"] == "reject"


async def test_expires_in_says_when_the_thread_expires(api: Api) -> None:
    assert (await api.ask(expires_in=60))["expires_at"] == "2026-11-26T12:01:00Z"


async def test_an_expired_thread_is_rejected_when_it_is_read(api: Api) -> None:
    decision = await api.ask(expires_in=60)
    api.world.clock.advance(60)
    now = await api.poll(decision)
    assert (now["status"], now["reason_code"]) == ("rejected", "expired")


async def test_the_risk_level_may_tighten_an_answer() -> None:
    policy = """
version: 1
tools:
  issue_refund:
    default: allow
    rules: [{name: Risky, type: regex, parameter: $risk_level, pattern: "^(high|critical)$", action: review}]
"""
    async with api_world(policy=policy) as api:
        statuses = [(await api.ask(100, risk_level=level))["status"] for level in ("low", "high")]
    assert statuses == ["allow", "pending_review"]


async def test_an_unknown_tool_goes_to_people_and_is_discovered(api: Api) -> None:
    decision = await api.ask(1, tool_name="drop_database")
    assert (decision["status"], decision["reason_code"]) == ("pending_review", "tool_unknown")
    listed = await api.world.read(lambda tx: tx.policies.list_discovered("default"))
    assert [name for name, _, _ in listed] == ["drop_database"]


@pytest.mark.parametrize(
    ("sent", "meant"),
    [("toolname", "tool_name"), ("risk", "risk_level"), ("Payload", "payload"), ("expires", "expires_in")],
)
async def test_an_unknown_field_is_named_in_warnings_with_the_likely_spelling(api: Api, sent: str, meant: str) -> None:
    decision = await api.ask(**{sent: "low"})
    assert decision["warnings"] == [
        f"unknown field {sent!r} is not part of the decision; did you mean {meant}?",
    ]


async def test_an_unknown_field_does_not_change_the_decision(api: Api) -> None:
    decision = await api.ask(6000, Payload={"amount": 1}, status="allow", decision="allow")
    assert decision["status"] == "reject"
    assert decision["payload_digest"] == digest({**REFUND["payload"], "amount": 6000})


async def test_a_flood_of_unknown_fields_is_warned_of_in_short(api: Api) -> None:
    unknown: dict[str, Any] = {f"zz{n}" * 30: n for n in range(100)}
    decision = await api.ask(**unknown)
    assert len(decision["warnings"]) == 21
    assert decision["warnings"][-1].startswith("80 more unknown fields")
    assert max(map(len, decision["warnings"])) < 200


async def test_only_the_five_statuses_are_ever_sent(api: Api) -> None:
    seen = {(await api.ask(amount))["status"] for amount in (100, 500, 6000)}
    approved, refused = await api.approved(), await api.ask(500)
    await api.review(refused, "reject")
    seen |= {approved["status"], (await api.poll(refused))["status"]}
    assert seen == {"allow", "pending_review", "reject", "approved", "rejected"}


async def test_every_answer_is_recorded_whatever_it_is(api: Api) -> None:
    for amount in (100, 500, 6000):
        await api.ask(amount)
    assert api.counted()["requests"] == 3
    assert len(await api.world.entries("request.decided")) == 2
    assert len(await api.world.entries("thread.opened")) == 1


async def test_an_agent_without_signed_approvals_gets_no_token(api: Api) -> None:
    other = await api.world.new_agent("plain", signed_approvals=False)
    answer = await api.post(ASK, refund(100), key=other.key)
    assert answer.json()["status"] == "allow"
    assert "approval_token" not in answer.json()
    assert "x-gate-approval-token" not in answer.headers


async def test_the_reviewers_words_reach_the_agent(api: Api) -> None:
    decision = await api.ask()
    await api.review(decision, "reject", message="she was refunded yesterday")
    now = await api.poll(decision)
    assert (now["message"], now["reason_code"]) == ("she was refunded yesterday", "reviewer")
    assert now["reviews"] == [{"verdict": "reject", "reviewer": "Rita", "at": "2026-11-26T12:00:00Z"}]


async def test_the_newest_policy_answers(api: Api) -> None:
    await api.world.apply("version: 1\ntools: {issue_refund: {default: reject}}\n")
    decision = await api.ask(1)
    assert (decision["status"], decision["policy_version"]) == ("reject", 2)


async def test_a_policy_changed_by_another_process_answers_the_next_request(api: Api) -> None:
    await api.ask(1)
    async with beside(api.world) as other:
        await other.apply("version: 1\ntools: {issue_refund: {default: reject}}\n")
    assert (await api.ask(1))["status"] == "reject"


async def test_ten_requests_of_one_task_are_ten_requests(api: Api) -> None:
    ids = {(await api.ask(100))["request_id"] for _ in range(10)}
    assert len(ids) == 10
    assert (await api.get(DECISIONS, task_id="task-1")).json()["request_id"] in ids
