"""Waking what waits: what a thread's metadata can reach, and what it cannot."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from integrations.bridge.tests.fake_dify import KEY, FakeForm, FakeRun, served
from integrations.bridge.tests.house import KEEPER_SECRET, SECRET, House, house, signed
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


@pytest.fixture
async def at() -> AsyncIterator[House]:
    async with house() as made:
        yield made


def pause() -> FakeForm:
    return FakeForm("pause", ("decided",))


def waits(run: FakeRun, **changes: str) -> dict[str, str]:
    """The metadata of the template that pauses."""
    told = {
        "dify_resume": "human_input",
        "dify_run_id": run.id,
        "dify_user": run.user,
        "dify_node": "pause",
        "dify_action_approved": "decided",
        "dify_action_rejected": "decided",
    }
    return {name: value for name, value in (told | changes).items() if value}


class Waker:
    """Something that is called to wake up."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.paths: list[str] = []
        self.status = 200
        self.hosts: list[str] = []

    async def take(self, request: Request) -> Response:
        self.bodies.append(json.loads(await request.body()))
        self.paths.append(request.url.path)
        self.hosts.append(request.headers["host"])
        return Response(status_code=self.status, headers={"location": "/elsewhere"})

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self.take, methods=["POST"])])


# Human Input


@pytest.mark.parametrize("verdict", ["approve", "reject"])
async def test_a_paused_run_is_woken_and_not_told_what_was_decided(at: House, verdict: str) -> None:
    run = at.dify.add(pause())
    asked = await at.asked(metadata=waits(run))
    await at.api.review(asked, verdict)
    answer = await at.webhook(at.bridge(), asked["thread_id"])
    assert (answer.status_code, answer.json()) == (200, {"done": "woken"})
    assert [form.answer for form in run.answered] == [("decided", "user-1", {})]


async def test_a_second_delivery_finds_it_done(at: House) -> None:
    run = at.dify.add(pause())
    asked = await at.asked(metadata=waits(run))
    await at.api.review(asked)
    bridge = at.bridge()
    answers = [(await at.webhook(bridge, asked["thread_id"])).status_code for _ in range(2)]
    assert answers == [200, 200]
    assert at.dify.posts == 1


async def test_a_form_that_somebody_answered_counts_as_done(at: House) -> None:
    run = at.dify.add(pause())
    asked = await at.asked(metadata=waits(run))
    await at.api.review(asked)
    assert run.form is not None
    run.form.is_expired = True
    answer = await at.webhook(at.bridge(), asked["thread_id"])
    assert (answer.status_code, answer.json()["done"]) == (200, "was answered already")


async def test_a_run_that_is_not_paused_yet_is_tried_again(at: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stacksona_bridge.dify.LOOK_SECONDS", 0.2)
    run = at.dify.add(pause(), paused=False)
    asked = await at.asked(metadata=waits(run))
    await at.api.review(asked)
    bridge = at.bridge()
    early = await at.webhook(bridge, asked["thread_id"])
    assert (early.status_code, early.headers["retry-after"]) == (503, "2")
    assert "x-gate-decision" not in early.headers
    run.go_on()
    assert (await at.webhook(bridge, asked["thread_id"])).json() == {"done": "woken"}


async def test_dify_being_down_is_tried_again(at: House) -> None:
    run = at.dify.add(pause())
    asked = await at.asked(metadata=waits(run))
    await at.api.review(asked)
    at.dify.down = 502
    assert (await at.webhook(at.bridge(), asked["thread_id"])).status_code == 503
    at.dify.down = None
    assert (await at.webhook(at.bridge(), asked["thread_id"])).status_code == 200  # another bridge: nothing was kept


async def test_a_form_of_another_node_is_left_alone(at: House) -> None:
    run = at.dify.add(FakeForm("elsewhere", ("decided",)))
    asked = await at.asked(metadata=waits(run))
    await at.api.review(asked)
    assert (await at.webhook(at.bridge(), asked["thread_id"])).status_code == 503
    assert at.dify.posts == 0


async def test_another_user_sees_no_run(at: House) -> None:
    run = at.dify.add(pause())
    asked = await at.asked(metadata=waits(run, dify_user="user-2"))
    await at.api.review(asked)
    assert (await at.webhook(at.bridge(), asked["thread_id"])).status_code == 503
    assert at.dify.posts == 0


async def test_a_run_that_never_was_is_given_up_after_a_while(at: House) -> None:
    at.world.clock.now = int((time.time() - 3600) * 1_000_000)
    asked = await at.asked(metadata=waits(FakeRun(KEY, "user-1")))
    await at.api.review(asked)
    answer = await at.webhook(at.bridge(), asked["thread_id"])
    assert (answer.status_code, answer.json()["done"]) == (200, "given up: no such run of this user")


async def test_a_pending_thread_wakes_nothing(at: House) -> None:
    run = at.dify.add(pause())
    asked = await at.asked(metadata=waits(run))
    answer = await at.webhook(at.bridge(), asked["thread_id"])
    assert (answer.json()["done"], at.dify.posts) == ("not decided", 0)


@pytest.mark.parametrize("event", ["decision.revision_requested", "test", "something.new"])
async def test_other_events_wake_nothing(at: House, event: str) -> None:
    run = at.dify.add(pause())
    asked = await at.asked(metadata=waits(run))
    await at.api.review(asked)
    assert (await at.webhook(at.bridge(), asked["thread_id"], event)).json() == {"done": "nothing to do"}
    assert at.dify.posts == 0


# What an agent's key can reach by metadata


async def test_a_trivial_approval_that_names_somebody_elses_run_wins_nothing(at: House) -> None:
    """The run wakes early, reads its own thread, which is pending, and redeems nothing."""
    victim = at.dify.add(pause())
    big = await at.asked(amount=4000, task="victim", metadata=waits(victim))
    trivial = await at.asked(amount=251, task="attacker", metadata=waits(victim))
    await at.api.review(trivial)
    await at.webhook(at.bridge(), trivial["thread_id"])
    assert [form.answer for form in victim.answered] == [("decided", "user-1", {})]
    read_back = await at.api.poll(big)
    assert (read_back["status"], "approval_token" in read_back) == ("pending_review", False)


@pytest.mark.parametrize(
    "changes",
    [
        {"dify_node": "approval", "dify_action_approved": "approve", "dify_action_rejected": "approve"},
        {"dify_node": "approval", "dify_action_approved": "", "dify_action_rejected": ""},
        {"dify_node": "elsewhere", "dify_action_approved": "approve", "dify_action_rejected": "approve"},
        {"dify_action_approved": "approve"},
        {"dify_app": "no-such-app"},
        {"dify_signature": "v1." + "0" * 64},
    ],
    ids=["kept node", "kept node without action", "unknown node", "other action", "unknown app", "forged signature"],
)
async def test_metadata_cannot_answer_a_form_that_decides(at: House, changes: dict[str, str]) -> None:
    node = changes.get("dify_node", "pause")
    victim = at.dify.add(FakeForm(node, ("approve", "decline", "decided")))
    trivial = await at.asked(amount=251, metadata=waits(victim, **changes))
    await at.api.review(trivial)
    answer = await at.webhook(at.bridge(), trivial["thread_id"])
    assert (answer.status_code, at.dify.posts) == (200, 0)
    assert answer.json()["done"].startswith("refused: ")


async def test_the_metadata_of_the_delivery_is_not_believed(at: House) -> None:
    victim = at.dify.add(pause())
    asked = await at.asked()
    await at.api.review(asked)
    body = json.dumps(
        {"event": "decision.approved", "thread_id": asked["thread_id"], "metadata": waits(victim)}
    ).encode()
    answer = await at.bridge().post("/webhooks/gate", content=body, headers=signed(body))
    assert (answer.json(), at.dify.posts) == ({"done": "nothing waits"}, 0)


async def test_a_thread_of_another_agent_cannot_be_read_back(at: House) -> None:
    run = at.dify.add(pause())
    asked = await at.asked(metadata=waits(run), key=at.keeper_key)
    await at.api.review(asked)
    assert (await at.webhook(at.bridge(), asked["thread_id"])).status_code == 503
    assert at.dify.posts == 0


async def test_what_was_asked_through_the_bridge_is_signed_and_wakes_where_only_that_may(at: House) -> None:
    run = at.dify.add(pause())
    bridge = at.bridge(BRIDGE_REQUIRE_SIGNED="yes")
    body = {
        "taskId": "t-1",
        "toolName": "issue_refund",
        "subject": "Refund",
        "payload": {"amount": 500},
        "metadata": waits(run),
    }
    asked = (await bridge.post("/decisions", json=body)).json()
    assert asked["metadata"]["dify_signature"].startswith("v1.")
    await at.api.review(asked)
    assert (await at.webhook(bridge, asked["thread_id"])).json() == {"done": "woken"}


async def test_where_only_signed_threads_wake_others_do_not(at: House) -> None:
    run = at.dify.add(pause())
    bridge = at.bridge(BRIDGE_REQUIRE_SIGNED="yes")
    asked = await at.asked(metadata=waits(run))
    await at.api.review(asked)
    assert (await at.webhook(bridge, asked["thread_id"])).json()["done"].startswith("refused: ")
    assert at.dify.posts == 0


@pytest.mark.parametrize("change", ["task", "tool_name", "metadata"])
async def test_a_signature_is_worth_nothing_on_another_question(at: House, change: str) -> None:
    run, other = at.dify.add(pause()), at.dify.add(pause())
    bridge = at.bridge()
    body = {"task_id": "t-1", "tool_name": "issue_refund", "subject": "Refund", "payload": {"amount": 500}}
    genuine = (await bridge.post("/decisions", json=body | {"metadata": waits(run)})).json()
    copied = dict(genuine["metadata"])
    fields: dict[str, Any] = {"task": "t-1", "metadata": copied}
    fields |= {"task": "t-2"} if change == "task" else {}
    fields |= {"tool_name": "wire_transfer"} if change == "tool_name" else {}
    if change == "metadata":
        copied["dify_run_id"] = other.id
    forged = await at.asked(amount=251, **fields)
    await at.api.review(forged)
    assert (await at.webhook(bridge, forged["thread_id"])).json()["done"].startswith("refused: ")
    assert at.dify.posts == 0


# Forged deliveries


@pytest.mark.parametrize("forgery", ["no headers", "other secret", "old", "other body", "doubled header", "keeper's"])
async def test_a_forged_delivery_is_refused(at: House, forgery: str) -> None:
    run = at.dify.add(pause())
    asked = await at.asked(metadata=waits(run))
    await at.api.review(asked)
    body = json.dumps({"event": "decision.approved", "thread_id": asked["thread_id"]}).encode()
    headers = list(signed(body).items())
    match forgery:
        case "no headers":
            headers = []
        case "other secret":
            headers = list(signed(body, "whsec_" + "A" * 43 + "=").items())
        case "old":
            headers = list(signed(body, at=int(time.time()) - 3600).items())
        case "other body":
            body += b" "
        case "doubled header":
            headers.append(("webhook-signature", "v1,AAAA"))
        case "keeper's":
            headers = list(signed(body, KEEPER_SECRET).items())
    answer = await at.bridge().post("/webhooks/gate", content=body, headers=headers)
    assert answer.status_code == (503 if forgery == "keeper's" else 401)
    assert at.dify.posts == 0


async def test_a_bridge_without_webhook_secrets_believes_nobody(at: House) -> None:
    body = b'{"event":"decision.approved"}'
    bridge = at.bridge(BRIDGE_WEBHOOK_SECRETS="")
    assert (await bridge.post("/webhooks/gate", content=body, headers=signed(body, SECRET))).status_code == 401


async def test_a_delivery_that_is_too_large_is_not_read_whole(at: House) -> None:
    body = b"x" * (1024 * 1024 + 1)
    assert (await at.bridge().post("/webhooks/gate", content=body, headers=signed(body))).status_code == 413


# Triggers and addresses


async def test_a_trigger_is_called_by_its_name_and_told_nothing_of_the_decision(at: House) -> None:
    waker = Waker()
    asked = await at.asked(metadata={"dify_resume": "webhook", "dify_webhook": "refunds"})
    await at.api.review(asked)
    async with served(waker.app()) as url:
        bridge = at.bridge(BRIDGE_DIFY_TRIGGERS=f"refunds={url}/triggers/webhook/abc")
        answer = await at.webhook(bridge, asked["thread_id"])
    assert answer.json() == {"done": "trigger called"}
    assert waker.bodies == [{"thread_id": asked["thread_id"], "task_id": "task-1", "event": "decision.made"}]


@pytest.mark.parametrize("name", ["http://127.0.0.1:1/", "unknown", ""])
async def test_metadata_names_a_trigger_and_never_an_address(at: House, name: str) -> None:
    asked = await at.asked(metadata={"dify_resume": "webhook", "dify_webhook": name})
    await at.api.review(asked)
    bridge = at.bridge(BRIDGE_DIFY_TRIGGERS="refunds=http://127.0.0.1:9/x")
    assert (await at.webhook(bridge, asked["thread_id"])).json()["done"].startswith("refused: ")


@pytest.mark.parametrize("status", [301, 400, 404, 500])
async def test_a_trigger_that_does_not_take_it_is_tried_again(at: House, status: int) -> None:
    waker = Waker()
    waker.status = status
    asked = await at.asked(metadata={"dify_resume": "webhook", "dify_webhook": "refunds"})
    await at.api.review(asked)
    async with served(waker.app()) as url:
        answer = await at.webhook(at.bridge(BRIDGE_DIFY_TRIGGERS=f"refunds={url}/t"), asked["thread_id"])
    assert (answer.status_code, waker.paths) == (503, ["/t"])


async def woken_at(at: House, address: str, waker: Waker, **changes: str) -> Any:
    """What becomes of a thread with that address; ``{port}`` is the waker's."""
    async with served(waker.app()) as url:
        port = url.rpartition(":")[2]
        changes = {name: value.replace("{port}", port) for name, value in changes.items()}
        asked = await at.asked(metadata={"resume_url": address.replace("{port}", port)})
        await at.api.review(asked)
        return await at.webhook(at.bridge(**changes), asked["thread_id"])


LISTED = {"BRIDGE_RESUME_URLS": "http://127.0.0.1:{port}/webhook-waiting/", "BRIDGE_ALLOWED_NETWORKS": "127.0.0.0/8"}


async def test_an_address_on_the_list_is_called(at: House) -> None:
    waker = Waker()
    answer = await woken_at(at, "http://127.0.0.1:{port}/webhook-waiting/12?signature=ab", waker, **LISTED)
    assert (answer.json(), waker.paths) == ({"done": "address called"}, ["/webhook-waiting/12"])
    assert set(waker.bodies[0]) == {"thread_id", "task_id", "event"}


async def test_a_listed_name_is_called_at_the_address_that_was_checked(at: House) -> None:
    waker = Waker()
    listed = {"BRIDGE_RESUME_URLS": "http://localhost:{port}", "BRIDGE_ALLOWED_NETWORKS": "127.0.0.0/8,::1/128"}
    await woken_at(at, "http://localhost:{port}/12", waker, **listed)
    assert [host.partition(":")[0] for host in waker.hosts] == ["localhost"]


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:{port}/webhook-waiting/../admin",
        "http://127.0.0.1:{port}/webhook-waiting/%2e%2e/admin",
        "http://127.0.0.1:{port}/webhook-waiting/..%2fadmin",
        "http://127.0.0.1:{port}/webhook-waiting\\..\\admin",
        "http://127.0.0.1:{port}/webhook-waitingx/12",
        "http://127.0.0.1:{port}//webhook-waiting/12",
        "http://127.0.0.1:{port}/admin",
        "http://127.0.0.1:{port}@example.com/webhook-waiting/12",
        "http://user@127.0.0.1:{port}/webhook-waiting/12",
        "http://127.0.0.1:1/webhook-waiting/12",
        "http://127.1:{port}/webhook-waiting/12",
        "http://2130706433:{port}/webhook-waiting/12",
        "https://127.0.0.1:{port}/webhook-waiting/12",
        "http://localhost:{port}/webhook-waiting/12",
        "http://127.0.0.1:{port}/webhook-waiting/12#fragment",
        "http://127.0.0.1:{port}/webhook-waiting/1 2",
        "http://127.0.0.1:{port}/webhook-waiting/1\r\nx: y",
        "file:///etc/passwd",
        "",
    ],
)
async def test_an_address_beside_the_list_is_not_called(at: House, address: str) -> None:
    waker = Waker()
    answer = await woken_at(at, address, waker, **LISTED)
    assert answer.json()["done"].startswith("refused: ")
    assert waker.paths == []


async def test_a_listed_address_that_is_not_public_is_not_called(at: House) -> None:
    waker = Waker()
    listed = LISTED | {"BRIDGE_ALLOWED_NETWORKS": ""}
    answer = await woken_at(at, "http://127.0.0.1:{port}/webhook-waiting/12", waker, **listed)
    assert (answer.json()["done"], waker.paths) == ("refused: not a public address", [])


async def test_a_redirect_is_not_followed(at: House) -> None:
    waker = Waker()
    waker.status = 307
    answer = await woken_at(at, "http://127.0.0.1:{port}/webhook-waiting/12", waker, **LISTED)
    assert (answer.status_code, waker.paths) == (503, ["/webhook-waiting/12"])


async def test_without_a_list_no_address_is_called(at: House) -> None:
    waker = Waker()
    answer = await woken_at(at, "http://127.0.0.1:{port}/12", waker, BRIDGE_ALLOWED_NETWORKS="127.0.0.0/8")
    assert (answer.json()["done"].startswith("refused: "), waker.paths) == (True, [])
