"""What must be true of every template as it is written, whatever a run shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest
import yaml
from draw import draw, picture_of
from engine import WORKFLOWS, load

Json = dict[str, Any]

NAMES = (
    "gate-basic.yml",
    "gate-callback-resume.yml",
    "gate-callback-start.yml",
    "gate-pause.yml",
    "gate-scheduled-check.yml",
    "gate-wait.yml",
)
ASKING = ("gate-basic.yml", "gate-callback-start.yml", "gate-pause.yml", "gate-wait.yml")
DOCUMENTS = {name: yaml.safe_load((WORKFLOWS / name).read_text("utf-8")) for name in NAMES}
every = pytest.mark.parametrize("name", NAMES)

VARIABLE = re.compile(r"\{\{#(.*?)#\}\}", re.DOTALL)
DIFY_VARIABLE = re.compile(r"[a-zA-Z0-9_]{1,50}(?:\.[a-zA-Z_][a-zA-Z0-9_]{0,29}){1,10}")
TYPES = {
    "start",
    "trigger-webhook",
    "trigger-schedule",
    "http-request",
    "if-else",
    "variable-aggregator",
    "loop",
    "loop-start",
    "assigner",
    "human-input",
    "end",
}
GATE = "{{#env.STACKSONA_GATE_URL#}}"
RUN = "{{#sys.workflow_run_id#}}"
URLS = {
    "gate": f"{GATE}/api/agent/tasks/{RUN}/requests",
    "redeem": f"{GATE}/api/agent/approvals/validate",
    "read": f"{GATE}/api/agent/decisions",
    "poll": f"{GATE}/api/agent/decisions",
    "list": f"{GATE}/api/agent/threads",
    # The task's id as the gate says it: in its alphabet is no slash.
    "report": f"{GATE}/api/agent/tasks/{{{{#approval.task.output#}}}}/outcomes",
    "report_failed": f"{GATE}/api/agent/tasks/{{{{#approval.task.output#}}}}/outcomes",
    "act": "{{#env.TOOL_URL#}}",
}
IN_HEADERS = {"sys.workflow_run_id", "each.cursor"}
IN_QUERIES = {"thread.output", "hook.thread_id", "each.cursor"}
POSITIVE = {"is", "=", "≥", "<", "contains", "start with", "end with", "not empty"}
WORDS = {"allow", "approved", "rejected", "pending_review"}
INPUTS = {
    "order_id": "text-input",
    "amount": "number",
    "currency": "text-input",
    "customer_id": "text-input",
    "reason": "paragraph",
}
SHARED = ("redeem", "whole", "redeemed", "act", "acted", "report", "report_failed")


@pytest.fixture(autouse=True)
def site() -> None:
    """Nothing runs here: no gate is needed, and no tool."""


def nodes(name: str, kind: str | None = None) -> dict[str, Json]:
    """A template's nodes by id; of one type."""
    found = DOCUMENTS[name]["workflow"]["graph"]["nodes"]
    return {node["id"]: node for node in found if kind in (None, node["data"]["type"])}


def calls(name: str) -> dict[str, Json]:
    return {found: node["data"] for found, node in nodes(name, "http-request").items()}


def edges(name: str) -> list[Json]:
    found: list[Json] = DOCUMENTS[name]["workflow"]["graph"]["edges"]
    return found


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def variables(text: str) -> set[str]:
    return set(VARIABLE.findall(text))


def form(data: Json) -> dict[str, str]:
    assert data["body"]["type"] == "x-www-form-urlencoded"
    return {item["key"]: item["value"] for item in data["body"]["data"]}


def test_these_are_the_templates() -> None:
    assert tuple(sorted(path.name for path in WORKFLOWS.iterdir())) == NAMES


@every
def test_it_imports_as_it_is(name: str) -> None:
    document = DOCUMENTS[name]
    assert (document["kind"], document["version"], document["app"]["mode"]) == ("app", "0.6.0", "workflow")
    assert document["dependencies"] == []
    assert document["workflow"]["conversation_variables"] == []


@every
def test_its_environment_is_the_three_variables_with_no_secret_in_it(name: str) -> None:
    env = {one["name"]: one for one in DOCUMENTS[name]["workflow"]["environment_variables"]}
    assert list(env) == ["STACKSONA_GATE_URL", "STACKSONA_API_KEY", "TOOL_URL"]
    assert (env["STACKSONA_API_KEY"]["value_type"], env["STACKSONA_API_KEY"]["value"]) == ("secret", "")
    assert not re.search(r"(sg|sv|sp)_[0-9a-f]{8}|whsec_", "\n".join(strings(DOCUMENTS[name])))


@pytest.mark.parametrize("name", ASKING)
def test_all_that_a_person_starts_take_the_same_inputs(name: str) -> None:
    start = nodes(name)["start"]["data"]["variables"]
    assert {one["variable"]: one["type"] for one in start} == INPUTS
    assert all(one["required"] for one in start)


@every
def test_the_nodes_have_the_names_that_the_guide_gives(name: str) -> None:
    assert {"redeem", "act"} <= set(nodes(name))
    assert ("gate" in nodes(name)) is (name in ASKING)


@every
def test_no_node_needs_code_a_model_or_a_plugin(name: str) -> None:
    assert {node["data"]["type"] for node in nodes(name).values()} <= TYPES


@every
def test_no_input_gets_into_an_address_or_a_header(name: str) -> None:
    for found, data in calls(name).items():
        assert data["url"] == URLS[found]
        assert variables(data["headers"]) <= IN_HEADERS
        assert variables(data["authorization"]["config"]["api_key"] if data["authorization"]["config"] else "") <= {
            "env.STACKSONA_API_KEY"
        }
        for line in data["params"].splitlines():
            key, _, value = line.partition(":")
            assert not variables(key)
            assert variables(value) <= IN_QUERIES


@every
def test_every_body_is_a_form_except_the_approved_payload(name: str) -> None:
    for found, data in calls(name).items():
        if found == "act":
            assert data["body"] == {
                "type": "raw-text",
                "data": [{"type": "text", "key": "", "value": "{{#redeem.body#}}"}],
            }
        elif data["method"] == "post":
            assert not [key for key in form(data) if variables(key)]
        else:
            assert (data["method"], data["body"]["type"]) == ("get", "none")


@every
def test_every_post_is_known_by_its_run_and_node(name: str) -> None:
    for found, data in calls(name).items():
        if data["method"] == "post":
            loop = "-{{#each.cursor#}}" if data.get("isInLoop") else ""
            assert f"Idempotency-Key: {RUN}-{found}{loop}" in data["headers"].splitlines()


@every
def test_the_key_goes_to_the_gate_alone(name: str) -> None:
    for found, data in calls(name).items():
        assert (data["authorization"]["type"] == "no-auth") is (found == "act")
        assert data["url"].startswith(GATE) or "STACKSONA" not in "\n".join(strings(data))
        assert data["ssl_verify"] is True


@every
def test_nothing_that_could_happen_twice_is_tried_again(name: str) -> None:
    for found, data in calls(name).items():
        if found in ("act", "redeem"):
            assert (data["retry_config"]["retry_enabled"], data["retry_config"]["max_retries"]) == (False, 0)
        assert data.get("error_strategy") == ("fail-branch" if found.startswith("report") else None)
        assert "default_value" not in data


@every
def test_no_call_outlives_the_limits_of_dify(name: str) -> None:
    for found, data in calls(name).items():
        assert 0 < data["timeout"]["read"] <= (70 if found == "poll" else 30)
    if name == "gate-wait.yml":
        assert "wait: 55" in calls(name)["poll"]["params"].splitlines()
        assert nodes(name)["wait"]["data"]["loop_count"] * 55 < 1200


@every
def test_the_token_is_redeemed_for_the_literal_tool_with_all_that_was_approved(name: str) -> None:
    redeem = calls(name)["redeem"]
    assert form(redeem) == {
        "task_id": "{{#approval.task.output#}}",
        "signature": "{{#approval.token.output#}}",
        "tool_name": "issue_refund",
        "payload_digest": "{{#approval.digest.output#}}",
    }
    assert "Accept: application/vnd.stacksona.payload+json" in redeem["headers"].splitlines()


@pytest.mark.parametrize("name", ASKING)
def test_the_question_is_the_same_in_all(name: str) -> None:
    first, this = form(calls(ASKING[0])["gate"]), form(calls(name)["gate"])
    assert first.items() <= this.items()
    assert {key.partition("[")[0] for key in this.keys() - first.keys()} <= {"expires_in", "metadata"}
    assert {key for key in first if key.startswith("payload")} == {
        "payload[order_id]",
        "payload[amount:number]",
        "payload[currency]",
        "payload[customer_id]",
        "payload[reason]",
    }


@every
def test_it_branches_on_what_is_never_on_what_is_not(name: str) -> None:
    for node in nodes(name).values():
        cases = node["data"].get("cases") or []
        conditions = [one for case in cases for one in case["conditions"]] + node["data"].get("break_conditions", [])
        assert {one["comparison_operator"] for one in conditions} <= POSITIVE
        for one in conditions:
            if one["variable_selector"][-1] == "x-gate-decision":
                assert (one["comparison_operator"], one["value"] in WORDS) == ("is", True)
        assert all(case["logical_operator"] == "and" for case in cases)


@every
def test_only_allow_and_approved_lead_to_the_action(name: str) -> None:
    into = {
        target: {(one["source"], one["sourceHandle"]) for one in edges(name) if one["target"] == target}
        for target in ("approval", "redeem", "whole", "redeemed", "act")
    }
    scheduled = name == "gate-scheduled-check.yml"
    assert into["approval"] <= {
        ("asked", "allow"),
        ("asked", "approved"),
        ("decision", "approved"),
        *([("list", "source")] if scheduled else []),
    }
    assert into["redeem"] == {("decision", "approved") if scheduled else ("approval", "source")}
    assert into["whole"] == {("redeem", "source")}
    assert into["redeemed"] == {("whole", "source")}
    assert into["act"] == {("redeemed", "redeemed")}


@every
def test_a_case_is_named_by_the_word_that_it_tests_and_wants_something_to_redeem(name: str) -> None:
    for found in ("asked", "decision"):
        for case in nodes(name).get(found, {"data": {"cases": []}})["data"]["cases"]:
            first, *rest = case["conditions"]
            word = "pending_review" if case["case_id"] == "pending" else case["case_id"]
            assert (first["comparison_operator"], first["value"]) == ("is", word)
            if word != "pending_review":
                assert {"eyJ", "sha-256:"} <= {one["value"] for one in rest}


@pytest.mark.parametrize("shared", SHARED)
def test_what_redeems_and_acts_is_the_same_in_all(shared: str) -> None:
    def core(name: str) -> Json:
        data = dict(nodes(name)[shared]["data"])
        data.pop("isInLoop", None)
        data.pop("loop_id", None)
        if "headers" in data:
            data["headers"] = data["headers"].replace("-{{#each.cursor#}}", "")
        return data

    assert all(core(name) == core(NAMES[0]) for name in NAMES)


@every
def test_every_variable_is_one_that_dify_finds(name: str) -> None:
    known = {*nodes(name), "env", "sys"}
    for found in {found for text in strings(DOCUMENTS[name]["workflow"]["graph"]) for found in variables(text)}:
        assert DIFY_VARIABLE.fullmatch(found), found
        assert found.partition(".")[0] in known, found
    for node in nodes(name).values():
        for selector in _selectors(node["data"]):
            assert selector[0] in known, selector


def _selectors(value: object) -> Iterator[list[str]]:
    if isinstance(value, list) and len(value) > 1 and all(isinstance(one, str) for one in value):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _selectors(inner)


@every
def test_every_edge_has_two_ends_and_a_handle(name: str) -> None:
    all_nodes = nodes(name)
    assert len({one["id"] for one in edges(name)}) == len(edges(name))
    for edge in edges(name):
        source, target = all_nodes[edge["source"]], all_nodes[edge["target"]]
        assert (edge["data"]["sourceType"], edge["data"]["targetType"]) == (
            source["data"]["type"],
            target["data"]["type"],
        )
        assert edge["sourceHandle"] in _handles(source["data"])
        assert source.get("parentId") == target.get("parentId") == edge["data"].get("loop_id")


def _handles(data: Json) -> set[str]:
    if data["type"] == "if-else":
        return {*(case["case_id"] for case in data["cases"]), "false"}
    if data["type"] == "human-input":
        return {*(action["id"] for action in data["user_actions"]), "__timeout"}
    return {"source", "fail-branch"} if data.get("error_strategy") == "fail-branch" else {"source"}


@every
def test_every_way_out_of_a_node_leads_somewhere(name: str) -> None:
    used = {(one["source"], one["sourceHandle"]) for one in edges(name)}
    inside = [node for node in nodes(name).values() if node.get("parentId")]
    last = {"status", "next"} if inside else set()
    for found, node in nodes(name).items():
        if node["data"]["type"] != "end" and found not in last:
            assert {(found, handle) for handle in _handles(node["data"])} <= used, found


def box(node: Json) -> tuple[int, int, int, int]:
    place = node["positionAbsolute"]
    return place["x"], place["y"], place["x"] + node["width"], place["y"] + node["height"]


@every
def test_the_canvas_reads_from_left_to_right_with_no_overlaps(name: str) -> None:
    all_nodes = nodes(name)
    for edge in edges(name):
        assert box(all_nodes[edge["source"]])[2] < box(all_nodes[edge["target"]])[0], edge["id"]
    for one, other in combinations(all_nodes.values(), 2):
        a, b = box(one), box(other)
        if one["id"] == other.get("parentId"):
            assert a[0] < b[0]
            assert a[1] < b[1]
            assert b[2] < a[2]
            assert b[3] < a[3]
        else:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (one["id"], other["id"])


@every
def test_its_picture_is_the_newest(name: str) -> None:
    """``python integrations/dify/draw.py`` draws them anew."""
    assert picture_of(WORKFLOWS / name).read_text("utf-8") == draw(DOCUMENTS[name])


@every
def test_the_engine_runs_the_file_with_its_trigger_swapped_and_nothing_else(name: str) -> None:
    swapped = load(name)
    triggers = [found for found, node in nodes(name).items() if node["data"]["type"].startswith("trigger-")]
    for node in swapped["workflow"]["graph"]["nodes"]:
        if node["id"] in triggers:
            node["data"] = nodes(name)[node["id"]]["data"]
    assert swapped == DOCUMENTS[name]
    assert len(triggers) == (0 if name in ASKING else 1)
