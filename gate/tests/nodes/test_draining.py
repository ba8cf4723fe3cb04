"""A node told to end under load: it says so first, answers whoever it let in, and loses nothing that it told."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Final

import psycopg
import pytest
from gate.tests.cli.processes import PATIENCE, call, until
from gate.tests.nodes.site import POLICY, Node, Site, site_of
from gate.tests.nodes.test_waking import Waiting, held, stream

pytestmark = pytest.mark.slow
NOTICE: Final = 4
"""Seconds between «not ready» and the end."""
QUICK: Final = 30.0
"""Seconds in which a node is gone that has nothing to wait for, on a busy machine too."""
REFUSED: Final = (ConnectionRefusedError, TimeoutError)
"""By the machine, before anything was sent."""


@dataclass(slots=True)
class Load:
    """Callers who ask one after the other until nobody takes their connections any more."""

    node: Node
    key: str
    acknowledged: list[tuple[float, str]] = field(default_factory=list)
    """When the call began, and its request."""
    broken: list[str] = field(default_factory=list)
    """Calls that were sent and not answered."""
    refused: list[float] = field(default_factory=list)
    """When a connection was."""
    readiness: list[tuple[float, int]] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    def begin(self) -> None:
        work = [*[lambda: self._ask(reuse=False)] * 4, *[lambda: self._ask(reuse=True)] * 4, self._look]
        self._threads = [threading.Thread(target=one, daemon=True) for one in work]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in self._threads)

    def _ask(self, *, reuse: bool) -> None:
        body = json.dumps({"tool_name": "issue_refund", "subject": "Refund", "payload": {"amount": 100}})
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", self.node.port, timeout=PATIENCE)
        while True:
            try:
                if connection.sock is None:
                    connection.connect()
            except REFUSED:
                self.refused.append(time.monotonic())
                return
            begun = time.monotonic()
            try:
                connection.request("POST", "/api/agent/tasks/t/requests", body, headers)
                answer = connection.getresponse()
                told = json.loads(answer.read())
                assert answer.status == 200, told
            except Exception as error:
                self.broken.append(repr(error))
                return
            self.acknowledged.append((begun, told["request_id"]))
            if not reuse:
                connection.close()

    def _look(self) -> None:
        with suppress(OSError):
            while True:
                begun = time.monotonic()
                self.readiness.append((begun, call(self.node.port, "GET", "/readyz")[0]))


@dataclass(slots=True)
class Ending:
    """What was seen of it."""

    site: Site
    load: Load
    polls: list[Waiting]
    told: float
    """When it was told to end."""
    code: int
    gone: float
    streamed: bytes


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with site_of() as made:
        made.start("first", STACKSONA_DRAIN_SECONDS="0")
        made.first.done("PUT", "policy", made.admin, POLICY)
        yield made


@pytest.fixture(scope="module")
def ending(site: Site) -> Iterator[Ending]:
    _, key = site.agent()
    node, threads = site.start("ending", STACKSONA_DRAIN_SECONDS=str(NOTICE)), [site.first.thread(key) for _ in "ab"]
    with ExitStack() as stack:
        polls = [held(node, key, thread) for thread in threads]
        path = f"/api/agent/decisions/stream?thread_id={threads[0]}"
        events = stack.enter_context(stream(node, path, Authorization=f"Bearer {key}"))
        load = Load(node, key)
        load.begin()
        until(lambda: True if len(load.acknowledged) > 50 else None)
        told = time.monotonic()
        node.process.process.send_signal(signal.SIGTERM)
        streamed = events.read()  # raises where the end is not a stream's own
        code = node.process.process.wait(PATIENCE)
        gone = time.monotonic()
        load.end()
        yield Ending(site, load, polls, told, code, gone, streamed)


def test_it_says_that_it_is_not_ready_before_anything_else(ending: Ending) -> None:
    first = next(at for at, status in ending.load.readiness if status == 503)
    assert first - ending.told < NOTICE / 2
    assert {status for at, status in ending.load.readiness if at > first} == {503}


def test_new_connections_are_answered_until_the_notice_is_over(ending: Ending) -> None:
    assert min(ending.load.refused) >= ending.told + NOTICE - 0.2
    assert max(begun for begun, _ in ending.load.acknowledged) >= ending.told + NOTICE / 2


def test_no_call_that_was_sent_stays_without_an_answer(ending: Ending) -> None:
    assert ending.load.broken == []


def test_held_answers_leave_when_the_notice_is_over(ending: Ending) -> None:
    left = [poll.end() for poll in ending.polls]
    assert [(status, body["status"]) for _, status, body in left] == [(200, "pending_review")] * len(left)
    assert all(at - ending.told >= NOTICE - 0.2 for at, _, _ in left)


def test_event_streams_end_as_they_should(ending: Ending) -> None:
    assert b'"status":"pending_review"' in ending.streamed


def test_what_it_acknowledged_is_there(ending: Ending) -> None:
    with psycopg.connect(ending.site.url) as connection:
        kept = {row[0] for row in connection.execute("SELECT id FROM requests")}
    assert [one for _, one in ending.load.acknowledged if one not in kept] == []


def test_it_ends_with_code_0_soon_after(ending: Ending) -> None:
    assert ending.code == 0
    assert ending.gone - ending.told <= NOTICE + QUICK


def test_its_log_is_sealed_by_another_at_once(ending: Ending) -> None:
    """It gives its leases back."""
    now = time.time_ns() // 1000
    with psycopg.connect(ending.site.url) as connection:
        until(lambda: True if ending.site.first.measured("stacksona_gate_log_unsealed") == 0 else None)
        row = connection.execute("SELECT holder, until FROM leases WHERE name = 'seal default'").fetchone()
    assert row is not None
    assert row[1] > now or row[1] == 0


def refuses(node: Node) -> bool | None:
    return True if call(node.port, "GET", "/readyz")[0] == 503 else None


def lets_nobody_in(node: Node) -> bool | None:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return True if probe.connect_ex(("127.0.0.1", node.port)) else None


def seconds_to_end(node: Node) -> float:
    begun = time.monotonic()
    assert node.process.process.wait(PATIENCE) == 0
    return time.monotonic() - begun


def test_a_second_signal_ends_the_notice(site: Site) -> None:
    node = site.start("hurried", STACKSONA_DRAIN_SECONDS="600")
    node.process.process.send_signal(signal.SIGTERM)
    until(lambda: refuses(node))
    node.process.process.send_signal(signal.SIGTERM)
    assert seconds_to_end(node) <= QUICK


def test_control_c_gives_no_notice(site: Site) -> None:
    node = site.start("interrupted", STACKSONA_DRAIN_SECONDS="600")
    node.process.process.send_signal(signal.SIGINT)
    assert seconds_to_end(node) <= QUICK


def test_a_third_signal_waits_for_nobody(site: Site) -> None:
    _, key = site.agent()
    node = site.start("forced", STACKSONA_DRAIN_SECONDS="600")
    with socket.create_connection(("127.0.0.1", node.port)) as caller:
        head = f"POST /api/agent/tasks/t/requests HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {key}\r\n"
        caller.sendall(f"{head}Content-Length: 9\r\n\r\n".encode())  # and never the nine bytes
        for seen in (lambda: refuses(node), lambda: lets_nobody_in(node), lambda: True):
            node.process.process.send_signal(signal.SIGTERM)
            until(seen)  # so that they are three
        assert seconds_to_end(node) <= QUICK
