"""Every tool against the live gate: what the next node can read, and what happened at the gate."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml
from integrations.dify import pack
from integrations.dify.plugin_tests.live import Site
from integrations.dify.plugin_tests.local import PATIENCE, LocalPlugin, PluginFault, invocation, variables

Json = dict[str, Any]
KINDS = {"string": str, "boolean": bool, "object": dict}


class Node:
    """The plugin's tools with one connection."""

    def __init__(self, plugin: LocalPlugin, site: Site, **fields: object) -> None:
        agent = site.agent(**fields)
        self.plugin = plugin
        self.agent_id = agent["id"]
        self.key = agent["key"]
        self.credentials = site.credentials(api_key=self.key)

    def run(self, tool: str, session: dict[str, str] | None = None, **parameters: object) -> Json:
        """The node's variables. Raises PluginFault."""
        return variables(self.plugin.call(invocation(tool, self.credentials, parameters), **session or {}))

    def ask(self, amount: object = 500, tool: str = "request_decision", **more: Any) -> Json:
        return self.run(tool, **refund(amount), **more)


def refund(amount: object) -> Json:
    payload = json.dumps({"amount": amount, "currency": "usd", "customer_id": "cus_99"})
    return {"subject": "Refund", "payload": payload, "tool_name": "issue_refund"}


@pytest.fixture
def node(plugin: LocalPlugin, site: Site) -> Node:
    return Node(plugin, site)


def redeem(node: Node, decision: Json, **changes: object) -> Json:
    given = {name: decision[name] for name in ("approval_token", "task_id", "payload_digest")}
    return node.run("redeem_approval", **{**given, "tool_name": "issue_refund", **changes})


def test_an_allowed_action_may_run_with_its_payload_and_its_token(node: Node) -> None:
    found = node.ask(40)
    assert (found["status"], found["may_run"], found["is_pending"]) == ("allow", True, False)
    assert (
        found["payload"]
        == json.loads(found["payload_json"])
        == {
            "amount": 40,
            "currency": "usd",
            "customer_id": "cus_99",
        }
    )
    assert (found["rule_name"], found["approval_state"], found["tool_name"]) == (
        "Small refunds",
        "open",
        "issue_refund",
    )
    assert found["approval_token"]


def test_a_refused_action_may_not_run_and_nothing_to_run_it_with_comes_out(node: Node) -> None:
    found = node.ask(6000)
    assert (found["status"], found["may_run"], found["rule_name"]) == ("reject", False, "Large refunds")
    assert (found["approval_token"], found["payload"], found["payload_json"], found["thread_id"]) == ("", {}, "", "")


def test_a_pending_action_says_where_people_look(node: Node, site: Site) -> None:
    found = node.ask(500)
    assert (found["status"], found["may_run"], found["is_pending"]) == ("pending_review", False, True)
    assert found["review_url"].endswith(found["thread_id"])
    assert (found["approval_token"], found["payload"]) == ("", {})
    assert [one["thread_id"] for one in site.threads(node.key)] == [found["thread_id"]]


def test_what_a_model_reads_is_the_same_as_what_a_node_reads(node: Node) -> None:
    messages = node.plugin.call(invocation("request_decision", node.credentials, refund(40)))
    ((read,),) = ([one["message"]["json_object"] for one in messages if one["type"] == "json"],)
    assert read == variables(messages)


@pytest.mark.parametrize("tool", ["request_decision", "get_decision", "redeem_approval", "log_event", "report_outcome"])
def test_every_declared_variable_comes_out_with_its_type(node: Node, tool: str) -> None:
    allowed = node.ask(40)
    calls = {
        "request_decision": lambda: allowed,
        "get_decision": lambda: node.run("get_decision", request_id=allowed["request_id"]),
        "redeem_approval": lambda: redeem(node, allowed),
        "log_event": lambda: node.run("log_event", task_id=allowed["task_id"], event_type="task.started"),
        "report_outcome": lambda: node.run(
            "report_outcome", task_id=allowed["task_id"], request_id=allowed["request_id"], status="skipped"
        ),
    }
    found = calls[tool]()
    declared = yaml.safe_load(pack.contents("plugin")[f"tools/{tool}.yaml"])["output_schema"]["properties"]
    assert {name: type(value) for name, value in found.items()} == {
        name: KINDS[one["type"]] for name, one in declared.items()
    }


def test_an_approval_is_redeemed_once_and_gives_what_people_approved(node: Node, site: Site) -> None:
    asked = node.ask(500)
    site.review(asked["thread_id"], payload={"amount": 120, "currency": "usd", "customer_id": "cus_99"})
    found = node.run("get_decision", thread_id=asked["thread_id"])
    assert (found["status"], found["may_run"], found["edited"], found["payload"]["amount"]) == (
        "approved",
        True,
        True,
        120,
    )
    redeemed = redeem(node, found)
    assert (redeemed["may_run"], redeemed["payload"]["amount"], redeemed["tool_name"]) == (True, 120, "issue_refund")
    with pytest.raises(PluginFault, match=r"RedemptionRefused.*redeemed before"):
        redeem(node, found)
    again = node.run("get_decision", thread_id=asked["thread_id"])
    assert (again["status"], again["approval_state"], again["may_run"], again["payload"]) == (
        "approved",
        "redeemed",
        False,
        {},
    )


def test_twenty_redemptions_at_once_give_one_payload(node: Node) -> None:
    decision = node.ask(40)

    def one(_: int) -> Json | PluginFault:
        try:
            return redeem(node, decision)
        except PluginFault as fault:
            return fault

    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(one, range(20)))
    assert [one["payload"]["amount"] for one in found if not isinstance(one, PluginFault)] == [40]
    assert [one.seen for one in found if isinstance(one, PluginFault)] == [[]] * 19


@pytest.mark.parametrize(
    "changes",
    [
        {"payload_digest": "sha-256:" + "0" * 64},
        {"payload_digest": "", "payload": '{"amount": 41, "currency": "usd", "customer_id": "cus_99"}'},
        {"task_id": "another-task"},
        {"approval_token": "not.a.token"},
        {"payload_digest": ""},
        {"approval_token": ""},
        {"task_id": ""},
    ],
)
def test_a_redemption_that_does_not_fit_fails_the_node_and_uses_nothing_up(node: Node, changes: Json) -> None:
    decision = node.ask(40)
    with pytest.raises(PluginFault) as fault:
        redeem(node, decision, **changes)
    assert fault.value.seen == []
    assert redeem(node, decision)["may_run"]


def test_an_answer_that_is_asked_for_twice_does_not_run_twice(node: Node) -> None:
    first = node.ask(40, task_id="run-1")
    redeem(node, first)
    again = node.ask(40, task_id="run-1")
    assert (again["request_id"], again["status"], again["may_run"]) == (first["request_id"], "allow", False)
    assert (again["approval_token"], again["payload"]) == ("", {})


def test_an_agent_without_signed_approvals_may_run_without_a_token(plugin: LocalPlugin, site: Site) -> None:
    node = Node(plugin, site, signed_approvals=False)
    found = node.ask(40)
    assert (found["may_run"], found["approval_token"], found["payload"]["amount"]) == (True, "", 40)


def test_a_nodes_retry_in_the_same_run_opens_no_second_thread(node: Node, site: Site) -> None:
    found = {node.ask(500, task_id="run-1")["thread_id"] for _ in range(3)}
    assert len(found) == len(site.threads(node.key)) == 1


def test_equal_actions_of_one_run_are_told_apart_by_their_occurrence(node: Node) -> None:
    assert len({node.ask(500, task_id="run-1", occurrence=str(one))["thread_id"] for one in range(3)}) == 3


def test_another_question_of_the_same_run_is_another_thread(node: Node) -> None:
    assert node.ask(500, task_id="run-1")["thread_id"] != node.ask(501, task_id="run-1")["thread_id"]


def test_without_a_run_every_call_is_a_question_of_its_own(node: Node) -> None:
    assert node.ask(500)["task_id"] != node.ask(500)["task_id"]


def test_a_model_that_repeats_itself_in_one_message_asks_once(node: Node) -> None:
    first, again = (node.ask(500, session={"message_id": "message 1"}) for _ in range(2))
    other = node.ask(500, session={"message_id": "message 2"})
    assert first["thread_id"] == again["thread_id"] != other["thread_id"]


def test_a_model_cannot_ask_about_a_tool_that_the_connection_does_not_name(node: Node, site: Site) -> None:
    with pytest.raises(PluginFault, match="may not ask about that tool"):
        node.run("request_decision", **(refund(500) | {"tool_name": "send_email"}))
    assert site.threads(node.key) == []


def test_the_connections_only_tool_needs_no_typing(node: Node) -> None:
    assert node.run("request_decision", **(refund(40) | {"tool_name": ""}))["tool_name"] == "issue_refund"


def test_waiting_ends_with_the_reviewers_word(node: Node, site: Site) -> None:
    answers = waiting(node)
    log = next(answers)
    assert (log["type"], log["message"]["status"], log["message"]["metadata"]) == ("log", "start", {})
    site.review(log["message"]["data"]["thread_id"])
    found = variables(list(answers))
    assert (found["status"], found["may_run"], found["payload"]["amount"]) == ("approved", True, 500)
    assert redeem(node, found)["may_run"]


def test_waiting_for_what_needs_no_people_ends_at_once(node: Node) -> None:
    begun = time.monotonic()
    assert node.ask(40, "request_and_wait", wait_seconds=120)["may_run"]
    assert not node.ask(6000, "request_and_wait", wait_seconds=120)["may_run"]
    assert time.monotonic() - begun < 100


def test_waiting_has_an_end_and_the_thread_goes_on(node: Node, site: Site) -> None:
    found = node.ask(500, "request_and_wait", wait_seconds=1)
    assert (found["status"], found["may_run"]) == ("pending_review", False)
    assert site.threads(node.key)[0]["status"] == "pending_review"


def test_waiting_ends_when_changes_are_asked_for(node: Node, site: Site) -> None:
    answers = waiting(node)
    site.review(next(answers)["message"]["data"]["thread_id"], "request_changes", message="less, please")
    rest = list(answers)
    found = variables(rest)
    assert len([one for one in rest if one["type"] == "log"]) <= 2
    assert (found["may_run"], found["revision_requested"], found["feedback"]) == (False, True, "less, please")


def waiting(node: Node, **more: str) -> Iterator[Json]:
    """A call that waits: first comes the log that says where people look."""
    parameters = refund(500) | {"wait_seconds": 30} | more
    return node.plugin.begin(invocation("request_and_wait", node.credentials, parameters))


def test_waiting_ends_with_a_refusal(node: Node, site: Site) -> None:
    answers = waiting(node)
    site.review(next(answers)["message"]["data"]["thread_id"], "reject", message="not this one")
    found = variables(list(answers))
    assert (found["status"], found["message"], found["may_run"]) == ("rejected", "not this one", False)


def test_waiting_ends_when_the_question_is_taken_back(node: Node, site: Site) -> None:
    answers = waiting(node, task_id="run-1")
    thread_id = next(answers)["message"]["data"]["thread_id"]
    site.call("POST", f"/api/agent/tasks/run-1/requests/{thread_id}/cancellation", token=node.key)
    found = variables(list(answers))
    assert (found["status"], found["reason_code"], found["may_run"]) == ("rejected", "cancelled", False)


@pytest.mark.parametrize("seconds", [0, 541, -1, 1.5, "a while", True])
def test_a_wait_beyond_difys_limits_is_refused_before_anything_is_asked(
    node: Node, site: Site, seconds: object
) -> None:
    with pytest.raises(PluginFault, match="wait_seconds"):
        node.ask(500, "request_and_wait", wait_seconds=seconds)
    assert site.threads(node.key) == []


def test_a_paused_agent_gets_no_further(node: Node, site: Site) -> None:
    asked = node.ask(500)
    site.call("PUT", f"/api/admin/agents/{node.agent_id}/pause")
    with pytest.raises(PluginFault, match="Forbidden"):
        node.ask(40)
    found = node.run("get_decision", thread_id=asked["thread_id"])
    assert (found["status"], found["reason_code"], found["may_run"]) == ("rejected", "agent_paused", False)


def test_events_and_outcomes_reach_the_thread(node: Node, site: Site) -> None:
    asked = node.ask(500, task_id="run-1")
    event = node.run(
        "log_event",
        task_id="run-1",
        event_type="task.started",
        event_summary="begun",
        payload='{"step": 1}',
        thread_id=asked["thread_id"],
    )
    assert event["event_id"]
    site.review(asked["thread_id"])
    redeem(node, node.run("get_decision", thread_id=asked["thread_id"]))
    told = node.run("report_outcome", task_id="run-1", thread_id=asked["thread_id"], status="executed", detail="done")
    assert (bool(told["outcome_id"]), told["flag"]) == (True, "")


def test_an_outcome_without_an_approval_says_what_is_wrong(node: Node) -> None:
    asked = node.ask(500)
    told = node.run("report_outcome", task_id=asked["task_id"], request_id=asked["request_id"], status="executed")
    assert told["flag"] == "not_approved"


@pytest.mark.parametrize(
    ("tool", "parameters", "match"),
    [
        ("get_decision", {}, "exactly one"),
        ("get_decision", {"thread_id": "THR-" + "0" * 26, "task_id": "t"}, "exactly one"),
        ("get_decision", {"thread_id": "THR-" + "0" * 26}, "NotFound"),
        ("get_decision", {"thread_id": "gate.thread_id"}, "thread_id"),
        ("get_decision", {"thread_id": "../../api/agent/threads"}, "thread_id"),
        ("log_event", {"event_type": "x"}, "task_id: is missing"),
        ("log_event", {"task_id": "../t", "event_type": "x"}, "task_id"),
        ("log_event", {"task_id": "t", "event_type": "revision"}, "revision"),
        ("report_outcome", {"task_id": "t", "status": "executed"}, "one of them"),
        ("report_outcome", {"task_id": "t", "status": "done", "request_id": "req_" + "0" * 26}, "status"),
        ("request_decision", {**refund(40), "subject": ""}, "subject"),
        ("request_decision", {**refund(40), "task_id": "sys.workflow_run_id"}, "no value"),
        ("request_decision", {**refund(40), "risk_level": "none"}, "risk_level"),
        ("request_decision", {**refund(40), "expires_in": 5}, "expires_in"),
        ("request_decision", {**refund(40), "subject": "x" * 501}, "subject"),
        ("request_decision", {**refund(40), "metadata": '{"a": 1}'}, "422"),
    ],
)
def test_a_call_that_is_wrong_fails_the_node(node: Node, tool: str, parameters: Json, match: str) -> None:
    with pytest.raises(PluginFault, match=match) as fault:
        node.run(tool, **parameters)
    assert fault.value.seen == []


def test_two_waits_do_not_hold_each_other_up(node: Node, site: Site) -> None:
    first, second = waiting(node), waiting(node)
    logs = [next(first), next(second)]
    begun = time.monotonic()
    assert node.ask(40)["may_run"]
    for log in reversed(logs):
        site.review(log["message"]["data"]["thread_id"])
    assert variables(list(second))["may_run"]
    assert variables(list(first))["may_run"]
    assert time.monotonic() - begun < PATIENCE / 3
