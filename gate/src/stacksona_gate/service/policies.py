"""The policy and its versions."""

from __future__ import annotations

from dataclasses import dataclass

from stacksona_gate.domain.audit import Actor
from stacksona_gate.domain.errors import NotFound, PreconditionFailed
from stacksona_gate.policy.compare import Change, compare
from stacksona_gate.policy.model import EMPTY_POLICY, Policy
from stacksona_gate.policy.parse import dump_policy, parse_policy
from stacksona_gate.service.environment import Environment
from stacksona_gate.store.base import PolicyVersion, Tenant, Tx


@dataclass(frozen=True, slots=True)
class Current:
    """Today's policy. ``version`` 0 is the empty one that every workspace begins with."""

    version: int
    policy: Policy
    document: str


def current_policy(tx: Tx, tenant_id: str) -> Current:
    """Raises NotFound for an unknown tenant."""
    tenant = _tenant(tx, tenant_id)
    if tenant.policy_version == 0:
        return Current(0, EMPTY_POLICY, dump_policy(EMPTY_POLICY))
    kept = get_version(tx, tenant_id, tenant.policy_version)
    return Current(kept.version, parse_policy(kept.document), kept.document)


def get_version(tx: Tx, tenant_id: str, version: int) -> PolicyVersion:
    """Raises NotFound."""
    kept = tx.policies.find(tenant_id, version)
    if kept is None:
        raise NotFound(f"there is no policy version {version}: `policy versions` lists them")
    return kept


def apply_policy(
    tx: Tx,
    env: Environment,
    actor: Actor,
    tenant_id: str,
    policy: Policy,
    *,
    note: str = "",
    expected: int | None = None,
    event: str = "policy.changed",
) -> tuple[int, tuple[Change, ...]]:
    """Makes a policy today's, as a new version; the same policy again makes none.

    ``expected``: the version that the caller looked at. Returns the version in force and what changed.
    Raises PreconditionFailed when another one is in force.
    """
    before = current_policy(tx, tenant_id)
    if expected is not None and expected != before.version:
        raise PreconditionFailed(f"policy version {before.version} is in force, not {expected}: read it again")
    changes = compare(before.policy, policy)
    if not changes:
        return before.version, ()
    document = dump_policy(policy)
    newest = max((kept.version for kept in tx.policies.list_all(tenant_id)), default=0)
    version = PolicyVersion(tenant_id, newest + 1, document, note, actor.kind, actor.id, env.now())
    tx.policies.insert(version)
    tx.audit.append(
        env.entry(
            event,
            tenant_id=tenant_id,
            at=env.now(),
            actor=actor,
            objects={},
            private={"document": document, "note": note, "changes": [str(change) for change in changes]},
            policy_version=version.version,
        )
    )
    tx.tenants.bump_config(tenant_id)
    return version.version, changes


def revert_policy(
    tx: Tx, env: Environment, actor: Actor, tenant_id: str, version: int
) -> tuple[int, tuple[Change, ...]]:
    """Puts an earlier version in force again, as a new version. Raises NotFound."""
    policy = EMPTY_POLICY if version == 0 else parse_policy(get_version(tx, tenant_id, version).document)
    note = f"reverted to version {version}"
    return apply_policy(tx, env, actor, tenant_id, policy, note=note, event="policy.reverted")


def _tenant(tx: Tx, tenant_id: str) -> Tenant:
    tenant = tx.tenants.find(tenant_id)
    if tenant is None:
        raise NotFound(f"there is no workspace {tenant_id!r}")
    return tenant
