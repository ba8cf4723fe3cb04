"""What admins see of deliveries, and what they do with them: replay, test."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace as replaced

from stacksona_gate.domain import webhooks
from stacksona_gate.domain.audit import Actor
from stacksona_gate.domain.errors import Conflict, NotFound
from stacksona_gate.domain.people import User
from stacksona_gate.domain.times import rfc3339
from stacksona_gate.domain.webhooks import Attempt, Delivery, DeliveryFilter, Endpoint, Queue
from stacksona_gate.service.endpoints import find_endpoint, get_endpoint
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.redaction import for_person
from stacksona_gate.service.webhooks import put, record_delivery
from stacksona_gate.store.base import Tx


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """A delivery with its attempts, oldest first."""

    delivery: Delivery
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """``next_cursor`` None: the last page."""

    deliveries: tuple[Delivery, ...]
    next_cursor: str | None


def list_deliveries(tx: Tx, tenant_id: str, where: DeliveryFilter, agent: str | None = None) -> DeliveryPage:
    """Newest first, without their bodies. ``agent``: only those of an agent, by id or name, or of ``workspace``."""
    if agent is not None:
        endpoint = find_endpoint(tx, tenant_id, agent)
        if endpoint is None:
            return DeliveryPage((), None)
        where = replaced(where, endpoint_id=endpoint.id)
    found = tx.webhooks.list_deliveries(tenant_id, replaced(where, limit=where.limit + 1))
    listed = tuple(found[: where.limit])
    return DeliveryPage(listed, str(listed[-1].seq) if len(found) > where.limit else None)


def view_delivery(tx: Tx, tenant_id: str, delivery_id: str) -> DeliveryView:
    """Raises NotFound."""
    delivery = tx.webhooks.find(tenant_id, delivery_id)
    if delivery is None:
        raise NotFound("there is no such delivery: name one that the list of deliveries shows, msg_…")
    return DeliveryView(delivery, tuple(tx.webhooks.list_attempts(tenant_id, delivery_id)))


def show_delivery(tx: Tx, user: User, delivery_id: str) -> DeliveryView:
    """As this person may see it: what a receiver says may repeat what is masked. Raises NotFound."""
    return _shown(tx, user, view_delivery(tx, user.tenant_id, delivery_id))


def deliveries_of(tx: Tx, user: User, request_id: str) -> tuple[DeliveryView, ...]:
    """A thread's as this person may see them, oldest first."""
    found = tx.webhooks.list_of_request(user.tenant_id, request_id)
    return tuple(_shown(tx, user, view_delivery(tx, user.tenant_id, one.id)) for one in found)


def _shown(tx: Tx, user: User, view: DeliveryView) -> DeliveryView:
    redactor = for_person(tx, user)
    attempts = (replaced(one, answer=redactor.text(one.answer)) for one in view.attempts)
    return DeliveryView(view.delivery, tuple(attempts))


def endpoints_of(tx: Tx, tenant_id: str, ids: Iterable[str]) -> dict[str, Endpoint]:
    """Endpoints by id, of those that there are."""
    found = (tx.webhooks.find_endpoint(tenant_id, one) for one in ids)
    return {endpoint.id: endpoint for endpoint in found if endpoint is not None}


def replay(tx: Tx, env: Environment, actor: Actor, tenant_id: str, delivery_id: str) -> Delivery:
    """Sends a delivery again, or now where it waits: the same id and body. Raises NotFound, Conflict."""
    delivery = view_delivery(tx, tenant_id, delivery_id).delivery
    endpoint = tx.webhooks.lock_endpoint(tenant_id, delivery.endpoint_id)
    if endpoint is None or not endpoint.is_on:
        raise Conflict("its endpoint is switched off or has no address: switch it on first", code="webhook_off")
    if not delivery.body:
        raise Conflict("what it said was erased: the decision can be read back, and nothing is left to send")
    if not (tx.webhooks.reopen(tenant_id, delivery_id) or tx.webhooks.hurry(tenant_id, delivery_id)):
        raise Conflict("it is on its way: wait for its answer", code="in_flight")
    record_delivery(tx, env, delivery, "webhook.replayed", actor)
    tx.tenants.bump_config(tenant_id)  # other processes see it by this
    return view_delivery(tx, tenant_id, delivery_id).delivery


def replay_dead(tx: Tx, env: Environment, actor: Actor, tenant_id: str, agent: str | None, limit: int) -> int:
    """Sends up to ``limit`` dead deliveries again, the newest first, of one endpoint or of all that are on.

    Returns how many. Raises NotFound, Conflict (the endpoint has no address or is switched off).
    """
    endpoint = None if agent is None else get_endpoint(tx, tenant_id, agent)
    if endpoint is not None and not endpoint.is_on:
        raise Conflict("this endpoint is switched off: switch it on first", code="webhook_off")
    where = DeliveryFilter(webhooks.DEAD, None if endpoint is None else endpoint.id, None, limit)
    dead = tx.webhooks.list_deliveries(tenant_id, where)
    known = endpoints_of(tx, tenant_id, {one.endpoint_id for one in dead})
    replayed = 0
    for one in dead:
        is_on = one.endpoint_id in known and known[one.endpoint_id].is_on
        if is_on and _says_something(tx, one) and tx.webhooks.reopen(tenant_id, one.id):
            record_delivery(tx, env, one, "webhook.replayed", actor)
            replayed += 1
    if replayed:
        tx.tenants.bump_config(tenant_id)
    return replayed


def _says_something(tx: Tx, listed: Delivery) -> bool:
    """Whether what it says was not erased."""
    delivery = tx.webhooks.find(listed.tenant_id, listed.id)
    return delivery is not None and bool(delivery.body)


def send_test(tx: Tx, env: Environment, actor: Actor, tenant_id: str, agent: str) -> Delivery:
    """Puts a test event: about no thread, sent once. Raises NotFound, Conflict (no webhook, or switched off)."""
    endpoint = get_endpoint(tx, tenant_id, agent)
    if not endpoint.is_on:
        raise Conflict("this endpoint is switched off: switch it on first", code="webhook_off")
    fields: dict[str, object] = {
        "event": webhooks.TEST,
        "tenant_id": tenant_id,
        "message": "a test: it is about no thread, and nothing was decided",
        "at": rfc3339(env.now()),
    }
    delivery = put(tx, env, endpoint, webhooks.TEST, fields)
    record_delivery(tx, env, delivery, "webhook.tested", actor)
    tx.tenants.bump_config(tenant_id)  # other processes see it by this
    return delivery


def queue(tx: Tx) -> Queue:
    """What waits, of all workspaces."""
    return tx.webhooks.queue()


def list_over(tx: Tx, now: int, most: int) -> list[tuple[str, str]]:
    """Finished deliveries that are kept no longer: tenant and id."""
    return tx.webhooks.list_over(now - webhooks.DELIVERED_KEPT, now - webhooks.DEAD_KEPT, most)


def delete_over(tx: Tx, over: Iterable[tuple[str, str]]) -> None:
    for tenant_id, delivery_id in over:
        tx.webhooks.delete(tenant_id, delivery_id)
