"""Forms that the gate decides: which answers they get, and whose word counts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from integrations.bridge.tests.fake_dify import KEY, FakeForm, FakeRun
from integrations.bridge.tests.house import APPS, OTHER_TOKEN, SIGNING, House, house
from integrations.bridge.tests.polling import until
from stacksona import AsyncGate
from stacksona_bridge import signatures

START = "/v1/workflows/run"
CALL = {"inputs": {"order_id": "A-1"}, "response_mode": "blocking", "user": "user-1"}


@pytest.fixture
async def at() -> AsyncIterator[House]:
    async with house() as made:
        yield made


def approval(amount: str = "500", **changes: Any) -> FakeForm:
    return FakeForm("approval", ("approve", "decline"), {"amount": amount, "currency": "usd", "note": "-"}, **changes)


def starts(at: House, *forms: FakeForm) -> None:
    """The next run that is started goes through these."""
    at.dify.starting = lambda key, said: FakeRun(key, said["user"], list(forms))


async def paused(at: House, bridge: httpx2.AsyncClient, *forms: FakeForm) -> tuple[FakeRun, dict[str, Any]]:
    """A run that waits, and its thread."""
    starts(at, *forms)
    await bridge.post(START, json=CALL)
    (thread,) = await at.threads()
    return list(at.dify.runs.values())[-1], thread


def not_held(at: House, **changes: str) -> httpx2.AsyncClient:
    return at.bridge(BRIDGE_HOLD_SECONDS="0", **changes)


async def until_answered(run: FakeRun) -> tuple[str, str, dict[str, str]]:
    async def look() -> tuple[str, str, dict[str, str]] | None:
        return run.answered[-1].answer if run.answered else None

    return await until(look)


# Calls that nothing is kept of


async def test_a_run_without_forms_is_passed_through_byte_for_byte(at: House) -> None:
    starts(at)
    body = b'{ "inputs": {"a": "\\u00fc"},  "response_mode": "blocking", "user": "user-1" }'
    headers = {"content-type": "application/json", "cookie": "a=b", "x-forwarded-for": "1.2.3.4"}
    answer = await at.bridge().post(START, content=body, headers=headers)
    path, sent, given = at.dify.seen[0]
    assert (answer.status_code, answer.json()["data"]["status"]) == (200, "succeeded")
    assert (path, sent) == (START, body)
    assert given["authorization"] == f"Bearer {KEY}"
    assert not {"cookie", "x-forwarded-for"} & set(given)


async def test_an_error_of_dify_is_passed_back_as_it_is(at: House) -> None:
    answer = await at.bridge().post(START, json={"inputs": {}})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_param")


async def test_an_error_with_escaped_letters_is_passed_back_too(at: House) -> None:
    answer = await at.bridge().get("/v1/workflows/run/unknown")
    assert (answer.status_code, answer.content) == (404, b'{"code":"not_found","message":"\\u672a"}')


async def test_a_form_of_another_node_keeps_its_token(at: House) -> None:
    form = FakeForm("elsewhere", ("ok",))
    starts(at, form)
    answer = await at.bridge().post(START, json=CALL)
    assert answer.json()["data"]["reasons"][0]["form_token"] == form.token
    assert await at.threads() == []


@pytest.mark.parametrize("body", [b'{"user": "a", "user": "b", "inputs": {}}', b"[]", b"{", b'{"user": NaN}', b""])
async def test_a_body_with_two_readings_starts_nothing(at: House, body: bytes) -> None:
    answer = await at.bridge().post(START, content=body)
    assert (answer.status_code, at.dify.seen) == (400, [])


@pytest.mark.parametrize("token", ["", "wrong-token-0123456789-abcdef", OTHER_TOKEN])
async def test_only_the_apps_own_callers_start_it(at: House, token: str) -> None:
    answer = await at.bridge().post(START, json=CALL, headers={"authorization": f"Bearer {token}"})
    assert (answer.status_code, at.dify.seen) == (404 if token == OTHER_TOKEN else 401, [])


@pytest.mark.parametrize("path", ["/v1/form/human_input/abc", "/v1/files/upload", "/apps/other/v1/workflows/run"])
async def test_nothing_else_is_passed_to_dify(at: House, path: str) -> None:
    answer = await at.bridge().post(path, json=CALL)
    assert (answer.status_code, at.dify.seen, at.dify.posts) == (404, [], 0)


# Questions


async def test_a_form_becomes_a_question_and_its_token_is_taken_out(at: House) -> None:
    form = approval(content="Refund **500 usd**?")
    starts(at, form)
    answer = await not_held(at).post(START, json=CALL)
    (thread,) = await at.threads()
    assert form.token not in answer.text
    assert answer.json()["data"]["status"] == "paused"
    assert thread["payload"] == {"amount": "500", "currency": "usd"}
    assert thread["tool_name"] == "issue_refund"


async def test_the_question_is_the_gatekeepers_and_not_the_callers(at: House) -> None:
    bridge = not_held(at)
    _, thread = await paused(at, bridge, approval())
    assert (await bridge.get(f"/decisions/{thread['thread_id']}")).status_code == 404


async def test_seeing_the_form_again_asks_nothing_new(at: House) -> None:
    bridge = not_held(at)
    run, thread = await paused(at, bridge, approval())
    again = await bridge.get(f"/v1/workflow/{run.id}/events", params={"user": "user-1"})
    assert run.form is not None
    assert run.form.token not in again.text
    assert [one["thread_id"] for one in await at.threads()] == [thread["thread_id"]]


async def test_another_signing_key_meanwhile_asks_nothing_new(at: House) -> None:
    run, _ = await paused(at, not_held(at), approval())
    rotated = not_held(at, BRIDGE_SIGNING_KEYS=f"{'another key ' * 4},{SIGNING}")
    answer = await rotated.get(f"/v1/workflow/{run.id}/events", params={"user": "user-1"})
    assert (answer.status_code, len(await at.threads())) == (200, 1)


async def test_a_gate_that_is_away_is_no_answer(at: House) -> None:
    starts(at, approval())
    bridge = at.bridge()
    at.bridges[-1].passing.gatekeeper.gate = gone()  # type: ignore[union-attr]
    answer = await bridge.post(START, json=CALL)
    assert answer.status_code == 503
    assert "form_token" not in answer.text
    assert at.dify.posts == 0


def gone() -> Any:
    async def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("away")

    return AsyncGate("https://testserver", "sg_x", transport=httpx2.MockTransport(refuse), patience=0.1)


# Decisions


@pytest.mark.parametrize(("verdict", "action"), [("approve", "approve"), ("reject", "decline")])
async def test_a_decision_answers_the_form(at: House, verdict: str, action: str) -> None:
    bridge = not_held(at)
    run, thread = await paused(at, bridge, approval())
    await at.api.review(thread, verdict)
    answer = await at.keeper_webhook(bridge, thread["thread_id"])
    assert answer.status_code == 200
    assert await until_answered(run) == (action, "user-1", {"amount": "500", "currency": "usd", "note": "-"})


async def test_an_approval_is_redeemed_before_the_form_is_approved_and_once(at: House) -> None:
    bridge = not_held(at)
    _, thread = await paused(at, bridge, approval())
    await at.api.review(thread)
    await at.keeper_webhook(bridge, thread["thread_id"])
    assert len(await at.world.entries("approval.redeemed")) == 1
    (reported,) = await at.world.entries("outcome.reported")
    assert reported.event == "outcome.reported"


async def test_what_a_reviewer_changed_is_what_the_form_gets(at: House) -> None:
    bridge = not_held(at)
    run, thread = await paused(at, bridge, approval())
    await at.api.review(thread, payload={"amount": "300", "currency": "usd"})
    await at.keeper_webhook(bridge, thread["thread_id"])
    assert await until_answered(run) == ("approve", "user-1", {"amount": "300", "currency": "usd", "note": "-"})


@pytest.mark.parametrize(
    "payload", [{"amount": 300, "currency": "usd"}, {"amount": "300"}, {"amount": "300", "currency": "usd", "x": "1"}]
)
async def test_a_change_that_the_form_cannot_carry_refuses_it(at: House, payload: dict[str, object]) -> None:
    bridge = not_held(at)
    run, thread = await paused(at, bridge, approval())
    await at.api.review(thread, payload=payload)
    await at.keeper_webhook(bridge, thread["thread_id"])
    assert (await until_answered(run))[0] == "decline"
    assert await at.world.entries("approval.redeemed") == []


async def test_a_question_that_was_taken_back_refuses_the_form(at: House) -> None:
    bridge = not_held(at)
    run, thread = await paused(at, bridge, approval())
    await at.keeper.cancel(thread["task_id"], thread["thread_id"])
    await at.keeper_webhook(bridge, thread["thread_id"])
    assert (await until_answered(run))[0] == "decline"


@pytest.mark.parametrize(("amount", "action"), [("100", "approve"), ("6000", "decline")])
async def test_what_policy_decides_at_once_is_answered_at_once(at: House, amount: str, action: str) -> None:
    starts(at, approval(amount))
    answer = await at.bridge().post(START, json=CALL)
    assert answer.json()["data"]["outputs"] == {"answers": {"approval": action}}
    assert answer.json()["data"]["status"] == "succeeded"


async def test_what_policy_decides_at_once_is_answered_behind_a_call_that_does_not_wait(at: House) -> None:
    starts(at, approval("100"))
    await not_held(at).post(START, json=CALL)
    assert (await until_answered(next(iter(at.dify.runs.values()))))[0] == "approve"


async def test_a_blocking_call_waits_for_people_and_gets_the_runs_result(at: House) -> None:
    starts(at, approval())
    calling = asyncio.create_task(at.bridge().post(START, json=CALL))
    thread = await first_thread(at)
    await at.api.review(thread)
    answer = await calling
    assert answer.json()["data"]["outputs"] == {"answers": {"approval": "approve"}}
    assert answer.json()["task_id"] == "task-of-dify"


async def test_a_blocking_call_goes_on_over_a_second_form(at: House) -> None:
    starts(at, approval("100"), approval("200"))
    answer = await at.bridge().post(START, json=CALL)
    assert answer.json()["data"]["status"] == "succeeded"
    assert [form.answer and form.answer[0] for form in next(iter(at.dify.runs.values())).answered] == ["approve"] * 2


async def test_a_blocking_call_that_waited_long_enough_gets_the_pause(at: House) -> None:
    form = approval()
    starts(at, form)
    answer = await at.bridge(BRIDGE_HOLD_SECONDS="1").post(START, json=CALL)
    assert (answer.json()["data"]["status"], form.token in answer.text) == ("paused", False)


async def first_thread(at: House) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        return next(iter(await at.threads()), None)

    return await until(look)


async def test_a_second_form_is_asked_about_after_the_first_was_answered_by_webhook(at: House) -> None:
    bridge = not_held(at)
    run, thread = await paused(at, bridge, approval("500"), approval("600"))
    await at.api.review(thread)
    await at.keeper_webhook(bridge, thread["thread_id"])
    second = await first_thread(at)
    assert second["payload"]["amount"] == "600"
    assert run.form is not None


async def test_a_node_without_a_reject_action_leaves_the_form_to_expire(at: House) -> None:
    apps = json.loads(json.dumps(APPS))
    del apps["refunds"]["nodes"]["approval"]["reject"]
    bridge = not_held(at, BRIDGE_DIFY_APPS=json.dumps(apps))
    run, thread = await paused(at, bridge, approval())
    await at.api.review(thread, "reject")
    answer = await at.keeper_webhook(bridge, thread["thread_id"])
    assert (answer.status_code, run.answered, at.dify.posts) == (200, [], 0)


@pytest.mark.parametrize(
    "form", [FakeForm("approval", ("approve", "decline"), {"amount": "1"}), approval(content="x" * 20_001)]
)
async def test_a_form_that_cannot_be_put_to_the_gate_whole_is_refused(at: House, form: FakeForm) -> None:
    starts(at, form)
    answer = await not_held(at).post(START, json=CALL)
    assert answer.status_code == 200
    assert (await until_answered(next(iter(at.dify.runs.values()))))[0] == "decline"


# Faults in between


async def test_after_a_restart_the_webhook_finishes_it(at: House) -> None:
    run, thread = await paused(at, not_held(at), approval())
    await at.api.review(thread)
    await at.keeper_webhook(not_held(at), thread["thread_id"])
    assert (await until_answered(run))[0] == "approve"


async def test_dify_being_down_leaves_the_approval_unused_and_is_tried_again(at: House) -> None:
    bridge = not_held(at)
    run, thread = await paused(at, bridge, approval())
    await at.api.review(thread)
    at.dify.down = 500
    assert (await at.keeper_webhook(bridge, thread["thread_id"])).status_code == 503
    assert await at.world.entries("approval.redeemed") == []
    at.dify.down = None
    assert (await at.keeper_webhook(bridge, thread["thread_id"])).status_code == 200
    assert (await until_answered(run))[0] == "approve"


async def redeemed(at: House, thread: dict[str, Any]) -> None:
    """As a bridge that dies right after it."""
    found = await at.keeper.get_decision(thread_id=thread["thread_id"])
    await at.keeper.validate_approval(
        found.approval_token or "", task_id=found.task_id, tool_name="issue_refund", payload=found.payload
    )


async def test_a_form_whose_approval_was_just_redeemed_is_left_to_who_redeemed_it(at: House) -> None:
    bridge = not_held(at)
    _, thread = await paused(at, bridge, approval())
    await at.api.review(thread)
    await redeemed(at, thread)
    assert (await at.keeper_webhook(bridge, thread["thread_id"])).status_code == 503
    assert at.dify.posts == 0


async def test_a_bridge_that_died_after_redeeming_has_the_form_refused_and_never_approved(at: House) -> None:
    bridge = not_held(at)
    run, thread = await paused(at, bridge, approval())
    await at.api.review(thread)
    await redeemed(at, thread)
    passing = at.bridges[-1].passing
    assert passing is not None
    passing.gatekeeper.clock = lambda: at.world.clock.now / 1_000_000 + 121
    assert (await at.keeper_webhook(bridge, thread["thread_id"])).status_code == 200
    assert (await until_answered(run))[0] == "decline"


async def test_many_deliveries_at_two_bridges_approve_once(at: House) -> None:
    first, second = not_held(at), not_held(at)
    run, thread = await paused(at, first, approval())
    await at.api.review(thread)
    calls = [at.keeper_webhook(bridge, thread["thread_id"]) for bridge in (first, second) * 5]
    statuses = {answer.status_code for answer in await asyncio.gather(*calls)}
    assert statuses <= {200, 503}
    assert (await until_answered(run))[0] == "approve"
    assert len(await at.world.entries("approval.redeemed")) == 1


async def test_a_bridge_that_redeems_second_leaves_the_form_to_the_first(at: House) -> None:
    bridge = not_held(at)
    _, thread = await paused(at, bridge, approval())
    await at.api.review(thread)
    gate = keeper_of(at)
    redeem = gate.validate_approval

    async def second(*arguments: Any, **named: Any) -> Any:
        await redeemed(at, thread)
        return await redeem(*arguments, **named)

    gate.validate_approval = second  # type: ignore[method-assign]
    assert (await at.keeper_webhook(bridge, thread["thread_id"])).status_code == 503
    assert at.dify.posts == 0


async def test_a_delivery_that_the_gate_gave_up_goes_on_to_its_end(at: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stacksona_bridge.webhooks.SECONDS", 1.0)
    bridge = not_held(at)
    run, thread = await paused(at, bridge, approval())
    await at.api.review(thread)
    gate, given_up = keeper_of(at), asyncio.Event()
    redeem = gate.validate_approval

    async def slow(*arguments: Any, **named: Any) -> Any:
        await given_up.wait()
        return await redeem(*arguments, **named)

    gate.validate_approval = slow  # type: ignore[method-assign]
    assert (await at.keeper_webhook(bridge, thread["thread_id"])).status_code == 503
    given_up.set()
    assert (await until_answered(run))[0] == "approve"


def keeper_of(at: House) -> AsyncGate:
    """The newest bridge's client of the gate."""
    passing = at.bridges[-1].passing
    assert passing is not None
    return passing.gatekeeper.gate


async def test_a_form_that_somebody_else_answered_ends_it(at: House) -> None:
    bridge = not_held(at)
    run, thread = await paused(at, bridge, approval())
    await at.api.review(thread)
    assert run.form is not None
    run.form.is_expired = True
    answer = await at.keeper_webhook(bridge, thread["thread_id"])
    assert (answer.status_code, run.answered) == (200, [])


async def test_inputs_that_dify_refuses_have_the_form_refused(at: House) -> None:
    bridge = not_held(at)
    run, thread = await paused(at, bridge, approval())
    assert run.form is not None
    run.form.actions = ("decline",)
    await at.api.review(thread)
    await at.keeper_webhook(bridge, thread["thread_id"])
    assert (await until_answered(run))[0] == "decline"


# Whose word counts


async def forged(at: House, genuine: dict[str, Any], amount: object = "251", **changes: Any) -> Any:
    """A thread of somebody who has the gatekeeper's key and no signing key, approved."""
    fields: dict[str, Any] = {
        "task": genuine["task_id"],
        "metadata": genuine["metadata"],
        "payload": {"amount": amount, "currency": "usd"},
        **changes,
    }
    made = await at.api.ask(amount, key=at.keeper_key, **fields)
    await at.api.review(made)
    return made


@pytest.mark.parametrize("what", ["unsigned", "other run", "other task", "other tool", "other action", "other key"])
async def test_a_thread_that_the_bridge_did_not_sign_answers_nothing(at: House, what: str) -> None:
    bridge = not_held(at)
    _, genuine = await paused(at, bridge, approval())
    other = at.dify.add(approval())
    metadata, changes = dict(genuine["metadata"]), dict[str, Any]()
    match what:
        case "unsigned":
            del metadata["bridge_signature"]
        case "other run":
            metadata["bridge_run"] = other.id
        case "other task":
            changes["task"] = "t-2"
        case "other tool":
            changes["tool_name"] = "wire_transfer"
        case "other action":
            metadata["bridge_reject"] = "approve"
        case "other key":
            fields = signatures.chosen(signatures.KEEP_FIELDS, metadata)
            about = (genuine["task_id"], "issue_refund")
            metadata["bridge_signature"] = signatures.signature([b"k" * 32], signatures.KEEP, *about, fields)
    thread = await forged(at, genuine, metadata=metadata, **changes)
    answer = await at.keeper_webhook(bridge, thread["thread_id"])
    assert (answer.status_code, at.dify.posts) == (200, 0)


async def test_a_signature_copied_onto_a_smaller_question_approves_nothing(at: House) -> None:
    bridge = not_held(at)
    run, genuine = await paused(at, bridge, approval("4000"))
    thread = await forged(at, genuine)
    await at.keeper_webhook(bridge, thread["thread_id"])
    assert (await until_answered(run))[0] == "decline"


async def test_a_form_that_shows_something_else_by_now_is_not_approved(at: House) -> None:
    bridge = not_held(at)
    run, thread = await paused(at, bridge, approval())
    await at.api.review(thread)
    assert run.form is not None
    run.form.content = "Refund 5,000?"
    await at.keeper_webhook(bridge, thread["thread_id"])
    assert (await until_answered(run))[0] == "decline"


async def test_the_agents_webhook_cannot_answer_a_kept_form(at: House) -> None:
    """A thread of the other agent with a copy of the metadata, delivered with its own good signature."""
    bridge = not_held(at)
    _, genuine = await paused(at, bridge, approval())
    copied = await at.asked(task=genuine["task_id"], metadata=genuine["metadata"], payload=genuine["payload"])
    await at.api.review(copied)
    assert (await at.webhook(bridge, copied["thread_id"])).json() == {"done": "nothing waits"}
    assert (await at.keeper_webhook(bridge, copied["thread_id"])).status_code == 503
    assert at.dify.posts == 0
