"""Who waits on one node is woken by a click on another: held answers, an agent's event stream, open pages."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest
from gate.tests.cli.processes import PATIENCE, Json, until
from gate.tests.nodes.site import BOUND, WAYS, Node, Site
from gate.tests.tries import mostly_within

pytestmark = pytest.mark.slow
every_way = pytest.mark.parametrize("way", WAYS)


@dataclass(slots=True)
class Waiting:
    """A call that is held open, and what came of it when."""

    answers: list[tuple[float, int, Json]] = field(default_factory=list)
    thread: threading.Thread | None = None

    def begin(self, call: Callable[[], tuple[int, Json]]) -> None:
        def wait() -> None:
            with suppress(OSError):  # the node may be killed meanwhile
                status, body = call()
                self.answers.append((time.monotonic(), status, body))

        self.thread = threading.Thread(target=wait, daemon=True)
        self.thread.start()

    def end(self) -> tuple[float, int, Json]:
        assert self.thread is not None
        self.thread.join(PATIENCE)
        return self.answers[0]


def held(node: Node, key: str, thread_id: str) -> Waiting:
    """A long-poll that has arrived."""
    before, waiting = node.measured("stacksona_gate_held_answers"), Waiting()
    waiting.begin(lambda: node.read(key, thread_id, wait=50))
    until(lambda: True if node.measured("stacksona_gate_held_answers") > before else None)
    return waiting


@contextmanager
def stream(node: Node, path: str, **headers: str) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        yield answer
    finally:
        connection.close()


def line(answer: http.client.HTTPResponse, part: bytes) -> float:
    """When a line that has ``part`` came."""
    while read := answer.readline():
        if part in read:
            return time.monotonic()
    raise AssertionError(f"the stream ended without {part!r}")


@every_way
def test_a_verdict_answers_a_long_poll(site: Site, way: str) -> None:
    (_, key), node = site.agent(), site.nodes[way]

    def take() -> float:
        thread = site.first.thread(key)
        waiting, clicked = held(node, key, thread), time.monotonic()
        site.first.review(site.reviewer, thread)
        at, status, body = waiting.end()
        assert (status, body["status"]) == (200, "approved")
        return at - clicked

    mostly_within(BOUND, take)


@every_way
def test_a_pause_answers_a_long_poll(site: Site, way: str) -> None:
    node = site.nodes[way]

    def take() -> float:
        agent, key = site.agent()
        waiting, clicked = held(node, key, site.first.thread(key)), time.monotonic()
        site.first.done("PUT", f"agents/{agent}/pause", site.admin)
        at, _, body = waiting.end()
        assert (body["status"], body["reason_code"]) == ("rejected", "agent_paused")
        return at - clicked

    mostly_within(BOUND, take)


@every_way
def test_a_verdict_reaches_an_agents_stream(site: Site, way: str) -> None:
    (_, key), node = site.agent(), site.nodes[way]

    def take() -> float:
        thread = site.first.thread(key)
        path = f"/api/agent/decisions/stream?thread_id={thread}"
        with stream(node, path, Authorization=f"Bearer {key}") as answer:
            line(answer, b'"status":"pending_review"')
            clicked = time.monotonic()
            site.first.review(site.reviewer, thread)
            return line(answer, b'"status":"approved"') - clicked

    mostly_within(BOUND, take)


@every_way
def test_a_new_thread_reaches_an_open_inbox(site: Site, way: str) -> None:
    (_, key), (_, email), node = site.agent(), site.user(), site.nodes[way]

    def take() -> float:
        with stream(node, "/inbox/stream", Cookie=node.sign_in(email)[1]) as answer:
            line(answer, b": hello")
            asked = time.monotonic()
            site.first.thread(key)
            return line(answer, b"event: changed") - asked

    mostly_within(BOUND, take)


@every_way
def test_a_verdict_reaches_a_reviewers_program(site: Site, way: str) -> None:
    (_, key), node = site.agent(), site.nodes[way]

    def take() -> float:
        thread = site.first.thread(key)
        with stream(node, "/api/review/stream", Authorization=f"Bearer {site.reviewer}") as answer:
            line(answer, b": alive")
            clicked = time.monotonic()
            site.first.review(site.reviewer, thread)
            return line(answer, b"event: changed") - clicked

    mostly_within(BOUND, take)


@every_way
def test_an_inbox_of_somebody_disabled_is_told_that_it_is_over(site: Site, way: str) -> None:
    node = site.nodes[way]

    def take() -> float:
        user, email = site.user()
        with stream(node, "/inbox/stream", Cookie=node.sign_in(email)[1]) as answer:
            line(answer, b": hello")
            changed = time.monotonic()
            site.first.done("PATCH", f"users/{user}", site.admin, {"active": False})
            return line(answer, b"event: over") - changed

    mostly_within(BOUND, take)


@every_way
def test_a_held_answer_is_not_given_to_who_holds_a_replaced_key(site: Site, way: str) -> None:
    (agent, key), node = site.agent(), site.nodes[way]
    thread = site.first.thread(key)
    waiting = held(node, key, thread)
    site.first.done("POST", f"agents/{agent}/key", site.admin)
    site.first.review(site.reviewer, thread)
    assert waiting.end()[1] == 401


def test_notifications_are_lost_where_they_are_meant_to_be(site: Site) -> None:
    """What the others show would be worth little if the proxy dropped nothing."""
    assert site.wire is not None
    wire, lost = site.wire, site.wire.lost
    site.agent()
    until(lambda: True if wire.lost > lost else None)
