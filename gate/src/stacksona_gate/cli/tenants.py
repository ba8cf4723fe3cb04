"""``tenant`` and ``operator``: workspaces, and the keys that make them over the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec.structs import asdict, replace

from stacksona_gate.cli.options import Database, Json
from stacksona_gate.cli.session import answer, on_gate, table
from stacksona_gate.cli.shell import group
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.errors import Invalid
from stacksona_gate.domain.tenants import LIMITS, TenantLimits, read_limits
from stacksona_gate.domain.times import rfc3339
from stacksona_gate.service import operators, tenants
from stacksona_gate.service.tenants import TenantView, list_tenants, view_tenant

if TYPE_CHECKING:
    from stacksona_gate.service.gate import Gate
    from stacksona_gate.service.transactions import Tx

tenant = group("Workspaces: each has its own agents, people, policy and log, and sees nothing of the others.")
operator = group("Keys for the operator's API, which makes workspaces and looks into none.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The workspace, by name or id.")]
NewName = Annotated[str, typer.Argument(metavar="NAME", help="1 to 63 of a-z, 0-9 and -; people sign in with it.")]
OperatorName = Annotated[str, typer.Argument(metavar="NAME", help="Who or what it is for.")]
OperatorId = Annotated[str, typer.Argument(metavar="ID", help="The key's id: opk_….")]
Rate = Annotated[
    str | None, typer.Option("--requests-per-second", metavar="N", help="Calls of its agents and verifiers together.")
]
Pending = Annotated[str | None, typer.Option("--pending-threads", metavar="N", help="Threads that wait for people.")]
Stored = Annotated[str | None, typer.Option("--stored-requests", metavar="N", help="Requests kept with content.")]
Megabytes = Annotated[
    str | None,
    typer.Option("--stored-megabytes", metavar="N", help="Their content and attachments, by 1,000,000 bytes."),
]


@tenant.command("create")
def create(name: NewName, as_json: Json = False, database: Database = None) -> None:
    """Make a workspace. The link that is printed makes its first admin, once, within a day."""

    async def work(gate: Gate) -> tuple[TenantView, str]:
        tenant_id = tenants.new_tenant_id(gate.env)
        made = await gate.store.write(lambda tx: tenants.create_tenant(tx, gate.env, COMMAND_LINE, tenant_id, name))
        view = await gate.store.scan(lambda tx: view_tenant(tx, gate.env, tenant_id))
        return view, tenants.setup_url(gate.env, made.code)

    view, link = on_gate(database, work)
    lines = [f"workspace {view.tenant.name} ({view.tenant.id}) is there", f"its first admin signs up at {link}"]
    answer(_value(view) | {"setup_url": link}, lines, as_json=as_json)


@tenant.command("list")
def list_all(as_json: Json = False, database: Database = None) -> None:
    """Show the workspaces."""
    views = on_gate(database, lambda gate: gate.store.scan(lambda tx: list_tenants(tx, gate.env)))
    rows = [(view.tenant.name, view.state, view.tenant.id) for view in views]
    answer([_value(view) for view in views], table(rows), as_json=as_json)


@tenant.command("show")
def show(name: Name, as_json: Json = False, database: Database = None) -> None:
    """Show a workspace, its limits and how much of them it uses."""
    _tell(database, lambda gate: _looked_at(gate, name), as_json=as_json)


@tenant.command("rename")
def rename(name: Name, new_name: NewName, as_json: Json = False, database: Database = None) -> None:
    """Give a workspace another name. Its people sign in with that from now on; ids, keys and proofs stay."""
    _change(database, lambda tx, gate: tenants.rename_tenant(tx, gate.env, COMMAND_LINE, name, new_name), as_json)


@tenant.command("limits")
def limits(
    name: Name,
    requests_per_second: Rate = None,
    pending_threads: Pending = None,
    stored_requests: Stored = None,
    stored_megabytes: Megabytes = None,
    as_json: Json = False,
    database: Database = None,
) -> None:
    """Set limits; those that are not named stay. 0: none, `default`: what the installation's settings say."""
    given = (requests_per_second, pending_threads, stored_requests, stored_megabytes)
    named = {limit: text for limit, text in zip(LIMITS, given, strict=True) if text is not None}
    changed = {limit: _number(limit, text) for limit, text in named.items()}

    if not changed:
        _tell(database, lambda gate: _looked_at(gate, name), as_json=as_json)
        return
    _change(
        database,
        lambda tx, gate: tenants.limit_tenant(tx, gate.env, COMMAND_LINE, name, _merged(tx, name, changed)),
        as_json,
    )


@tenant.command("suspend")
def suspend(name: Name, as_json: Json = False, database: Database = None) -> None:
    """Stop a workspace: all its keys and tokens are refused, its people signed out, nothing is decided in it."""
    _change(database, lambda tx, gate: tenants.suspend_tenant(tx, gate.env, COMMAND_LINE, name), as_json)


@tenant.command("resume")
def resume(name: Name, as_json: Json = False, database: Database = None) -> None:
    """Let a suspended workspace go on. What expired meanwhile stays so."""
    _change(database, lambda tx, gate: tenants.resume_tenant(tx, gate.env, COMMAND_LINE, name), as_json)


@operator.command("create")
def create_operator(name: OperatorName, as_json: Json = False, database: Database = None) -> None:
    """Make an operator's key, which is shown once."""
    made = on_gate(
        database,
        lambda gate: gate.store.write(lambda tx: operators.create_operator_key(tx, gate.env, name)),
    )
    value = {"id": made.key.id, "name": made.key.name, "key": made.secret}
    rows = [("operator", f"{made.key.name} ({made.key.id})"), ("key", made.secret)]
    answer(value, [*table(rows), "Keep it now: only its hash stays here, it cannot be shown again."], as_json=as_json)


@operator.command("list")
def list_operators(as_json: Json = False, database: Database = None) -> None:
    """Show the operator's keys, which are not among what is kept."""
    listed = on_gate(database, lambda gate: gate.store.read(lambda tx: tx.installations.list_operator_keys()))
    values = [
        {"id": one.id, "name": one.name, "state": "active" if one.revoked_at is None else "revoked"} for one in listed
    ]
    rows = [(value["name"], value["state"], value["id"]) for value in values]
    none = "no operator's keys yet: make one with `stacksona-gate operator create NAME`"
    answer(values, table(rows) or [none], as_json=as_json)


@operator.command("revoke")
def revoke_operator(key: OperatorId, as_json: Json = False, database: Database = None) -> None:
    """End an operator's key at once."""
    on_gate(database, lambda gate: gate.store.write(lambda tx: operators.revoke_operator_key(tx, gate.env, key)))
    answer({"id": key, "state": "revoked"}, [f"{key} is refused from now on"], as_json=as_json)


def _number(limit: str, text: str) -> int | None:
    if text == "default":
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise Invalid(f"--{limit.replace('_', '-')} is a whole number, 0 for no limit, or default, not {text!r}")
    return int(text)


def _merged(tx: Tx, name: str, changed: dict[str, int | None]) -> TenantLimits:
    return replace(read_limits(tenants.get_tenant(tx, name).limits), **changed)


def _change(database: str | None, unit: Callable[[Tx, Gate], Any], as_json: bool) -> None:
    async def work(gate: Gate) -> TenantView:
        changed = await gate.store.write(lambda tx: unit(tx, gate))
        return await _looked_at(gate, changed.id)

    _tell(database, work, as_json=as_json)


async def _looked_at(gate: Gate, name: str) -> TenantView:
    return await gate.store.scan(lambda tx: view_tenant(tx, gate.env, name))


def _tell(database: str | None, work: Callable[[Gate], Awaitable[TenantView]], *, as_json: bool) -> None:
    view = on_gate(database, work)
    rows = [("workspace", f"{view.tenant.name} ({view.tenant.id})"), ("state", view.state)]
    for limit in LIMITS:
        own, holds = getattr(view.own, limit), getattr(view.in_force, limit)
        shown = "no limit" if holds is None else f"{holds:,}"
        rows.append((limit.replace("_", " "), shown + (" (the installation's default)" if own is None else "")))
    rows.append(("pending now", f"{view.pending_threads:,}"))
    answer(_value(view), table(rows), as_json=as_json)


def _value(view: TenantView) -> dict[str, Any]:
    return {
        "id": view.tenant.id,
        "name": view.tenant.name,
        "state": view.state,
        "created_at": rfc3339(view.tenant.created_at),
        "limits": asdict(view.own),
        "limits_in_force": asdict(view.in_force),
        "pending_threads": view.pending_threads,
    }
