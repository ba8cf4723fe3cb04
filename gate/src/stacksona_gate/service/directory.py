"""Who holds which key, and today's policy: as last read, dropped when configuration moves.

Nothing rests on this cache alone: a decision is written only if the configuration it was made with still holds, and
reads compare the version first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from stacksona_gate.domain.agents import (
    AGENT_KEY_PREFIX,
    VERIFIER_KEY_PREFIX,
    Agent,
    Key,
    Verifier,
    is_usable,
    key_hash,
)
from stacksona_gate.domain.errors import Forbidden, Unauthenticated
from stacksona_gate.domain.reminders import Timing
from stacksona_gate.domain.tenants import TenantLimits, in_force, read_limits
from stacksona_gate.policy.evaluate import CompiledPolicy
from stacksona_gate.policy.model import EMPTY_POLICY
from stacksona_gate.policy.parse import parse_policy
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.timing import read_timing
from stacksona_gate.store.base import Change, Store, Tenant, Tx

CALLERS_MOST: Final = 10_000
COMPILED_MOST: Final = 16
"""Policies kept ready; immutable and shared between threads."""
REPLACED: Final = "the key was replaced: ask an admin for the agent's current one"


@dataclass(frozen=True, slots=True)
class Configuration:
    """A tenant's configuration at one version."""

    tenant: Tenant
    policy: CompiledPolicy
    timing: Timing
    limits: TenantLimits
    """In force: None where there is none."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose key a call carries, and the configuration it was looked up in."""

    key: Key
    agent: Agent | None
    verifier: Verifier | None
    configuration: Configuration

    @property
    def tenant_id(self) -> str:
        return self.key.tenant_id

    @property
    def config_version(self) -> int:
        return self.configuration.tenant.config_version

    def require_usable_key(self, now: int) -> None:
        """Raises Unauthenticated: an overlap may end while a body is still on its way."""
        if not is_usable(self.key, now):
            raise Unauthenticated(REPLACED)

    def as_agent(self) -> Agent:
        """The agent. Raises Unauthenticated for a verifier's key, Forbidden when its API access is off."""
        if self.agent is None:
            raise Unauthenticated("this call needs an agent's key (sg_…)")
        if not self.agent.api_access:
            raise Forbidden("API access is off for this agent: an admin can switch it on", code="api_access_off")
        return self.agent

    def as_acting_agent(self) -> Agent:
        """As ``as_agent``; raises Forbidden for a paused one too."""
        agent = self.as_agent()
        if agent.state != "active":
            raise Forbidden(
                "this agent is paused: it may read and do nothing else until an admin resumes it", code="agent_paused"
            )
        return agent


class Directory:
    """Looks keys up."""

    def __init__(self, store: Store, env: Environment) -> None:
        self._store = store
        self._env = env
        self._callers: dict[str, Caller] = {}
        self._configurations: dict[str, Configuration] = {}

    def changed(self, changes: Sequence[Change]) -> None:
        """A store's watcher."""
        if any(not change.request_id for change in changes):
            self.forget()

    def forget(self) -> None:
        self._callers.clear()
        self._configurations.clear()

    async def caller(self, key: str, *, current: bool = True) -> Caller:
        """The holder of a key.

        ``current``: compare with the store first; leave it out only where a write checks the version anyway.
        Raises Unauthenticated, Forbidden in a suspended workspace.
        """
        if not key.startswith((AGENT_KEY_PREFIX, VERIFIER_KEY_PREFIX)) or len(key) > 200:
            raise Unauthenticated("the key is malformed: agents' keys begin with sg_, verifiers' with sv_")
        hashed = key_hash(key)
        caller = self._callers.get(hashed)
        if caller is None or (current and not await self._is_current(caller)):
            caller = await self._look_up(hashed)
        if not is_usable(caller.key, self._env.now()):
            raise Unauthenticated("the key is unknown or was replaced: ask an admin for the agent's current one")
        caller.configuration.tenant.require_active()
        return caller

    async def again(self, caller: Caller) -> Caller:
        """The same key's holder as of now. Raises Unauthenticated, Forbidden in a suspended workspace."""
        fresh = await self._look_up(caller.key.hash)
        fresh.require_usable_key(self._env.now())
        fresh.configuration.tenant.require_active()
        return fresh

    async def current(self, caller: Caller, version: int | None) -> Caller:
        """The same key's holder in that version of the configuration; None: as of now. Raises as ``again``."""
        if version is None or caller.config_version != version:
            known = self._callers.get(caller.key.hash)
            caller = (
                known if known is not None and known.config_version == version else await self._look_up(caller.key.hash)
            )
        caller.require_usable_key(self._env.now())
        caller.configuration.tenant.require_active()
        return caller

    async def configuration(self, tenant_id: str) -> Configuration:
        """The tenant's configuration as it is stored now."""
        return await self._store.read(lambda tx: self._configuration(tx, tenant_id))

    async def _is_current(self, caller: Caller) -> bool:
        tenant = await self._store.read(lambda tx: tx.tenants.find(caller.tenant_id))
        return tenant is not None and tenant.config_version == caller.config_version

    async def _look_up(self, hashed: str) -> Caller:
        caller = await self._store.read(lambda tx: self._find(tx, hashed))
        if caller is None:
            raise Unauthenticated("the key is unknown or was replaced: ask an admin for the agent's current one")
        if len(self._callers) >= CALLERS_MOST:
            self._callers.clear()
        self._callers[hashed] = caller
        return caller

    def _find(self, tx: Tx, hashed: str) -> Caller | None:
        key = tx.keys.find_by_hash(hashed)
        if key is None:
            return None
        configuration = self._configuration(tx, key.tenant_id)
        if key.owner_kind == "agent":
            agent = tx.agents.find(key.tenant_id, key.owner_id)
            return None if agent is None else Caller(key, agent, None, configuration)
        verifier = tx.verifiers.find(key.tenant_id, key.owner_id)
        if verifier is None or verifier.disabled_at is not None:
            return None
        return Caller(key, None, verifier, configuration)

    def _configuration(self, tx: Tx, tenant_id: str) -> Configuration:
        tenant = tx.tenants.find(tenant_id)
        if tenant is None:
            raise Unauthenticated("the workspace is gone")
        kept = self._configurations.get(tenant_id)
        if kept is not None and kept.tenant == tenant:
            return kept
        if kept is not None and kept.tenant.policy_version == tenant.policy_version:
            policy = kept.policy
        else:
            policy = compiled_policy(tx, tenant)
        limits = in_force(read_limits(tenant.limits), self._env.limits.tenant)
        fresh = Configuration(tenant, policy, read_timing(tx, tenant_id), limits)
        self._configurations[tenant_id] = fresh
        return fresh


def compiled_policy(tx: Tx, tenant: Tenant) -> CompiledPolicy:
    """Today's policy, ready to evaluate."""
    version = tx.policies.find(tenant.id, tenant.policy_version)
    return compiled("" if version is None else version.document)


@lru_cache(maxsize=COMPILED_MOST)
def compiled(document: str) -> CompiledPolicy:
    """A policy's document, ready to evaluate; the empty policy for an empty one.

    A long one takes over 100 ms, and revisions need it in the writer's thread, where everybody waits for them.
    """
    return CompiledPolicy(parse_policy(document) if document else EMPTY_POLICY)
