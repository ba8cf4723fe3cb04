"""``outcomes``."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from stacksona_gate.cli.options import FIRST_TENANT, Database, Json, Tenant
from stacksona_gate.cli.session import answer, on_tenant, table
from stacksona_gate.cli.shell import group
from stacksona_gate.domain.times import rfc3339, rfc3339_or_none
from stacksona_gate.service.outcomes import Doubt, list_unknown

outcomes = group("What became of actions whose approvals were used.")

Most = Annotated[int, typer.Option("--limit", min=1, max=10_000, metavar="N", help="How many, newest first.")]
_NONE: Final = (
    "no unknown outcomes: of every approval that was used, its agent said what became of it, or has time left"
)


@outcomes.command("unknown")
def list_unknown_outcomes(
    limit: Most = 100, as_json: Json = False, tenant: Tenant = FIRST_TENANT, database: Database = None
) -> None:
    """Show approvals that were used while nobody reported an outcome: whether the action ran is unknown."""
    page = on_tenant(
        database,
        tenant,
        lambda gate, tenant_id: gate.store.scan(
            lambda tx: list_unknown(tx, gate.env, tenant_id, None, before=None, limit=limit)
        ),
    )
    lines = [*table([_row(doubt) for doubt in page.doubts]), *(["and more: raise --limit"] if page.next_cursor else [])]
    answer([_value(doubt) for doubt in page.doubts], lines or [_NONE], as_json=as_json)


def _row(doubt: Doubt) -> tuple[str, ...]:
    request = doubt.request
    at = rfc3339(request.redeemed_at or 0)
    return at, doubt.agent.name, request.tool_name, request.task_id, request.thread_id or request.id


def _value(doubt: Doubt) -> dict[str, str | None]:
    request = doubt.request
    return {
        "request_id": request.id,
        "thread_id": request.thread_id,
        "task_id": request.task_id,
        "agent_id": doubt.agent.id,
        "agent_name": doubt.agent.name,
        "tool_name": request.tool_name,
        "subject": request.subject,
        "redeemed_at": rfc3339_or_none(request.redeemed_at),
        "redeemed_by": request.redeemed_by,
    }
