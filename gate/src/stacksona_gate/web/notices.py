"""What is told of webhooks on pages: notices for admins, and what became of a thread's deliveries."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from stacksona_gate.domain.people import User, may_administer, may_audit
from stacksona_gate.domain.webhooks import DEAD, Delivery, Notice, why_dead
from stacksona_gate.service import deliveries, endpoints
from stacksona_gate.service.administration import view_agent
from stacksona_gate.service.deliveries import DeliveryView
from stacksona_gate.service.notices import list_notices
from stacksona_gate.service.transactions import Tx
from stacksona_gate.service.webhooks import SWITCHED_OFF

NOTICES_SHOWN: Final = 5
"""A page shows no more of them at once: they stand above what reviewers work on."""


@dataclass(frozen=True, slots=True)
class Told:
    """A notice as the inbox shows it. ``endpoint``: what can be switched on; ``agent``: whom it is about."""

    notice: Notice
    agent: str
    endpoint: str


def told(tx: Tx, user: User) -> tuple[Told, ...]:
    """The newest notices; nothing for those who do not administer."""
    if not may_administer(user):
        return ()
    return tuple(_told(tx, user, notice) for notice in list_notices(tx, user.tenant_id)[:NOTICES_SHOWN])


def _told(tx: Tx, user: User, notice: Notice) -> Told:
    about = json.loads(notice.objects)
    agent_id, endpoint_id = about.get("agent", ""), about.get("agent") or about.get("endpoint", "")
    name = view_agent(tx, user.tenant_id, agent_id).agent.name if agent_id else ""
    endpoint = endpoints.find_endpoint(tx, user.tenant_id, endpoint_id) if notice.kind == SWITCHED_OFF else None
    is_off = endpoint is not None and endpoint.switched_off_at is not None
    return Told(notice, name, endpoint_id if is_off else "")


def sent(tx: Tx, user: User, request_id: str) -> tuple[DeliveryView, ...]:
    """A thread's deliveries, for admins and auditors."""
    return deliveries.deliveries_of(tx, user, request_id) if may_audit(user) else ()


def outcome(delivery: Delivery) -> str:
    """A delivery's state in words."""
    if delivery.state == DEAD:
        return f"given up: {why_dead(delivery)}"
    words = {"delivered": "delivered", "superseded": "superseded by a newer event"}
    return words.get(delivery.state, "on its way" if delivery.leased_until is not None else "waits")
