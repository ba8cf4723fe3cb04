"""The OpenAPI document and the reference made from it: true, whole, valid."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from gate.tests.api.people import House, house, path
from gate.tests.outbox import give_address
from jsonschema import Draft202012Validator

from stacksona_gate.api.docs import DocsContext, described_operations
from stacksona_gate.api.openapi import operation_id, path_of
from stacksona_gate.service.log import seal_now
from stacksona_gate.service.operators import create_operator_key

URL = "https://gate.example.com"
DESCRIBED = asyncio.run(DocsContext(URL).described())
DOCUMENT: dict[str, Any] = json.loads(DESCRIBED.document)
PAGE = DESCRIBED.reference.decode()
OPERATIONS = tuple(described_operations())


@pytest.fixture
async def home() -> AsyncIterator[House]:
    async with house() as made:
        yield made


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for where, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield where, method, operation


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for child in value:
            yield from nodes(child)


def resolved(node: dict[str, Any]) -> Any:
    """What a node says, its reference followed."""
    found: Any = DOCUMENT
    if "$ref" not in node:
        return node
    for part in node["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def fits(body: object, schema: dict[str, Any]) -> None:
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(body)


def test_everything_served_is_described_and_nothing_else() -> None:
    described = {(where, method.upper()) for where, method, _ in operations()}
    assert described == {(path_of(operation), operation.method) for operation in OPERATIONS}


def test_operation_ids_are_unique() -> None:
    ids = [operation_id(operation) for operation in OPERATIONS]
    assert len(set(ids)) == len(ids)


def test_every_reference_leads_somewhere() -> None:
    for node in nodes(DOCUMENT):
        assert resolved(node) is not None


def test_every_schema_is_valid_json_schema() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_enumeration_has_its_type() -> None:
    assert [node for node in nodes(DOCUMENT) if isinstance(node.get("enum"), list) and "type" not in node] == []


def test_shapes_have_plain_names() -> None:
    assert [name for name in DOCUMENT["components"]["schemas"] if not re.fullmatch(r"[A-Za-z]+", name)] == []


def test_every_path_field_is_a_parameter() -> None:
    for where, _, operation in operations():
        named = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", where))


def test_every_operation_says_what_it_is_for() -> None:
    assert [where for where, _, operation in operations() if not operation["summary"] or not operation["tags"]] == []


def test_every_refusal_is_a_problem_document() -> None:
    for _, _, operation in operations():
        for status, answer in operation["responses"].items():
            if status >= "400":
                assert list(resolved(answer)["content"]) == ["application/problem+json"]


def test_who_may_call_is_said() -> None:
    for where, _, operation in operations():
        schemes = {name for one in operation["security"] for name in one}
        if where.startswith("/api/agent"):
            assert schemes == {"agentKey"}
        elif where.startswith("/api/installation"):
            assert schemes == {"operatorKey"}
        elif where.startswith("/api/"):
            assert schemes == {"personalToken", "sessionCookie"}


def test_authenticated_calls_may_answer_401_and_503_and_all_calls_405() -> None:
    for where, _, operation in operations():
        expected = {"405", "401", "503"} if where.startswith("/api/") else {"405"}
        assert expected <= set(operation["responses"]), where


def test_decisions_say_their_headers_and_no_refusal_has_one() -> None:
    for where in ("/api/agent/tasks/{task_id}/requests", "/api/agent/tasks/{task_id}/events"):
        responses = DOCUMENT["paths"][where]["post"]["responses"]
        assert "X-Gate-Decision" in responses["200"]["headers"]
    for response in DOCUMENT["components"]["responses"].values():
        assert "X-Gate-Decision" not in response["headers"]


def test_agents_may_send_forms_and_people_may_not() -> None:
    for where, _, operation in operations():
        content = operation.get("requestBody", {}).get("content", {})
        if content:
            assert ("application/x-www-form-urlencoded" in content) == where.startswith("/api/agent"), where


async def test_the_cookie_is_named_as_it_is() -> None:
    local = json.loads((await DocsContext("http://127.0.0.1:8420").described()).document)
    schemes = [one["components"]["securitySchemes"]["sessionCookie"]["name"] for one in (DOCUMENT, local)]
    assert schemes == ["__Host-stacksona_session", "stacksona_session"]


async def test_the_document_is_served_to_anybody(home: House) -> None:
    answer = await home.nobody.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["openapi"].startswith("3.1.")
    assert answer.json()["servers"] == [{"url": home.world.env.public_url}]


ASKED = {"diff": "?from=0", "consistency": "?from=0", "proof": "?index=0"}
"""The queries that an operation cannot do without, by the end of its path."""


async def test_what_people_are_answered_is_what_is_described(home: House) -> None:
    await seal_now(home.world.gate, home.world.tenant_id)
    thread = await home.thread()
    await home.world.new_verifier()
    await home.rita.post(path(thread, "/notes"), json={"text": "hm"})
    await home.rita.post(path(thread, "/reviews"), json={"verdict": "approve", "revision": 1, "payload": {"amount": 3}})
    await give_address(home.world)
    sent = (await home.ada.post("/api/admin/agents/support-bot/webhook-test")).json()["id"]
    ids = {"thread_id": thread, "agent_id": "support-bot", "verifier_id": "payments", "user_id": home.world.admin.id}
    ids |= {
        "name": "issue_refund",
        "version": "1",
        "delivery_id": sent,
        "rule_id": (await home.ada.get("/api/admin/rules")).json()["rules"][0]["id"],
    }
    w = home.world
    made = await w.write(lambda tx: create_operator_key(tx, w.env, "ops"))
    operator, ids["tenant"] = home.client(authorization=f"Bearer {made.secret}"), w.tenant_id
    for where, method, operation in operations():
        content = operation["responses"].get("200", {}).get("content", {})
        skipped = "/agent/" in where or "attachments" in where or where.endswith("/stream")
        if method == "get" and "application/json" in content and not skipped:
            client = operator if where.startswith("/api/installation") else home.ada
            answer = await client.get(where.format(**ids) + ASKED.get(where.rpartition("/")[2], ""))
            assert answer.status_code == 200, where
            fits(answer.json(), content["application/json"]["schema"])


async def test_a_decision_is_what_is_described(home: House) -> None:
    agent = home.client(authorization=f"Bearer {home.world.key}")
    for amount in (1, 500, 9000):
        body = {"tool_name": "issue_refund", "subject": "s", "payload": {"amount": amount}}
        asked = await agent.post("/api/agent/tasks/t/requests", json=body)
        fits(asked.json(), {"$ref": "#/components/schemas/Decision"})
        read = await agent.get("/api/agent/decisions", params={"request_id": asked.json()["request_id"]})
        fits(read.json(), {"$ref": "#/components/schemas/PolledDecision"})


async def test_a_problem_is_what_is_described(home: House) -> None:
    answer = await home.ada.post("/api/admin/agents", json={"name": ""})
    fits(answer.json(), {"$ref": "#/components/schemas/Problem"})
    with pytest.raises(jsonschema.ValidationError):
        fits({}, {"$ref": "#/components/schemas/Problem"})


async def test_another_method_is_a_405_that_names_the_right_ones(home: House) -> None:
    answer = await home.ada.request("PURGE", "/api/admin/agents")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")


async def test_the_reference_runs_nothing_and_loads_only_our_style(home: House) -> None:
    answer = await home.nobody.get("/docs")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'self';")
    assert "<script" not in answer.text
    assert "style=" not in answer.text
    assert re.findall(r"<link[^>]+href=\"([^\"]+)\"", answer.text) == ["/docs/style.css"]
    style = await home.nobody.get("/docs/style.css")
    assert style.headers["content-type"] == "text/css; charset=utf-8"
    assert "url(" not in style.text
    assert "@import" not in style.text


def test_the_reference_shows_every_operation_with_an_example() -> None:
    for where, method, operation in operations():
        assert f'id="{operation["operationId"]}"' in PAGE
        assert where in PAGE
        assert method.upper() in PAGE
    assert PAGE.count("curl &#34;$STACKSONA_GATE_URL") == len(list(operations()))


def test_every_link_within_the_reference_leads_somewhere() -> None:
    targets = set(re.findall(r' id="([^"]+)"', PAGE))
    assert set(re.findall(r'href="#([^"]+)"', PAGE)) <= targets
