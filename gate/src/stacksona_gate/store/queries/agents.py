"""Agents, verifiers and keys."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from stacksona_gate.domain.agents import Agent, Key, Verifier
from stacksona_gate.store.rows import Mapper, Row, Rows

AGENTS: Final = Mapper(Agent, "agents", without=("reviewers",))
KEYS: Final = Mapper(Key, "keys")
VERIFIERS: Final = Mapper(Verifier, "verifiers")


class AgentQueries:
    """Implements store.base.Agents."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def insert(self, agent: Agent, webhook_secret: str | None) -> None:
        self._rows.run(AGENTS.insert, *AGENTS.values(agent))
        if webhook_secret is not None:
            self.set_webhook_secret(agent.tenant_id, agent.id, webhook_secret)
        self._write_reviewers(agent)

    def find(self, tenant_id: str, agent_id: str) -> Agent | None:
        return self._one("id = $2", tenant_id, agent_id)

    def find_by_name(self, tenant_id: str, name: str) -> Agent | None:
        return self._one("name = $2", tenant_id, name)

    def list_all(self, tenant_id: str) -> list[Agent]:
        assigned: dict[str, list[str]] = {}
        sql = "SELECT agent_id, user_id FROM agent_reviewers WHERE tenant_id = $1 ORDER BY user_id"
        for agent_id, user_id in self._rows.all(sql, tenant_id):
            assigned.setdefault(agent_id, []).append(user_id)
        agents = AGENTS.list(self._rows.all(f"{AGENTS.select} WHERE tenant_id = $1 ORDER BY name", tenant_id))
        return [replace(agent, reviewers=tuple(assigned.get(agent.id, ()))) for agent in agents]

    def update(self, agent: Agent) -> None:
        self._rows.run(
            "UPDATE agents SET name = $1, state = $2, api_access = $3, signed_approvals = $4, transport = $5,"
            " webhook_url = $6,"
            " expires_in = $7, requests_per_second = $8, generation = $9 WHERE tenant_id = $10 AND id = $11",
            agent.name,
            agent.state,
            agent.api_access,
            agent.signed_approvals,
            agent.transport,
            agent.webhook_url,
            agent.expires_in,
            agent.requests_per_second,
            agent.generation,
            agent.tenant_id,
            agent.id,
        )
        self._rows.run("DELETE FROM agent_reviewers WHERE tenant_id = $1 AND agent_id = $2", agent.tenant_id, agent.id)
        self._write_reviewers(agent)

    def set_webhook_secret(self, tenant_id: str, agent_id: str, wrapped: str) -> None:
        self._rows.run(
            "INSERT INTO webhook_endpoints (tenant_id, id, kind, secret) VALUES ($1, $2, 'agent', $3)"
            " ON CONFLICT (tenant_id, id) DO UPDATE SET secret = excluded.secret",
            tenant_id,
            agent_id,
            wrapped,
        )

    def get_webhook_secret(self, tenant_id: str, agent_id: str) -> str | None:
        row = self._rows.one(
            "SELECT secret FROM webhook_endpoints WHERE tenant_id = $1 AND id = $2", tenant_id, agent_id
        )
        return row[0] if row else None

    def _one(self, where: str, tenant_id: str, value: str) -> Agent | None:
        agent = AGENTS.optional(self._rows.one(f"{AGENTS.select} WHERE tenant_id = $1 AND {where}", tenant_id, value))
        return None if agent is None else replace(agent, reviewers=self._reviewers(agent))

    def _reviewers(self, agent: Agent) -> tuple[str, ...]:
        sql = "SELECT user_id FROM agent_reviewers WHERE tenant_id = $1 AND agent_id = $2 ORDER BY user_id"
        return tuple(row[0] for row in self._rows.all(sql, agent.tenant_id, agent.id))

    def _write_reviewers(self, agent: Agent) -> None:
        self._rows.many(
            "INSERT INTO agent_reviewers (tenant_id, agent_id, user_id) VALUES ($1, $2, $3)",
            [(agent.tenant_id, agent.id, user_id) for user_id in agent.reviewers],
        )


class KeyQueries:
    """Implements store.base.Keys."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def insert(self, key: Key) -> None:
        self._rows.run(KEYS.insert, *KEYS.values(key))

    def find_by_hash(self, key_hash: str) -> Key | None:
        return KEYS.optional(self._rows.one(f"{KEYS.select} WHERE hash = $1", key_hash))

    def list_for(self, tenant_id: str, owner_id: str) -> list[Key]:
        sql = f"{KEYS.select} WHERE tenant_id = $1 AND owner_id = $2 ORDER BY created_at, id"
        return KEYS.list(self._rows.all(sql, tenant_id, owner_id))

    def end(self, tenant_id: str, key_id: str, *, expires_at: int | None, revoked_at: int | None) -> None:
        self._rows.run(
            "UPDATE keys SET expires_at = $1, revoked_at = $2 WHERE tenant_id = $3 AND id = $4",
            expires_at,
            revoked_at,
            tenant_id,
            key_id,
        )


class VerifierQueries:
    """Implements store.base.Verifiers."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def insert(self, verifier: Verifier) -> None:
        self._rows.run(
            VERIFIERS.insert,
            verifier.tenant_id,
            verifier.id,
            verifier.name,
            json.dumps(verifier.tools),
            verifier.created_at,
            verifier.disabled_at,
        )

    def find(self, tenant_id: str, verifier_id: str) -> Verifier | None:
        return _verifier(self._rows.one(f"{VERIFIERS.select} WHERE tenant_id = $1 AND id = $2", tenant_id, verifier_id))

    def find_by_name(self, tenant_id: str, name: str) -> Verifier | None:
        return _verifier(self._rows.one(f"{VERIFIERS.select} WHERE tenant_id = $1 AND name = $2", tenant_id, name))

    def list_all(self, tenant_id: str) -> list[Verifier]:
        rows = self._rows.all(f"{VERIFIERS.select} WHERE tenant_id = $1 ORDER BY name", tenant_id)
        return [verifier for row in rows if (verifier := _verifier(row))]

    def update(self, verifier: Verifier) -> None:
        self._rows.run(
            "UPDATE verifiers SET name = $1, tools = $2, disabled_at = $3 WHERE tenant_id = $4 AND id = $5",
            verifier.name,
            json.dumps(verifier.tools),
            verifier.disabled_at,
            verifier.tenant_id,
            verifier.id,
        )


def _verifier(row: Row | None) -> Verifier | None:
    if row is None:
        return None
    verifier = VERIFIERS.value(row)
    return replace(verifier, tools=tuple(json.loads(row[3])))


def generations(rows: Rows, tenant_id: str, agent_ids: Sequence[str]) -> list[tuple[str, int]]:
    """Agents' generations: approvals of an older one no longer count."""
    if not agent_ids:
        return []
    marks = ", ".join(f"${i + 2}" for i in range(len(agent_ids)))
    sql = f"SELECT id, generation FROM agents WHERE tenant_id = $1 AND id IN ({marks})"  # noqa: S608 - marks only
    return [(row[0], row[1]) for row in rows.all(sql, tenant_id, *agent_ids)]
