"""Agents and verifiers: who there is, their keys, pausing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from stacksona_gate.domain import status
from stacksona_gate.domain.agents import AGENT_KEY_PREFIX, VERIFIER_KEY_PREFIX, Agent, Key, Verifier, key_hash
from stacksona_gate.domain.audit import Actor
from stacksona_gate.domain.errors import Conflict, FieldError, Invalid, NotFound
from stacksona_gate.domain.ids import is_tool_name
from stacksona_gate.domain.times import DAY, SECOND
from stacksona_gate.service.endpoints import checked_url, set_address
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.secrets import RootSecret
from stacksona_gate.service.threads import settle_all
from stacksona_gate.store.base import Tx

NAME_MOST: Final = 200
OVERLAP_MOST: Final = 30 * DAY
STOPPED: Final = "the agent was paused while this waited: not approved"


@dataclass(frozen=True, slots=True)
class Created[T]:
    """What was made, and its secrets: shown now and never again."""

    made: T
    key: str
    webhook_secret: str | None = None


@dataclass(frozen=True, slots=True)
class AgentChange:
    """None leaves a value as it is; an empty webhook URL takes the webhook away, ``expires_in`` 0 the agent's own."""

    name: str | None = None
    api_access: bool | None = None
    signed_approvals: bool | None = None
    webhook_url: str | None = None
    expires_in: int | None = None
    requests_per_second: int | None = None
    reviewers: tuple[str, ...] | None = None


def create_agent(
    tx: Tx,
    env: Environment,
    root: RootSecret,
    actor: Actor,
    tenant_id: str,
    name: str,
    *,
    signed_approvals: bool = True,
    webhook_url: str | None = None,
) -> Created[Agent]:
    """Makes an agent and its key. Raises Invalid, Conflict (name taken)."""
    name = checked_name(name)
    if tx.agents.find_by_name(tenant_id, name) is not None:
        raise Conflict(f"there is an agent {name!r} already: rotate its key, or choose another name", code="name_taken")
    now = env.now()
    agent = Agent(
        tenant_id,
        env.id("agt_", now),
        name,
        state="active",
        api_access=True,
        signed_approvals=signed_approvals,
        transport="webhook" if webhook_url else "polling",
        webhook_url=checked_url(webhook_url) if webhook_url else None,
        expires_in=None,
        requests_per_second=None,
        generation=1,
        created_at=now,
    )
    tx.agents.insert(agent, None)
    record(tx, env, tenant_id, "agent.created", actor, {"agent": agent.id}, {"name": name})
    secret = set_address(tx, env, root, actor, tenant_id, agent.id, agent.webhook_url)
    key = new_key(tx, env, actor, tenant_id, "agent", agent.id)
    tx.tenants.bump_config(tenant_id)
    return Created(agent, key, secret)


def change_agent(
    tx: Tx, env: Environment, root: RootSecret, actor: Actor, tenant_id: str, agent_id: str, change: AgentChange
) -> tuple[Agent, str | None]:
    """Changes an agent. Returns it and, where it now has a webhook for the first time, the webhook's secret."""
    agent = get_agent(tx, tenant_id, agent_id)
    changed = replace(agent, **_changes(tx, tenant_id, agent, change))  # type: ignore[arg-type]
    tx.agents.update(changed)
    private = {name: _plain(getattr(changed, name)) for name in AgentChange.__slots__}
    record(tx, env, tenant_id, "agent.changed", actor, {"agent": agent.id}, private)
    secret = set_address(tx, env, root, actor, tenant_id, agent.id, changed.webhook_url)
    tx.tenants.bump_config(tenant_id)
    return changed, secret


def _changes(tx: Tx, tenant_id: str, agent: Agent, change: AgentChange) -> dict[str, object]:
    """The fields that change, checked."""
    fields: dict[str, object] = {
        name: value
        for name in ("api_access", "signed_approvals", "expires_in", "requests_per_second", "reviewers")
        if (value := getattr(change, name)) is not None
    }
    if change.expires_in == 0:
        fields["expires_in"] = None
    if change.name is not None and change.name != agent.name:
        fields["name"] = checked_name(change.name)
        if tx.agents.find_by_name(tenant_id, checked_name(change.name)) is not None:
            raise Conflict(f"there is an agent {change.name!r} already", code="name_taken")
    if change.webhook_url is not None:
        fields["webhook_url"] = checked_url(change.webhook_url) if change.webhook_url else None
        fields["transport"] = "webhook" if change.webhook_url else "polling"
    _check_numbers(change)
    for user_id in change.reviewers or ():
        user = tx.people.find_user(tenant_id, user_id)
        if user is None or user.role == "auditor":
            raise Invalid(f"{user_id} is nobody who reviews", errors=(FieldError("reviewers", f"unknown: {user_id}"),))
    return fields


def _check_numbers(change: AgentChange) -> None:
    if change.expires_in and not 30 <= change.expires_in <= 2_592_000:
        raise Invalid("expires_in is 30 to 2,592,000 seconds", errors=(FieldError("expires_in", "30 to 2,592,000"),))
    if change.requests_per_second is not None and not 0 <= change.requests_per_second <= 100_000:
        raise Invalid("requests_per_second is 0 (no limit) to 100,000")


def get_agent(tx: Tx, tenant_id: str, agent_id: str) -> Agent:
    """By id or by name. Raises NotFound."""
    agent = tx.agents.find(tenant_id, agent_id) or tx.agents.find_by_name(tenant_id, agent_id)
    if agent is None:
        raise NotFound(f"there is no agent {agent_id!r}")
    return agent


def rotate_agent_key(
    tx: Tx, env: Environment, actor: Actor, tenant_id: str, agent_id: str, *, overlap: int = 0
) -> Created[Agent]:
    """Gives the agent a new key. ``overlap``: seconds that the old ones go on working, up to 30 days."""
    agent = get_agent(tx, tenant_id, agent_id)
    if not 0 <= overlap * SECOND <= OVERLAP_MOST:
        raise Invalid("the overlap is 0 to 2,592,000 seconds")
    now = env.now()
    for key in tx.keys.list_for(tenant_id, agent.id):
        if key.revoked_at is None and (key.expires_at is None or key.expires_at > now):
            end = now + overlap * SECOND
            until = end if key.expires_at is None else min(end, key.expires_at)
            tx.keys.end(tenant_id, key.id, expires_at=until, revoked_at=None if overlap else now)
    record(tx, env, tenant_id, "key.rotated", actor, {"agent": agent.id}, {"overlap": overlap})
    secret = new_key(tx, env, actor, tenant_id, "agent", agent.id)
    tx.tenants.bump_config(tenant_id)
    return Created(agent, secret)


def pause_agent(tx: Tx, env: Environment, actor: Actor, tenant_id: str, agent_id: str) -> Agent:
    """Stops an agent: its open threads are rejected for good, its unredeemed approvals revoked. Raises NotFound."""
    agent = get_agent(tx, tenant_id, agent_id)
    if agent.state == "paused":
        return agent
    # First of all: alone with the configuration, it is not undone however fast the agent changes its threads.
    tx.tenants.bump_config(tenant_id)
    paused = replace(agent, state="paused", generation=agent.generation + 1)
    tx.agents.update(paused)
    waiting = tx.requests.list_pending_of_agent(tenant_id, agent.id)
    settle_all(tx, env, waiting, "pause", reason_code=status.AGENT_PAUSED, message=STOPPED, actor=actor)
    record(tx, env, tenant_id, "agent.paused", actor, {"agent": agent.id}, {"threads_rejected": len(waiting)})
    return paused


def resume_agent(tx: Tx, env: Environment, actor: Actor, tenant_id: str, agent_id: str) -> Agent:
    """Lets an agent ask again. Restores nothing. Raises NotFound."""
    agent = get_agent(tx, tenant_id, agent_id)
    if agent.state == "active":
        return agent
    active = replace(agent, state="active")
    tx.agents.update(active)
    record(tx, env, tenant_id, "agent.resumed", actor, {"agent": agent.id}, {})
    tx.tenants.bump_config(tenant_id)
    return active


def create_verifier(
    tx: Tx, env: Environment, actor: Actor, tenant_id: str, name: str, tools: tuple[str, ...]
) -> Created[Verifier]:
    """Makes a verifier for the named tools, and its key. Raises Invalid, Conflict."""
    name = checked_name(name)
    if tx.verifiers.find_by_name(tenant_id, name) is not None:
        raise Conflict(f"there is a verifier {name!r} already", code="name_taken")
    verifier = Verifier(tenant_id, env.id("ver_", env.now()), name, checked_tools(tools), env.now(), None)
    tx.verifiers.insert(verifier)
    record(
        tx, env, tenant_id, "verifier.created", actor, {"verifier": verifier.id}, {"name": name, "tools": list(tools)}
    )
    key = new_key(tx, env, actor, tenant_id, "verifier", verifier.id)
    tx.tenants.bump_config(tenant_id)
    return Created(verifier, key)


def change_verifier(
    tx: Tx,
    env: Environment,
    actor: Actor,
    tenant_id: str,
    verifier_id: str,
    *,
    tools: tuple[str, ...] | None = None,
    enabled: bool | None = None,
) -> Verifier:
    """Raises NotFound, Invalid."""
    verifier = tx.verifiers.find(tenant_id, verifier_id) or tx.verifiers.find_by_name(tenant_id, verifier_id)
    if verifier is None:
        raise NotFound(f"there is no verifier {verifier_id!r}")
    changed = verifier if tools is None else replace(verifier, tools=checked_tools(tools))
    if enabled is not None:
        changed = replace(changed, disabled_at=None if enabled else env.now())
    tx.verifiers.update(changed)
    private = {"tools": list(changed.tools), "enabled": changed.disabled_at is None}
    record(tx, env, tenant_id, "verifier.changed", actor, {"verifier": verifier.id}, private)
    tx.tenants.bump_config(tenant_id)
    return changed


def new_key(tx: Tx, env: Environment, actor: Actor, tenant_id: str, owner_kind: str, owner_id: str) -> str:
    """Makes a key and keeps its hash. Returns what is shown once."""
    secret = env.secret(AGENT_KEY_PREFIX if owner_kind == "agent" else VERIFIER_KEY_PREFIX)
    now = env.now()
    key = Key(tenant_id, env.id("key_", now), owner_kind, owner_id, key_hash(secret), secret[:7] + "…", now, None, None)
    tx.keys.insert(key)
    record(tx, env, tenant_id, "key.created", actor, {"key": key.id, owner_kind: owner_id}, {})
    return secret


def checked_name(name: str) -> str:
    """Raises Invalid."""
    cleaned = name.strip()
    if not cleaned or len(cleaned) > NAME_MOST or not cleaned.isprintable():
        raise Invalid(
            f"a name has 1 to {NAME_MOST} printable characters",
            errors=(FieldError("name", "1 to 200 printable characters"),),
        )
    return cleaned


def checked_tools(tools: tuple[str, ...]) -> tuple[str, ...]:
    """Raises Invalid."""
    if not tools:
        raise Invalid("a verifier needs at least one tool", errors=(FieldError("tools", "at least one"),))
    for tool in tools:
        if not is_tool_name(tool):
            raise Invalid(f"{tool!r} is not a tool name", errors=(FieldError("tools", "A-Z a-z 0-9 . _ : / - only"),))
    return tuple(dict.fromkeys(tools))


def record(
    tx: Tx,
    env: Environment,
    tenant_id: str,
    event: str,
    actor: Actor,
    objects: dict[str, str],
    private: dict[str, object],
) -> None:
    """An audit entry about configuration."""
    tx.audit.append(env.entry(event, tenant_id=tenant_id, at=env.now(), actor=actor, objects=objects, private=private))


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
