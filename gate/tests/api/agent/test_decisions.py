"""Reading decisions back."""

from __future__ import annotations

import pytest
from gate.tests.api.agent.calls import ASK, DECISIONS, REFUND, TASK, Api, problem

from stacksona_gate.domain.canonical import digest


@pytest.mark.parametrize("name", ["thread_id", "request_id", "task_id"])
async def test_a_decision_is_read_by_any_of_its_ids(api: Api, name: str) -> None:
    decision = await api.ask()
    answer = await api.get(DECISIONS, **{name: decision[name]})
    assert answer.json()["request_id"] == decision["request_id"]


async def test_a_polled_decision_has_the_fields_of_the_contract(api: Api) -> None:
    decision = await api.ask()
    assert await api.poll(decision) == {
        **decision,
        "decision": "pending_review",
        "tool_name": "issue_refund",
        "created_at": "2026-11-26T12:00:00Z",
        "decided_at": None,
        "reviews": [],
        "payload": REFUND["payload"],
        "edited": False,
    }


async def test_an_approved_decision_carries_its_token_and_when_the_approval_ends(api: Api) -> None:
    decision = await api.approved()
    assert (decision["status"], decision["decision"]) == ("approved", "approved")
    assert decision["approval_token"].count(".") == 2
    assert decision["approval_expires_at"] == "2026-11-27T12:00:00Z"
    assert decision["decided_at"] == "2026-11-26T12:00:00Z"
    assert not {"expires_at", "review_url"} & decision.keys()


async def test_a_tool_says_how_long_its_approvals_last(api: Api) -> None:
    await api.world.apply("version: 1\ntools: {issue_refund: {default: review, approval_valid_for: 1h}}\n")
    assert (await api.approved())["approval_expires_at"] == "2026-11-26T13:00:00Z"


async def test_a_redeemed_approval_has_no_token_any_more(api: Api) -> None:
    decision = await api.approved()
    await api.redeem(decision)
    answer = await api.get(DECISIONS, request_id=decision["request_id"])
    assert "approval_token" not in answer.json()
    assert "x-gate-approval-token" not in answer.headers
    assert answer.json()["redeemed_at"] == "2026-11-26T12:00:00Z"


async def test_every_read_signs_afresh_for_one_approval(api: Api) -> None:
    decision = await api.approved()
    api.world.clock.advance(1)
    again = await api.poll(decision)
    assert again["approval_token"] != decision["approval_token"]
    assert (await api.redeem(decision)).status_code == 200
    assert problem(await api.redeem(again), 403)["reason"] == "already_used"


async def test_an_edited_approval_says_so_and_shows_what_was_approved(api: Api) -> None:
    decision = await api.approved(payload={"amount": 300})
    assert decision["edited"] is True
    assert decision["payload"] == {"amount": 300}
    assert (decision["payload_digest"], decision["revision"]) == (digest({"amount": 300}), 2)


async def test_changes_asked_for_stay_pending_and_carry_the_feedback(api: Api) -> None:
    decision = await api.ask()
    await api.review(decision, "request_changes", message="half of it")
    now = await api.poll(decision)
    assert (now["status"], now["revision_requested"], now["feedback"]) == ("pending_review", True, "half of it")


async def test_a_task_means_its_newest_request_whatever_its_status(api: Api) -> None:
    await api.approved()
    newest = await api.ask(6000)
    answer = await api.get(DECISIONS, task_id="task-1")
    assert (answer.json()["request_id"], answer.json()["status"]) == (newest["request_id"], "reject")
    assert "x-gate-approval-token" not in answer.headers


async def test_a_task_of_another_agent_is_not_this_agents_task(api: Api) -> None:
    other = await api.world.new_agent("other")
    mine = await api.ask()
    await api.ask(100, key=other.key)
    answer = await api.get(DECISIONS, task_id="task-1")
    assert answer.json()["request_id"] == mine["request_id"]


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"wait": "1"},
        {"thread_id": "THR-1", "request_id": "req_1"},
        {"thread_id": "THR-1", "task_id": "task-1"},
        {"thread_id": "THR-1", "request_id": "req_1", "task_id": "task-1"},
        {"thread_id": "", "task_id": "task-1"},
    ],
)
async def test_anything_but_one_id_is_422(api: Api, query: dict[str, str]) -> None:
    problem(await api.http.get(DECISIONS, params=query), 422, "one_id")


@pytest.mark.parametrize("path", [DECISIONS, DECISIONS + "/stream"])
@pytest.mark.parametrize("query", ["task_id=a&task_id=b", "task_id=a&task_id=a", "task_id=%FF", "task_id=%ED%A0%80"])
async def test_a_query_with_two_readings_is_400(api: Api, path: str, query: str) -> None:
    problem(await api.http.get(f"{path}?{query}"), 400, "malformed")


@pytest.mark.parametrize("wait", ["0", "61", "-1", "1.5", "", "x", "٣", "1e1", " 1", "99999999999999999999"])
async def test_wait_is_1_to_60(api: Api, wait: str) -> None:
    await api.ask()
    problem(await api.get(DECISIONS, task_id="task-1", wait=wait), 422, "invalid_wait")


@pytest.mark.parametrize("name", ["thread_id", "request_id", "task_id"])
@pytest.mark.parametrize("value", ["", "x", "THR-01ARZ3NDEKTSV4RRFFQ69G5FAV", "\x00", "🙂", "a" * 5000])
async def test_an_id_that_does_not_exist_is_404(api: Api, name: str, value: str) -> None:
    await api.ask()
    problem(await api.http.get(DECISIONS, params={name: value}), 404, "not_found")


async def test_a_request_id_is_no_thread_id(api: Api) -> None:
    decision = await api.ask()
    problem(await api.get(DECISIONS, thread_id=decision["request_id"]), 404)
    problem(await api.get(DECISIONS, request_id=decision["thread_id"]), 404)


async def test_a_match_without_wait_is_304_without_a_decision(api: Api) -> None:
    decision = await api.ask()
    first = await api.get(DECISIONS, request_id=decision["request_id"])
    headers = {"if-none-match": first.headers["etag"]}
    again = await api.get(DECISIONS, request_id=decision["request_id"], headers=headers)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert not [name for name in again.headers if name.startswith("x-gate")]


@pytest.mark.parametrize("form", ["W/{}", '"other", {}', "{} , W/{}"])
async def test_a_match_may_be_weak_or_one_of_many(api: Api, form: str) -> None:
    decision = await api.ask()
    etag = (await api.get(DECISIONS, request_id=decision["request_id"])).headers["etag"]
    headers = {"if-none-match": form.replace("{}", etag)}
    assert (await api.get(DECISIONS, request_id=decision["request_id"], headers=headers)).status_code == 304


async def test_the_etag_covers_the_decision_and_not_the_token(api: Api) -> None:
    decision = await api.approved()
    first = await api.get(DECISIONS, request_id=decision["request_id"])
    api.world.clock.advance(60)
    again = await api.get(DECISIONS, request_id=decision["request_id"])
    assert first.headers["x-gate-approval-token"] != again.headers["x-gate-approval-token"]
    assert first.headers["etag"] == again.headers["etag"]


async def test_every_change_of_a_decision_changes_its_etag(api: Api) -> None:
    decision = await api.ask()
    tags = [(await api.get(DECISIONS, request_id=decision["request_id"])).headers["etag"]]
    await api.review(decision, "request_changes")
    tags.append((await api.get(DECISIONS, request_id=decision["request_id"])).headers["etag"])
    body = {"event_type": "revision", "thread_id": decision["thread_id"], "payload": {"amount": 400}}
    tags.append((await api.post(TASK + "/events", body)).headers["etag"])
    await api.review(decision, revision=2)
    tags.append((await api.get(DECISIONS, request_id=decision["request_id"])).headers["etag"])
    assert len(set(tags)) == 4


async def test_the_message_of_a_decision_is_what_its_reviewer_wrote(api: Api) -> None:
    assert (await api.approved(message='go "ahead" \n ü'))["message"] == 'go "ahead" \n ü'


async def test_reviews_of_an_earlier_revision_are_void(api: Api) -> None:
    decision = await api.ask()
    await api.review(decision, "request_changes")
    body = {"event_type": "revision", "thread_id": decision["thread_id"], "payload": {"amount": 400}}
    assert (await api.post(TASK + "/events", body)).json()["reviews"] == []


async def test_head_answers_as_get_without_a_body(api: Api) -> None:
    decision = await api.ask()
    answer = await api.http.head(DECISIONS, params={"request_id": decision["request_id"]})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["x-gate-decision"] == "pending_review"


async def test_reading_decides_nothing(api: Api) -> None:
    decision = await api.ask()
    before = api.counted()
    for method in ("GET", "HEAD"):
        for path in (DECISIONS, "/api/agent/threads"):
            await api.http.request(method, path, params={"task_id": "task-1"} if path == DECISIONS else {})
    assert api.counted() == before
    assert (await api.request(decision)).status == "pending_review"


async def test_a_pending_answer_says_when_to_come_again(api: Api) -> None:
    pending = await api.post(ASK, REFUND)
    polled = await api.get(DECISIONS, task_id="task-1")
    assert int(pending.headers["retry-after"]) > 0
    assert int(polled.headers["retry-after"]) > 0


async def test_a_final_answer_does_not_say_when_to_come_again(api: Api) -> None:
    decision = await api.approved()
    answer = await api.get(DECISIONS, request_id=decision["request_id"])
    assert "retry-after" not in answer.headers
