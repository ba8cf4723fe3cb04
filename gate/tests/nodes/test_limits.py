"""Limits hold over all nodes together: answers held open for an agent, and tools that nobody has heard of."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import psycopg
import pytest
from gate.tests.cli.processes import call, until
from gate.tests.nodes.site import Node, Site, site_of
from gate.tests.nodes.test_waking import Waiting, held

pytestmark = pytest.mark.slow
HELD: Final = 4
TOOLS: Final = 10


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    settings = {"STACKSONA_HELD_REQUESTS": str(HELD), "STACKSONA_DISCOVERED_TOOLS": str(TOOLS)}
    with site_of() as made:
        for name in ("first", "second"):
            made.start(name, STACKSONA_DRAIN_SECONDS="0", **settings)
        yield made


def is_full(node: Node, key: str, thread: str) -> bool:
    """Whether one more is refused; one that is let in leaves again at once."""
    status, _ = node.read(key, thread, wait=1)
    return status == 429


def held_on(node: Node, key: str, count: int) -> tuple[str, list[Waiting]]:
    thread = node.thread(key)
    return thread, [held(node, key, thread) for _ in range(count)]


def test_answers_held_on_one_node_count_on_another(site: Site) -> None:
    _, key = site.agent()
    thread, waiting = held_on(site.first, key, HELD - 1)
    second = site.nodes["second"]
    waiting.append(held(second, key, thread))
    until(lambda: True if is_full(second, key, thread) else None)
    until(lambda: True if is_full(site.first, key, thread) else None)
    site.first.review(site.reviewer, thread)
    assert [one.end()[1] for one in waiting] == [200] * HELD


def test_answers_that_were_given_make_room_on_another(site: Site) -> None:
    _, key = site.agent()
    thread, waiting = held_on(site.first, key, HELD)
    second, other = site.nodes["second"], site.first.thread(key)
    until(lambda: True if is_full(second, key, other) else None)
    site.first.review(site.reviewer, thread)
    assert [one.end()[1] for one in waiting] == [200] * HELD
    until(lambda: None if is_full(second, key, other) else True)


def test_another_agent_has_its_own_room(site: Site) -> None:
    _, key = site.agent()
    thread, waiting = held_on(site.first, key, HELD)
    until(lambda: True if is_full(site.nodes["second"], key, thread) else None)
    _, other = site.agent()
    assert not is_full(site.nodes["second"], other, site.first.thread(other))
    site.first.review(site.reviewer, thread)
    assert [one.end()[1] for one in waiting] == [200] * HELD


def test_tools_discovered_on_two_nodes_at_once_are_as_many_as_one_may_keep(site: Site) -> None:
    _, key = site.agent()
    start = threading.Barrier(8)

    def discover(number: int) -> None:
        node = site.nodes[("first", "second")[number % 2]]
        start.wait()
        for tool in range(TOOLS):
            body = {"tool_name": f"tool-{number}-{tool}", "subject": "s"}
            assert call(node.port, "POST", "/api/agent/tasks/t/requests", key, body)[0] == 200

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(discover, range(8)))
    with psycopg.connect(site.url) as connection:
        row = connection.execute("SELECT COUNT(*) FROM discovered_tools").fetchone()
    assert row == (TOOLS,)


def test_what_a_killed_node_held_counts_no_more_once_it_is_not_heard_of(site: Site) -> None:
    """The last test of these: it costs a node."""
    _, key = site.agent()
    thread, _ = held_on(site.first, key, HELD)
    second = site.nodes["second"]
    until(lambda: True if is_full(second, key, thread) else None)
    site.first.process.end(signal.SIGKILL)
    until(lambda: None if is_full(second, key, thread) else True)
