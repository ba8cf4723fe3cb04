"""Settings: what is refused, and that the README's table says what there is."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from integrations.bridge.tests.house import APPS, TOKEN, settings
from stacksona_bridge.settings import Invalid, Settings, read_settings, variable

README = Path(__file__).parents[1] / "README.md"


def given(**changes: str) -> dict[str, str]:
    return settings("http://127.0.0.1:5001", "sg_agent", "sg_keeper", **changes)


def apps(**changes: Any) -> str:
    """The app of these tests with changes of its only node, or of itself."""
    made = json.loads(json.dumps(APPS))
    node = {name: changes.pop(name) for name in list(changes) if name in ("approve", "reject", "payload", "tool")}
    made["refunds"]["nodes"]["approval"] |= node
    made["refunds"] |= changes
    return json.dumps(made)


def test_the_table_of_the_readme_has_every_setting() -> None:
    rows = []
    for one in fields(Settings):
        default = f"`{one.default}`" if one.default else ""
        rows.append(f"| `{variable(one.name)}` | {one.metadata['description']} | {default} |")
    assert [row for row in rows if row not in README.read_text()] == []


def test_what_is_needed_is_enough() -> None:
    needed = ("BRIDGE_GATE_URL", "BRIDGE_GATE_KEY", "BRIDGE_CALLERS")
    config = read_settings({name: value for name, value in given().items() if name in needed} | {"PATH": "x"})
    assert (config.host, config.port, dict(config.apps), config.resume_urls) == ("127.0.0.1", 8421, {}, ())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"BRIDGE_GATE_URL": ""}, "BRIDGE_GATE_URL"),
        ({"BRIDGE_GATE_URL": "gate.example.com"}, "BRIDGE_GATE_URL"),
        ({"BRIDGE_GATE_URL": "https://user:secret@gate.example.com"}, "BRIDGE_GATE_URL"),
        ({"BRIDGE_GATE_KEY": ""}, "BRIDGE_GATE_KEY"),
        ({"BRIDGE_CALLERS": ""}, "BRIDGE_CALLERS"),
        ({"BRIDGE_CALLERS": TOKEN}, "BRIDGE_CALLERS"),
        ({"BRIDGE_CALLERS": "shop:short"}, "BRIDGE_CALLERS"),
        ({"BRIDGE_CALLERS": f"shop:{TOKEN},shop:{TOKEN}x"}, "BRIDGE_CALLERS"),
        ({"BRIDGE_CALLERS": f"shop:{TOKEN},desk:{TOKEN}"}, "BRIDGE_CALLERS"),
        ({"BRIDGE_CALLERS": f"desk:{TOKEN}"}, "BRIDGE_DIFY_APPS"),
        ({"BRIDGE_PORT": "65536"}, "BRIDGE_PORT"),
        ({"BRIDGE_PORT": "١"}, "BRIDGE_PORT"),
        ({"BRIDGE_HOLD_SECONDS": "-1"}, "BRIDGE_HOLD_SECONDS"),
        ({"BRIDGE_LOG_LEVEL": "loud"}, "BRIDGE_LOG_LEVEL"),
        ({"BRIDGE_REQUIRE_SIGNED": "true"}, "BRIDGE_REQUIRE_SIGNED"),
        ({"BRIDGE_SIGNING_KEYS": "short"}, "BRIDGE_SIGNING_KEYS"),
        ({"BRIDGE_SIGNING_KEYS": ""}, "BRIDGE_SIGNING_KEYS"),
        ({"BRIDGE_GATEKEEPER_KEY": ""}, "BRIDGE_GATEKEEPER_KEY"),
        ({"BRIDGE_GATEKEEPER_KEY": "sg_agent"}, "BRIDGE_GATEKEEPER_KEY"),
        ({"BRIDGE_GATEKEEPER_WEBHOOK_SECRETS": ""}, "BRIDGE_GATEKEEPER_WEBHOOK_SECRETS"),
        ({"BRIDGE_GATEKEEPER_WEBHOOK_SECRETS": given()["BRIDGE_WEBHOOK_SECRETS"]}, "share"),
        ({"BRIDGE_DIFY_URL": ""}, "BRIDGE_DIFY_URL"),
        ({"BRIDGE_DIFY_APPS": "[]"}, "BRIDGE_DIFY_APPS"),
        ({"BRIDGE_DIFY_APPS": '{"a": {"key": "x"}, "a": {"key": "y"}}'}, "BRIDGE_DIFY_APPS"),
        ({"BRIDGE_DIFY_APPS": '{"a": {"key": "x"}, "b": {"key": "x"}}'}, "BRIDGE_DIFY_APPS"),
        ({"BRIDGE_DIFY_APPS": '{"a": {"key": "x", "kye": "y"}}'}, "BRIDGE_DIFY_APPS"),
        ({"BRIDGE_DIFY_APPS": apps(wake={"approval": "decided"})}, "not both"),
        ({"BRIDGE_DIFY_APPS": apps(reject="approve")}, "two different"),
        ({"BRIDGE_DIFY_APPS": apps(approve="an action")}, "BRIDGE_DIFY_APPS"),
        ({"BRIDGE_DIFY_APPS": apps(tool="a tool")}, "BRIDGE_DIFY_APPS"),
        ({"BRIDGE_DIFY_TRIGGERS": "http://127.0.0.1/x"}, "BRIDGE_DIFY_TRIGGERS"),
        ({"BRIDGE_DIFY_TRIGGERS": "a=ftp://127.0.0.1/x"}, "BRIDGE_DIFY_TRIGGERS"),
        ({"BRIDGE_RESUME_URLS": "n8n.example.com"}, "BRIDGE_RESUME_URLS"),
        ({"BRIDGE_RESUME_URLS": "https://n8n.example.com/?a=b"}, "BRIDGE_RESUME_URLS"),
        ({"BRIDGE_ALLOWED_NETWORKS": "10.0.0.1/8"}, "BRIDGE_ALLOWED_NETWORKS"),
        ({"BRIDGE_GATE_KYE": "sg_x"}, "BRIDGE_GATE_KYE"),
        ({"BRIDGE_GATE_KEY_FILE": "/nowhere/at/all"}, "BRIDGE_GATE_KEY"),
    ],
)
def test_what_cannot_be_used_is_named_and_no_secret_is_shown(changes: dict[str, str], named: str) -> None:
    with pytest.raises(Invalid, match=named) as refused:
        read_settings(given(**changes))
    shown = str(refused.value)
    assert not [one for one in (TOKEN, "sg_agent", "app-refunds", "secret@") if one in shown]


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sg_from_a_file\n")
    config = read_settings(given(BRIDGE_GATE_KEY="", BRIDGE_GATE_KEY_FILE=str(tmp_path / "key")))
    assert config.gate_key == "sg_from_a_file"


def test_a_setting_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sg_from_a_file\n")
    with pytest.raises(Invalid, match="twice"):
        read_settings(given(BRIDGE_GATE_KEY_FILE=str(tmp_path / "key")))


def test_an_apps_wake_up_is_the_templates_unless_the_settings_say_otherwise() -> None:
    config = read_settings(given())
    assert dict(config.apps["other"].wake) == {"pause": "decided"}
