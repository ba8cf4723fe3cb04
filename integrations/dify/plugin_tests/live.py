"""The gate as a process of its own, its people and its agents."""

from __future__ import annotations

import http.client
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gate.tests.cli.processes import COMMAND, PATIENCE, command, made, running
from gate.tests.ports import free_port

Json = dict[str, Any]

POLICY = """\
version: 1
tools:
  issue_refund:
    strict_binding: true
    rules:
      - {name: Small refunds, type: between, parameter: amount, low: 0.01, high: 50, action: allow}
      - {name: Large refunds, type: upper_limit, parameter: amount, limit: 5000, action: reject}
  send_email:
    default: allow
"""


@dataclass
class Site:
    """A gate that answers, with an admin who also reviews."""

    url: str
    token: str
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def agent(self, **fields: object) -> Json:
        """A new one, with its key."""
        status, answer = self.call("POST", "/api/admin/agents", {"name": f"agent-{next(self._numbers)}", **fields})
        assert status == 201, answer
        return answer

    def credentials(self, **changes: str) -> Json:
        """A connection, of a new agent unless ``api_key`` is given."""
        key = changes.get("api_key") or self.agent()["key"]
        return {"gate_url": self.url, "api_key": key, "tools": "issue_refund", "patience": "5"} | changes

    def person(self, email: str, role: str) -> str:
        """The personal token of somebody new."""
        status, user = self.call("POST", "/api/admin/users", {"email": email, "role": role, "password": PASSWORD})
        assert status == 201, user
        return str(self.call("POST", f"/api/admin/users/{user['id']}/tokens", {"name": "tests"})[1]["token"])

    def verifier(self, tool: str) -> str:
        """The key of a new one."""
        return str(self.call("POST", "/api/admin/verifiers", {"name": "the tool", "tools": [tool]})[1]["key"])

    def call(self, method: str, path: str, body: object = None, token: str = "") -> tuple[int, Json]:
        """One call to the people's API or, with an agent's key, to the agent's."""
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=PATIENCE)
        headers = {"Authorization": f"Bearer {token or self.token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body).encode(), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"{}")
        finally:
            connection.close()

    def review(self, thread_id: str, verdict: str = "approve", **fields: object) -> None:
        """What a person says about the thread's newest revision."""
        body = {"verdict": verdict, "message": "looked at", "revision": 1, **fields}
        status, answer = self.call("POST", f"/api/review/threads/{thread_id}/reviews", body)
        assert status == 200, answer

    def threads(self, key: str) -> list[Json]:
        """The agent's own."""
        return list(self.call("GET", "/api/agent/threads", token=key)[1]["threads"])


ADMIN = "admin@example.com"
PASSWORD = "a long enough password"


@contextmanager
def live_gate(folder: Path) -> Iterator[Site]:
    """The gate, answering, allowed to deliver to this machine."""
    database, port = f"sqlite:///{folder}/gate.db", free_port()
    (folder / "policy.yaml").write_text(POLICY)
    made("policy", "apply", str(folder / "policy.yaml"), "--database", database)
    command_line = (COMMAND, "serve", "--port", str(port), "--database", database)
    with running(*command_line, STACKSONA_ALLOWED_NETWORKS="127.0.0.0/8") as server:
        server.line("Stacksona Gate on", str(port))
        yield Site(f"http://127.0.0.1:{port}", admin(database))


def admin(database: str) -> str:
    """The first person's token, who makes everybody else."""
    options = ("--database", database)
    done = command("user", "create", ADMIN, "--role", "admin", "--password-stdin", *options, given=PASSWORD + "\n")
    assert done.returncode == 0, done.stderr
    return str(made("token", "create", ADMIN, *options)["token"])
