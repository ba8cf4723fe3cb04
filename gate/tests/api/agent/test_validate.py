"""Redeeming approvals."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from gate.tests.api.agent.calls import PAYLOAD_TYPE, REFUND, TASK, VALIDATE, Api, problem, refund
from gate.tests.factories import second_tenant
from msgspec.structs import replace

from stacksona_gate.domain.canonical import digest


def refused(answer: Any, reason: str) -> Any:
    """A refused redemption: 403, not valid, no decision in its headers."""
    made = problem(answer, 403, "approval_refused")
    assert (made["valid"], made["reason"]) == (False, reason)
    return made


async def test_an_approval_is_redeemed_once(api: Api) -> None:
    decision = await api.approved()
    answer = await api.redeem(decision)
    assert answer.status_code == 200
    assert answer.json() == {
        "valid": True,
        "status": "approved",
        "thread_id": decision["thread_id"],
        "request_id": decision["request_id"],
        "task_id": "task-1",
        "tool_name": "issue_refund",
        "payload": REFUND["payload"],
        "payload_digest": decision["payload_digest"],
        "redeemed_at": "2026-11-26T12:00:00Z",
    }
    refused(await api.redeem(decision), "already_used")


async def test_what_was_allowed_at_once_is_redeemed_too(api: Api) -> None:
    answer = await api.redeem(await api.ask(100))
    assert (answer.json()["status"], answer.json()["thread_id"]) == ("allow", None)


async def test_a_redemption_carries_no_decision_header(api: Api) -> None:
    answer = await api.redeem(await api.ask(100))
    assert not [name for name in answer.headers if name.startswith("x-gate")]


async def test_the_payload_alone_is_handed_on_untouched(api: Api) -> None:
    body = '{"tool_name":"issue_refund","subject":"s","payload":{"amount":1e2,"é":"\\u00e9","a":[1.50,null]}}'
    decision = (await api.post(TASK + "/requests", raw=body)).json()
    answer = await api.post(
        VALIDATE, {"task_id": "task-1", "signature": decision["approval_token"]}, headers={"accept": PAYLOAD_TYPE}
    )
    assert answer.content == '{"a":[1.5,null],"amount":100,"é":"é"}'.encode()
    assert answer.headers["content-type"] == PAYLOAD_TYPE
    assert digest(answer.json()) == decision["payload_digest"]


@pytest.mark.parametrize("accept", [f"{PAYLOAD_TYPE};q=1", f"application/json, {PAYLOAD_TYPE}"])
async def test_the_payload_type_may_be_one_of_many(api: Api, accept: str) -> None:
    decision = await api.ask(100)
    body = {"task_id": "task-1", "signature": decision["approval_token"]}
    answer = await api.post(VALIDATE, body, headers={"accept": accept})
    assert answer.json() == refund(100)["payload"]


async def test_a_refusal_is_a_problem_for_who_wants_the_payload_too(api: Api) -> None:
    body = {"task_id": "task-1", "signature": "x"}
    refused(await api.post(VALIDATE, body, headers={"accept": PAYLOAD_TYPE}), "bad_signature")


WRONG: list[tuple[str, dict[str, object]]] = [
    ("wrong_task", {"task_id": "task-2"}),
    ("wrong_task", {"task_id": ""}),
    ("wrong_task", {"task_id": "Task-1"}),
    ("wrong_tool", {"tool_name": "wire_transfer"}),
    ("wrong_tool", {"tool_name": ""}),
    ("wrong_tool", {"tool_name": "issue_refund\n"}),
    ("payload_mismatch", {"payload_digest": digest({"amount": 501})}),
    ("payload_mismatch", {"payload_digest": None, "payload": {"amount": 501}}),
    ("payload_mismatch", {"payload_digest": None, "payload": {}}),
    ("payload_mismatch", {"payload": {"amount": 501}}),
    ("payload_mismatch", {"payload": REFUND["payload"], "payload_digest": digest({})}),
    ("bad_signature", {"signature": ""}),
    ("bad_signature", {"signature": "a.b.c"}),
    ("bad_signature", {"signature": "x" * 8192}),
    ("bad_signature", {"signature": "é.é.é"}),
]


@pytest.mark.parametrize(("reason", "fields"), WRONG)
async def test_a_refused_redemption_says_why_and_uses_nothing_up(
    api: Api, reason: str, fields: dict[str, object]
) -> None:
    decision = await api.approved()
    body = {
        "task_id": "task-1",
        "signature": decision["approval_token"],
        "tool_name": "issue_refund",
        "payload_digest": decision["payload_digest"],
        **fields,
    }
    refused(await api.post(VALIDATE, {name: value for name, value in body.items() if value is not None}), reason)
    assert (await api.redeem(decision)).status_code == 200


@pytest.mark.parametrize("part", [0, 1, 2])
async def test_a_token_changed_anywhere_is_refused(api: Api, part: int) -> None:
    decision = await api.approved()
    parts = decision["approval_token"].split(".")
    middle = len(parts[part]) // 2
    flipped = "A" if parts[part][middle] != "A" else "B"
    parts[part] = parts[part][:middle] + flipped + parts[part][middle + 1 :]
    refused(await api.redeem(decision, signature=".".join(parts)), "bad_signature")


@pytest.mark.parametrize("suffix", ["=", " ", ".", "\n", "A"])
async def test_another_spelling_of_a_token_is_refused(api: Api, suffix: str) -> None:
    decision = await api.approved()
    refused(await api.redeem(decision, signature=decision["approval_token"] + suffix), "bad_signature")


async def test_a_token_is_over_after_fifteen_minutes_and_the_approval_is_not(api: Api) -> None:
    decision = await api.approved()
    api.world.clock.advance(15 * 60)
    refused(await api.redeem(decision), "expired")
    assert (await api.redeem(await api.poll(decision))).status_code == 200


async def test_an_approval_is_over_after_a_day(api: Api) -> None:
    decision = await api.approved()
    api.world.clock.advance(24 * 3600)
    now = await api.poll(decision)
    assert (now["status"], now["approval_state"]) == ("approved", "expired")
    assert "approval_token" not in now
    refused(await api.redeem(decision), "expired")


async def test_another_agent_cannot_redeem(api: Api) -> None:
    decision = await api.approved()
    other = await api.world.new_agent("other")
    refused(await api.redeem(decision, key=other.key), "wrong_agent")
    assert (await api.redeem(decision)).status_code == 200


async def test_another_workspaces_token_is_unknown(api: Api) -> None:
    decision = await api.approved()
    elsewhere = await second_tenant(api.world)
    refused(await api.redeem(decision, key=elsewhere.key), "unknown")
    assert (await api.redeem(decision)).status_code == 200


async def test_a_verifier_redeems_for_its_tools(api: Api) -> None:
    verifier = await api.world.new_verifier("issue_refund")
    assert (await api.redeem(await api.approved(), key=verifier.key)).json()["valid"] is True


async def test_a_verifier_redeems_for_no_other_tool(api: Api) -> None:
    verifier = await api.world.new_verifier("wire_transfer")
    decision = await api.approved()
    refused(await api.redeem(decision, key=verifier.key), "wrong_tool")
    assert (await api.redeem(decision)).status_code == 200


async def test_a_paused_agents_approval_is_revoked_for_its_verifier(api: Api) -> None:
    verifier = await api.world.new_verifier("issue_refund")
    decision = await api.approved()
    await api.world.pause()
    refused(await api.redeem(decision, key=verifier.key), "revoked")


@pytest.mark.parametrize("left_out", ["tool_name", "payload_digest"])
async def test_an_edited_approval_needs_tool_and_payload(api: Api, left_out: str) -> None:
    decision = await api.approved(payload={"amount": 300})
    refused(await api.redeem(decision, **{left_out: None}), "payload_required")
    assert (await api.redeem(decision)).json()["payload"] == {"amount": 300}


async def test_an_edited_approval_is_not_redeemed_for_the_agents_own_payload(api: Api) -> None:
    decision = await api.approved(payload={"amount": 300})
    refused(await api.redeem(decision, payload_digest=digest(REFUND["payload"])), "payload_mismatch")


@pytest.mark.parametrize("left_out", ["tool_name", "payload_digest"])
async def test_a_tool_with_strict_binding_needs_tool_and_payload(api: Api, left_out: str) -> None:
    decision = await api.ask(tool_name="wire_transfer")
    await api.review(decision)
    refused(await api.redeem(await api.poll(decision), **{left_out: None}), "payload_required")


async def test_a_plain_approval_is_redeemed_by_its_token_alone(api: Api) -> None:
    decision = await api.approved()
    assert (await api.redeem(decision, tool_name=None, payload_digest=None)).status_code == 200


async def test_two_hundred_at_once_redeem_once(api: Api) -> None:
    decision = await api.approved()
    answers = await asyncio.gather(*(api.redeem(decision) for _ in range(200)))
    assert sorted(answer.status_code for answer in answers) == [200] + [403] * 199
    assert {answer.json().get("reason") for answer in answers} == {None, "already_used"}


async def test_two_hundred_refusals_leave_one_audit_row_and_are_counted(api: Api) -> None:
    decision = await api.approved()
    for _ in range(20):
        await api.redeem(decision, task_id="other")
    assert len(await api.world.entries("approval.refused")) == 1
    assert api.world.gate.refusals.totals["approval.wrong_task"] == 20


async def test_a_redemption_is_an_audit_row(api: Api) -> None:
    decision = await api.approved()
    await api.redeem(decision)
    (entry,) = await api.world.entries("approval.redeemed")
    assert (entry.request_id, entry.actor_kind) == (decision["request_id"], "agent")


@pytest.mark.parametrize(
    "fields",
    [
        {"task_id": None},
        {"signature": None},
        {"signature": 5},
        {"signature": "x" * 8193},
        {"payload": []},
        {"payload": "x"},
        {"payload_digest": "sha-256:1"},
        {"payload_digest": "sha-256:" + "A" * 64},
        {"payload_digest": "sha-256:" + "0" * 64 + "\n"},
        {"tool_name": 5},
        {"tool_name": "t" * 201},
    ],
)
async def test_a_body_beyond_the_fields_is_422_and_redeems_nothing(api: Api, fields: dict[str, object]) -> None:
    decision = await api.approved()
    body = {"task_id": "task-1", "signature": decision["approval_token"], **fields}
    problem(await api.post(VALIDATE, {name: value for name, value in body.items() if value is not None}), 422)
    assert (await api.redeem(decision)).status_code == 200


async def test_an_older_revisions_token_is_no_token_of_the_newer(api: Api) -> None:
    decision = await api.approved()
    keyring = api.world.gate.keyring
    request = await api.request(decision)
    forged = keyring.sign(replace(request, revision=7), api.world.clock.now)
    refused(await api.redeem(decision, signature=forged), "revoked")


async def test_a_token_for_an_approval_that_is_not_there_is_unknown(api: Api) -> None:
    decision = await api.approved()
    request = await api.request(decision)
    forged = api.world.gate.keyring.sign(replace(request, approval_id="apr_other"), api.world.clock.now)
    refused(await api.redeem(decision, signature=forged), "unknown")


async def test_a_redeemed_payload_is_the_edited_one_as_bytes(api: Api) -> None:
    decision = await api.approved(payload={"b": 1.50, "a": 2})
    body = {
        "task_id": "task-1",
        "signature": decision["approval_token"],
        "tool_name": "issue_refund",
        "payload_digest": decision["payload_digest"],
    }
    answer = await api.post(VALIDATE, body, headers={"accept": PAYLOAD_TYPE})
    assert answer.content == b'{"a":2,"b":1.5}'
