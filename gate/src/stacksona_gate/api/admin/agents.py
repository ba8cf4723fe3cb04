"""Agents: making, changing, keys, pausing."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, UnsetType

from stacksona_gate.api.admin.answers import AgentAnswer, AgentList, AgentSecrets, agent_answer, agent_fields
from stacksona_gate.api.admin.bodies import AgentPatch, KeyRotation, NewAgent
from stacksona_gate.api.fields import created, read_as, require_match, tagged_reply
from stacksona_gate.api.http import Call, Reply
from stacksona_gate.api.people import PeopleContext
from stacksona_gate.domain.audit import Actor
from stacksona_gate.service import agents
from stacksona_gate.service.administration import AgentView, list_agents, view_agent
from stacksona_gate.service.agents import AgentChange
from stacksona_gate.service.transactions import Tx


async def get_agents(context: PeopleContext, call: Call) -> Reply:
    """All agents, by name."""
    person = await context.auditor(call)
    views = await context.gate.store.scan(lambda tx: list_agents(tx, person.user.tenant_id))
    return tagged_reply(AgentList([agent_answer(view) for view in views]))


async def get_agent(context: PeopleContext, call: Call) -> Reply:
    """One agent, by id or name."""
    person = await context.auditor(call)
    view = await context.gate.store.scan(lambda tx: view_agent(tx, person.user.tenant_id, call.path["agent_id"]))
    return tagged_reply(agent_answer(view))


async def create_agent(context: PeopleContext, call: Call) -> Reply:
    """Makes an agent. Its key, and its webhook's secret where it has one, are in this answer and nowhere else."""
    person = await context.admin(call)
    body = await read_as(call, NewAgent)
    gate, tenant_id = context.gate, person.user.tenant_id
    change = _settings(body)

    def unit(tx: Tx, actor: Actor) -> AgentSecrets:
        made = agents.create_agent(
            tx,
            gate.env,
            gate.root,
            actor,
            tenant_id,
            body.name,
            signed_approvals=body.signed_approvals,
            webhook_url=body.webhook_url,
        )
        if change != AgentChange():
            agents.change_agent(tx, gate.env, gate.root, actor, tenant_id, made.made.id, change)
        return with_secrets(view_agent(tx, tenant_id, made.made.id), made.key, made.webhook_secret)

    answer = await context.change(person, unit)
    return created(answer, f"/api/admin/agents/{answer.id}")


def _settings(body: NewAgent) -> AgentChange:
    """What making an agent does not set itself."""
    return AgentChange(
        api_access=None if body.api_access else False,
        expires_in=body.expires_in,
        requests_per_second=body.requests_per_second,
        reviewers=tuple(dict.fromkeys(body.reviewers)) or None,
    )


def with_secrets(view: AgentView, key: str | None, webhook_secret: str | None) -> AgentSecrets:
    """An agent with what is shown once."""
    return AgentSecrets(
        **agent_fields(view),
        key=UNSET if key is None else key,
        webhook_secret=UNSET if webhook_secret is None else webhook_secret,
    )


async def change_agent(context: PeopleContext, call: Call) -> Reply:
    """Changes an agent. An address that is its first webhook brings the webhook's secret, once."""
    person = await context.admin(call)
    change = _change(await read_as(call, AgentPatch))
    gate, tenant_id = context.gate, person.user.tenant_id

    def unit(tx: Tx, actor: Actor) -> AgentSecrets:
        agent_id = matching_agent(tx, call, tenant_id)
        _, secret = agents.change_agent(tx, gate.env, gate.root, actor, tenant_id, agent_id, change)
        return with_secrets(view_agent(tx, tenant_id, agent_id), None, secret)

    return tagged_reply(await context.change(person, unit))


def _change(body: AgentPatch) -> AgentChange:
    return AgentChange(
        name=_given(body.name),
        api_access=_given(body.api_access),
        signed_approvals=_given(body.signed_approvals),
        webhook_url=_given(body.webhook_url, instead_of_null=""),
        expires_in=_given(body.expires_in, instead_of_null=0),
        requests_per_second=_given(body.requests_per_second, instead_of_null=0),
        reviewers=None if body.reviewers is UNSET else tuple(dict.fromkeys(body.reviewers)),
    )


def _given[T](value: T | UnsetType | None, *, instead_of_null: T | None = None) -> T | None:
    """None for what was left out; null is a value of its own."""
    if value is UNSET or isinstance(value, UnsetType):
        return None
    return instead_of_null if value is None else value


def matching_agent(tx: Tx, call: Call, tenant_id: str) -> str:
    """The id of the path's agent. Raises NotFound, PreconditionFailed."""
    view = view_agent(tx, tenant_id, call.path["agent_id"])
    require_match(call, agent_answer(view))
    return view.agent.id


async def rotate_key(context: PeopleContext, call: Call) -> Reply:
    """Gives the agent a new key, shown here and nowhere else. The old ones end now, or after `overlap` seconds."""
    person = await context.admin(call)
    overlap = (await read_as(call, KeyRotation, may_be_empty=True)).overlap
    gate, tenant_id = context.gate, person.user.tenant_id

    def unit(tx: Tx, actor: Actor) -> AgentSecrets:
        agent_id = matching_agent(tx, call, tenant_id)
        made = agents.rotate_agent_key(tx, gate.env, actor, tenant_id, agent_id, overlap=overlap)
        return with_secrets(view_agent(tx, tenant_id, agent_id), made.key, None)

    answer = await context.change(person, unit)
    return created(answer, f"/api/admin/agents/{answer.id}")


async def pause(context: PeopleContext, call: Call) -> Reply:
    """Stops an agent: its open threads are rejected for good, its unredeemed approvals revoked."""
    return await _switch(context, call, "paused")


async def resume(context: PeopleContext, call: Call) -> Reply:
    """Lets an agent ask again. Restores nothing that pausing took away."""
    return await _switch(context, call, "active")


async def _switch(context: PeopleContext, call: Call, state: Literal["paused", "active"]) -> Reply:
    person = await context.admin(call)
    gate, tenant_id = context.gate, person.user.tenant_id
    switch: Any = agents.pause_agent if state == "paused" else agents.resume_agent

    def unit(tx: Tx, actor: Actor) -> AgentAnswer:
        agent_id = matching_agent(tx, call, tenant_id)
        switch(tx, gate.env, actor, tenant_id, agent_id)
        return agent_answer(view_agent(tx, tenant_id, agent_id))

    return tagged_reply(await context.change(person, unit))
