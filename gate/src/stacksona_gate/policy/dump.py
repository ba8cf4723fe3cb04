"""Writes a policy down, in one canonical form: as YAML to keep and compare, as a document for JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from stacksona_gate.policy.model import Policy, Rule, ToolPolicy
from stacksona_gate.policy.numbers import plain

type Entry = str | int | bool | list[str]

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_PLAIN = re.compile(r"[A-Za-z$][A-Za-z0-9_. /-]*(?<! )")
_RESERVED = frozenset(("true", "false", "yes", "no", "on", "off", "null", "y", "n"))


def dump_policy(policy: Policy) -> str:
    """``policy`` as YAML. ``parse_policy`` reads an equal policy from it; equal policies give equal tool entries."""
    head = f"version: 1\nunknown_tool: {policy.unknown_tool}\n"
    if not policy.tools:
        return f"{head}tools: {{}}\n"
    return f"{head}tools:\n{''.join(_tool_lines(tool) for tool in policy.tools.values())}"


def policy_document(policy: Policy) -> dict[str, object]:
    """``policy`` as a document of JSON types. Limits are strings, durations whole seconds.

    Its JSON text (not escaped to ASCII) is a text that ``parse_policy`` reads an equal policy from.
    """
    tools = {name: _tool_document(tool) for name, tool in policy.tools.items()}
    return {"version": 1, "unknown_tool": policy.unknown_tool, "tools": tools}


def rule_entries(rule: Rule) -> dict[str, Entry]:
    """What is written of ``rule``, by key. Numbers are strings of their digits; what is at its default is left out."""
    entries: dict[str, Entry] = {"name": rule.name, "type": rule.type, "parameter": rule.parameter}
    for key, number in (("limit", rule.limit), ("low", rule.low), ("high", rule.high)):
        if number is not None:
            entries[key] = plain(number)
    if rule.values:
        entries["values"] = list(rule.values)
    if rule.pattern is not None:
        entries["pattern"] = rule.pattern
    entries["action"] = rule.action
    if rule.when_missing != "review":
        entries["when_missing"] = rule.when_missing
    if not rule.enabled:
        entries["enabled"] = False
    return entries


def tool_entries(tool: ToolPolicy) -> dict[str, Entry]:
    """What is written of ``tool`` besides its rules, by key; what is at its default is left out, ``default`` never."""
    entries: dict[str, Entry] = {"default": tool.default}
    if tool.expires_in is not None:
        entries["expires_in"] = tool.expires_in
    if tool.approval_valid_for is not None:
        entries["approval_valid_for"] = tool.approval_valid_for
    if tool.strict_binding:
        entries["strict_binding"] = True
    return entries


def duration(seconds: int) -> str:
    """``seconds`` with the largest unit that divides it: 90 is ``90s``, 86400 is ``1d``."""
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
    return f"{seconds // size}{unit}"


def _tool_document(tool: ToolPolicy) -> Mapping[str, object]:
    return {**tool_entries(tool), "rules": [rule_entries(rule) for rule in tool.rules]}


def _tool_lines(tool: ToolPolicy) -> str:
    lines = [f"  {_quoted(tool.name)}:"]
    lines += [f"    {key}: {_tool_value(value)}" for key, value in tool_entries(tool).items()]
    if tool.rules:
        lines += ["    rules:", *(f"      - {{{_rule_line(rule)}}}" for rule in tool.rules)]
    return "\n".join(lines) + "\n"


def _tool_value(value: Entry) -> str:
    # bool first: it is an int to Python.
    if isinstance(value, bool):
        return "true" if value else "false"
    return duration(value) if isinstance(value, int) else str(value)


def _rule_line(rule: Rule) -> str:
    return ", ".join(f"{key}: {_rule_value(key, value)}" for key, value in rule_entries(rule).items())


def _rule_value(key: str, value: Entry) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_quoted(item) for item in value)}]"
    if key in ("limit", "low", "high", "enabled"):
        return str(value).lower()
    return _quoted(str(value))


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    # JSON's quoting is YAML's; what cannot be seen is escaped as well, as YAML would break lines at some of it.
    return "".join(character if character.isprintable() else _escape(character) for character in _json(text))


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
