"""The database that measurements begin with: agents, the refund policy, an admin."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stacksona_gate.config import Settings, is_postgresql, sqlite_path
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.ids import FIRST_TENANT
from stacksona_gate.domain.people import ADMIN
from stacksona_gate.main import opened
from stacksona_gate.policy.parse import parse_policy
from stacksona_gate.service.agents import create_agent
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.people import create_user, sign_in
from stacksona_gate.service.policies import apply_policy
from stacksona_gate.service.secrets import hash_password
from stacksona_gate.service.tenants import create_tenant
from stacksona_gate.store.base import Tx

ADMIN_EMAIL: Final = "bench@example.com"
ROOT_SECRET: Final = "the root secret of databases that measurements make and drop"
_PASSWORD: Final = "correct horse battery staple"

POLICY: Final = """
version: 1
unknown_tool: review
tools:
  issue_refund:
    default: review
    expires_in: 24h
    strict_binding: true
    rules:
      - {name: Small refunds,  type: between, parameter: amount, low: 0.01, high: 50, action: allow}
      - {name: Large refunds,  type: upper_limit, parameter: amount, limit: 5000, action: reject}
      - {name: Odd currencies, type: regex, parameter: currency, pattern: "^(?:xau|btc)$", action: reject}
      - {name: Unsure agent,   type: lower_limit, parameter: confidence, limit: 0.8, action: review}
      - {name: Fraud words,    type: contains, parameter: reason, values: [fraud, chargeback], action: reject}
"""
"""Every rule is tested for every request of the bench."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A database that a server can open. ``keys`` are the agents', ``cookie`` the admin's session."""

    url: str
    agents: tuple[str, ...]
    keys: tuple[str, ...]
    cookie: str

    @property
    def path(self) -> Path:
        """Of an SQLite file."""
        return Path(sqlite_path(self.url))

    @property
    def database(self) -> Path | str:
        """The file, or the address."""
        return self.url if is_postgresql(self.url) else self.path


def prepare(folder: Path, name: str, *, agents: int = 1) -> Prepared:
    """Makes ``name``.db with so many agents, signed approvals on."""
    return prepare_database(f"sqlite:///{folder / name}.db", agents=agents)


def prepare_database(url: str, *, agents: int = 1, tenants: int = 0) -> Prepared:
    """The same in an empty database. ``tenants``: so many workspaces besides, with one agent each; their agents follow
    the default workspace's."""
    return asyncio.run(_prepare(url, agents, tenants))


async def _prepare(url: str, agents: int, tenants: int) -> Prepared:
    async with opened(settings_for(url)) as gate:
        created = await gate.store.write(lambda tx: _fill(tx, gate, agents))
        for number in range(tenants):
            created += await gate.store.write(lambda tx, number=number: _add_tenant(tx, gate, f"tenant-{number}"))  # type: ignore[misc]
        signed_in = await sign_in(gate, FIRST_TENANT, ADMIN_EMAIL, _PASSWORD, "127.0.0.1")
    return Prepared(url, tuple(agent for agent, _ in created), tuple(key for _, key in created), signed_in.cookie)


def _fill(tx: Tx, gate: Gate, agents: int) -> list[tuple[str, str]]:
    create_user(tx, gate.env, COMMAND_LINE, FIRST_TENANT, ADMIN_EMAIL, ADMIN, hash_password(_PASSWORD), name="Bench")
    return _furnish(tx, gate, FIRST_TENANT, agents)


def _add_tenant(tx: Tx, gate: Gate, tenant_id: str) -> list[tuple[str, str]]:
    create_tenant(tx, gate.env, COMMAND_LINE, tenant_id, tenant_id)
    return _furnish(tx, gate, tenant_id, 1)


def _furnish(tx: Tx, gate: Gate, tenant_id: str, agents: int) -> list[tuple[str, str]]:
    env, actor = gate.env, COMMAND_LINE
    apply_policy(tx, env, actor, tenant_id, parse_policy(POLICY))
    made = [create_agent(tx, env, gate.root, actor, tenant_id, f"agent-{number}") for number in range(agents)]
    return [(created.made.id, created.key) for created in made]


def settings_for(url: str) -> Settings:
    secret = ROOT_SECRET if is_postgresql(url) else ""
    return Settings(database_url=url, log_level="warning", secret_key=secret)


def question(amount: float) -> dict[str, object]:
    """A request's body: 40 is allowed, 400 goes to people."""
    return {
        "tool_name": "issue_refund",
        "subject": "Refund order 8821 to its buyer",
        "risk_level": "low",
        "workflow_name": "refunds",
        "payload": {
            "amount": amount,
            "currency": "eur",
            "confidence": 0.93,
            "reason": "the parcel came back unopened",
            "order_id": "ord_8821",
            "customer": {"id": "cus_4711", "country": "DE"},
        },
        "metadata": {"run": "bench"},
    }


def request_template(port: int, key: str, amount: float = 40) -> str:
    """The request's text, with ``%08x`` twice where the task's number goes."""
    return post_text(port, "/api/agent/tasks/task-%08x%08x/requests", key, json.dumps(question(amount)))


def post_text(port: int, path: str, key: str, body: str) -> str:
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )


def get_text(port: int, path: str, key: str = "", cookie: str = "") -> str:
    authorization = f"Authorization: Bearer {key}\r\n" if key else ""
    cookies = f"Cookie: stacksona_session={cookie}\r\n" if cookie else ""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{authorization}{cookies}\r\n"
