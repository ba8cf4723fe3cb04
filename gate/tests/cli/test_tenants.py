"""``tenant`` and ``operator``, and ``--tenant`` everywhere else."""

from __future__ import annotations

import pytest
from gate.tests.cli.conftest import Shell

from stacksona_gate.domain.agents import key_hash

POLICY = "version: 1\nunknown_tool: reject\n"


def test_a_workspace_is_made_listed_shown_renamed_limited_suspended_and_resumed(shell: Shell) -> None:
    made = shell.json("tenant", "create", "acme")
    assert made["setup_url"].startswith("http://127.0.0.1:8420/setup#")
    assert [one["name"] for one in shell.json("tenant", "list")] == ["acme", "default"]
    assert shell.json("tenant", "rename", "acme", "acme-eu")["id"] == made["id"]
    assert shell.json("tenant", "suspend", "acme-eu")["state"] == "suspended"
    assert shell.json("tenant", "resume", made["id"])["state"] == "active"
    assert shell.json("tenant", "show", "acme-eu")["name"] == "acme-eu"


def test_limits_that_are_not_named_stay(shell: Shell) -> None:
    shell.done("tenant", "create", "acme")
    shell.done("tenant", "limits", "acme", "--requests-per-second", "50", "--pending-threads", "100")
    shown = shell.json("tenant", "limits", "acme", "--pending-threads", "default", "--stored-megabytes", "0")
    assert shown["limits"] == {
        "requests_per_second": 50,
        "pending_threads": None,
        "stored_requests": None,
        "stored_megabytes": 0,
    }
    assert "50" in shell.done("tenant", "show", "acme")


@pytest.mark.parametrize("value", ["-1", "many", "1.5", "9999999999999"])
def test_a_limit_that_is_none_is_refused(shell: Shell, value: str) -> None:
    shell.done("tenant", "create", "acme")
    assert "pending-threads" in shell.refused("tenant", "limits", "acme", f"--pending-threads={value}")


def test_every_command_works_in_the_workspace_that_is_named(shell: Shell, tmp_path: object) -> None:
    tenant_id = shell.json("tenant", "create", "acme")["id"]
    agent = shell.json("agent", "create", "bot", "--tenant", "acme")
    user = shell.json(
        "user", "create", "ada@example.com", "--role", "admin", "--password-stdin", "--tenant", "acme",
        given="correct horse battery",
    )  # fmt: skip
    shell.done("token", "create", "ada@example.com", "--tenant", "acme")
    key = shell.stored(lambda tx: tx.keys.find_by_hash(key_hash(agent["key"])))
    assert key is not None
    assert key.tenant_id == tenant_id
    assert shell.stored(lambda tx: tx.people.find_user(tenant_id, user["id"])) is not None
    assert shell.json("agent", "list") == []
    assert [one["name"] for one in shell.json("agent", "list", "--tenant", tenant_id)] == ["bot"]


def test_a_policy_is_applied_in_one_workspace_alone(shell: Shell) -> None:
    shell.done("tenant", "create", "acme")
    with open("policy.yaml", "w") as file:
        file.write(POLICY)
    shell.done("policy", "apply", "policy.yaml", "--tenant", "acme")
    assert "reject" in shell.done("policy", "show", "--tenant", "acme")
    assert shell.json("policy", "show")["version"] == 0


def test_each_workspace_has_a_log_of_its_own(shell: Shell) -> None:
    shell.done("tenant", "create", "acme")
    for name in ("default", "acme"):
        shell.done("audit", "export", "--out", f"{name}.jsonl", "--tenant", name)
        assert "sound" in shell.done("audit", "verify", f"{name}.jsonl").lower()
    origins = {shell.json("audit", "checkpoint", "--tenant", name)["origin"] for name in ("default", "acme")}
    assert len(origins) == 2


def test_a_workspace_that_is_none_is_refused_and_says_where_to_look(shell: Shell) -> None:
    shell.done("db", "migrate")
    told = shell.refused("agent", "create", "bot", "--tenant", "acm")
    assert "'acm'" in told
    assert "tenant list" in told


def test_an_operators_key_is_shown_once_and_ends_when_it_is_revoked(shell: Shell) -> None:
    made = shell.json("operator", "create", "terraform")
    assert made["key"].startswith("so_")
    shell.done("operator", "revoke", made["id"])
    assert shell.json("operator", "list") == [{"id": made["id"], "name": "terraform", "state": "revoked"}]
    assert "no operator's key" in shell.refused("operator", "revoke", made["id"])
