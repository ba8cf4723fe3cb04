"""Every command on a database that no server runs on."""

from __future__ import annotations

import dataclasses
import json
import socket
from pathlib import Path

import pytest
from gate.tests.cli.conftest import Shell
from typer.testing import CliRunner

from stacksona_gate.cli import app
from stacksona_gate.cli.options import duration
from stacksona_gate.config import Settings, variable
from stacksona_gate.domain.agents import key_hash
from stacksona_gate.domain.times import DAY
from stacksona_gate.service.secrets import password_matches

ROOT = Path(__file__).parents[3]
CASES = ROOT / "conformance/policy"
TENANT = "default"
PASSWORD = "correct horse battery"
POLICY = """\
version: 1
tools:
  issue_refund:
    rules:
      - {name: Large refunds, type: upper_limit, parameter: amount, limit: 250, action: reject}
"""
COMMANDS = [
    "serve",
    "demo",
    *(f"agent {verb}" for verb in ("create", "rotate", "pause", "resume", "list")),
    "verifier create",
    "user create",
    "user list",
    "token create",
    *(f"policy {verb}" for verb in ("apply", "show", "diff", "test", "versions", "revert")),
    *(f"retention {verb}" for verb in ("show", "set", "run")),
    "erase",
    "outcomes unknown",
    "reconcile",
    "audit export",
    "db migrate",
    "db backup",
    "signing-key rotate",
]


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


# Help


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does_and_takes_a_database(name: str) -> None:
    result = CliRunner().invoke(app, [*name.split(), "--help"])
    assert result.exit_code == 0
    assert result.stdout.splitlines()[2].strip()
    assert "--database URL" in result.stdout
    assert "STACKSONA_DATABASE_URL" in result.stdout


def test_help_names_every_setting() -> None:
    text = CliRunner().invoke(app, ["--help"]).stdout
    assert [name for field in dataclasses.fields(Settings) if (name := variable(field.name)) not in text] == []


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(app, ["agnt"])
    assert result.exit_code == 2
    assert "No such command" in result.stderr


def test_the_version_is_one_line() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout.count("\n") == 1


# Agents and verifiers


def test_an_agent_gets_a_key_of_which_the_hash_is_kept(shell: Shell) -> None:
    made = shell.json("agent", "create", "support-bot")
    assert made.keys() == {"id", "name", "key"}
    assert made["name"] == "support-bot"
    assert made["key"].startswith("sg_")
    kept = shell.stored(lambda tx: tx.keys.find_by_hash(key_hash(made["key"])))
    assert kept is not None
    assert kept.owner_id == made["id"]


def test_an_agent_with_a_webhook_gets_its_secret(shell: Shell) -> None:
    made = shell.json("agent", "create", "bot", "--webhook", "https://example.com/hook")
    assert made["webhook_secret"].startswith("whsec_")
    assert shell.json("agent", "list")[0]["transport"] == "webhook"


def test_an_agent_without_signed_approvals(shell: Shell) -> None:
    shell.json("agent", "create", "bot", "--no-signed-approvals")
    assert shell.json("agent", "list")[0]["signed_approvals"] is False


def test_people_read_a_key_on_a_line_of_its_own(shell: Shell) -> None:
    assert [line.split()[1][:3] for line in shell.done("agent", "create", "bot").splitlines() if line[:3] == "key"] == [
        "sg_"
    ]


def test_a_name_is_taken_once(shell: Shell) -> None:
    shell.done("agent", "create", "bot")
    assert "already" in shell.refused("agent", "create", "bot")


def test_a_rotated_key_ends_at_once(shell: Shell) -> None:
    old = shell.json("agent", "create", "bot")["key"]
    new = shell.json("agent", "rotate", "bot")["key"]
    kept = shell.stored(lambda tx: [tx.keys.find_by_hash(key_hash(key)) for key in (old, new)])
    assert [key is not None and key.revoked_at is not None for key in kept] == [True, False]


def test_an_overlap_keeps_the_old_key_for_so_long(shell: Shell) -> None:
    old = shell.json("agent", "create", "bot")["key"]
    shell.json("agent", "rotate", "bot", "--overlap", "24h")
    key = shell.stored(lambda tx: tx.keys.find_by_hash(key_hash(old)))
    assert key is not None
    assert key.revoked_at is None
    assert key.expires_at is not None
    assert 0 < key.expires_at - key.created_at - DAY < DAY


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("30s", 30), ("15m", 900), ("24h", 86_400), ("7d", 604_800)])
def test_durations(text: str, seconds: int) -> None:
    assert duration(text) == seconds


def test_a_duration_that_is_none_is_a_usage_error(shell: Shell) -> None:
    assert "write it like" in shell.refused("agent", "rotate", "bot", "--overlap", "soon", code=2)


def test_an_agent_is_paused_and_resumed(shell: Shell) -> None:
    shell.done("agent", "create", "bot")
    assert shell.json("agent", "pause", "bot")["state"] == "paused"
    assert shell.json("agent", "resume", "bot")["state"] == "active"


@pytest.mark.parametrize("verb", ["rotate", "pause", "resume"])
def test_an_unknown_agent_is_named(shell: Shell, verb: str) -> None:
    assert shell.refused("agent", verb, "nobody") == "there is no agent 'nobody'\n"


def test_a_list_of_agents_shows_no_secret(shell: Shell) -> None:
    made = shell.json("agent", "create", "bot", "--webhook", "https://example.com/hook")
    text = shell.done("agent", "list", "--json") + shell.done("agent", "list")
    assert made["key"] not in text
    assert made["webhook_secret"] not in text
    assert "bot" in text


def test_a_verifier_is_bound_to_its_tools(shell: Shell) -> None:
    made = shell.json("verifier", "create", "payments", "--tool", "issue_refund", "--tool", "send_money")
    assert made["key"].startswith("sv_")
    verifier = shell.stored(lambda tx: tx.verifiers.find_by_name(TENANT, "payments"))
    assert verifier is not None
    assert verifier.tools == ("issue_refund", "send_money")


def test_a_verifier_needs_a_tool(shell: Shell) -> None:
    assert "--tool" in shell.refused("verifier", "create", "payments", code=2)


# People


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_password_is_read_without_the_newline_that_ends_it(shell: Shell, end: str) -> None:
    made = shell.json("user", "create", "Ann@Example.com", "--role", "admin", "--password-stdin", given=PASSWORD + end)
    assert made["email"] == "ann@example.com"
    user = shell.stored(lambda tx: tx.people.find_user_by_email(TENANT, "ann@example.com"))
    assert user is not None
    assert password_matches(user.password_hash, PASSWORD)


def test_only_one_newline_is_taken_off(shell: Shell) -> None:
    shell.done("user", "create", "a@example.com", "--role", "admin", "--password-stdin", given=f"{PASSWORD} \n\n")
    user = shell.stored(lambda tx: tx.people.find_user_by_email(TENANT, "a@example.com"))
    assert user is not None
    assert password_matches(user.password_hash, f"{PASSWORD} \n")


@pytest.mark.parametrize("given", ["", "\n", "short\n"])
def test_no_password_or_a_short_one_is_refused(shell: Shell, given: str) -> None:
    said = shell.refused("user", "create", "a@example.com", "--role", "admin", "--password-stdin", given=given)
    assert "password" in said
    assert "short" not in said


def test_without_a_terminal_a_password_is_asked_for_on_standard_input_only(shell: Shell) -> None:
    said = shell.refused("user", "create", "a@example.com", "--role", "admin", given=f"{PASSWORD}\n", code=2)
    assert "--password-stdin" in said


def test_a_role_is_one_of_three(shell: Shell) -> None:
    shell.refused("user", "create", "a@example.com", "--role", "boss", "--password-stdin", given=PASSWORD, code=2)


def test_a_users_token(shell: Shell) -> None:
    arguments = ("a@example.com", "--role", "reviewer", "--password-stdin", "--name", "Ann")
    shell.done("user", "create", *arguments, given=PASSWORD)
    made = shell.json("token", "create", "a@example.com")
    assert made.keys() == {"token"}
    assert made["token"].startswith("sp_")
    assert shell.stored(lambda tx: tx.people.find_token_by_hash(key_hash(made["token"]))) is not None
    assert [(user["email"], user["role"], user["name"]) for user in shell.json("user", "list")] == [
        ("a@example.com", "reviewer", "Ann")
    ]


def test_a_token_for_nobody(shell: Shell) -> None:
    assert "there is no user" in shell.refused("token", "create", "nobody@example.com")


# Policy


def test_a_policy_is_applied_shown_compared_and_reverted(shell: Shell, tmp_path: Path) -> None:
    file = written(tmp_path / "policy.yaml", POLICY)
    assert "version 1 is in force" in shell.done("policy", "apply", file, "--note", "first")
    assert "Large refunds" in shell.done("policy", "show")
    assert shell.done("policy", "diff", file) == "no differences from version 1\n"
    other = written(tmp_path / "other.yaml", POLICY.replace("250", "300"))
    assert "limit: 250 -> 300" in shell.done("policy", "diff", other)
    assert shell.json("policy", "apply", other)["version"] == 2
    assert shell.json("policy", "revert", "1")["version"] == 3
    versions = shell.json("policy", "versions")
    assert [(one["version"], one["in_force"], one["note"]) for one in versions] == [
        (3, True, "reverted to version 1"),
        (2, False, ""),
        (1, False, "first"),
    ]


def test_the_same_policy_again_makes_no_version(shell: Shell, tmp_path: Path) -> None:
    file = written(tmp_path / "policy.yaml", POLICY)
    assert [shell.json("policy", "apply", file)["version"] for _ in range(2)] == [1, 1]


def test_what_is_shown_can_be_applied(shell: Shell, tmp_path: Path) -> None:
    shell.done("policy", "apply", written(tmp_path / "policy.yaml", POLICY))
    shown = written(tmp_path / "shown.yaml", shell.done("policy", "show"))
    assert shell.json("policy", "diff", shown)["changes"] == []
    assert "tools: {}" in shell.done("policy", "show", "--version", "0")


def test_all_that_is_wrong_with_a_policy_is_said_with_its_place(shell: Shell, tmp_path: Path) -> None:
    file = written(tmp_path / "bad.yaml", POLICY.replace("250", "many").replace("reject", "refuse"))
    lines = shell.refused("policy", "apply", file).splitlines()
    assert [line.split()[:2] for line in lines] == [
        [f"{file}:5:76", "tools.issue_refund.rules[0].limit"],
        [f"{file}:5:90", "tools.issue_refund.rules[0].action"],
    ]
    assert shell.json("policy", "versions") == []


@pytest.mark.parametrize("verb", ["apply", "diff", "test"])
def test_a_file_that_is_not_there_or_no_text(shell: Shell, tmp_path: Path, verb: str) -> None:
    assert shell.refused("policy", verb, "none.yaml") == "none.yaml: No such file or directory\n"
    (tmp_path / "raw").write_bytes(b"\xff")
    assert "UTF-8" in shell.refused("policy", verb, str(tmp_path / "raw"))


def test_an_unknown_version(shell: Shell) -> None:
    assert "there is no policy version 7" in shell.refused("policy", "revert", "7")
    assert "there is no policy version 7" in shell.refused("policy", "show", "--version", "7")


def test_the_conformance_cases_pass(shell: Shell) -> None:
    said = shell.done("policy", "test", *map(str, sorted(CASES.glob("*.yaml"))))
    total, _, count = said.splitlines()[-1].split()[:3]
    assert total == count
    assert int(count) > 200
    assert not (Path.cwd() / "gate.db").exists()


def test_a_difference_is_shown_and_fails(shell: Shell, tmp_path: Path) -> None:
    policy = written(tmp_path / "policy.yaml", POLICY)
    case = "{name: a large one, tool: issue_refund, payload: {amount: %s}, expect: {status: reject}}"
    cases = written(tmp_path / "cases.yaml", f"cases:\n  - {case % 300}\n  - {case % 250}\n")
    result = shell("policy", "test", cases, "--policy", policy)
    assert result.exit_code == 1
    assert f"{cases}:3 a large one" in result.stdout
    assert "status: expected reject, got pending_review" in result.stdout
    assert result.stdout.splitlines()[-1] == "1 of 2 cases as expected, in 1 file"


def test_cases_without_a_policy_ask_for_one(shell: Shell, tmp_path: Path) -> None:
    cases = written(tmp_path / "cases.yaml", "cases:\n  - {name: a, tool: b, expect: {status: allow}}\n")
    assert "policy" in shell.refused("policy", "test", cases)


# The database


def test_the_commands_own_database_goes_before_the_one_above(shell: Shell, tmp_path: Path) -> None:
    shell.done("agent", "create", "bot", "--database", f"sqlite:///{tmp_path}/other.db")
    assert shell.json("agent", "list") == []


def test_a_relative_database_and_the_environments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STACKSONA_DATABASE_URL", "sqlite:///here.db")
    assert CliRunner().invoke(app, ["agent", "create", "bot"]).exit_code == 0
    assert (tmp_path / "here.db").exists()
    assert (tmp_path / "here.db.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://db/gate", "not a database address"),
        ("mysql://db", "not a database address"),
        ("sqlite:////nowhere/gate.db", "/nowhere/gate.db"),
    ],
)
@pytest.mark.parametrize("command", ["agent list", "db migrate", "policy versions"])
def test_a_database_that_is_none(url: str, said: str, command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--database", url])
    assert result.exit_code == 1
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("folder", "is a folder: name a file in it"),
        ("missing/gate.db", "there is no folder missing: make it first"),
        ("text.db", "is no SQLite database: name another file"),
    ],
)
def test_a_database_that_cannot_be_opened_is_told_apart_from_a_busy_one(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.db").write_text("no database, " * 1000)
    result = CliRunner().invoke(app, ["agent", "list", "--database", f"sqlite:///{name}"])
    assert said in result.stderr
    assert "try again" not in result.stderr


def test_migrations_are_named_once(shell: Shell) -> None:
    assert shell.json("db", "migrate")["applied"][0] == "0001_initial.sql"
    assert shell.json("db", "migrate")["applied"] == []


def test_a_backup_opens_with_the_root_secret(shell: Shell, tmp_path: Path) -> None:
    shell.done("agent", "create", "bot")
    target = tmp_path / "copy.db"
    said = shell.done("db", "backup", str(target))
    assert "gate.db.key" in said
    assert "in another place" in said  # together, the two let anybody sign approvals
    assert list(tmp_path.glob("copy*")) == [target]
    (tmp_path / "copy.db.key").write_bytes((tmp_path / "gate.db.key").read_bytes())
    assert [agent["name"] for agent in Shell(f"sqlite:///{target}").json("agent", "list")] == ["bot"]


def test_a_backup_never_overwrites(shell: Shell, tmp_path: Path) -> None:
    shell.done("agent", "create", "bot")
    target = tmp_path / "copy.db"
    target.write_text("mine")
    assert "never overwrites" in shell.refused("db", "backup", str(target))
    assert target.read_text() == "mine"


def test_a_backup_to_nowhere_names_what_was_asked_for(shell: Shell) -> None:
    shell.done("agent", "create", "bot")
    assert shell.refused("db", "backup", "nowhere/copy.db") == "nowhere/copy.db: No such file or directory\n"


def test_no_database_is_made_to_back_it_up(shell: Shell, tmp_path: Path) -> None:
    assert "there is no database" in shell.refused("db", "backup", "copy.db")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_root_secret_opens_nothing(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.done("agent", "create", "bot")
    monkeypatch.setenv("STACKSONA_SECRET_KEY", "x" * 32)
    assert "the root secret is not the one" in shell.refused("agent", "list")


def test_a_new_signing_key_retires_the_old_one(shell: Shell) -> None:
    shell.done("db", "migrate")
    kid = shell.json("signing-key", "rotate")["kid"]
    keys = shell.stored(lambda tx: tx.installations.list_signing_keys())
    assert [key.kid for key in keys if key.retired_at is None] == [kid]
    assert len(keys) == 2


# Serving


@pytest.mark.parametrize("name", ["serve", "demo"])
def test_a_taken_port_is_said_before_anything_is_made(name: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(app, [name, "--port", port, "--database", "sqlite:///gate.db"])
    assert result.exit_code == 1
    assert f"port {port}" in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_is_not_this_machine() -> None:
    result = CliRunner().invoke(app, ["serve", "--host", "nowhere.invalid"])
    assert result.exit_code == 1
    assert "nowhere.invalid" in result.stderr


def test_an_address_of_another_machine_asks_for_another_host() -> None:
    result = CliRunner().invoke(app, ["serve", "--host", "192.0.2.1"])
    assert result.exit_code == 1
    assert "choose another --host" in result.stderr


def test_json_is_the_only_thing_on_standard_output(shell: Shell) -> None:
    result = shell("agent", "create", "bot", "--json")
    assert json.loads(result.stdout)["name"] == "bot"
    assert result.stderr == ""
