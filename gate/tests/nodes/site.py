"""Several gates on one PostgreSQL, each the real command in a process of its own, and who calls them."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from gate.tests.cli.processes import COMMAND, PATIENCE, Json, Running, call, running, send
from gate.tests.factories import PASSWORD, password_hash
from gate.tests.nodes.wire import Wire, wire
from gate.tests.pooler import pooler
from gate.tests.ports import free_port
from gate.tests.postgres import postgres_database, server
from psycopg.conninfo import conninfo_to_dict

from stacksona_gate.config import Settings
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.main import opened
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.people import create_token, create_user

SECRET: Final = "one root secret for every node of these tests"
BOUND: Final = 1.0
"""Seconds within which a change on one node holds on all."""
TOLD, LOST, POOLED = "told", "lost", "pooled"
WAYS: Final = (TOLD, LOST, POOLED)
"""How a node hears of others: by notifications; by looking, because they are lost; by looking, behind a pooler."""


@dataclass(slots=True)
class Node:
    """One gate, served."""

    port: int
    process: Running

    def ask(self, key: str, amount: int = 500, *, task: str = "t", retry: str = "") -> tuple[int, Json]:
        """A request to refund; over 250 it is for people."""
        body = {"tool_name": "issue_refund", "subject": "Refund", "payload": {"amount": amount}}
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        headers |= {"Idempotency-Key": retry} if retry else {}
        return send(self.port, "POST", f"/api/agent/tasks/{task}/requests", headers, json.dumps(body).encode())

    def thread(self, key: str) -> str:
        """A fresh thread that waits for people."""
        status, answer = self.ask(key)
        assert status == 200, answer
        return str(answer["thread_id"])

    def read(self, key: str, thread_id: str, **query: Any) -> tuple[int, Json]:
        path = f"/api/agent/decisions?{urlencode({'thread_id': thread_id, **query})}"
        return call(self.port, "GET", path, key)

    def redeem(self, key: str, token: str, amount: int = 100, *, task: str = "t") -> tuple[int, Json]:
        body = {"task_id": task, "signature": token, "tool_name": "issue_refund", "payload": {"amount": amount}}
        return call(self.port, "POST", "/api/agent/approvals/validate", key, body)

    def review(self, token: str, thread_id: str, verdict: str = "approve") -> tuple[int, Json]:
        """What a click in the inbox does."""
        body = {"verdict": verdict, "message": "looked at it", "revision": 1}
        return call(self.port, "POST", f"/api/review/threads/{thread_id}/reviews", token, body)

    def done(self, method: str, path: str, token: str, body: object = None) -> Json:
        """An admin's call that succeeds."""
        status, answer = call(self.port, method, f"/api/admin/{path}", token, body)
        assert status in (200, 201), (status, answer)
        return answer

    def sign_in(self, email: str, password: str = PASSWORD) -> tuple[int, str]:
        """The status, and the cookie where there is one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            connection.request("POST", "/sign-in", urlencode({"email": email, "password": password}), headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status, (answer.getheader("Set-Cookie") or "").partition(";")[0]
        finally:
            connection.close()

    def with_cookie(self, method: str, path: str, cookie: str, body: str = "") -> tuple[int, str]:
        headers = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def measured(self, name: str) -> float:
        """A gauge or a counter."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])


@dataclass(slots=True)
class Site:
    """A database, its nodes, and an admin and a reviewer with personal tokens."""

    url: str
    stack: ExitStack
    admin: str = ""
    reviewer: str = ""
    wire: Wire | None = None
    nodes: dict[str, Node] = field(default_factory=dict)
    _names: int = 0

    @property
    def name(self) -> str:
        """Of the database."""
        return str(conninfo_to_dict(self.url)["dbname"])

    @property
    def first(self) -> Node:
        """The node on which everything happens that the others have to know of."""
        return self.nodes["first"]

    def start(self, name: str, url: str = "", **settings: str) -> Node:
        """A node more, answering."""
        node = self.begin(name, url, **settings)
        node.process.line("Stacksona Gate on", str(node.port))
        return node

    def begin(self, name: str, url: str = "", **settings: str) -> Node:
        """As ``start``, without waiting for it."""
        port = free_port()
        given = {"STACKSONA_SECRET_KEY": SECRET, "STACKSONA_ALLOWED_NETWORKS": "127.0.0.0/8"}
        arguments = (COMMAND, "serve", "--port", str(port), "--database", url or self.url)
        process = self.stack.enter_context(running(*arguments, **given | settings))
        node = self.nodes[name] = Node(port, process)
        return node

    def fresh(self, kind: str) -> str:
        self._names += 1
        return f"{kind}-{self._names}"

    def agent(self, **given: object) -> tuple[str, str]:
        """A new agent's id and key."""
        made = self.first.done("POST", "agents", self.admin, {"name": self.fresh("agent"), **given})
        return made["id"], made["key"]

    def user(self, role: str = "reviewer") -> tuple[str, str]:
        """A new user's id and mail address."""
        email = f"{self.fresh(role)}@example.com"
        body = {"email": email, "role": role, "password": PASSWORD}
        return self.first.done("POST", "users", self.admin, body)["id"], email


@contextmanager
def site_of(*, empty: bool = False) -> Iterator[Site]:
    """A database with people in it (``empty``: nothing at all), and no node yet."""
    with postgres_database(empty=empty) as database, ExitStack() as stack:
        made = Site(database.url, stack)
        if not empty:
            made.admin, made.reviewer = asyncio.run(_people(database.url))
        yield made


@contextmanager
def site_of_all_ways() -> Iterator[Site]:
    """A first node, and one for each way of hearing of it."""
    with site_of() as site:
        site.start("first")
        site.start(TOLD)
        site.start(LOST, started_beside(site).url(site.name))
        site.start(POOLED, pooler().url(site.name))
        site.first.done("PUT", "policy", site.admin, POLICY)
        yield site


def started_beside(site: Site) -> Wire:
    """A wire to the site's server."""
    parts = conninfo_to_dict(server(18))
    site.wire = site.stack.enter_context(wire(str(parts["host"]), int(str(parts["port"]))))
    return site.wire


POLICY: Final = {
    "version": 1,
    "tools": {
        "issue_refund": {
            "default": "allow",
            "rules": [
                {"name": "Over 250", "type": "upper_limit", "parameter": "amount", "limit": 250, "action": "review"}
            ],
        }
    },
}


async def _people(url: str) -> tuple[str, str]:
    async with opened(Settings(database_url=url, secret_key=SECRET)) as gate:
        return await _person(gate, "admin"), await _person(gate, "reviewer")


async def _person(gate: Gate, role: str) -> str:
    hashed = password_hash(PASSWORD)
    user = await gate.store.write(
        lambda tx: create_user(tx, gate.env, COMMAND_LINE, "default", f"{role}@example.com", role, hashed)
    )
    _, token = await gate.store.write(lambda tx: create_token(tx, gate.env, COMMAND_LINE, user, "tests"))
    return token
