"""``retention``: how long content is kept."""

from __future__ import annotations

from typing import Annotated

import typer

from stacksona_gate.cli.options import FIRST_TENANT, Database, Json, Tenant
from stacksona_gate.cli.session import answer, on_gate, read_on_tenant, write_on_tenant
from stacksona_gate.cli.shell import group
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.service import retention as service
from stacksona_gate.service.retention import Retention

retention = group("How long the content of decided requests is kept.")

Days = Annotated[int, typer.Argument(min=0, max=service.DAYS_MOST, help="0 keeps it for ever.")]


@retention.command("show")
def show(as_json: Json = False, tenant: Tenant = FIRST_TENANT, database: Database = None) -> None:
    """Show how long content is kept."""
    found = read_on_tenant(database, tenant, service.read_retention)
    _say(found, as_json=as_json)


@retention.command("set")
def set_days(days: Days, as_json: Json = False, tenant: Tenant = FIRST_TENANT, database: Database = None) -> None:
    """Keep content that many days. A running server removes what is older within the hour, for good."""
    wanted = Retention(days)
    changed = write_on_tenant(
        database,
        tenant,
        lambda tx, gate, tenant_id: service.change_retention(tx, gate.env, COMMAND_LINE, tenant_id, wanted),
    )
    _say(changed, as_json=as_json)


@retention.command("run")
def run(as_json: Json = False, database: Database = None) -> None:
    """Remove now what is older than that."""
    count = on_gate(database, service.expire_content)
    answer({"expired": count}, [f"requests whose content was removed: {count}"], as_json=as_json)


def _say(found: Retention, *, as_json: bool) -> None:
    days = found.retention_days
    line = f"content is kept {days} days" if days else "content is kept for ever"
    answer({"retention_days": days}, [line], as_json=as_json)
