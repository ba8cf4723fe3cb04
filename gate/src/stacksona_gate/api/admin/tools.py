"""The policy by pieces: tools and rules. Every change is a new version of the whole."""

from __future__ import annotations

from typing import Any

import msgspec

from stacksona_gate.api.admin.answers import (
    PolicyChanged,
    RuleAnswer,
    RuleList,
    ToolAnswer,
    ToolList,
    rule_answer,
    tool_answer,
)
from stacksona_gate.api.admin.bodies import NewRule, RuleFields, RulePatch, ToolSettings
from stacksona_gate.api.admin.policy import steps
from stacksona_gate.api.fields import created, read_as, require_match, tagged_reply
from stacksona_gate.api.http import Call, Reply, json_reply
from stacksona_gate.api.people import PeopleContext
from stacksona_gate.domain.audit import Actor
from stacksona_gate.domain.errors import NotFound
from stacksona_gate.service import policy_edits
from stacksona_gate.service.transactions import Tx


async def get_tools(context: PeopleContext, call: Call) -> Reply:
    """The policy's tools, and those that agents asked about without a policy."""
    person = await context.auditor(call)
    tools = await context.gate.store.scan(lambda tx: policy_edits.list_tools(tx, person.user.tenant_id))
    return tagged_reply(ToolList([tool_answer(tool) for tool in tools]))


async def get_tool(context: PeopleContext, call: Call) -> Reply:
    """One tool."""
    person = await context.auditor(call)
    tenant_id, name = person.user.tenant_id, call.path["name"]
    tool = await context.gate.store.scan(lambda tx: policy_edits.get_tool(tx, tenant_id, name))
    return tagged_reply(tool_answer(tool))


async def put_tool(context: PeopleContext, call: Call) -> Reply:
    """Sets what holds for a tool, as a new version of the policy. Without `rules` its rules stay."""
    person = await context.admin(call)
    settings = _settings(await read_as(call, ToolSettings))
    gate, tenant_id, name = context.gate, person.user.tenant_id, call.path["name"]

    def unit(tx: Tx, actor: Actor) -> ToolAnswer:
        _require_same_tool(tx, call, tenant_id, name)
        policy_edits.put_tool(tx, gate.env, actor, tenant_id, name, settings)
        return tool_answer(policy_edits.get_tool(tx, tenant_id, name))

    return tagged_reply(await context.change(person, unit))


def _settings(body: ToolSettings) -> dict[str, Any]:
    fields = {name: value for name, value in msgspec.to_builtins(body).items() if value is not None}
    if isinstance(body.rules, list):
        fields["rules"] = [_document(rule) for rule in body.rules]
    return fields


def _document(rule: RuleFields) -> dict[str, Any]:
    """A rule in the form that a policy document has it in."""
    fields: dict[str, Any] = msgspec.to_builtins(rule)
    return {name: value for name, value in fields.items() if value is not None and name != "tool"}


def _require_same_tool(tx: Tx, call: Call, tenant_id: str, name: str) -> None:
    """A tool that is not there yet matches no tag."""
    try:
        shown: object = tool_answer(policy_edits.get_tool(tx, tenant_id, name))
    except NotFound:
        shown = None
    require_match(call, shown)


async def delete_tool(context: PeopleContext, call: Call) -> Reply:
    """Takes a tool out of the policy, as a new version: it is unknown from then on."""
    person = await context.admin(call)
    gate, tenant_id, name = context.gate, person.user.tenant_id, call.path["name"]

    def unit(tx: Tx, actor: Actor) -> PolicyChanged:
        before = policy_edits.version_in_force(tx, tenant_id)
        _require_same_tool(tx, call, tenant_id, name)
        version = policy_edits.remove_tool(tx, gate.env, actor, tenant_id, name)
        return _changed(tx, tenant_id, before, version)

    return json_reply(await context.change(person, unit))


def _changed(tx: Tx, tenant_id: str, before: int, version: int) -> PolicyChanged:
    return PolicyChanged(version, steps(policy_edits.compare_versions(tx, tenant_id, before, version)))


async def get_rules(context: PeopleContext, call: Call) -> Reply:
    """Every rule of today's policy, or those of one `tool`."""
    person = await context.auditor(call)
    tool = call.query().get("tool") or None
    rules = await context.gate.store.scan(lambda tx: policy_edits.list_rules(tx, person.user.tenant_id))
    return tagged_reply(RuleList([rule_answer(rule) for rule in rules if tool in (None, rule.tool)]))


async def get_rule(context: PeopleContext, call: Call) -> Reply:
    """One rule."""
    person = await context.auditor(call)
    tenant_id, rule_id = person.user.tenant_id, call.path["rule_id"]
    return tagged_reply(
        rule_answer(await context.gate.store.scan(lambda tx: policy_edits.get_rule(tx, tenant_id, rule_id)))
    )


async def create_rule(context: PeopleContext, call: Call) -> Reply:
    """Adds a rule to a tool, as a new version of the policy."""
    person = await context.admin(call)
    body = await read_as(call, NewRule)
    gate, tenant_id, rule = context.gate, person.user.tenant_id, _document(body)

    def unit(tx: Tx, actor: Actor) -> RuleAnswer:
        rule_id = policy_edits.add_rule(tx, gate.env, actor, tenant_id, body.tool, rule)
        return rule_answer(policy_edits.get_rule(tx, tenant_id, rule_id))

    answer = await context.change(person, unit)
    return created(answer, f"/api/admin/rules/{answer.id}")


async def change_rule(context: PeopleContext, call: Call) -> Reply:
    """Changes a rule, as a new version of the policy. A new name gives it a new id."""
    person = await context.admin(call)
    changes: dict[str, Any] = msgspec.to_builtins(await read_as(call, RulePatch))
    gate, tenant_id = context.gate, person.user.tenant_id

    def unit(tx: Tx, actor: Actor) -> RuleAnswer:
        rule_id = _matching_rule(tx, call, tenant_id)
        changed = policy_edits.change_rule(tx, gate.env, actor, tenant_id, rule_id, changes)
        return rule_answer(policy_edits.get_rule(tx, tenant_id, changed))

    return tagged_reply(await context.change(person, unit))


def _matching_rule(tx: Tx, call: Call, tenant_id: str) -> str:
    rule = policy_edits.get_rule(tx, tenant_id, call.path["rule_id"])
    require_match(call, rule_answer(rule))
    return rule.id


async def delete_rule(context: PeopleContext, call: Call) -> Reply:
    """Takes a rule away, as a new version of the policy."""
    person = await context.admin(call)
    gate, tenant_id = context.gate, person.user.tenant_id

    def unit(tx: Tx, actor: Actor) -> PolicyChanged:
        before = policy_edits.version_in_force(tx, tenant_id)
        rule_id = _matching_rule(tx, call, tenant_id)
        version = policy_edits.remove_rule(tx, gate.env, actor, tenant_id, rule_id)
        return _changed(tx, tenant_id, before, version)

    return json_reply(await context.change(person, unit))
