"""What admins send. Unknown fields are refused; in a change, a field that is left out stays as it is."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from stacksona_gate.domain.ids import TOOL_NAME

Name = Annotated[str, Meta(min_length=1, max_length=200)]
WebhookUrl = Annotated[str, Meta(max_length=2000, description="Begins with https:// or http://")]
Seconds = Annotated[int, Meta(ge=30, le=2_592_000)]
PerSecond = Annotated[int, Meta(ge=0, le=100_000)]
UserIds = Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=1000)]
ToolName = Annotated[str, Meta(pattern=f"^{TOOL_NAME.pattern}$", min_length=1, max_length=200)]
ToolNames = Annotated[list[ToolName], Meta(min_length=1, max_length=1000)]
Role = Literal["admin", "reviewer", "auditor"]
Email = Annotated[str, Meta(min_length=3, max_length=320, pattern=r"^\s*\S+@\S+\s*$")]
Password = Annotated[str, Meta(min_length=12, max_length=1024)]
Action = Literal["allow", "review", "reject"]
RuleType = Literal["upper_limit", "lower_limit", "between", "contains", "regex"]
WhenMissing = Literal["review", "skip"]
Number = Annotated[str, Meta(max_length=64, description="A plain decimal, such as 250 or 0.01")] | int | float
Values = Annotated[list[str], Meta(max_length=10_000)]


class NewAgent(msgspec.Struct, forbid_unknown_fields=True):
    """An agent to make."""

    name: Name
    api_access: bool = True
    signed_approvals: bool = True
    webhook_url: WebhookUrl | None = None
    expires_in: Seconds | None = None
    requests_per_second: PerSecond | None = None
    reviewers: UserIds = []


class AgentPatch(msgspec.Struct, forbid_unknown_fields=True):
    """What to change of an agent. null takes a webhook, an expiry or a limit away."""

    name: Name | UnsetType = UNSET
    api_access: bool | UnsetType = UNSET
    signed_approvals: bool | UnsetType = UNSET
    webhook_url: WebhookUrl | UnsetType | None = UNSET
    expires_in: Seconds | UnsetType | None = UNSET
    requests_per_second: PerSecond | UnsetType | None = UNSET
    reviewers: UserIds | UnsetType = UNSET


class KeyRotation(msgspec.Struct, forbid_unknown_fields=True):
    """How long the old keys go on working: seconds, by default not at all."""

    overlap: Annotated[int, Meta(ge=0, le=2_592_000)] = 0


class NewVerifier(msgspec.Struct, forbid_unknown_fields=True):
    """A verifier to make: it redeems approvals for these tools and does nothing else."""

    name: Name
    tools: ToolNames


class VerifierPatch(msgspec.Struct, forbid_unknown_fields=True):
    """What to change of a verifier."""

    tools: ToolNames | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class RuleFields(msgspec.Struct, forbid_unknown_fields=True):
    """A rule. `upper_limit` and `lower_limit` have `limit`, `between` has `low` and `high`, `contains` has `values`,
    `regex` has `pattern`."""

    name: Name
    type: RuleType
    parameter: Annotated[str, Meta(min_length=1, max_length=200, description="A dotted path into the payload")]
    action: Action
    when_missing: WhenMissing = "review"
    enabled: bool = True
    limit: Number | None = None
    low: Number | None = None
    high: Number | None = None
    values: Values | None = None
    pattern: str | None = None


class NewRule(RuleFields, kw_only=True):
    """A rule to add to a tool. A tool that the policy does not name yet is added, with `review` as its default."""

    tool: ToolName


class RulePatch(msgspec.Struct, forbid_unknown_fields=True):
    """What to change of a rule. null takes a field away; a new name gives the rule a new id."""

    name: Name | UnsetType = UNSET
    type: RuleType | UnsetType = UNSET
    parameter: Annotated[str, Meta(min_length=1, max_length=200)] | UnsetType = UNSET
    action: Action | UnsetType = UNSET
    when_missing: WhenMissing | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    limit: Number | UnsetType | None = UNSET
    low: Number | UnsetType | None = UNSET
    high: Number | UnsetType | None = UNSET
    values: Values | UnsetType | None = UNSET
    pattern: str | UnsetType | None = UNSET


class ToolSettings(msgspec.Struct, forbid_unknown_fields=True):
    """What holds for a tool. Without `rules` its rules stay as they are; durations are seconds."""

    default: Action
    expires_in: Seconds | None = None
    approval_valid_for: Annotated[int, Meta(ge=60, le=2_592_000)] | None = None
    strict_binding: bool = False
    rules: list[RuleFields] | UnsetType = UNSET


class NewUser(msgspec.Struct, forbid_unknown_fields=True):
    """Somebody who may sign in. Without a name the mail address stands for one."""

    email: Email
    role: Role
    password: Password
    name: Annotated[str, Meta(max_length=200)] = ""


class UserPatch(msgspec.Struct, forbid_unknown_fields=True):
    """What to change of a user. A new role or password, or `active: false`, ends their sessions."""

    name: Name | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    active: bool | UnsetType = UNSET
    password: Password | UnsetType = UNSET


class NewToken(msgspec.Struct, forbid_unknown_fields=True):
    """A personal token to make; the name says what it is for."""

    name: Name


class PolicyDocument(msgspec.Struct):
    """A whole policy. `tools` maps names to settings with their rules; limits may be numbers or strings."""

    version: Literal[1]
    unknown_tool: Literal["review", "reject"] = "review"
    tools: dict[ToolName, ToolSettings] = {}
