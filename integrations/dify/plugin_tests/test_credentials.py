"""A connection is saved only when the live gate answers to its key."""

from __future__ import annotations

from typing import Any

import pytest
from gate.tests.ports import free_port
from integrations.dify.plugin_tests.faulty import FAULTS, way
from integrations.dify.plugin_tests.live import Site
from integrations.dify.plugin_tests.local import LocalPlugin, PluginFault

Json = dict[str, Any]


def validate(plugin: LocalPlugin, credentials: Json) -> list[Json]:
    return plugin.call(
        {
            "type": "tool",
            "action": "validate_tool_credentials",
            "user_id": "somebody",
            "provider": "stacksona_gate",
            "credentials": credentials,
        }
    )


def test_a_good_connection_is_taken_and_changes_nothing(plugin: LocalPlugin, site: Site) -> None:
    credentials = site.credentials()
    before = site.call("GET", "/api/admin/audit")[1]
    assert validate(plugin, credentials) == [{"result": True}]
    assert site.call("GET", "/api/admin/audit")[1] == before
    assert site.threads(credentials["api_key"]) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"api_key": "sg_wrong"},
        {"api_key": ""},
        {"api_key": " "},
        {"api_key": "sg_\nx"},
        {"gate_url": ""},
        {"gate_url": "gate.example.com"},
        {"gate_url": "ftp://127.0.0.1"},
        {"gate_url": "http://user:word@127.0.0.1"},
        {"tools": ""},
        {"tools": " , "},
        {"patience": "0"},
        {"patience": "121"},
        {"patience": "long"},
    ],
)
def test_a_wrong_connection_is_refused(plugin: LocalPlugin, site: Site, changes: dict[str, str]) -> None:
    with pytest.raises(PluginFault) as fault:
        validate(plugin, site.credentials() | changes)
    assert fault.value.kind == "ToolProviderCredentialValidationError"


def test_the_key_of_a_verifier_or_a_person_is_no_agents(plugin: LocalPlugin, site: Site) -> None:
    for key in (site.verifier("issue_refund"), site.token):
        with pytest.raises(PluginFault) as fault:
            validate(plugin, site.credentials(api_key=key))
        assert key not in str(fault.value.error)


@pytest.mark.parametrize("fault", ["500", "garbage", "allow", "page", "redirect", "hang", "half"])
def test_what_is_no_gate_is_not_taken_for_one(plugin: LocalPlugin, site: Site, fault: str) -> None:
    assert fault in FAULTS
    with way(site.url, fault) as gate, pytest.raises(PluginFault) as refused:
        validate(plugin, site.credentials(gate_url=gate.url, patience="1"))
    assert refused.value.kind == "ToolProviderCredentialValidationError"


def test_a_gate_that_is_down_is_said_so(plugin: LocalPlugin, site: Site) -> None:
    with pytest.raises(PluginFault, match="reach this address"):
        validate(plugin, site.credentials(gate_url=f"http://127.0.0.1:{free_port()}", patience="1"))
