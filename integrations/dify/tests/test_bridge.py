"""Pause and callback, with the real bridge and the real gate between: only Dify's form endpoints are stood in for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from conftest import REVIEWED, Site, refund
from dify_server import APP_KEY, TRIGGER, DifyServer, dify_server
from live import Gate, eventually, free_port, live_bridge

AGENT = "bridged"
DELIVERY = 40.0
"""Seconds: the gate's second attempt comes after five."""


@dataclass(slots=True)
class Street:
    """Dify, the bridge, and an agent whose webhooks go to it."""

    site: Site
    dify: DifyServer
    agent: str

    def thread(self, run_id: str) -> str:
        return self.site.gate.pending(run_id, self.agent)


@pytest.fixture(scope="module")
def bridged(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DifyServer]:
    """A stand-in for Dify, with the bridge before it."""
    port = free_port()
    gate.make_agent(AGENT, webhook_url=f"http://127.0.0.1:{port}/webhooks/gate")
    with dify_server(AGENT) as dify:
        settings = {
            "BRIDGE_PORT": str(port),
            "BRIDGE_GATE_URL": gate.url,
            "BRIDGE_GATE_KEY": gate.keys[AGENT],
            "BRIDGE_WEBHOOK_SECRETS": gate.webhook_secrets[AGENT],
            "BRIDGE_CALLERS": "nobody:" + "0123456789abcdef" * 2,
            "BRIDGE_DIFY_URL": dify.url,
            "BRIDGE_DIFY_APPS": json.dumps({"refunds": {"key": APP_KEY}}),
            "BRIDGE_DIFY_TRIGGERS": f"gate-callback-resume={dify.url}{TRIGGER}",
        }
        with live_bridge(tmp_path_factory.mktemp("bridge"), settings):
            yield dify


@pytest.fixture
def street(site: Site, bridged: DifyServer) -> Street:
    bridged.site = site
    bridged.woken.clear()
    return Street(site, bridged, AGENT)


def test_an_approval_resumes_the_run_and_it_pays_once(street: Street) -> None:
    inputs = refund(REVIEWED)
    paused = street.dify.start(inputs)
    street.site.gate.review(street.thread(paused.run_id))
    assert paused.resumed.result(DELIVERY).outputs["status"] == "approved"
    assert street.site.tool.executed() == [inputs]


def test_a_refusal_resumes_the_run_and_it_pays_nothing(street: Street) -> None:
    paused = street.dify.start(refund(REVIEWED))
    street.site.gate.review(street.thread(paused.run_id), "reject")
    assert paused.resumed.result(DELIVERY).outputs["status"] == "rejected"
    assert street.site.tool.calls == []


def test_an_edited_approval_resumes_the_run_and_it_pays_what_was_edited(street: Street) -> None:
    paused = street.dify.start(refund(REVIEWED))
    street.site.gate.review(street.thread(paused.run_id), payload={"amount": 5, "currency": "usd"})
    paused.resumed.result(DELIVERY)
    assert street.site.tool.executed() == [{"amount": 5, "currency": "usd"}]


def test_a_thread_that_names_another_run_wins_nothing(street: Street) -> None:
    paused = street.dify.start(refund(REVIEWED))
    metadata = (street.site.gate.decision(paused.run_id, street.agent) or {})["metadata"]
    task = street.site.new_task(street.agent)
    body = {"tool_name": "issue_refund", "subject": "Refund of 51", "payload": {"amount": 51}, "metadata": metadata}
    trivial = street.site.gate.ask(task, street.agent, **body)
    street.site.gate.review(trivial["thread_id"])
    assert paused.resumed.result(DELIVERY).outputs["status"] == "pending_review"
    assert street.site.tool.calls == []


def test_while_dify_is_down_the_gate_tries_again_and_finishes(street: Street) -> None:
    inputs = refund(REVIEWED)
    paused = street.dify.start(inputs)
    street.dify.is_down = True
    street.site.gate.review(street.thread(paused.run_id))
    eventually(lambda: street.dify.turned_away)
    street.dify.is_down = False
    paused.resumed.result(DELIVERY)
    assert street.site.tool.executed() == [inputs]


def test_an_approval_starts_the_second_workflow_and_it_pays_once(street: Street) -> None:
    inputs, task = refund(REVIEWED), street.site.new_task(street.agent)
    street.site.run("gate-callback-start.yml", inputs, run_id=task, agent=street.agent)
    street.site.gate.review(street.thread(task))
    woken = eventually(lambda: street.dify.woken, DELIVERY)
    assert woken[0].result(DELIVERY).outputs["status"] == "approved"
    assert street.site.tool.executed() == [inputs]


def test_a_refusal_starts_the_second_workflow_and_it_pays_nothing(street: Street) -> None:
    task = street.site.new_task(street.agent)
    street.site.run("gate-callback-start.yml", refund(REVIEWED), run_id=task, agent=street.agent)
    street.site.gate.review(street.thread(task), "reject")
    woken = eventually(lambda: street.dify.woken, DELIVERY)
    assert woken[0].result(DELIVERY).visited[-1] == "stopped"
    assert street.site.tool.calls == []
