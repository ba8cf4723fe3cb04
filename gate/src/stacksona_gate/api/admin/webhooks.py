"""Deliveries: list, read, replay, test; endpoints: secrets, switching off and on, the workspace's own."""

from __future__ import annotations

from typing import Any

from stacksona_gate.api.admin.agents import matching_agent
from stacksona_gate.api.admin.answers import AgentAnswer, agent_answer
from stacksona_gate.api.admin.webhook_answers import (
    DeliveryAnswer,
    DeliveryList,
    Replay,
    Replayed,
    SecretRotation,
    WebhookSecret,
    WorkspaceWebhook,
    WorkspaceWebhookBody,
    delivery_answer,
    delivery_details,
    workspace_webhook,
)
from stacksona_gate.api.fields import chosen, page_of, read_as, require_match, tagged_reply
from stacksona_gate.api.http import Call, Reply, json_reply
from stacksona_gate.api.people import PeopleContext
from stacksona_gate.domain.audit import Actor
from stacksona_gate.domain.times import SECOND, rfc3339
from stacksona_gate.domain.webhooks import STATES, WORKSPACE, DeliveryFilter
from stacksona_gate.service import deliveries, endpoints
from stacksona_gate.service.administration import view_agent
from stacksona_gate.service.transactions import Tx


async def get_deliveries(context: PeopleContext, call: Call) -> Reply:
    """Deliveries, newest first. Listed without their attempts."""
    person = await context.auditor(call)
    query, tenant_id = call.query(), person.user.tenant_id
    limit, before = page_of(query)
    where = DeliveryFilter(chosen(query, "state", STATES), None, before, limit)
    agent = query.get("agent") or None
    page = await context.gate.store.scan(lambda tx: deliveries.list_deliveries(tx, tenant_id, where, agent))
    return tagged_reply(DeliveryList([delivery_answer(one) for one in page.deliveries], page.next_cursor))


async def get_delivery(context: PeopleContext, call: Call) -> Reply:
    """One delivery with every attempt, and what the receiver said: text from outside, to be shown as text."""
    person = await context.auditor(call)
    user, delivery_id = person.user, call.path["delivery_id"]
    view = await context.gate.store.scan(lambda tx: deliveries.show_delivery(tx, user, delivery_id))
    return tagged_reply(delivery_details(view))


async def replay(context: PeopleContext, call: Call) -> Reply:
    """Sends a delivery again, or at once where it waits: the same id and body, signed afresh."""
    person = await context.admin(call)
    gate, tenant_id, delivery_id = context.gate, person.user.tenant_id, call.path["delivery_id"]

    def unit(tx: Tx, actor: Actor) -> DeliveryAnswer:
        return delivery_answer(deliveries.replay(tx, gate.env, actor, tenant_id, delivery_id))

    return tagged_reply(await context.change(person, unit))


async def replay_many(context: PeopleContext, call: Call) -> Reply:
    """Sends dead deliveries again, the newest first. Those of endpoints that are switched off stay dead."""
    person = await context.admin(call)
    body = await read_as(call, Replay)
    gate, tenant_id = context.gate, person.user.tenant_id

    def unit(tx: Tx, actor: Actor) -> Replayed:
        return Replayed(deliveries.replay_dead(tx, gate.env, actor, tenant_id, body.agent, body.limit))

    return json_reply(await context.change(person, unit))


async def send_test(context: PeopleContext, call: Call) -> Reply:
    """Sends an event `test` to the agent's webhook, once. It is about no thread. Its attempt shows the answer."""
    person = await context.admin(call)
    gate, tenant_id = context.gate, person.user.tenant_id

    def unit(tx: Tx, actor: Actor) -> DeliveryAnswer:
        agent_id = view_agent(tx, tenant_id, call.path["agent_id"]).agent.id
        return delivery_answer(deliveries.send_test(tx, gate.env, actor, tenant_id, agent_id))

    return json_reply(await context.change(person, unit), 201)


async def rotate_secret(context: PeopleContext, call: Call) -> Reply:
    """Gives the agent's webhook a new secret, shown here and nowhere else. Both sign for `overlap` seconds."""
    person = await context.admin(call)
    overlap = (await read_as(call, SecretRotation, may_be_empty=True)).overlap
    gate, tenant_id = context.gate, person.user.tenant_id

    def unit(tx: Tx, actor: Actor) -> WebhookSecret:
        agent_id = matching_agent(tx, call, tenant_id)
        secret = endpoints.rotate_webhook_secret(tx, gate.env, gate.root, actor, tenant_id, agent_id, overlap=overlap)
        return WebhookSecret(secret, rfc3339(gate.env.now() + overlap * SECOND) if overlap else None)

    return json_reply(await context.change(person, unit), 201)


async def switch_off(context: PeopleContext, call: Call) -> Reply:
    """Sends nothing more to the agent's webhook: what waits, and what comes, is kept as dead."""
    return await _switch(context, call, endpoints.switch_off_by_hand)


async def switch_on(context: PeopleContext, call: Call) -> Reply:
    """Sends to the agent's webhook again. What died meanwhile stays dead until it is replayed."""
    return await _switch(context, call, endpoints.switch_on)


async def _switch(context: PeopleContext, call: Call, change: Any) -> Reply:
    person = await context.admin(call)
    gate, tenant_id = context.gate, person.user.tenant_id

    def unit(tx: Tx, actor: Actor) -> AgentAnswer:
        agent_id = matching_agent(tx, call, tenant_id)
        change(tx, gate.env, actor, tenant_id, agent_id)
        return agent_answer(view_agent(tx, tenant_id, agent_id))

    return tagged_reply(await context.change(person, unit))


async def get_workspace_webhook(context: PeopleContext, call: Call) -> Reply:
    """Where reminders, escalations and notices are sent, if anywhere."""
    person = await context.auditor(call)
    tenant_id = person.user.tenant_id
    found = await context.gate.store.scan(lambda tx: endpoints.find_endpoint(tx, tenant_id, WORKSPACE))
    return tagged_reply(workspace_webhook(found))


async def put_workspace_webhook(context: PeopleContext, call: Call) -> Reply:
    """Sends them to this address. The first one brings the secret, once."""
    person = await context.admin(call)
    url = endpoints.checked_url((await read_as(call, WorkspaceWebhookBody)).url, "url")
    return await _set_workspace_webhook(context, call, person, url)


async def delete_workspace_webhook(context: PeopleContext, call: Call) -> Reply:
    """Sends them nowhere any more. What waits is dead."""
    return await _set_workspace_webhook(context, call, await context.admin(call), None)


async def _set_workspace_webhook(context: PeopleContext, call: Call, person: Any, url: str | None) -> Reply:
    gate, tenant_id = context.gate, person.user.tenant_id

    def unit(tx: Tx, actor: Actor) -> WorkspaceWebhook:
        require_match(call, workspace_webhook(endpoints.find_endpoint(tx, tenant_id, WORKSPACE)))
        secret = endpoints.set_address(tx, gate.env, gate.root, actor, tenant_id, WORKSPACE, url)
        return workspace_webhook(endpoints.find_endpoint(tx, tenant_id, WORKSPACE), secret)

    return tagged_reply(await context.change(person, unit))


async def switch_workspace_webhook_off(context: PeopleContext, call: Call) -> Reply:
    """Sends nothing more to the workspace's own webhook: what waits, and what comes, is kept as dead."""
    return await _switch_workspace(context, call, endpoints.switch_off_by_hand)


async def switch_workspace_webhook_on(context: PeopleContext, call: Call) -> Reply:
    """Sends to the workspace's own webhook again."""
    return await _switch_workspace(context, call, endpoints.switch_on)


async def _switch_workspace(context: PeopleContext, call: Call, change: Any) -> Reply:
    person = await context.admin(call)
    gate, tenant_id = context.gate, person.user.tenant_id

    def unit(tx: Tx, actor: Actor) -> WorkspaceWebhook:
        require_match(call, workspace_webhook(endpoints.find_endpoint(tx, tenant_id, WORKSPACE)))
        return workspace_webhook(change(tx, gate.env, actor, tenant_id, WORKSPACE))

    return tagged_reply(await context.change(person, unit))
