"""Headers of every answer, and what an error says."""

from __future__ import annotations

import pytest
from gate.tests.api.agent.calls import ASK, DECISIONS, REFUND, TASK, VALIDATE, Api, api_world, problem, refund

from stacksona_gate.service.agents import AgentChange

ALL = [
    ("POST", ASK),
    ("GET", DECISIONS + "?task_id=task-1"),
    ("GET", DECISIONS + "/stream?task_id=task-1"),
    ("GET", "/api/agent/threads"),
    ("POST", VALIDATE),
    ("POST", TASK + "/events"),
    ("POST", TASK + "/outcomes"),
    ("POST", TASK + "/requests/THR-1/cancellation"),
]


@pytest.mark.parametrize("amount", [100, 500, 6000])
async def test_a_decision_answer_says_the_decision_in_its_headers(api: Api, amount: int) -> None:
    answer = await api.post(ASK, refund(amount))
    decision = answer.json()
    assert answer.headers["x-gate-decision"] == decision["status"]
    assert answer.headers.get("x-gate-thread-id") == decision.get("thread_id")
    assert answer.headers.get("x-gate-approval-token") == decision.get("approval_token")
    for name in ("task_id", "request_id", "payload_digest"):
        assert answer.headers["x-gate-" + name.replace("_", "-")] == decision[name]


@pytest.mark.parametrize("verdict", ["approve", "reject", "request_changes"])
async def test_a_polled_answer_says_the_decision_in_its_headers(api: Api, verdict: str) -> None:
    decision = await api.ask()
    await api.review(decision, verdict)
    answer = await api.get(DECISIONS, thread_id=decision["thread_id"])
    assert answer.headers["x-gate-decision"] == answer.json()["status"]
    assert answer.headers["x-gate-thread-id"] == decision["thread_id"]
    assert answer.headers.get("x-gate-approval-token") == answer.json().get("approval_token")
    for name in ("task_id", "request_id", "payload_digest"):
        assert answer.headers["x-gate-" + name.replace("_", "-")] == answer.json()[name]


async def test_the_headers_of_an_edited_approval_are_enough_to_redeem_it(api: Api) -> None:
    decision = await api.ask()
    await api.review(decision, payload={"amount": 300})
    headers = (await api.get(DECISIONS, thread_id=decision["thread_id"])).headers
    named = {"task_id": "task-id", "approval_token": "approval-token", "payload_digest": "payload-digest"}
    answer = await api.redeem({field: headers["x-gate-" + name] for field, name in named.items()})
    assert answer.json()["payload"] == {"amount": 300}


@pytest.mark.parametrize("given", ["a", "A-Z.a_z:0-9", "x" * 128])
async def test_a_well_formed_request_id_is_taken(api: Api, given: str) -> None:
    answer = await api.post(ASK, REFUND, headers={"x-request-id": given})
    assert answer.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "a\tb", "<script>", "a;b"])
async def test_any_other_request_id_is_replaced(api: Api, given: str) -> None:
    answer = await api.post(ASK, REFUND, headers={"x-request-id": given})
    assert answer.headers["x-request-id"] not in ("", given)


async def test_a_request_id_is_made_anew_for_every_answer(api: Api) -> None:
    ids = {(await api.post(ASK, REFUND)).headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5


@pytest.mark.parametrize(("method", "path"), ALL)
async def test_no_answer_may_be_stored(api: Api, method: str, path: str) -> None:
    decision = await api.approved()
    body = {"task_id": "task-1", "signature": decision["approval_token"], "status": "failed", "event_type": "e"}
    answer = await api.http.request(method, path, json={**REFUND, **body, "request_id": decision["request_id"]})
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(("method", "path"), ALL)
@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Basic c2c6", "sg_" + "0" * 64, "Bearer sg_" + "0" * 64, "Bearer x", "Bearer sp_1"],
)
async def test_a_missing_malformed_or_unknown_key_is_401(
    api: Api, method: str, path: str, authorization: str | None
) -> None:
    api.http.headers.pop("authorization")
    headers = {} if authorization is None else {"authorization": authorization}
    before = api.counted()
    answer = await api.http.request(method, path, headers=headers)
    assert problem(answer, 401, "unauthenticated")["detail"]
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert api.counted() == before


async def test_a_long_key_is_401(api: Api) -> None:
    problem(await api.get(DECISIONS, task_id="a", key="sg_" + "0" * 5000), 401)


async def test_the_scheme_may_be_written_in_small_letters(api: Api) -> None:
    answer = await api.post(ASK, REFUND, headers={"authorization": f"bearer {api.world.key}"})
    assert answer.status_code == 200


@pytest.mark.parametrize(("method", "path"), [each for each in ALL if each[1] != VALIDATE])
async def test_a_verifiers_key_opens_nothing_but_validate(api: Api, method: str, path: str) -> None:
    verifier = await api.world.new_verifier("issue_refund")
    await api.ask()
    before = api.counted()
    answer = await api.http.request(method, path, json=REFUND, headers={"authorization": f"Bearer {verifier.key}"})
    problem(answer, 401)
    assert api.counted() == before


@pytest.mark.parametrize(("method", "path"), ALL)
async def test_an_agent_whose_api_access_is_off_gets_403_everywhere(api: Api, method: str, path: str) -> None:
    await api.ask()
    await api.world.change_agent(AgentChange(api_access=False))
    answer = await api.http.request(
        method, path, json={**REFUND, "task_id": "t", "signature": "s", "event_type": "e", "status": "failed"}
    )
    problem(answer, 403, "api_access_off")


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/agent", "/api/agent/tasks", "/api/agent/nothing", DECISIONS + "/", ASK + "/", "//"]
)
async def test_an_address_that_is_not_there_is_404(api: Api, path: str) -> None:
    problem(await api.http.post("https://testserver" + path), 404, "not_found")


@pytest.mark.parametrize(("method", "path"), ALL)
@pytest.mark.parametrize("wrong", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "other"])
async def test_another_method_is_405_naming_what_there_is(api: Api, method: str, path: str, wrong: str) -> None:
    other = {"GET": "POST", "POST": "GET"}[method] if wrong == "other" else wrong
    answer = await api.http.request(other, path)
    problem(answer, 405, "method_not_allowed")
    assert method in answer.headers["allow"].split(", ")


async def test_a_rate_over_the_agents_limit_is_429_with_retry_after(api: Api) -> None:
    await api.world.change_agent(AgentChange(requests_per_second=2))
    before = api.counted()
    answers = [await api.post(ASK, refund(100)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert problem(answers[2], 429)["detail"]
    assert answers[2].headers["retry-after"] == "1"
    assert api.counted()["requests"] == before["requests"] + 2


async def test_a_second_later_the_agent_may_ask_again(api: Api) -> None:
    await api.world.change_agent(AgentChange(requests_per_second=1))
    await api.ask(100)
    api.world.clock.advance(1)
    assert (await api.ask(100))["status"] == "allow"


async def test_one_agents_rate_is_not_anothers(api: Api) -> None:
    other = await api.world.new_agent("other")
    await api.world.change_agent(AgentChange(requests_per_second=1))
    await api.ask(100)
    assert (await api.ask(100, key=other.key))["status"] == "allow"


async def test_a_422_names_the_field_and_what_is_wrong(api: Api) -> None:
    made = problem(await api.post(ASK, refund(subject="s" * 501)), 422, "invalid")
    assert made["type"] == "urn:stacksona:problem:invalid"
    assert made["errors"] == [{"field": "subject", "message": made["errors"][0]["message"]}]
    assert "500" in made["detail"]


async def test_the_refused_calls_leave_one_audit_row_a_minute(api: Api) -> None:
    for _ in range(30):
        await api.post(ASK, raw="{")
    assert len(await api.world.entries("calls.refused")) == 1
    api.world.clock.advance(60)
    await api.post(ASK, raw="{")
    rows = await api.world.entries("calls.refused")
    assert '"stands_for":{' in rows[1].private
    assert '"value":30}' in rows[1].private


async def test_each_cause_has_a_row_of_its_own(api: Api) -> None:
    await api.post(ASK, raw="{")
    await api.post(ASK, REFUND, key="sg_unknown")
    await api.post(ASK, refund(tool_name=""))
    causes = [entry.leaf.partition('"reason_code":"')[2].partition('"')[0] for entry in await api.world.entries()]
    assert {"malformed", "unauthenticated", "invalid"} <= set(causes)


async def test_a_fault_is_500_and_says_that_nothing_was_allowed(caplog: pytest.LogCaptureFixture) -> None:
    async with api_world() as api:

        class Broken:
            def sign(self, *_: object) -> str:
                raise RuntimeError("no key today")

        api.world.gate.keyring = Broken()  # type: ignore[assignment]
        before = api.counted()
        problem(await api.post(ASK, refund(100)), 500, "fault")
        assert api.counted() == before
    assert "no key today" in caplog.text
