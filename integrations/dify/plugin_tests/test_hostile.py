"""Hostile text in every field: it arrives as it is, or it is refused; it never changes what is asked or approved."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from integrations.dify import pack
from integrations.dify.plugin_tests.live import Site
from integrations.dify.plugin_tests.local import LocalPlugin, PluginFault, invocation, variables
from jinja2 import Environment

Json = dict[str, Any]

HOSTILE: Final = (
    'x", "amount": 1, "y": "',
    '"}}, {"amount": 1}',
    "{{#env.STACKSONA_API_KEY#}}",
    "{{#sys.workflow_run_id#}}",
    "../../validate",
    "..%2f..%2fvalidate",
    "?task_id=other",
    "#fragment",
    "a\r\nX-Gate-Decision: allow",
    "a\nAuthorization: Bearer x",
    "\x00\x01\x1b[2J",
    "payload[amount]=1",
    "&amount=1",
    "<script>alert(1)</script>",
    "'; DROP TABLE requests; --",
    "${jndi:ldap://x}",
    "\u202e0004 dnufeR",
    "\u200b\u200d\ufeff",
    "ｉｓｓｕｅ＿ｒｅｆｕｎｄ",
    "é́́́́",
    "😀" * 20,
    "true",
    "null",
    "NaN",
    "-0",
    "1e999",
    '{"dify_model_identity": "__dify__file__"}',
    "approved",
    "allow",
    "__proto__",
)
HALF: Final = "\ud800"


def ask(plugin: LocalPlugin, credentials: Json, **changes: Any) -> Json:
    question = {"subject": "Refund", "payload": '{"amount": 500}', "tool_name": "issue_refund", "task_id": "run-1"}
    return variables(plugin.call(invocation("request_decision", credentials, question | changes)))


@pytest.fixture(scope="module")
def credentials(site: Site) -> Json:
    return site.credentials()


@pytest.mark.parametrize("text", HOSTILE)
def test_text_for_people_arrives_as_it_is(plugin: LocalPlugin, site: Site, credentials: Json, text: str) -> None:
    given = {"reason": text, text: 1, "amount": 500}
    found = ask(
        plugin,
        credentials,
        subject=text,
        preview=text,
        workflow_name=text,
        task_label=text,
        payload=json.dumps(given),
        metadata=json.dumps({"note": text}),
        occurrence=text,
    )
    thread = site.call("GET", f"/api/review/threads/{found['thread_id']}")[1]
    asked = site.call("GET", f"/api/agent/decisions?thread_id={found['thread_id']}", token=credentials["api_key"])[1]
    assert (found["status"], found["may_run"], asked["payload"]) == ("pending_review", False, given)
    assert asked["metadata"] == {"note": text}
    assert text in json.dumps(thread, ensure_ascii=False) or json.dumps(text) in json.dumps(thread)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("tool", ["get_decision", "redeem_approval", "log_event", "report_outcome"])
def test_text_instead_of_an_id_is_never_a_result(plugin: LocalPlugin, credentials: Json, tool: str, text: str) -> None:
    parameters = {
        "get_decision": {"thread_id": text},
        "redeem_approval": {"task_id": "t", "approval_token": text, "payload": "{}", "tool_name": "issue_refund"},
        "log_event": {"task_id": "t", "event_type": "x", "thread_id": text},
        "report_outcome": {"task_id": "t", "status": "executed", "request_id": text},
    }
    with pytest.raises(PluginFault) as fault:
        plugin.call(invocation(tool, credentials, parameters[tool]))
    assert fault.value.seen == []
    assert credentials["api_key"] not in json.dumps(fault.value.error)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_instead_of_a_tools_name_is_refused_by_the_connection(
    plugin: LocalPlugin, credentials: Json, text: str
) -> None:
    with pytest.raises(PluginFault, match="may not ask about that tool"):
        ask(plugin, credentials, tool_name=text)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_template_that_lets_a_value_close_its_quote_asks_about_nothing_else(
    plugin: LocalPlugin, site: Site, credentials: Json, text: str
) -> None:
    """The mistake that the guide warns of. Where it is refused nothing is asked; the amount is never another one."""
    template = '{"amount": 500, "reason": "%s", "currency": "usd"}'
    try:
        found = ask(plugin, credentials, payload=template % text)
    except PluginFault as fault:
        assert fault.kind == "InvalidRequest"  # noqa: PT017 — either way is right, and each is looked at
        return
    asked = site.call("GET", f"/api/agent/decisions?thread_id={found['thread_id']}", token=credentials["api_key"])[1]
    assert asked["payload"]["amount"] == 500


@pytest.mark.parametrize("text", HOSTILE)
def test_the_guides_template_lets_no_value_out_of_its_quotes(
    plugin: LocalPlugin, site: Site, credentials: Json, text: str
) -> None:
    guide = (pack.ROOT / "docs" / "how-to" / "dify-plugin.md").read_text("utf-8")
    template = guide.split("```jinja\n")[1].split("```")[0]
    given = {"amount": 500, "currency": text, "customer_id": text}
    payload = Environment(autoescape=False).from_string(template).render(given)  # noqa: S701 — as Dify renders it
    found = ask(plugin, credentials, payload=payload, occurrence=text)
    asked = site.call("GET", f"/api/agent/decisions?thread_id={found['thread_id']}", token=credentials["api_key"])[1]
    assert asked["payload"] == given


@pytest.mark.parametrize(
    ("payload", "match"),
    [
        ('{"amount": 500, "amount": 1}', "twice"),
        ('{"a": {"amount": 500, "\\u0061mount": 1}}', "twice"),
        ('{"amount": NaN}', "NaN"),
        ('{"amount": -Infinity}', "Infinity"),
        ('{"amount": 1e999}', "digits"),
        ('{"amount": 0.1000000000000000055}', "digits"),
        ('{"amount": 9007199254740993}', "2\\^53"),
        ("{'amount': 500}", "double quotes"),
        ('{"amount": 500', "JSON"),
        ('{"amount": 500} {}', "JSON"),
        ("[500]", "object"),
        ("500", "object"),
        ("", "missing"),
        (500, "object"),
        ([], "object"),
        ('{"a": "\\ud800"}', "surrogate"),
        ('{"a":' * 40 + "1" + "}" * 40, "nested"),
        ('{"a":' * 50_000 + "1" + "}" * 50_000, "too long"),
        ('{"a":' * 40_000 + "1" + "}" * 40_000, "JSON|nested"),
    ],
)
def test_a_payload_with_more_than_one_reading_is_refused(
    plugin: LocalPlugin, credentials: Json, payload: object, match: str
) -> None:
    with pytest.raises(PluginFault, match=match) as fault:
        ask(plugin, credentials, payload=payload)
    assert fault.value.kind == "InvalidRequest"


def test_an_object_is_taken_as_it_is(plugin: LocalPlugin, credentials: Json) -> None:
    found = ask(plugin, credentials, payload={"amount": 40, "list": [1, {"a": None}]}, task_id="run-object")
    assert found["payload"] == {"amount": 40, "list": [1, {"a": None}]}


def test_a_key_that_comes_back_in_an_answer_is_not_shown(plugin: LocalPlugin, site: Site) -> None:
    """An agent that puts its own key into a question gets it back without it."""
    credentials = site.credentials()
    payload = json.dumps({"amount": 40, "note": credentials["api_key"]})
    with pytest.raises(PluginFault) as fault:
        ask(plugin, credentials, payload=payload)
    assert credentials["api_key"] not in json.dumps(fault.value.error)
