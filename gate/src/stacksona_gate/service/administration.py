"""What admins look at, and who may change it."""

from __future__ import annotations

from dataclasses import dataclass

from stacksona_gate.domain.agents import Agent, Key, Verifier
from stacksona_gate.domain.audit import Actor, Entry
from stacksona_gate.domain.errors import Forbidden, NotFound
from stacksona_gate.domain.people import PersonalToken, User, may_administer
from stacksona_gate.domain.webhooks import Endpoint
from stacksona_gate.service.agents import get_agent
from stacksona_gate.service.redaction import for_person
from stacksona_gate.store.base import SigningKey, Tx


@dataclass(frozen=True, slots=True)
class AgentView:
    """An agent and its keys, oldest first. Pages and answers show a key's hint and never its hash."""

    agent: Agent
    keys: tuple[Key, ...]
    endpoint: Endpoint | None = None
    """Where its webhooks go; None: it never had any."""


@dataclass(frozen=True, slots=True)
class VerifierView:
    """A verifier and its keys."""

    verifier: Verifier
    keys: tuple[Key, ...]


def acting_admin(user: User) -> Actor:
    """Who changes something; ``user`` was looked up inside the transaction. Raises Forbidden."""
    if not may_administer(user):
        raise Forbidden("this is for admins: ask one of them")
    return Actor("user", user.id)


def list_agents(tx: Tx, tenant_id: str) -> tuple[AgentView, ...]:
    """All agents by name."""
    return tuple(_agent_view(tx, agent) for agent in tx.agents.list_all(tenant_id))


def view_agent(tx: Tx, tenant_id: str, agent_id: str) -> AgentView:
    """By id or name. Raises NotFound."""
    return _agent_view(tx, get_agent(tx, tenant_id, agent_id))


def agent_id_of(tx: Tx, tenant_id: str, agent: str) -> str:
    """An agent's id by id or name; what is neither stays as it is and finds nothing."""
    named = tx.agents.find_by_name(tenant_id, agent)
    return agent if named is None else named.id


def _agent_view(tx: Tx, agent: Agent) -> AgentView:
    keys = tuple(tx.keys.list_for(agent.tenant_id, agent.id))
    return AgentView(agent, keys, tx.webhooks.find_endpoint(agent.tenant_id, agent.id))


def list_verifiers(tx: Tx, tenant_id: str) -> tuple[VerifierView, ...]:
    """All verifiers by name."""
    return tuple(_verifier_view(tx, verifier) for verifier in tx.verifiers.list_all(tenant_id))


def view_verifier(tx: Tx, tenant_id: str, verifier_id: str) -> VerifierView:
    """By id or name. Raises NotFound."""
    verifier = tx.verifiers.find(tenant_id, verifier_id) or tx.verifiers.find_by_name(tenant_id, verifier_id)
    if verifier is None:
        raise NotFound(f"there is no verifier {verifier_id!r}")
    return _verifier_view(tx, verifier)


def _verifier_view(tx: Tx, verifier: Verifier) -> VerifierView:
    return VerifierView(verifier, tuple(tx.keys.list_for(verifier.tenant_id, verifier.id)))


def list_users(tx: Tx, tenant_id: str) -> tuple[User, ...]:
    """All users by mail address."""
    return tuple(tx.people.list_users(tenant_id))


def list_tokens(tx: Tx, user: User) -> tuple[PersonalToken, ...]:
    """A person's tokens, oldest first, revoked ones included."""
    return tuple(tx.people.list_tokens(user.tenant_id, user.id))


def list_signing_keys(tx: Tx) -> tuple[SigningKey, ...]:
    """The installation's keys, oldest first."""
    return tuple(tx.installations.list_signing_keys())


def list_audit(tx: Tx, user: User, *, before: int | None, limit: int) -> tuple[tuple[int, Entry], ...]:
    """Audit entries as this person may see them, newest first, each with its place in the log."""
    redactor = for_person(tx, user)
    found = tx.audit.list_entries(user.tenant_id, before=before, limit=limit)
    return tuple((seq, redactor.fresh().entry(entry)) for seq, entry in found)
