"""One tool or one rule at a time: each change is a whole new version of the policy, with every check that one has."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stacksona_gate.domain.audit import Actor
from stacksona_gate.domain.errors import Conflict, FieldError, NotFound
from stacksona_gate.policy.compare import Change, compare
from stacksona_gate.policy.model import EMPTY_POLICY, Policy, rule_id
from stacksona_gate.policy.parse import PolicyError, parse_policy, policy_document
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.policies import Current, apply_policy, current_policy, get_version
from stacksona_gate.store.base import PolicyVersion, Tx

Document = dict[str, Any]
"""A policy as JSON types: ``version``, ``unknown_tool``, ``tools``."""

_POSITION: Final = re.compile(r"line [0-9]+, column [0-9]+: ")
_UNSEEN: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the policy names, that agents asked about without a policy, or both."""

    name: str
    document: Document | None
    """``default``, ``rules`` and so on; None: the policy does not name it."""
    first_seen_at: int | None
    first_agent_id: str | None

    @property
    def rules(self) -> tuple[PlacedRule, ...]:
        return () if self.document is None else _rules({"tools": {self.name: self.document}})


@dataclass(frozen=True, slots=True)
class PlacedRule:
    """A rule in its document form, and where it stands."""

    id: str
    tool: str
    position: int
    document: Document


def read_policy(text: str) -> Policy:
    """A policy from YAML or JSON text. Slow for a long one: call it in a thread. Raises Invalid with positions."""
    return parse_policy(text)


def document_of(policy: Policy) -> Document:
    """A policy as JSON types. Limits are strings, durations whole seconds."""
    return dict(policy_document(policy))


def version_in_force(tx: Tx, tenant_id: str) -> int:
    """Today's version; 0 is the empty policy. Raises NotFound for an unknown workspace."""
    tenant = tx.tenants.find(tenant_id)
    if tenant is None:
        raise NotFound("there is no such workspace")
    return tenant.policy_version


def list_versions(tx: Tx, tenant_id: str) -> tuple[PolicyVersion, ...]:
    """Every version that was ever in force, newest first."""
    return tuple(tx.policies.list_all(tenant_id))


def read_version(tx: Tx, tenant_id: str, version: int) -> Policy:
    """The policy of a version; 0 is the empty one. Raises NotFound."""
    return EMPTY_POLICY if version == 0 else parse_policy(get_version(tx, tenant_id, version).document)


def compare_versions(tx: Tx, tenant_id: str, old: int, new: int) -> tuple[Change, ...]:
    """What changed from one version to another. Raises NotFound."""
    return compare(read_version(tx, tenant_id, old), read_version(tx, tenant_id, new))


def list_tools(tx: Tx, tenant_id: str) -> tuple[Tool, ...]:
    """The policy's tools and the discovered ones, by name."""
    tools = document_of(current_policy(tx, tenant_id).policy)["tools"]
    seen = {name: (at, agent_id) for name, at, agent_id in tx.policies.list_discovered(tenant_id)}
    names = sorted(tools.keys() | seen.keys())
    return tuple(Tool(name, tools.get(name), *seen.get(name, (None, None))) for name in names)


def get_tool(tx: Tx, tenant_id: str, name: str) -> Tool:
    """Raises NotFound."""
    for tool in list_tools(tx, tenant_id):
        if tool.name == name:
            return tool
    raise NotFound("there is no such tool in the policy, and no agent has asked about one")


def put_tool(tx: Tx, env: Environment, actor: Actor, tenant_id: str, name: str, settings: Document) -> int:
    """Sets what holds for a tool. Without ``rules`` in ``settings`` its rules stay. Returns the version in force."""
    document = _today(tx, tenant_id)
    kept = document["tools"].get(name, {}).get("rules", [])
    document["tools"][name] = {"rules": kept, **settings}
    return _apply(tx, env, actor, tenant_id, document, f"tool {name}", f"tools.{name}")


def remove_tool(tx: Tx, env: Environment, actor: Actor, tenant_id: str, name: str) -> int:
    """Takes a tool out of the policy: it is unknown from then on. Raises NotFound."""
    document = _today(tx, tenant_id)
    if document["tools"].pop(name, None) is None:
        raise NotFound("the policy has no such tool")
    return _apply(tx, env, actor, tenant_id, document, f"tool {name} removed", "")


def list_rules(tx: Tx, tenant_id: str) -> tuple[PlacedRule, ...]:
    """Every rule of today's policy, tool by tool."""
    return _rules(_today(tx, tenant_id))


def get_rule(tx: Tx, tenant_id: str, wanted: str) -> PlacedRule:
    """Raises NotFound."""
    return _find_rule(_today(tx, tenant_id), wanted)


def add_rule(tx: Tx, env: Environment, actor: Actor, tenant_id: str, tool: str, rule: Document) -> str:
    """Adds a rule, and its tool where the policy does not name it yet. Returns its id. Raises Conflict, Invalid."""
    document = _today(tx, tenant_id)
    rules = document["tools"].setdefault(tool, {"default": "review", "rules": []})["rules"]
    if any(other["name"] == rule.get("name") for other in rules):
        raise Conflict(
            "this tool has a rule of that name already: change it, or choose another name", code="name_taken"
        )
    rules.append(rule)
    path = f"tools.{tool}.rules[{len(rules) - 1}]"
    _apply(tx, env, actor, tenant_id, document, f"rule added to {tool}", path)
    return rule_id(tool, rule["name"])


def change_rule(
    tx: Tx, env: Environment, actor: Actor, tenant_id: str, wanted: str, changes: Mapping[str, object]
) -> str:
    """Changes a rule's fields; None takes a field away. Returns its id, which a new name changes. Raises NotFound."""
    document = _today(tx, tenant_id)
    found = _find_rule(document, wanted)
    changed = {name: value for name, value in {**found.document, **changes}.items() if value is not None}
    document["tools"][found.tool]["rules"][found.position] = changed
    path = f"tools.{found.tool}.rules[{found.position}]"
    _apply(tx, env, actor, tenant_id, document, f"rule of {found.tool} changed", path)
    return rule_id(found.tool, str(changed["name"]))


def remove_rule(tx: Tx, env: Environment, actor: Actor, tenant_id: str, wanted: str) -> int:
    """Returns the version in force. Raises NotFound."""
    document = _today(tx, tenant_id)
    found = _find_rule(document, wanted)
    del document["tools"][found.tool]["rules"][found.position]
    return _apply(tx, env, actor, tenant_id, document, f"rule removed from {found.tool}", "")


def _today(tx: Tx, tenant_id: str) -> Document:
    return _copied(current_policy(tx, tenant_id))


def _copied(current: Current) -> Document:
    document = document_of(current.policy)
    document["tools"] = {name: dict(tool) for name, tool in document["tools"].items()}
    return document


def _rules(document: Document) -> tuple[PlacedRule, ...]:
    return tuple(
        PlacedRule(rule_id(name, rule["name"]), name, position, rule)
        for name, tool in document["tools"].items()
        for position, rule in enumerate(tool["rules"])
    )


def _find_rule(document: Document, wanted: str) -> PlacedRule:
    for rule in _rules(document):
        if rule.id == wanted:
            return rule
    raise NotFound("there is no such rule: its id changes with its name and its tool")


def _apply(tx: Tx, env: Environment, actor: Actor, tenant_id: str, document: Document, note: str, path: str) -> int:
    version, _ = apply_policy(tx, env, actor, tenant_id, _parsed(document, path), note=note)
    return version


def _parsed(document: Document, path: str) -> Policy:
    """Raises PolicyError whose fields are named from ``path`` on: nobody has seen the whole text's lines."""
    text = _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(document, ensure_ascii=False))
    try:
        return parse_policy(text)
    except PolicyError as error:
        errors = tuple(
            FieldError(item.field.removeprefix(path).removeprefix("."), _POSITION.sub("", item.message, count=1))
            for item in error.errors
        )
        first = errors[0]
        raise PolicyError(f"{first.field}: {first.message}" if first.field else first.message, errors=errors) from None
