"""``webhooks``: what was sent, and what an admin does about it."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from stacksona_gate.cli.agents import AgentName
from stacksona_gate.cli.options import FIRST_TENANT, Database, Json, Tenant, duration
from stacksona_gate.cli.session import answer, on_tenant, read_on_tenant, table, write_on_tenant
from stacksona_gate.cli.webhooks import shown, webhooks
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.errors import Invalid
from stacksona_gate.domain.times import SECOND, rfc3339, rfc3339_or_none
from stacksona_gate.domain.webhooks import DEAD, STATES, Attempt, Delivery, DeliveryFilter, why_dead
from stacksona_gate.service import deliveries, endpoints

__all__ = ["webhooks"]

MOST: Final = 1000

DeliveryId = Annotated[str, typer.Argument(metavar="ID", help="The delivery: the webhook-id, msg_….")]
MaybeId = Annotated[str | None, typer.Argument(metavar="[ID]", help="The delivery: the webhook-id, msg_….")]
State = Annotated[str | None, typer.Option(metavar="STATE", help=f"Only these: {', '.join(STATES)}.")]
OfAgent = Annotated[
    str | None, typer.Option("--agent", metavar="NAME", help="Only those of this agent, or of workspace.")
]
Limit = Annotated[int, typer.Option(min=1, max=MOST, help="At most so many, the newest.")]
Dead = Annotated[bool, typer.Option("--dead", help="All that are dead, up to --limit, instead of one.")]
Overlap = Annotated[
    int, typer.Option(parser=duration, metavar="24h", help="How long the old secret signs beside the new one, to 30d.")
]


@webhooks.command("list")
def list_deliveries(
    state: State = None,
    agent: OfAgent = None,
    limit: Limit = 50,
    as_json: Json = False,
    tenant: Tenant = FIRST_TENANT,
    database: Database = None,
) -> None:
    """Show deliveries, the newest first."""
    if state is not None and state not in STATES:
        raise Invalid(f"a delivery is {', '.join(STATES[:-1])} or {STATES[-1]}, not {state!r}")
    where = DeliveryFilter(state, None, None, limit)
    page = read_on_tenant(
        database, tenant, lambda tx, tenant_id: deliveries.list_deliveries(tx, tenant_id, where, agent)
    )
    rows = [
        (rfc3339(one.created_at), one.state, one.event, one.endpoint_id, f"attempts {one.attempts}", one.id)
        for one in page.deliveries
    ]
    answer([_value(one) for one in page.deliveries], table(rows) or ["no deliveries"], as_json=as_json)


@webhooks.command("show")
def show_delivery(
    delivery: DeliveryId, as_json: Json = False, tenant: Tenant = FIRST_TENANT, database: Database = None
) -> None:
    """Show a delivery, each attempt, and what the receiver said."""
    view = read_on_tenant(database, tenant, lambda tx, tenant_id: deliveries.view_delivery(tx, tenant_id, delivery))
    value = _value(view.delivery) | {"attempts": [_attempt(one) for one in view.attempts]}
    rows = [(name, str(item)) for name, item in _value(view.delivery).items() if item is not None]
    answer(value, [*table(rows), *(line for one in view.attempts for line in _told(one))], as_json=as_json)


@webhooks.command("replay")
def replay(
    delivery: MaybeId = None,
    dead: Dead = False,
    agent: OfAgent = None,
    limit: Limit = 100,
    as_json: Json = False,
    tenant: Tenant = FIRST_TENANT,
    database: Database = None,
) -> None:
    """Send one delivery again, or with --dead all that were given up. A running server sends them at once."""
    if (delivery is None) != dead:
        raise Invalid("name one delivery, or say --dead for those that were given up")

    async def work(gate: Any, tenant_id: str) -> int:
        env = gate.env
        if delivery is None:
            return int(
                await gate.store.write(
                    lambda tx: deliveries.replay_dead(tx, env, COMMAND_LINE, tenant_id, agent, limit)
                )
            )
        await gate.store.write(lambda tx: deliveries.replay(tx, env, COMMAND_LINE, tenant_id, delivery))
        return 1

    count = on_tenant(database, tenant, work)
    answer({"replayed": count}, [f"{count} on {'its' if count == 1 else 'their'} way again"], as_json=as_json)


@webhooks.command("test")
def send_test(name: AgentName, as_json: Json = False, tenant: Tenant = FIRST_TENANT, database: Database = None) -> None:
    """Send an event `test`, about no thread, once. A running server sends it."""
    sent = write_on_tenant(
        database, tenant, lambda tx, gate, tenant_id: deliveries.send_test(tx, gate.env, COMMAND_LINE, tenant_id, name)
    )
    answer(_value(sent), [f"{sent.id}: read the answer with `stacksona-gate webhooks show {sent.id}`"], as_json=as_json)


@webhooks.command("rotate-secret")
def rotate_secret(
    name: AgentName,
    overlap: Overlap = 86_400,
    as_json: Json = False,
    tenant: Tenant = FIRST_TENANT,
    database: Database = None,
) -> None:
    """Give a webhook a new secret, shown once. NAME is an agent, or workspace."""
    secret = write_on_tenant(
        database,
        tenant,
        lambda tx, gate, tenant_id: endpoints.rotate_webhook_secret(
            tx, gate.env, gate.root, COMMAND_LINE, tenant_id, name, overlap=overlap
        ),
    )
    lines = [*table([("webhook secret", secret)]), "Keep it now: it cannot be shown again."]
    answer({"webhook_secret": secret, "overlap": overlap}, lines, as_json=as_json)


@webhooks.command("switch-on")
def switch_on(name: AgentName, as_json: Json = False, tenant: Tenant = FIRST_TENANT, database: Database = None) -> None:
    """Send to a webhook again that was switched off. NAME is an agent, or workspace."""
    endpoint = write_on_tenant(
        database, tenant, lambda tx, gate, tenant_id: endpoints.switch_on(tx, gate.env, COMMAND_LINE, tenant_id, name)
    )
    line = "it is on. What was given up stays so until `stacksona-gate webhooks replay --dead`"
    answer({"endpoint_id": endpoint.id, "switched_off_at": None}, [line], as_json=as_json)


def _value(one: Delivery) -> dict[str, Any]:
    due = one.due_at if one.leased_until is None else None
    return {
        "id": one.id,
        "endpoint_id": one.endpoint_id,
        "thread_id": one.thread_id,
        "event": one.event,
        "state": one.state,
        "reason": why_dead(one) if one.state == DEAD else None,
        "attempts_begun": one.attempts,
        "created_at": rfc3339(one.created_at),
        "next_attempt_at": rfc3339_or_none(due or (one.created_at if due == 0 else None)),
        "finished_at": rfc3339_or_none(one.finished_at),
    }


def _attempt(one: Attempt) -> dict[str, Any]:
    return {
        "number": one.attempt,
        "at": rfc3339(one.at),
        "duration_ms": one.duration / 1000,
        "status": one.status,
        "error": one.error,
        "answer": one.answer,
    }


def _told(one: Attempt) -> list[str]:
    """What a receiver says comes from outside: nothing in it reaches the terminal as a command."""
    outcome = " ".join(str(item) for item in (one.status, one.error) if item is not None)
    head = f"attempt {one.attempt}, {rfc3339(one.at // SECOND * SECOND)}, {one.duration / 1000:.0f} ms: {outcome}"
    return [head, *(f"  {shown(line)}" for line in one.answer.splitlines())]
