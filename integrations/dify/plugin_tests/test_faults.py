"""Each fault of the gate at each call: the node fails, and nothing comes out before."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from gate.tests.ports import free_port
from integrations.dify.plugin_tests.faulty import FAULTS, way
from integrations.dify.plugin_tests.live import Site
from integrations.dify.plugin_tests.local import LocalPlugin, PluginFault, invocation, variables

Json = dict[str, Any]
QUESTION = {"subject": "Refund", "payload": '{"amount": 40}', "tool_name": "issue_refund", "task_id": "run-1"}


@pytest.fixture
def credentials(site: Site) -> Json:
    return site.credentials(patience="1")


def calls(plugin: LocalPlugin, credentials: Json) -> dict[str, Json]:
    """One call of each tool that goes well when the gate does."""
    found = variables(plugin.call(invocation("request_decision", credentials, QUESTION)))
    ids = {"task_id": "run-1", "request_id": found["request_id"]}
    redemption = {name: found[name] for name in ("approval_token", "payload_digest")}
    return {
        "request_decision": QUESTION,
        "request_and_wait": QUESTION | {"wait_seconds": 2},
        "get_decision": {"request_id": found["request_id"]},
        "log_event": {"task_id": "run-1", "event_type": "task.started"},
        "report_outcome": ids | {"status": "skipped"},
        "redeem_approval": redemption | {"task_id": "run-1", "tool_name": "issue_refund"},
    }


def outcome(plugin: LocalPlugin, credentials: Json, tool: str, parameters: Json) -> list[Json] | PluginFault:
    try:
        return plugin.call(invocation(tool, credentials, parameters))
    except PluginFault as fault:
        return fault


def outcomes(plugin: LocalPlugin, credentials: Json, given: dict[str, Json]) -> dict[str, list[Json] | PluginFault]:
    """Of all tools, at once."""
    with ThreadPoolExecutor(len(given)) as pool:
        found = pool.map(lambda one: outcome(plugin, credentials, *one), given.items())
        return dict(zip(given, found, strict=True))


def test_without_a_fault_every_tool_goes_well(plugin: LocalPlugin, site: Site, credentials: Json) -> None:
    with way(site.url, "well") as gate:
        found = outcomes(plugin, credentials | {"gate_url": gate.url}, calls(plugin, credentials))
    assert [tool for tool, one in found.items() if isinstance(one, PluginFault)] == []


NOT_A_QUESTION = {"log_event", "report_outcome"}


@pytest.mark.parametrize("fault", [one for one in FAULTS if one != "well"])
def test_no_fault_of_the_gate_is_a_result(plugin: LocalPlugin, site: Site, credentials: Json, fault: str) -> None:
    given = calls(plugin, credentials)
    if fault in ("permitted", "another"):
        given = {tool: one for tool, one in given.items() if tool not in NOT_A_QUESTION}
    with way(site.url, fault) as gate:
        found = outcomes(plugin, credentials | {"gate_url": gate.url}, given)
    assert {tool: one for tool, one in found.items() if not isinstance(one, PluginFault)} == {}
    assert [one.seen for one in found.values() if isinstance(one, PluginFault)] == [[]] * len(given)
    assert all(credentials["api_key"] not in json.dumps(one.error) for one in found.values())  # type: ignore[union-attr]


def test_a_gate_that_is_down_fails_every_node(plugin: LocalPlugin, credentials: Json) -> None:
    given = calls(plugin, credentials)
    found = outcomes(plugin, credentials | {"gate_url": f"http://127.0.0.1:{free_port()}"}, given)
    assert {tool: getattr(one, "kind", one) for tool, one in found.items()} == dict.fromkeys(given, "GateUnavailable")


def test_a_redemption_whose_answer_is_lost_is_not_called_one(
    plugin: LocalPlugin, site: Site, credentials: Json
) -> None:
    given = calls(plugin, credentials)["redeem_approval"]
    with way(site.url, "half") as gate:
        found = outcome(plugin, credentials | {"gate_url": gate.url}, "redeem_approval", given)
    assert isinstance(found, PluginFault)
    assert found.kind == "RedemptionLost"


def test_a_gate_that_goes_away_during_the_wait_fails_the_node_and_names_the_thread(
    plugin: LocalPlugin, site: Site, credentials: Json
) -> None:
    with way(site.url, "well") as gate:
        pending = QUESTION | {"payload": '{"amount": 500}', "wait_seconds": 30}
        answers = plugin.begin(invocation("request_and_wait", credentials | {"gate_url": gate.url}, pending))
        thread_id = next(answers)["message"]["data"]["thread_id"]
        gate.fault = "500"
        site.review(thread_id)
        with pytest.raises(PluginFault, match=thread_id) as fault:
            list(answers)
    assert fault.value.kind == "WaitFailed"
    assert [one for one in fault.value.seen if one["type"] != "log"] == []


def test_a_node_that_is_tried_again_after_a_fault_finds_its_thread(
    plugin: LocalPlugin, site: Site, credentials: Json
) -> None:
    pending = QUESTION | {"payload": '{"amount": 500}'}
    with way(site.url, "half") as gate:
        assert isinstance(
            outcome(plugin, credentials | {"gate_url": gate.url}, "request_decision", pending), PluginFault
        )
        assert gate.reached
    found = variables(plugin.call(invocation("request_decision", credentials, pending)))
    assert [one["thread_id"] for one in site.threads(credentials["api_key"])] == [found["thread_id"]]
