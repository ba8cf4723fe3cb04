"""nginx and Caddy, as deploy/proxy sets them up, in front of two gates: everything that callers do goes through."""

from __future__ import annotations

import base64
import json
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from gate.tests.cli.processes import PATIENCE
from gate.tests.deploy.proxies import MAIL, PASSWORD, Site, site

pytestmark = pytest.mark.slow

ASK = "/api/agent/tasks/task-1/requests"
REFUND: dict[str, Any] = {"tool_name": "issue_refund", "subject": "A refund", "payload": {"amount": 500}}


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def behind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(request.param, tmp_path_factory.mktemp(request.param)) as found:
        yield found


def ask(client: httpx2.Client, **fields: Any) -> Any:
    answer = client.post(ASK, json=REFUND | fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def approve(behind: Site, decision: Any) -> None:
    verdict = {"verdict": "approve", "message": "looked at it", "revision": 1}
    with behind.client(behind.token) as people:
        answer = people.post(f"/api/review/threads/{decision['thread_id']}/reviews", json=verdict)
    assert answer.status_code == 200, answer.text


def test_an_agent_asks_polls_and_redeems(behind: Site) -> None:
    with behind.client() as agent:
        decision = ask(agent)
        approve(behind, decision)
        decided = agent.get("/api/agent/decisions", params={"thread_id": decision["thread_id"]})
        body = {"task_id": "task-1", "signature": decided.json()["approval_token"]}
        body |= {"tool_name": "issue_refund", "payload": REFUND["payload"]}
        redeemed = agent.post("/api/agent/approvals/validate", json=body)
    assert decided.headers["x-gate-decision"] == "approved"
    assert decision["review_url"].startswith(behind.url)
    assert (redeemed.status_code, redeemed.json()["valid"]) == (200, True)


def test_the_callers_request_id_comes_back(behind: Site) -> None:
    with behind.client() as agent:
        answer = agent.post(ASK, json=REFUND, headers={"x-request-id": "run-7"})
    assert answer.headers["x-request-id"] == "run-7"
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_a_long_poll_is_held_and_answered_when_people_decide(behind: Site) -> None:
    with behind.client() as agent, ThreadPoolExecutor(1) as threads:
        decision = ask(agent)
        where = {"thread_id": decision["thread_id"], "wait": "60"}
        held = threads.submit(agent.get, "/api/agent/decisions", params=where)
        assert not _is_done(held, 0.5)
        begun = time.monotonic()
        approve(behind, decision)
        answer = held.result(PATIENCE)
    assert answer.json()["status"] == "approved"
    assert time.monotonic() - begun < 40  # and not at the end of the minute that it waits


def _is_done(future: Any, seconds: float) -> bool:
    try:
        future.result(seconds)
    except TimeoutError:
        return False
    return True


def test_events_of_a_stream_come_at_once(behind: Site) -> None:
    with behind.client() as agent:
        decision = ask(agent)
        where = {"thread_id": decision["thread_id"]}
        with agent.stream("GET", "/api/agent/decisions/stream", params=where) as stream:
            lines = stream.iter_lines()
            first = json.loads(next(line for line in lines if line.startswith("data: "))[6:])
            approve(behind, decision)  # the first event is here before there is a second one
            second = json.loads(next(line for line in lines if line.startswith("data: "))[6:])
    assert (first["status"], second["status"]) == ("pending_review", "approved")


def test_a_person_signs_in_and_sees_the_inbox(behind: Site) -> None:
    with behind.client("") as browser:
        form = {"email": MAIL, "password": PASSWORD, "next": "/inbox"}
        own = {"origin": behind.url, "sec-fetch-site": "same-origin"}
        signed = browser.post("/sign-in", data=form, headers=own)
        inbox = browser.get("/inbox")
    assert (signed.status_code, signed.headers["location"]) == (303, "/inbox")
    assert signed.headers["set-cookie"].startswith("__Host-stacksona_session=")
    assert inbox.status_code == 200


def test_attachments_up_to_their_limit_go_through_and_no_more(behind: Site) -> None:
    data = base64.b64encode(b"x" * 4_900_000).decode()
    with behind.client() as agent:
        files = [{"name": "a.txt", "content_type": "text/plain", "data": data}]
        assert ask(agent, attachments=files)["status"] == "pending_review"
        assert agent.post(ASK, content=b"x" * 9_000_000).status_code == 413


def test_bodies_that_only_turn_out_too_long_take_no_node_away(behind: Site) -> None:
    with behind.client() as agent:
        long = [agent.post(ASK, content=iter([b"x" * 1_000_000] * 9)).status_code for _ in range(2)]
        after = [agent.post(ASK, json=REFUND).status_code for _ in range(10)]
    assert set(long) <= {400, 413, 502}
    assert set(after) == {200}


def test_headers_beyond_the_limit_are_refused(behind: Site) -> None:
    with behind.client() as agent:
        answer = agent.post(ASK, json=REFUND, headers={"x-long": "x" * 100_000})
    assert answer.status_code in (400, 431)


@pytest.mark.parametrize("path", ["/metrics", "/metrics?x=1", "/%6detrics"])
def test_metrics_are_closed_from_outside(behind: Site, path: str) -> None:
    forged = {"x-forwarded-for": "127.0.0.1", "forwarded": "for=127.0.0.1"}
    with behind.client("") as stranger:
        answer = stranger.get(path, headers=forged)
    assert answer.status_code in (401, 404)
    assert "stacksona_gate_decisions" not in answer.text


def test_a_node_that_is_killed_is_left_out_and_the_other_goes_on(behind: Site) -> None:
    """The last of this file: one node is gone afterwards."""
    asked, failed, over = list[str](), list[tuple[float, str]](), threading.Event()

    def load() -> None:
        with behind.client() as agent:
            while not over.is_set():
                answer = agent.post(ASK, json=REFUND)
                if answer.status_code == 200:
                    asked.append(answer.json()["request_id"])
                else:
                    failed.append((time.monotonic(), f"{answer.status_code} {answer.text[:200]}"))

    with ThreadPoolExecutor(2) as threads:
        loads = [threads.submit(load) for _ in range(2)]
        _reached(asked, 20)
        killed = time.monotonic()
        behind.nodes[0].end(signal.SIGKILL)
        _reached(asked, len(asked) + 50)
        over.set()
        for one in loads:
            one.result(PATIENCE)
    with behind.client() as agent:
        kept = [agent.get("/api/agent/decisions", params={"request_id": one}).status_code for one in asked[-60:]]
    assert set(kept) == {200}
    assert [why for at, why in failed if at < killed or at > killed + 15] == []
    assert all(why.startswith(("502", "504")) for _, why in failed)  # asked again with the same Idempotency-Key


def _reached(asked: list[str], count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(asked) < count:
        assert time.monotonic() < deadline, "too few answers in time"
        time.sleep(0.02)
