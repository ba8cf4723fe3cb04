"""Events, revisions, cancellation and outcomes."""

from __future__ import annotations

from typing import Any

import pytest
from gate.tests.api.agent.calls import TASK, Api, problem

from stacksona_gate.domain.canonical import digest
from stacksona_gate.domain.requests import TaskEvent

EVENTS, OUTCOMES = TASK + "/events", TASK + "/outcomes"


async def timeline(api: Api) -> list[TaskEvent]:
    w = api.world
    return await w.read(lambda tx: tx.conversation.list_events("default", w.agent.id, "task-1", 10))


def revision(decision: Any, amount: object = 400, **fields: object) -> dict[str, object]:
    changes = fields or {"payload": {"amount": amount}}
    return {"event_type": "revision", "thread_id": decision["thread_id"], **changes}


# Events


async def test_an_event_is_201_with_its_id_and_on_the_timeline(api: Api) -> None:
    body = {"event_type": "task.started", "event_summary": "looking", "payload": {"step": 1}}
    answer = await api.post(EVENTS, body)
    (event,) = await timeline(api)
    assert (answer.status_code, answer.json()) == (201, {"event_id": event.id})
    assert (event.event_type, event.summary, event.payload) == ("task.started", "looking", '{"step":1}')


async def test_an_event_may_be_about_a_thread(api: Api) -> None:
    decision = await api.ask()
    await api.post(EVENTS, {"event_type": "note", "thread_id": decision["thread_id"]})
    assert (await timeline(api))[0].request_id == decision["request_id"]


async def test_an_event_carries_no_decision_header(api: Api) -> None:
    answer = await api.post(EVENTS, {"event_type": "task.started"})
    assert not [name for name in answer.headers if name.startswith("x-gate")]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"event_type": ""},
        {"event_type": "t" * 101},
        {"event_type": 1},
        {"event_type": "a", "event_summary": "s" * 1001},
        {"event_type": "a", "payload": []},
        {"event_type": "a", "thread_id": 5},
    ],
)
async def test_an_event_beyond_its_limits_is_422(api: Api, body: dict[str, object]) -> None:
    before = api.counted()
    problem(await api.post(EVENTS, body), 422)
    assert api.counted() == before


# Revisions


async def test_a_revision_answers_with_the_decision(api: Api) -> None:
    decision = await api.ask()
    answer = await api.post(EVENTS, revision(decision))
    assert (answer.status_code, answer.headers["x-gate-decision"]) == (200, "pending_review")
    assert (answer.json()["revision"], answer.json()["payload"]) == (2, {"amount": 400})
    assert answer.json()["payload_digest"] == digest({"amount": 400})


async def test_a_revision_that_a_rule_refuses_is_rejected(api: Api) -> None:
    decision = await api.ask()
    answer = await api.post(EVENTS, revision(decision, 6000))
    assert (answer.json()["status"], answer.json()["reason_code"]) == ("rejected", "rule")
    assert answer.headers["x-gate-decision"] == "rejected"


@pytest.mark.parametrize("amount", [1, 100, 250])
async def test_a_revision_that_a_rule_would_allow_stays_with_people(api: Api, amount: int) -> None:
    decision = await api.ask()
    answer = (await api.post(EVENTS, revision(decision, amount))).json()
    assert answer["status"] == "pending_review"
    assert "approval_token" not in answer


@pytest.mark.parametrize(
    ("field", "value"), [("subject", "other"), ("preview", "text"), ("summary", ["a"]), ("payload", {"amount": 300})]
)
async def test_any_of_the_fields_makes_a_revision(api: Api, field: str, value: object) -> None:
    decision = await api.ask()
    assert (await api.post(EVENTS, revision(decision, **{field: value}))).json()["revision"] == 2


async def test_a_revision_without_a_payload_keeps_it(api: Api) -> None:
    decision = await api.ask()
    answer = (await api.post(EVENTS, revision(decision, subject="other"))).json()
    assert answer["payload_digest"] == decision["payload_digest"]


async def test_the_revision_before_is_kept(api: Api) -> None:
    decision = await api.ask()
    await api.post(EVENTS, revision(decision))
    (kept,) = await api.world.read(lambda tx: tx.requests.list_revisions("default", decision["request_id"]))
    assert (kept.revision, kept.payload_digest) == (1, decision["payload_digest"])


async def test_a_revision_ends_the_request_for_changes(api: Api) -> None:
    decision = await api.ask()
    await api.review(decision, "request_changes", message="less")
    answer = (await api.post(EVENTS, revision(decision))).json()
    assert answer["revision_requested"] is False
    assert "feedback" not in answer


async def test_a_revision_that_changes_nothing_is_422(api: Api) -> None:
    decision = await api.ask()
    body = {"event_type": "revision", "thread_id": decision["thread_id"]}
    problem(await api.post(EVENTS, body), 422, "nothing_to_revise")


async def test_a_revision_without_a_thread_is_422(api: Api) -> None:
    problem(await api.post(EVENTS, {"event_type": "revision", "subject": "x"}), 422, "thread_id_missing")


async def test_a_thread_has_fifty_revisions_at_most(api: Api) -> None:
    decision = await api.ask()
    answers = [await api.post(EVENTS, revision(decision, 300 + n)) for n in range(50)]
    assert [answer.status_code for answer in answers] == [200] * 49 + [422]
    assert (await api.request(decision)).revision == 50


@pytest.mark.parametrize("verdict", ["approve", "reject"])
async def test_a_decided_thread_is_revised_no_more(api: Api, verdict: str) -> None:
    decision = await api.ask()
    await api.review(decision, verdict)
    problem(await api.post(EVENTS, revision(decision)), 409, "already_decided")


async def test_an_overdue_thread_is_revised_no_more(api: Api) -> None:
    decision = await api.ask(expires_in=30)
    api.world.clock.advance(30)
    problem(await api.post(EVENTS, revision(decision)), 409, "already_decided")
    assert (await api.poll(decision))["reason_code"] == "expired"


async def test_policy_of_today_judges_a_revision(api: Api) -> None:
    decision = await api.ask()
    await api.world.apply("version: 1\ntools: {issue_refund: {default: reject}}\n")
    answer = (await api.post(EVENTS, revision(decision))).json()
    assert (answer["status"], answer["policy_version"]) == ("rejected", 2)


# Cancellation


async def test_a_pending_request_is_cancelled(api: Api) -> None:
    decision = await api.ask()
    answer = await api.post(f"{TASK}/requests/{decision['thread_id']}/cancellation")
    assert (answer.status_code, answer.headers["x-gate-decision"]) == (200, "rejected")
    assert (answer.json()["status"], answer.json()["reason_code"]) == ("rejected", "cancelled")


@pytest.mark.parametrize("how", ["approve", "reject", "cancelled", "expired"])
async def test_a_decided_request_cannot_be_cancelled(api: Api, how: str) -> None:
    decision = await api.ask(expires_in=30)
    path = f"{TASK}/requests/{decision['thread_id']}/cancellation"
    if how == "cancelled":
        await api.post(path)
    elif how == "expired":
        api.world.clock.advance(30)
    else:
        await api.review(decision, how)
    status = (await api.poll(decision))["status"]
    problem(await api.post(path), 409, "already_decided")
    assert (await api.poll(decision))["status"] == status


async def test_cancelling_what_ran_out_unseen_is_409_and_it_stays_expired(api: Api) -> None:
    decision = await api.ask(expires_in=30)
    api.world.clock.advance(30)
    problem(await api.post(f"{TASK}/requests/{decision['thread_id']}/cancellation"), 409, "already_decided")
    assert (await api.poll(decision))["reason_code"] == "expired"


@pytest.mark.parametrize("thread", ["THR-1", "%00", "a b", "x" * 5000])
async def test_a_thread_that_is_none_is_404(api: Api, thread: str) -> None:
    problem(await api.post(f"{TASK}/requests/{thread}/cancellation"), 404, "not_found")


# Outcomes


async def flag(api: Api, decision: Any, **fields: object) -> object:
    answer = await api.post(OUTCOMES, {"request_id": decision["request_id"], "status": "executed", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()["flag"]


async def test_an_execution_after_redemption_is_in_order(api: Api) -> None:
    decision = await api.approved()
    await api.redeem(decision)
    assert await flag(api, decision, payload_digest=decision["payload_digest"]) is None


async def test_an_execution_without_redemption_is_flagged(api: Api) -> None:
    assert await flag(api, await api.approved()) == "not_redeemed"


@pytest.mark.parametrize("amount", [500, 6000])
async def test_an_execution_of_what_was_not_approved_is_flagged(api: Api, amount: int) -> None:
    assert await flag(api, await api.ask(amount)) == "not_approved"


async def test_an_execution_of_another_payload_is_flagged(api: Api) -> None:
    decision = await api.approved()
    await api.redeem(decision)
    assert await flag(api, decision, payload_digest=digest({"amount": 5000})) == "other_payload"


async def test_a_second_execution_is_flagged(api: Api) -> None:
    decision = await api.approved()
    await api.redeem(decision)
    assert [await flag(api, decision) for _ in range(2)] == [None, "executed_again"]


@pytest.mark.parametrize("status", ["failed", "skipped"])
async def test_what_did_not_run_is_never_flagged(api: Api, status: str) -> None:
    assert await flag(api, await api.ask(6000), status=status) is None


async def test_flagged_outcomes_are_listed_for_admins(api: Api) -> None:
    decision = await api.ask(6000)
    await flag(api, decision)
    ((_, listed),) = await api.world.read(lambda tx: tx.conversation.list_flagged_outcomes("default", 10))
    assert (listed.request_id, listed.flag) == (decision["request_id"], "not_approved")


async def test_an_outcome_may_name_the_thread(api: Api) -> None:
    decision = await api.ask()
    answer = await api.post(OUTCOMES, {"thread_id": decision["thread_id"], "status": "skipped", "detail": "d" * 5000})
    assert answer.status_code == 201


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"request_id": "r", "thread_id": "t"},
        {"request_id": "r", "status": "done"},
        {"request_id": "r", "status": None},
        {"request_id": "r", "detail": "d" * 5001},
        {"request_id": "r", "payload_digest": "md5:1"},
        {"request_id": 5},
    ],
)
async def test_an_outcome_beyond_its_fields_is_422(api: Api, fields: dict[str, object]) -> None:
    before = api.counted()
    problem(await api.post(OUTCOMES, {"status": "failed", **fields}), 422)
    assert api.counted() == before
