"""The policy over HTTP: whole, by tool, by rule."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from gate.tests.api.people import House

POLICY = "/api/admin/policy"
TOOLS = "/api/admin/tools"
RULES = "/api/admin/rules"
YAML = "version: 1\ntools:\n  send_mail:\n    default: allow\n"
RULE = {
    "tool": "send_mail",
    "name": "Mail to the board",
    "type": "contains",
    "parameter": "to",
    "values": ["board@"],
    "action": "review",
}


async def version(home: House) -> int:
    number: int = (await home.ada.get(POLICY)).json()["version"]
    return number


async def test_the_policy_is_read_as_json_or_as_yaml(home: House) -> None:
    as_json = await home.ada.get(POLICY)
    as_yaml = await home.ada.get(POLICY, headers={"accept": "application/yaml"})
    assert as_json.json()["document"]["tools"]["issue_refund"]["default"] == "allow"
    assert as_yaml.headers["content-type"] == "application/yaml"
    assert as_yaml.text.startswith("version: 1\n")
    assert as_json.headers["etag"] == as_yaml.headers["etag"] == '"policy-1"'


async def test_yaml_replaces_the_whole_policy(home: House) -> None:
    answer = await home.ada.put(POLICY + "?note=mail", content=YAML, headers={"content-type": "application/yaml"})
    assert answer.json()["version"] == 2
    assert answer.headers["etag"] == '"policy-2"'
    assert "send_mail: tool added, default allow" in [step["line"] for step in answer.json()["changes"]]
    assert (await home.ada.get(POLICY + "/versions")).json()["versions"][0]["note"] == "mail"


async def test_what_is_read_as_json_is_taken_as_json_and_changes_nothing(home: House) -> None:
    document = (await home.ada.get(POLICY)).json()["document"]
    answer = await home.ada.put(POLICY, json=document)
    assert answer.json() == {"version": 1, "changes": []}


async def test_everything_wrong_with_a_policy_comes_with_its_place(home: House) -> None:
    text = "version: 1\ntools:\n  send_mail:\n    default: alow\n    colour: red\n"
    answer = await home.ada.put(POLICY, content=text, headers={"content-type": "application/yaml"})
    assert (answer.status_code, answer.json()["code"]) == (422, "policy_invalid")
    errors = {error["field"]: error["message"] for error in answer.json()["errors"]}
    assert errors["tools.send_mail.default"].startswith("line 4, column 14: ")
    assert errors["tools.send_mail.colour"].startswith("line 5, column 5: ")
    assert await version(home) == 1


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "application/yaml", 422),
        (b"\xff", "application/yaml", 400),
        (YAML.encode(), "text/csv", 415),
        (b"#" * 1_000_001, "application/yaml", 413),
        (b'{"version":1,"tools":{},"tools":{}}', "application/json", 422),
    ],
)
async def test_a_policy_that_cannot_be_read_changes_nothing(
    home: House, content: bytes, kind: str, status: int
) -> None:
    answer = await home.ada.put(POLICY, content=content, headers={"content-type": kind})
    assert answer.status_code == status
    assert await version(home) == 1


async def test_a_policy_that_somebody_changed_meanwhile_is_not_replaced(home: House) -> None:
    tag = (await home.ada.get(POLICY)).headers["etag"]
    await home.world.apply(YAML)
    answer = await home.ada.put(POLICY, content="version: 1\n", headers={"if-match": tag})
    assert (answer.status_code, await version(home)) == (412, 2)
    answer = await home.ada.put(POLICY, content="version: 1\n", headers={"if-match": '"policy-2"'})
    assert (answer.status_code, await version(home)) == (200, 3)


async def test_versions_are_kept_compared_and_put_back(home: House) -> None:
    await home.world.apply(YAML)
    read = await home.olga.get(POLICY + "/versions/1")
    assert "issue_refund" in read.json()["document"]["tools"]
    difference = (await home.olga.get(POLICY + "/diff?from=1")).json()
    assert (difference["from"], difference["to"]) == (1, 2)
    assert difference["changes"][0]["kind"] == "removed"
    stale = await home.ada.post(POLICY + "/versions/1/revert", headers={"if-match": '"policy-1"'})
    reverted = await home.ada.post(POLICY + "/versions/1/revert", headers={"if-match": '"policy-2"'})
    assert (stale.status_code, reverted.json()["version"]) == (412, 3)
    assert (await home.olga.get(POLICY + "/diff?from=1&to=3")).json()["changes"] == []
    as_yaml = await home.olga.get(POLICY + "/versions/1", headers={"accept": "application/yaml"})
    assert as_yaml.text == (await home.olga.get(POLICY, headers={"accept": "application/yaml"})).text


@pytest.mark.parametrize(
    ("where", "status"),
    [
        ("/versions/99", 404),
        ("/versions/x", 422),
        ("/versions/99999999999999999999", 422),
        ("/diff", 422),
        ("/diff?from=99", 404),
        ("/diff?from=1&to=99", 404),
    ],
)
async def test_a_version_that_is_not_there_is_not_found(home: House, where: str, status: int) -> None:
    assert (await home.ada.get(POLICY + where)).status_code == status


async def test_tools_are_listed_with_those_that_agents_asked_about(home: House) -> None:
    await home.world.ask(1, tool="send_mail")
    tools = {tool["name"]: tool for tool in (await home.ada.get(TOOLS)).json()["tools"]}
    assert list(tools) == ["issue_refund", "send_mail", "wire_transfer"]
    seen = tools["send_mail"]
    assert (seen["in_policy"], seen["first_agent_id"]) == (False, home.world.agent.id)
    assert seen["first_seen_at"] == "2026-11-26T12:00:00Z"
    assert len(tools["issue_refund"]["rules"]) == 2


async def test_a_tools_settings_change_and_its_rules_stay(home: House) -> None:
    where = TOOLS + "/issue_refund"
    body = (await home.ada.put(where, json={"default": "review", "expires_in": 600})).json()
    assert (body["default"], body["expires_in"], len(body["rules"])) == ("review", 600, 2)
    assert (await home.ada.get(where)).json() == body
    assert await version(home) == 2


async def test_a_tools_rules_are_replaced_when_they_are_sent(home: House) -> None:
    rule = {name: value for name, value in RULE.items() if name != "tool"}
    body = (await home.ada.put(TOOLS + "/send_mail", json={"default": "allow", "rules": [rule]})).json()
    assert [one["name"] for one in body["rules"]] == ["Mail to the board"]


async def test_a_tools_name_may_hold_a_slash(home: House) -> None:
    for where in (TOOLS + "/mail/send:now", TOOLS + "/" + quote("mail/send:now", safe="")):
        answer = await home.ada.put(where, json={"default": "review"})
        assert (answer.status_code, answer.json()["name"]) == (200, "mail/send:now")


async def test_a_tool_that_somebody_changed_meanwhile_stays(home: House) -> None:
    where = TOOLS + "/issue_refund"
    tag = (await home.ada.get(where)).headers["etag"]
    await home.ada.put(where, json={"default": "review"})
    assert (await home.ada.put(where, json={"default": "allow"}, headers={"if-match": tag})).status_code == 412
    assert (await home.ada.delete(where, headers={"if-match": tag})).status_code == 412
    assert (await home.ada.put(TOOLS + "/new", json={"default": "allow"}, headers={"if-match": tag})).status_code == 412


async def test_a_tool_that_is_taken_out_is_unknown(home: House) -> None:
    answer = await home.ada.delete(TOOLS + "/wire_transfer")
    assert answer.json()["changes"][0]["kind"] == "removed"
    assert (await home.ada.get(TOOLS + "/wire_transfer")).status_code == 404
    assert (await home.ada.delete(TOOLS + "/wire_transfer")).status_code == 404


async def test_a_name_that_is_no_tools_is_refused(home: House) -> None:
    assert (await home.ada.put(TOOLS + "/a%20b", json={"default": "allow"})).status_code == 422


async def test_a_rule_is_added_read_changed_and_taken_away(home: House) -> None:
    made = await home.ada.post(RULES, json=RULE)
    assert made.status_code == 201
    where = made.headers["location"]
    assert (await home.olga.get(where)).json() == made.json()
    changed = await home.ada.patch(where, json={"enabled": False, "when_missing": "skip"})
    assert (changed.json()["enabled"], changed.json()["values"]) == (False, ["board@"])
    assert (await home.ada.delete(where)).json()["version"] == 4
    assert (await home.ada.get(where)).status_code == 404


async def test_a_rule_decides_at_once(home: House) -> None:
    await home.ada.post(RULES, json={**RULE, "tool": "issue_refund", "parameter": "reason", "action": "reject"})
    answer = await home.world.ask(payload={"amount": 1, "reason": "for board@ only"})
    assert answer.status == "reject"


async def test_a_rule_may_change_its_type(home: House) -> None:
    where = (await home.ada.post(RULES, json=RULE)).headers["location"]
    body = {"type": "between", "values": None, "low": 1, "high": "2.50"}
    changed = (await home.ada.patch(where, json=body)).json()
    assert (changed["type"], changed["low"], changed["high"], changed["values"]) == ("between", "1", "2.50", None)


async def test_a_rules_new_name_is_a_new_id(home: House) -> None:
    where = (await home.ada.post(RULES, json=RULE)).headers["location"]
    changed = (await home.ada.patch(where, json={"name": "Mail upstairs"})).json()
    assert (await home.ada.get(where)).status_code == 404
    assert (await home.ada.get(f"{RULES}/{changed['id']}")).json() == changed


async def test_a_rules_name_is_its_own_within_its_tool(home: House) -> None:
    await home.ada.post(RULES, json=RULE)
    assert (await home.ada.post(RULES, json=RULE)).json()["code"] == "name_taken"


async def test_rules_of_one_tool_are_listed_alone(home: House) -> None:
    assert len((await home.ada.get(RULES)).json()["rules"]) == 2
    assert (await home.ada.get(RULES, params={"tool": "wire_transfer"})).json()["rules"] == []


async def test_a_rule_that_somebody_changed_meanwhile_stays(home: House) -> None:
    where = (await home.ada.post(RULES, json=RULE)).headers["location"]
    tag = (await home.ada.get(where)).headers["etag"]
    await home.ada.patch(where, json={"enabled": False})
    assert (await home.ada.patch(where, json={"action": "reject"}, headers={"if-match": tag})).status_code == 412
    assert (await home.ada.delete(where, headers={"if-match": tag})).status_code == 412


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"values": []}, "values"),
        ({"type": "regex", "values": None, "pattern": "(?=x)"}, "pattern"),
        ({"type": "upper_limit", "values": None}, "limit"),
        ({"limit": 5}, "limit"),
        ({"parameter": "$risk_level", "action": "allow"}, "parameter"),
        ({"parameter": "a..b"}, "parameter"),
        ({"name": " x "}, "name"),
    ],
)
async def test_a_rule_passes_every_check_that_a_policy_does(home: House, changes: dict[str, Any], field: str) -> None:
    answer = await home.ada.post(RULES, json={**RULE, **changes})
    assert (answer.status_code, answer.json()["code"]) == (422, "policy_invalid")
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert "line " not in answer.text
    assert await version(home) == 1


async def test_a_value_with_a_line_separator_survives_a_change_elsewhere(home: House) -> None:
    where = (await home.ada.post(RULES, json={**RULE, "values": ["a\u2028b", "\U0001f600"]})).headers["location"]
    await home.ada.put(TOOLS + "/issue_refund", json={"default": "review"})
    assert (await home.ada.get(where)).json()["values"] == ["a\u2028b", "\U0001f600"]


async def test_each_change_is_one_entry_by_its_author(home: House) -> None:
    await home.ada.post(RULES, json=RULE)
    entry = (await home.world.entries("policy.changed"))[-1]
    assert (entry.actor_kind, entry.actor_id) == ("user", home.world.admin.id)
