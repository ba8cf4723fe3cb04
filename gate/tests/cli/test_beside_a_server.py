"""What commands change holds in a running server at once."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from gate.tests.cli.processes import (
    COMMAND,
    PATIENCE,
    Json,
    Running,
    ask,
    call,
    command,
    made,
    redeem,
    running,
    serving,
    until,
)
from gate.tests.ports import free_port

from stacksona_gate.store.sqlite_connection import SQLiteRows

pytestmark = pytest.mark.slow

POLICY = """\
version: 1
tools:
  issue_refund:
    rules:
      - {name: Small refunds, type: between, parameter: amount, low: 0.01, high: 50, action: allow}
"""


class Site:
    """A database with a server on it."""

    def __init__(self, database: str, port: int, server: Running) -> None:
        self.database = database
        self.port = port
        self.server = server

    @property
    def path(self) -> str:
        return self.database.removeprefix("sqlite:///")

    def made(self, *arguments: str) -> Json:
        return made(*arguments, "--database", self.database)

    def agent(self, name: str) -> str:
        return str(self.made("agent", "create", name)["key"])

    def status(self, key: str) -> int:
        return call(self.port, "GET", "/api/agent/threads", key)[0]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    database, port = f"sqlite:///{folder}/gate.db", free_port()
    file = folder / "policy.yaml"
    file.write_text(POLICY)
    made("policy", "apply", str(file), "--database", database)
    with serving(database, port) as server:
        yield Site(database, port, server)


def test_a_new_agent_may_ask(site: Site) -> None:
    assert ask(site.port, site.agent("newcomer"))["status"] == "pending_review"


def test_a_rotated_key_is_refused_at_once(site: Site) -> None:
    old = site.agent("rotated")
    assert site.status(old) == 200
    new = site.made("agent", "rotate", "rotated")["key"]
    assert (site.status(old), site.status(new)) == (401, 200)


def test_an_overlap_lets_both_keys_in(site: Site) -> None:
    old = site.agent("overlapping")
    new = site.made("agent", "rotate", "overlapping", "--overlap", "1h")["key"]
    assert (site.status(old), site.status(new)) == (200, 200)


def test_a_held_answer_leaves_when_its_agent_is_paused(site: Site) -> None:
    key = site.agent("paused")
    thread = ask(site.port, key)["thread_id"]
    held: list[tuple[int, Json]] = []
    path = f"/api/agent/decisions?thread_id={thread}&wait=50"
    waiting = threading.Thread(target=lambda: held.append(call(site.port, "GET", path, key)))
    waiting.start()
    until(lambda: "stacksona_gate_held_answers 1.0" in metrics(site.port) or None)
    site.made("agent", "pause", "paused")
    waiting.join(10)
    assert [(status, body["status"], body["reason_code"]) for status, body in held] == [
        (200, "rejected", "agent_paused")
    ]
    body = {"tool_name": "issue_refund", "subject": "Refund"}
    assert call(site.port, "POST", "/api/agent/tasks/t/requests", key, body)[0] == 403
    site.made("agent", "resume", "paused")
    assert call(site.port, "POST", "/api/agent/tasks/t/requests", key, body)[0] == 200


def test_a_policy_judges_the_next_request(site: Site, tmp_path: Path) -> None:
    key = site.agent("judged")
    file = tmp_path / "policy.yaml"
    file.write_text(f"{POLICY}  send_money: {{default: reject}}\n")
    assert ask(site.port, key, tool="send_money")["status"] == "pending_review"
    version = site.made("policy", "apply", str(file))["version"]
    answer = ask(site.port, key, tool="send_money")
    assert (answer["status"], answer["policy_version"]) == ("reject", version)
    site.made("policy", "revert", str(version - 1))
    assert ask(site.port, key, tool="send_money")["status"] == "pending_review"


def test_tokens_in_flight_stay_good_when_the_signing_key_is_rotated(site: Site) -> None:
    key = site.agent("signing")
    before = ask(site.port, key, amount=40)["approval_token"]
    kid = site.made("signing-key", "rotate")["kid"]
    until(lambda: kid in kids(site.port) or None)
    assert redeem(site.port, key, before, amount=40)[1]["valid"] is True
    after = ask(site.port, key, amount=40)["approval_token"]
    assert redeem(site.port, key, after, amount=40)[1]["valid"] is True


def test_a_verifier_redeems_for_its_tool_only(site: Site) -> None:
    key = site.agent("verified")
    stranger = site.made("verifier", "create", "mail", "--tool", "send_mail")["key"]
    payments = site.made("verifier", "create", "payments", "--tool", "issue_refund")["key"]
    token = ask(site.port, key, amount=40)["approval_token"]
    assert redeem(site.port, stranger, token, amount=40)[0] == 403
    assert redeem(site.port, payments, token, amount=40)[0] == 200


def test_a_backup_of_a_running_gate_has_its_decisions(site: Site, tmp_path: Path) -> None:
    key = site.agent("backed-up")
    request = ask(site.port, key)["request_id"]
    copy = tmp_path / "copy.db"
    site.made("db", "backup", str(copy))
    secret = Path(site.database.removeprefix("sqlite:///") + ".key")
    (tmp_path / "copy.db.key").write_bytes(secret.read_bytes())
    port = free_port()
    with serving(f"sqlite:///{copy}", port):
        status, body = call(port, "GET", f"/api/agent/decisions?request_id={request}", key)
    assert (status, body["status"]) == (200, "pending_review")


def test_a_gate_without_an_admin_prints_a_link_and_with_one_does_not(tmp_path: Path) -> None:
    database, port = f"sqlite:///{tmp_path}/gate.db", free_port()
    with serving(database, port) as server:
        assert f"http://127.0.0.1:{port}/setup#" in server.line("first admin")
        assert server.end() == 0
    arguments = ("user", "create", "a@example.com", "--role", "admin", "--password-stdin", "--database", database)
    assert command(*arguments, given="correct horse battery\n").returncode == 0
    with serving(database, port) as server:
        until(lambda: call(port, "GET", "/readyz")[0] == 200 or None)
        assert server.end(15) == 0
        assert all(line.startswith("{") for line in server.errors)
        with pytest.raises(AssertionError, match="ended without"):
            server.line("first admin")


def test_a_wrong_root_secret_or_a_file_that_is_no_database_refuses_to_start(tmp_path: Path) -> None:
    database, port = f"sqlite:///{tmp_path}/gate.db", str(free_port())
    made("agent", "create", "bot", "--database", database)
    (tmp_path / "text.db").write_text("no database, " * 1000)
    for url, environment, said in (
        (database, {"STACKSONA_SECRET_KEY": "x" * 40}, "root secret"),
        (database, {"STACKSONA_SECRET_KEY": "short"}, "at least 32"),
        (f"sqlite:///{tmp_path}/text.db", {}, "text.db"),
        ("sqlite:////nowhere/gate.db", {}, "/nowhere/gate.db"),
    ):
        with running(COMMAND, "serve", "--port", port, "--database", url, **environment) as server:
            assert server.process.wait(PATIENCE) == 1
            server.end()
        assert said in server.errors[-1]
        assert not any("Traceback" in line for line in server.errors)


def metrics(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def kids(port: int) -> set[str]:
    return {str(key["kid"]) for key in call(port, "GET", "/.well-known/jwks.json")[1]["keys"]}


def measured(port: int, name: str) -> float:
    """A gauge of the server's."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])


def test_a_server_seals_its_log_by_itself(site: Site) -> None:
    ask(site.port, site.agent("sealed"))
    until(lambda: True if measured(site.port, "stacksona_gate_log_unsealed") == 0 else None)
    rows = SQLiteRows(site.path, read_only=True)
    (sealed,) = rows.one("SELECT size FROM checkpoints ORDER BY size DESC LIMIT 1") or (0,)
    (entries,) = rows.one("SELECT COUNT(*) FROM audit") or (0,)
    rows.close()
    assert sealed == entries > 0
