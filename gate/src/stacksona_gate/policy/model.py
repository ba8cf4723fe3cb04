"""What a policy says, as values. A policy is read by ``parse_policy``; building one by hand skips its checks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Literal

type RuleType = Literal["upper_limit", "lower_limit", "between", "contains", "regex"]
type Action = Literal["allow", "review", "reject"]
type WhenMissing = Literal["review", "skip"]
type UnknownTool = Literal["review", "reject"]

RULE_TYPES: tuple[RuleType, ...] = ("upper_limit", "lower_limit", "between", "contains", "regex")
ACTIONS: tuple[Action, ...] = ("allow", "review", "reject")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of one tool.

    ``parameter`` is a dotted path of own keys into the payload, or ``$risk_level`` or ``$workflow_name``.
    ``upper_limit`` and ``lower_limit`` use ``limit``, ``between`` uses ``low`` and ``high`` (both included),
    ``contains`` uses ``values``, ``regex`` uses ``pattern``; what a type does not use is None or empty.
    ``when_missing`` says what a missing parameter does: ``review`` makes the answer at least a review,
    ``skip`` leaves the rule out. A rule with ``enabled`` False is never looked at.
    """

    id: str
    name: str
    type: RuleType
    parameter: str
    action: Action
    when_missing: WhenMissing = "review"
    enabled: bool = True
    limit: Decimal | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    values: tuple[str, ...] = ()
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class ToolPolicy:
    """What holds for one tool. ``default`` answers when no rule matches.

    ``expires_in`` is how long a thread waits for people, ``approval_valid_for`` how long an approval can be
    redeemed; both in whole seconds, None where the tool sets nothing. ``strict_binding`` makes redeeming ask for
    the tool's name and the payload or its digest.
    """

    name: str
    default: Action = "review"
    expires_in: int | None = None
    approval_valid_for: int | None = None
    strict_binding: bool = False
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """A tenant's whole policy: its tools by name, and what a tool without an entry gets."""

    unknown_tool: UnknownTool = "review"
    tools: Mapping[str, ToolPolicy] = field(default_factory=lambda: MappingProxyType({}))


EMPTY_POLICY = Policy()


def rule_id(tool: str, name: str) -> str:
    """The id of the rule ``name`` of ``tool``: the same in every version of the policy and on every installation."""
    digest = hashlib.sha256(f"{tool}\0{name}".encode()).hexdigest()
    return f"rul_{digest[:16]}"
