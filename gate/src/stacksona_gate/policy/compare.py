"""What is different between two policies, in lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from stacksona_gate.policy.dump import duration, rule_entries, tool_entries
from stacksona_gate.policy.messages import shown
from stacksona_gate.policy.model import Policy, Rule, ToolPolicy


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. ``tool`` and ``rule`` are names, None where the change is not about one; ``line`` says it."""

    kind: Literal["added", "removed", "changed", "moved"]
    tool: str | None
    rule: str | None
    line: str

    def __str__(self) -> str:
        return self.line


def compare(old: Policy, new: Policy) -> tuple[Change, ...]:
    """The steps from ``old`` to ``new``, tools by name. Empty exactly when the policies are equal."""
    return tuple(_changes(old, new))


def _changes(old: Policy, new: Policy) -> Iterator[Change]:
    if old.unknown_tool != new.unknown_tool:
        yield Change("changed", None, None, f"unknown_tool: {old.unknown_tool} -> {new.unknown_tool}")
    for name in sorted(old.tools.keys() | new.tools.keys()):
        before, after = old.tools.get(name), new.tools.get(name)
        if before and after:
            yield from _tool_changes(before, after)
        elif after:
            yield from _whole_tool(after, "added")
        elif before:
            yield from _whole_tool(before, "removed")


def _whole_tool(tool: ToolPolicy, kind: Literal["added", "removed"]) -> Iterator[Change]:
    yield Change(kind, tool.name, None, f"{tool.name}: tool {kind}, {_listed(tool_entries(tool))}")
    for rule in tool.rules:
        yield _whole_rule(tool.name, rule, kind)


def _tool_changes(old: ToolPolicy, new: ToolPolicy) -> Iterator[Change]:
    for step in _steps(tool_entries(old), tool_entries(new)):
        yield Change("changed", new.name, None, f"{new.name}: {step}")
    before = {rule.name: rule for rule in old.rules}
    after = {rule.name: rule for rule in new.rules}
    for name, rule in before.items():
        if name not in after:
            yield _whole_rule(old.name, rule, "removed")
    for name, rule in after.items():
        yield from _rule_changes(new.name, before.get(name), rule)
    if [name for name in before if name in after] != [name for name in after if name in before]:
        yield Change("moved", new.name, None, f"{new.name}: rules in another order, which changes no answer")


def _rule_changes(tool: str, old: Rule | None, new: Rule) -> Iterator[Change]:
    if old is None:
        yield _whole_rule(tool, new, "added")
        return
    for step in _steps(rule_entries(old), rule_entries(new)):
        yield Change("changed", tool, new.name, f"{tool}: rule {shown(new.name)}: {step}")


def _whole_rule(tool: str, rule: Rule, kind: Literal["added", "removed"]) -> Change:
    entries = {key: value for key, value in rule_entries(rule).items() if key != "name"}
    return Change(kind, tool, rule.name, f"{tool}: rule {shown(rule.name)} {kind}, {_listed(entries)}")


def _steps(old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[str]:
    for key in dict.fromkeys((*old, *new)):
        if old.get(key) != new.get(key):
            yield f"{key}: {_said(key, old)} -> {_said(key, new)}"


def _listed(entries: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {_said(key, entries)}" for key in entries)


def _said(key: str, entries: Mapping[str, object]) -> str:
    value = entries.get(key, _DEFAULTS.get(key))
    match value:
        case None:
            return "not set"
        case bool():
            return "true" if value else "false"
        case int():
            return duration(value)
        case list():
            return shown(", ".join(value), 200)
        case _:
            return shown(str(value), 200)


_DEFAULTS: Mapping[str, object] = {"when_missing": "review", "enabled": True, "strict_binding": False}
