"""A node is killed while it holds everything that one node at a time holds: another one takes over, and what was told
is there."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from gate.tests.cli.processes import COMMAND, PATIENCE, until
from gate.tests.nodes.receiver import Receiver, receiver
from gate.tests.nodes.site import POLICY, SECRET, Node, Site, site_of

from stacksona_gate.delivery.worker import LEASE as SENDING_LASTS
from stacksona_gate.domain.times import HOUR, SECOND
from stacksona_gate.service.publishing import LEASE_LASTS as PUBLISHING_LASTS
from stacksona_gate.service.sealer import LEASE_LASTS as SEALING_LASTS

pytestmark = pytest.mark.slow
SENT: Final = 3
"""Decisions whose webhooks the node has on their way when it is killed."""
SLACK: Final = 10.0
"""Seconds after the end of a lease within which another node has looked and sealed, on a busy machine too."""


@dataclass(slots=True)
class Story:
    """What was there when the first node was killed, and who is left."""

    site: Site
    receiver: Receiver
    left: Node
    key: str = ""
    threads: list[str] = field(default_factory=list)
    """Decided; their webhooks were on their way."""
    waiting: str = ""
    """Still pending."""
    told: list[str] = field(default_factory=list)
    """Requests that were answered under load, up to the end."""
    killed: float = 0.0

    def one(self, sql: str, *values: Any) -> Any:
        with psycopg.connect(self.site.url, autocommit=True) as connection:
            row = connection.execute(sql, values).fetchone()
        return None if row is None else row[0]

    def run(self, sql: str, *values: Any) -> None:
        with psycopg.connect(self.site.url, autocommit=True) as connection:
            connection.execute(sql, values)


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    with site_of() as site, receiver() as called:
        first = site.start("first")
        first.done("PUT", "policy", site.admin, POLICY)
        made = Story(site, called, first)
        _, made.key = site.agent(webhook_url=called.url("hook"))
        made.threads = [first.thread(made.key) for _ in range(SENT)]
        made.waiting = first.thread(made.key)
        first.done("PUT", "audit/publishing", site.admin, {"every_minutes": 1, "url": called.url("checkpoint")})
        for thread in made.threads:
            assert first.review(site.reviewer, thread)[0] == 200
        until(lambda: True if len(called.ids("hook")) == SENT and called.ids("checkpoint") else None)
        made.left = site.start("second")
        with load(made, first):
            until(lambda: True if len(made.told) > 50 else None)
            first.process.end(signal.SIGKILL)
            made.killed = time.monotonic()
        yield made


@contextmanager
def load(story: Story, node: Node) -> Iterator[None]:
    """Four callers ask one after the other, until the node is gone."""

    def ask() -> None:
        with suppress(OSError):
            while True:
                status, answer = node.ask(story.key, 100)
                assert status == 200
                story.told.append(answer["request_id"])

    callers = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
    for caller in callers:
        caller.start()
    yield
    for caller in callers:
        caller.join(PATIENCE)


def test_what_was_answered_before_the_end_is_there(story: Story) -> None:
    with psycopg.connect(story.site.url) as connection:
        kept = {row[0] for row in connection.execute("SELECT id FROM requests")}
    assert [one for one in story.told if one not in kept] == []


def test_the_log_is_sealed_by_the_other_node_once_the_lease_is_over(story: Story) -> None:
    until(lambda: True if story.left.measured("stacksona_gate_log_unsealed") == 0 else None)
    assert time.monotonic() - story.killed <= SEALING_LASTS / SECOND + SLACK


def test_what_was_on_its_way_is_sent_by_the_other_node_once_the_lease_is_over(story: Story) -> None:
    now = time.time_ns() // 1000
    last = story.one("SELECT MAX(leased_until) FROM deliveries WHERE state = 'pending'")
    assert last - now <= SENDING_LASTS
    story.receiver.answers.set()
    earlier = "UPDATE deliveries SET due_at = due_at - %s, leased_until = leased_until - %s"
    story.run(earlier, SENDING_LASTS, SENDING_LASTS)
    story.left.thread(story.key)  # whatever is committed makes a node look
    until(lambda: True if story.one("SELECT COUNT(*) FROM deliveries WHERE state = 'delivered'") == SENT else None)
    answered = {one for where, one, _ in story.receiver.answered if where == "/hook"}
    assert answered == story.receiver.ids("hook")


def test_each_webhook_is_the_same_from_both_nodes(story: Story) -> None:
    hooks = [(one, body) for where, one, body in story.receiver.calls if where == "/hook"]
    assert len(set(hooks)) == SENT


def test_a_checkpoint_on_its_way_is_published_by_the_other_node_once_the_lease_is_over(story: Story) -> None:
    now = time.time_ns() // 1000
    assert story.one("SELECT until FROM leases WHERE name = 'publish default'") - now <= PUBLISHING_LASTS
    story.receiver.answers.set()
    story.run("UPDATE leases SET until = until - %s WHERE name = 'publish default'", PUBLISHING_LASTS)
    story.run(
        "UPDATE settings SET value = replace(value, '\"tried_at\":', '\"tried_at\":-') WHERE name = 'publishing.state'"
    )
    until(lambda: True if story.one("SELECT 1 FROM checkpoints WHERE published_at IS NOT NULL") else None)


def test_what_becomes_due_is_reminded_of_and_expires_without_the_first_node(story: Story) -> None:
    earlier = "UPDATE requests SET created_at = created_at - %s, remind_at = 0 WHERE thread_id = %s"
    story.run(earlier, 30 * HOUR, story.waiting)
    until(lambda: True if event(story, "thread.reminded") or event(story, "thread.escalated") else None)
    story.run("UPDATE requests SET expires_at = %s WHERE thread_id = %s", time.time_ns() // 1000, story.waiting)
    until(lambda: True if event(story, "thread.expired") else None)


def event(story: Story, name: str) -> int:
    sql = "SELECT COUNT(*) FROM audit WHERE event = %s AND thread_id = %s"
    return int(story.one(sql, name, story.waiting))


def test_the_log_is_one_history_to_whoever_verifies_it(story: Story, tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    for arguments in (("audit", "export", "--out", str(file)), ("audit", "verify", str(file))):
        on = ("--database", story.site.url) if "export" in arguments else ()
        done = subprocess.run(
            [COMMAND, *arguments, *on],
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            env={"STACKSONA_SECRET_KEY": SECRET},
        )
        assert done.returncode == 0, done.stderr
    assert story.one("SELECT COUNT(*) - COUNT(DISTINCT leaf_index) FROM log_leaves WHERE leaf_index IS NOT NULL") == 0
