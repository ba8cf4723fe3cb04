"""``agent`` and ``verifier``."""

from __future__ import annotations

from typing import Annotated

import typer

from stacksona_gate.cli.options import FIRST_TENANT, Database, Json, Tenant, duration
from stacksona_gate.cli.session import answer, read_on_tenant, table, write_on_tenant
from stacksona_gate.cli.shell import group
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.service import agents

agent = group("Agents: the programs that ask.")
verifier = group("Verifiers: the tools' side, which redeems approvals and does nothing else.")

AgentName = Annotated[str, typer.Argument(metavar="NAME", help="The agent's name, or its id.")]
NewName = Annotated[str, typer.Argument(metavar="NAME", help="1 to 200 printable characters.")]
Signed = Annotated[
    bool, typer.Option("--signed-approvals/--no-signed-approvals", help="Give approval tokens, to be redeemed once.")
]
Webhook = Annotated[str | None, typer.Option(metavar="URL", help="Where to send a wake-up when a decision is there.")]
Overlap = Annotated[
    int, typer.Option(parser=duration, metavar="24h", help="How long the old key goes on working, up to 30d.")
]
Tools = Annotated[list[str], typer.Option("--tool", metavar="TOOL", help="A tool it redeems for; give one or more.")]


@agent.command("create")
def create_agent(
    name: NewName,
    signed_approvals: Signed = True,
    webhook: Webhook = None,
    as_json: Json = False,
    tenant: Tenant = FIRST_TENANT,
    database: Database = None,
) -> None:
    """Make an agent and its key, which is shown once."""
    created = write_on_tenant(
        database,
        tenant,
        lambda tx, gate, tenant_id: agents.create_agent(
            tx,
            gate.env,
            gate.root,
            COMMAND_LINE,
            tenant_id,
            name,
            signed_approvals=signed_approvals,
            webhook_url=webhook,
        ),
    )
    _show_key("agent", created.made.id, created.made.name, created.key, created.webhook_secret, as_json=as_json)


@agent.command("rotate")
def rotate_agent(
    name: AgentName,
    overlap: Overlap = 0,
    as_json: Json = False,
    tenant: Tenant = FIRST_TENANT,
    database: Database = None,
) -> None:
    """Give an agent a new key. Without --overlap the old one ends at once."""
    created = write_on_tenant(
        database,
        tenant,
        lambda tx, gate, tenant_id: agents.rotate_agent_key(
            tx, gate.env, COMMAND_LINE, tenant_id, name, overlap=overlap
        ),
    )
    _show_key("agent", created.made.id, created.made.name, created.key, None, as_json=as_json)


@agent.command("pause")
def pause_agent(
    name: AgentName, as_json: Json = False, tenant: Tenant = FIRST_TENANT, database: Database = None
) -> None:
    """Stop an agent: what waits for review is rejected for good, unredeemed approvals are revoked."""
    paused = write_on_tenant(
        database, tenant, lambda tx, gate, tenant_id: agents.pause_agent(tx, gate.env, COMMAND_LINE, tenant_id, name)
    )
    value = {"id": paused.id, "name": paused.name, "state": paused.state}
    line = f"{paused.name} is paused: its open requests are rejected, its unredeemed approvals revoked"
    answer(value, [line], as_json=as_json)


@agent.command("resume")
def resume_agent(
    name: AgentName, as_json: Json = False, tenant: Tenant = FIRST_TENANT, database: Database = None
) -> None:
    """Let a paused agent ask again. What the pause ended stays ended."""
    active = write_on_tenant(
        database, tenant, lambda tx, gate, tenant_id: agents.resume_agent(tx, gate.env, COMMAND_LINE, tenant_id, name)
    )
    value = {"id": active.id, "name": active.name, "state": active.state}
    answer(value, [f"{active.name} is active: it may ask again"], as_json=as_json)


@agent.command("list")
def list_agents(as_json: Json = False, tenant: Tenant = FIRST_TENANT, database: Database = None) -> None:
    """Show the agents. Keys are not among what is kept."""
    listed = read_on_tenant(database, tenant, lambda tx, tenant_id: tx.agents.list_all(tenant_id))
    values = [
        {
            "id": agent.id,
            "name": agent.name,
            "state": agent.state,
            "signed_approvals": agent.signed_approvals,
            "transport": agent.transport,
        }
        for agent in listed
    ]
    rows = [(agent.name, agent.state, agent.transport, agent.id) for agent in listed]
    answer(values, table(rows) or ["no agents yet: make one with `stacksona-gate agent create NAME`"], as_json=as_json)


@verifier.command("create")
def create_verifier(
    name: NewName, tool: Tools, as_json: Json = False, tenant: Tenant = FIRST_TENANT, database: Database = None
) -> None:
    """Make a verifier for the named tools and its key, which is shown once."""
    created = write_on_tenant(
        database,
        tenant,
        lambda tx, gate, tenant_id: agents.create_verifier(tx, gate.env, COMMAND_LINE, tenant_id, name, tuple(tool)),
    )
    _show_key("verifier", created.made.id, created.made.name, created.key, None, as_json=as_json)


def _show_key(kind: str, made_id: str, name: str, key: str, webhook_secret: str | None, *, as_json: bool) -> None:
    value = {"id": made_id, "name": name, "key": key}
    rows = [(kind, f"{name} ({made_id})"), ("key", key)]
    if webhook_secret is not None:
        value["webhook_secret"] = webhook_secret
        rows.append(("webhook secret", webhook_secret))
    keep = "it now: only its hash stays here, it" if webhook_secret is None else "both now: they"
    answer(value, [*table(rows), f"Keep {keep} cannot be shown again."], as_json=as_json)
