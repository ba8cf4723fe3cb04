"""Workspaces, as the installation's operator makes and limits them. What is in them is not here to be had."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from stacksona_gate.api.agent.context import bearer
from stacksona_gate.api.fields import created, read_as, require_match, tagged_reply
from stacksona_gate.api.http import Call, Reply, json_reply
from stacksona_gate.domain.audit import Actor
from stacksona_gate.domain.tenants import LIMIT_MOST, LIMITS, NO_LIMITS, OperatorKey, TenantLimits
from stacksona_gate.domain.times import rfc3339
from stacksona_gate.service import tenants
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.operators import operator_of, still_operator
from stacksona_gate.service.tenants import TenantView, list_tenants, view_tenant
from stacksona_gate.service.transactions import Tx

TenantName = Annotated[str, Meta(min_length=1, max_length=63, pattern="^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
Limit = Annotated[int, Meta(ge=0, le=LIMIT_MOST)] | None


KEY: Final = "an operator's key: Authorization: Bearer so_…"


class LimitsBody(msgspec.Struct, forbid_unknown_fields=True):
    """null: the installation's default; 0: no limit."""

    requests_per_second: Limit = None
    pending_threads: Limit = None
    stored_requests: Limit = None
    stored_megabytes: Limit = None


class NewTenant(msgspec.Struct, forbid_unknown_fields=True):
    """A workspace to make."""

    name: TenantName
    limits: LimitsBody | None = None


class TenantPatch(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be changed."""

    name: TenantName | UnsetType = UNSET


class TenantAnswer(msgspec.Struct):
    """A workspace. ``limits_in_force`` has null where nothing limits it."""

    id: str
    name: str
    state: Literal["active", "suspended"]
    created_at: str
    limits: LimitsBody
    limits_in_force: LimitsBody
    pending_threads: int


class TenantList(msgspec.Struct):
    """All workspaces, by name."""

    tenants: list[TenantAnswer]


class TenantCreated(TenantAnswer, kw_only=True):
    """With the link that makes its first admin: once, within a day, and told only here."""

    setup_url: str


class SetupLink(msgspec.Struct):
    """The link that makes the first admin. The one before no longer works."""

    setup_url: str


@dataclass(slots=True)
class InstallationContext:
    """The operator's API. A key of a workspace opens nothing here, whoever holds it."""

    gate: Gate

    async def operator(self, call: Call) -> OperatorKey:
        """Raises Unauthenticated."""
        return await operator_of(self.gate, bearer(call, KEY))

    async def change[T](self, key: OperatorKey, unit: Callable[[Tx, Actor], T]) -> T:
        """Runs a use-case in one transaction, which looks again whether the key still is good."""
        return await self.gate.store.write(still_operator(key, unit))


async def get_tenants(context: InstallationContext, call: Call) -> Reply:
    """All workspaces of the installation."""
    await context.operator(call)
    views = await context.gate.store.scan(lambda tx: list_tenants(tx, context.gate.env))
    return tagged_reply(TenantList([_answer(view) for view in views]))


async def get_tenant(context: InstallationContext, call: Call) -> Reply:
    """One workspace, by id or name."""
    await context.operator(call)
    view = await context.gate.store.scan(lambda tx: view_tenant(tx, context.gate.env, _named(call)))
    return tagged_reply(_answer(view))


async def create_tenant(context: InstallationContext, call: Call) -> Reply:
    """Makes a workspace with a key and a log of its own; people look at everything until its policy says otherwise."""
    key = await context.operator(call)
    body = await read_as(call, NewTenant)
    env = context.gate.env
    tenant_id, limits = tenants.new_tenant_id(env), NO_LIMITS if body.limits is None else _limits(body.limits)

    def unit(tx: Tx, actor: Actor) -> TenantCreated:
        made = tenants.create_tenant(tx, env, actor, tenant_id, body.name, limits)
        fields = msgspec.structs.asdict(_answer(view_tenant(tx, env, tenant_id)))
        return TenantCreated(**fields, setup_url=tenants.setup_url(env, made.code))

    return created(await context.change(key, unit), f"/api/installation/tenants/{tenant_id}")


async def change_tenant(context: InstallationContext, call: Call) -> Reply:
    """Renames a workspace: its people sign in with the new name from now on."""
    key = await context.operator(call)
    body = await read_as(call, TenantPatch)
    if body.name is UNSET:
        return await _changed(context, call, key, lambda tx, actor: None)
    env, name = context.gate.env, body.name
    return await _changed(
        context, call, key, lambda tx, actor: tenants.rename_tenant(tx, env, actor, _named(call), name).id
    )


async def put_limits(context: InstallationContext, call: Call) -> Reply:
    """Sets all limits of a workspace; those that are left out are the installation's defaults."""
    key = await context.operator(call)
    limits, env = _limits(await read_as(call, LimitsBody)), context.gate.env
    return await _changed(
        context, call, key, lambda tx, actor: tenants.limit_tenant(tx, env, actor, _named(call), limits).id
    )


async def suspend(context: InstallationContext, call: Call) -> Reply:
    """Stops a workspace: its keys and tokens are refused, its people signed out, nothing is decided in it."""
    key, env = await context.operator(call), context.gate.env
    return await _changed(context, call, key, lambda tx, actor: tenants.suspend_tenant(tx, env, actor, _named(call)).id)


async def resume(context: InstallationContext, call: Call) -> Reply:
    """Lets a suspended workspace go on. What expired meanwhile stays so."""
    key, env = await context.operator(call), context.gate.env
    return await _changed(context, call, key, lambda tx, actor: tenants.resume_tenant(tx, env, actor, _named(call)).id)


async def create_setup_link(context: InstallationContext, call: Call) -> Reply:
    """Makes another link for the first admin of a workspace that has none yet."""
    key, env = await context.operator(call), context.gate.env
    code = await context.change(key, lambda tx, actor: tenants.new_first_admin_code(tx, env, actor, _named(call)))
    return json_reply(SetupLink(tenants.setup_url(env, code)), 201)


async def _changed(
    context: InstallationContext, call: Call, key: OperatorKey, change: Callable[[Tx, Actor], str | None]
) -> Reply:
    env = context.gate.env

    def unit(tx: Tx, actor: Actor) -> TenantAnswer:
        require_match(call, _answer(view_tenant(tx, env, _named(call))))
        return _answer(view_tenant(tx, env, change(tx, actor) or _named(call)))

    return tagged_reply(await context.change(key, unit))


def _named(call: Call) -> str:
    return call.path["tenant"]


def _answer(view: TenantView) -> TenantAnswer:
    tenant = view.tenant
    return TenantAnswer(
        tenant.id,
        tenant.name,
        view.state,
        rfc3339(tenant.created_at),
        _body(view.own),
        _body(view.in_force),
        view.pending_threads,
    )


def _body(limits: TenantLimits) -> LimitsBody:
    return LimitsBody(*(getattr(limits, name) for name in LIMITS))


def _limits(body: LimitsBody) -> TenantLimits:
    return TenantLimits(*(getattr(body, name) for name in LIMITS))
