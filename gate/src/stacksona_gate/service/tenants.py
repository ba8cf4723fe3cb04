"""Workspaces: made, renamed, limited, suspended by the installation's operator. None of it is a workspace's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import msgspec

from stacksona_gate.domain.audit import Actor
from stacksona_gate.domain.errors import Conflict, FieldError, Invalid, NotFound
from stacksona_gate.domain.ids import FIRST_TENANT
from stacksona_gate.domain.tenants import (
    NO_LIMITS,
    TenantLimits,
    checked_limits,
    checked_tenant_name,
    in_force,
    read_limits,
)
from stacksona_gate.service.agents import record
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.people import new_setup_code
from stacksona_gate.service.workspace_settings import encoded
from stacksona_gate.store.base import Tenant, Tx

PENDING_MOST: Final = 100_000


@dataclass(frozen=True, slots=True)
class Made:
    """A new workspace, and the code with which its first admin signs up: shown now and never again."""

    tenant: Tenant
    code: str


def new_tenant_id(env: Environment) -> str:
    """Drawn before the transaction, which may run several times: it holds the configuration of what it names."""
    return env.id("ten_", env.now())


def create_tenant(
    tx: Tx, env: Environment, actor: Actor, tenant_id: str, name: str, limits: TenantLimits = NO_LIMITS
) -> Made:
    """Makes a workspace with a key for its content and a log of its own. Its policy is the empty one: people look at
    everything. Raises Invalid, Conflict."""
    require_free(tx, checked_tenant_name(name))
    now = env.now()
    tenant = Tenant(tenant_id, name, 1, 0, now, None, encoded(checked_limits(limits)))
    tx.tenants.insert(tenant)
    key = tx.contents.new_key(tenant_id, now)
    record(tx, env, tenant_id, "tenant.created", actor, {"data_key": key.id}, {"name": name, **shown_limits(limits)})
    code = new_setup_code(tx, env, tenant_id) or ""
    return Made(get_tenant(tx, tenant_id), code)


def require_free(tx: Tx, name: str) -> None:
    """Raises Conflict, Invalid. The first workspace's id is for ever what commands mean when they name none."""
    if name == FIRST_TENANT or tx.tenants.find_by_name(name) is not None:
        error = FieldError("name", "taken")
        raise Conflict(
            f"there is a workspace {name!r} already: choose another name", code="name_taken", errors=(error,)
        )


def get_tenant(tx: Tx, tenant: str) -> Tenant:
    """By id or name. Raises NotFound."""
    found = tx.tenants.find(tenant) or tx.tenants.find_by_name(tenant)
    if found is None:
        raise NotFound(f"there is no workspace {tenant!r}: `stacksona-gate tenant list` shows them")
    return found


def rename_tenant(tx: Tx, env: Environment, actor: Actor, tenant: str, name: str) -> Tenant:
    """Its people sign in under the new name from now on; keys, ids and proofs are as before. Raises as above."""
    before = get_tenant(tx, tenant)
    if checked_tenant_name(name) == before.name:
        return before
    if name != before.id:
        require_free(tx, name)
    return _changed(tx, env, actor, replace(before, name=name), "tenant.renamed", {"before": before.name, "name": name})


def limit_tenant(tx: Tx, env: Environment, actor: Actor, tenant: str, limits: TenantLimits) -> Tenant:
    """Sets all limits of a workspace. Raises NotFound, Invalid."""
    before = get_tenant(tx, tenant)
    after = replace(before, limits=encoded(checked_limits(limits)))
    if after == before:
        return before
    return _changed(tx, env, actor, after, "tenant.limited", shown_limits(limits))


def suspend_tenant(tx: Tx, env: Environment, actor: Actor, tenant: str) -> Tenant:
    """Nothing is asked, decided or redeemed in it until it is resumed; its people are signed out. Raises NotFound."""
    before = get_tenant(tx, tenant)
    if before.id == FIRST_TENANT:
        raise Invalid("the first workspace holds the installation's own log: it cannot be suspended")
    if before.suspended_at is not None:
        return before
    for user in tx.people.list_users(before.id):
        tx.people.delete_sessions_of(before.id, user.id)
    return _changed(tx, env, actor, replace(before, suspended_at=env.now()), "tenant.suspended", {})


def resume_tenant(tx: Tx, env: Environment, actor: Actor, tenant: str) -> Tenant:
    """Keys and tokens work again; what expired meanwhile stays so. Raises NotFound."""
    before = get_tenant(tx, tenant)
    if before.suspended_at is None:
        return before
    return _changed(tx, env, actor, replace(before, suspended_at=None), "tenant.resumed", {})


def new_first_admin_code(tx: Tx, env: Environment, actor: Actor, tenant: str) -> str:
    """Another code to make the first admin with; the one before ends. Raises NotFound, Conflict when there is one."""
    found = get_tenant(tx, tenant)
    code = new_setup_code(tx, env, found.id)
    if code is None:
        raise Conflict("this workspace has an admin already: they make the other accounts", code="has_admin")
    record(tx, env, found.id, "tenant.invited", actor, {}, {})
    return code


def setup_url(env: Environment, code: str) -> str:
    """Where the first admin signs up. The code is in the fragment, which browsers send to nobody."""
    return f"{env.public_url}/setup#{code}"


@dataclass(frozen=True, slots=True)
class TenantView:
    """A workspace as its operator sees it: nothing of what is in it but how much."""

    tenant: Tenant
    own: TenantLimits
    in_force: TenantLimits
    """None where nothing limits it."""
    pending_threads: int
    """Counted up to PENDING_MOST."""

    @property
    def state(self) -> Literal["active", "suspended"]:
        return "active" if self.tenant.suspended_at is None else "suspended"


def view_tenant(tx: Tx, env: Environment, tenant: str) -> TenantView:
    """Raises NotFound."""
    found = get_tenant(tx, tenant)
    own = read_limits(found.limits)
    pending = tx.requests.count_pending(found.id, most=PENDING_MOST)
    return TenantView(found, own, in_force(own, env.limits.tenant), pending)


def list_tenants(tx: Tx, env: Environment) -> list[TenantView]:
    """By name."""
    return [view_tenant(tx, env, one.id) for one in sorted(tx.tenants.list_all(), key=lambda one: one.name)]


def shown_limits(limits: TenantLimits) -> dict[str, object]:
    """Those that are set, by name."""
    built: dict[str, object] = msgspec.to_builtins(limits)
    return built


def _changed(tx: Tx, env: Environment, actor: Actor, tenant: Tenant, event: str, private: dict[str, object]) -> Tenant:
    tx.tenants.update(tenant)
    record(tx, env, tenant.id, event, actor, {}, private)
    tx.tenants.bump_config(tenant.id)
    return get_tenant(tx, tenant.id)
