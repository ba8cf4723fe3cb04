"""Reads a policy from its text."""

from __future__ import annotations

import re
from dataclasses import replace
from types import MappingProxyType

import yaml

from stacksona_gate.policy.document import MAX_NAME, Field, PolicyError, Problems, Section, read_document
from stacksona_gate.policy.dump import dump_policy, policy_document
from stacksona_gate.policy.folding import Unfoldable, fold
from stacksona_gate.policy.messages import shown
from stacksona_gate.policy.model import (
    ACTIONS,
    RULE_TYPES,
    Policy,
    Rule,
    RuleType,
    ToolPolicy,
    UnknownTool,
    WhenMissing,
    rule_id,
)
from stacksona_gate.policy.numbers import plain
from stacksona_gate.policy.patterns import MAX_PATTERN, PatternRefused, compile_pattern

__all__ = ["PolicyError", "dump_policy", "parse_policy", "policy_document", "policy_from"]

MAX_RULES = 10_000
MAX_VALUE = 1_000
MAX_SECONDS = 2_592_000
MIN_EXPIRES_IN = 30
MIN_APPROVAL_VALID_FOR = 60

_POLICY_KEYS = ("version", "unknown_tool", "tools")
_TOOL_KEYS = ("default", "expires_in", "approval_valid_for", "strict_binding", "rules")
_SHARED_KEYS = ("name", "type", "parameter", "action", "when_missing", "enabled")
_TYPE_KEYS: dict[RuleType, tuple[str, ...]] = {
    "upper_limit": ("limit",),
    "lower_limit": ("limit",),
    "between": ("low", "high"),
    "contains": ("values",),
    "regex": ("pattern",),
}
_RULE_KEYS = (*_SHARED_KEYS, *dict.fromkeys(key for keys in _TYPE_KEYS.values() for key in keys))
_UNKNOWN_TOOL: tuple[UnknownTool, ...] = ("review", "reject")
_WHEN_MISSING: tuple[WhenMissing, ...] = ("review", "skip")
_SPECIAL_PARAMETERS = ("$risk_level", "$workflow_name")
_BREAKING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_TOOL_NAME = re.compile(r"[A-Za-z0-9._:/-]{1,200}")


def parse_policy(text: str) -> Policy:
    """The policy that ``text``, YAML or JSON of at most 1 MB, says.

    Raises ``PolicyError`` with everything that is wrong at once. JSON has to hold characters beyond U+FFFF as they
    are, not as two ``\\u`` escapes.
    """
    problems = Problems()
    policy = policy_from(read_document(text, problems))
    problems.raise_any()
    return policy


def policy_from(field: Field) -> Policy:
    """The policy at ``field``. Worth something only while ``field.problems`` stays empty."""
    keys = field.section(_POLICY_KEYS)
    _check_version(keys.need("version", "1"))
    unknown = keys.find("unknown_tool")
    tools = keys.find("tools")
    read = [_tool(name, tool) for name, tool in tools.section().entries.items()] if tools else []
    if sum(len(tool.rules) for tool in read) > MAX_RULES:
        field.fail(f"more than {MAX_RULES} rules; join some of them")
    return Policy(
        unknown_tool=unknown.choice(_UNKNOWN_TOOL) or "reject" if unknown else "review",
        tools=MappingProxyType({tool.name: tool for tool in read}),
    )


def _check_version(version: Field | None) -> None:
    if version is not None and version.scalar() not in ("1", None):
        version.fail("only version 1 is known; write version: 1")


def _tool(name: str, field: Field) -> ToolPolicy:
    if not _TOOL_NAME.fullmatch(name):
        field.fail(f"{shown(name)} is no tool name; use 1 to {MAX_NAME} characters of A-Z a-z 0-9 . _ : / -")
    keys = field.section(_TOOL_KEYS)
    default, strict, rules = keys.find("default"), keys.find("strict_binding"), keys.find("rules")
    return ToolPolicy(
        name=name,
        default=default.choice(ACTIONS) or "reject" if default else "review",
        expires_in=_seconds(keys.find("expires_in"), MIN_EXPIRES_IN),
        approval_valid_for=_seconds(keys.find("approval_valid_for"), MIN_APPROVAL_VALID_FOR),
        strict_binding=bool(strict.boolean()) if strict else False,
        rules=_rules(name, rules) if rules else (),
    )


def _seconds(field: Field | None, low: int) -> int | None:
    return field.seconds(low, MAX_SECONDS) if field else None


def _rules(tool: str, field: Field) -> tuple[Rule, ...]:
    rules: dict[str, Rule] = {}
    items = field.items()
    for item in items:
        rule = _rule(tool, item)
        if rule.name in rules:
            item.fail(f"{tool} already has a rule {shown(rule.name)}; give this one another name")
        # A rule without a readable name has its problem noted already and gets a place of its own.
        rules[rule.name or item.path] = rule
    return tuple(rules.values())


def _rule(tool: str, field: Field) -> Rule:
    keys = field.section(_RULE_KEYS)
    name = _line(keys.need("name", "a few words"))
    parameter = _line(keys.need("parameter", "amount"))
    kind, action = keys.need("type", "upper_limit"), keys.need("action", "review")
    type_ = kind.choice(RULE_TYPES) if kind else None
    missing, enabled = keys.find("when_missing"), keys.find("enabled")
    rule = Rule(
        id=rule_id(tool, name),
        name=name,
        type=type_ or "regex",
        parameter=parameter,
        action=(action.choice(ACTIONS) if action else None) or "reject",
        when_missing=(missing.choice(_WHEN_MISSING) if missing else None) or "review",
        enabled=enabled.boolean() is not False if enabled else True,
    )
    _check_parameter(keys, rule)
    return _with_limits(keys, rule, type_) if type_ else rule


def _line(field: Field | None) -> str:
    text = field.text(MAX_NAME) if field else None
    if field is None or text is None:
        return ""
    if text != text.strip() or _BREAKING.search(text):
        field.fail("no spaces at the ends and no control characters, please; retype it")
    return text


def _check_parameter(keys: Section, rule: Rule) -> None:
    field = keys.find("parameter")
    if field is None or not rule.parameter:
        return
    if not rule.parameter.startswith("$"):
        if "" in rule.parameter.split("."):
            field.fail("a key of the path is empty; write it like amount or order.total")
    elif rule.parameter not in _SPECIAL_PARAMETERS:
        field.fail(f"{shown(rule.parameter)} is not known; write {' or '.join(_SPECIAL_PARAMETERS)}")
    elif rule.action == "allow":
        field.fail("what the agent says about itself cannot allow; make the action review or reject")


def _with_limits(keys: Section, rule: Rule, type_: RuleType) -> Rule:
    for key in _RULE_KEYS[len(_SHARED_KEYS) :]:
        stray = keys.find(key)
        if stray and key not in _TYPE_KEYS[type_]:
            stray.fail(f"{key} does not belong to {type_}, which has {' and '.join(_TYPE_KEYS[type_])}; remove it")
    if type_ == "between":
        return _with_range(keys, rule)
    if type_ == "contains":
        return replace(rule, values=_values(keys.need("values", "[fraud, chargeback]")))
    if type_ == "regex":
        return replace(rule, pattern=_pattern(keys.need("pattern", '"^(?:xau|btc)$"')))
    limit = keys.need("limit", "250")
    return replace(rule, limit=limit.decimal() if limit else None)


def _with_range(keys: Section, rule: Rule) -> Rule:
    lowest, highest = keys.need("low", "0.01"), keys.need("high", "50")
    low = lowest.decimal() if lowest else None
    high = highest.decimal() if highest else None
    if lowest and low is not None and high is not None and low > high:
        lowest.fail(f"low {shown(plain(low))} is over high {shown(plain(high))}; exchange them")
    return replace(rule, low=low, high=high)


def _values(field: Field | None) -> tuple[str, ...]:
    if field is None:
        return ()
    items = field.items()
    if not items and isinstance(field.node, yaml.SequenceNode):
        field.fail("no values; write at least one, like [fraud]")
    return tuple(value for item in items if (value := _value(item)))


def _value(field: Field) -> str | None:
    text = field.text(MAX_VALUE)
    try:
        if text is not None and not fold(text):
            field.fail("nothing is left of this value without invisible characters; it would be in every text")
    except Unfoldable as error:
        field.fail(f"{error}; write a shorter value")
    return text


def _pattern(field: Field | None) -> str | None:
    text = field.text(MAX_PATTERN) if field else None
    if field is None or text is None:
        return None
    try:
        compile_pattern(text)
    except PatternRefused as refused:
        field.fail(
            f"RE2 refuses this pattern: {shown(str(refused), 200)};"
            " write it without lookahead, backreferences and large repetitions"
        )
    return text
