"""Configuration as people's programs see it. No hash, no wrapped secret and no key has a place in these shapes."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from stacksona_gate.api.admin.bodies import Action, Role, RuleType, WhenMissing
from stacksona_gate.domain.agents import Key
from stacksona_gate.domain.people import PersonalToken, User
from stacksona_gate.domain.times import rfc3339, rfc3339_or_none
from stacksona_gate.domain.webhooks import Endpoint
from stacksona_gate.service.administration import AgentView, VerifierView
from stacksona_gate.service.policy_edits import PlacedRule, Tool


class KeyHint(msgspec.Struct):
    """A key without what makes it one. `expires_at` is the end of a rotation's overlap."""

    id: str
    hint: str
    created_at: str
    expires_at: str | None
    revoked_at: str | None


class WebhookState(msgspec.Struct):
    """How an agent's webhook does. The secret before the one in use signs beside it until `previous_secret_until`."""

    failing_since: str | None
    switched_off_at: str | None
    switched_off_because: str | None
    previous_secret_until: str | None


class AgentAnswer(msgspec.Struct, kw_only=True):
    """An agent. `reviewers` are the people who decide for it; none: every reviewer."""

    id: str
    name: str
    state: Literal["active", "paused"]
    api_access: bool
    signed_approvals: bool
    transport: Literal["polling", "webhook"]
    webhook_url: str | None
    expires_in: int | None
    requests_per_second: int | None
    reviewers: list[str]
    created_at: str
    keys: list[KeyHint]
    webhook: WebhookState | None


class AgentSecrets(AgentAnswer, kw_only=True):
    """An agent with what is shown now and never again."""

    key: str | msgspec.UnsetType = msgspec.UNSET
    webhook_secret: str | msgspec.UnsetType = msgspec.UNSET


class AgentList(msgspec.Struct):
    """All agents, by name."""

    agents: list[AgentAnswer]


class VerifierAnswer(msgspec.Struct, kw_only=True):
    """A verifier."""

    id: str
    name: str
    tools: list[str]
    enabled: bool
    created_at: str
    disabled_at: str | None
    keys: list[KeyHint]


class VerifierCreated(VerifierAnswer, kw_only=True):
    """A verifier with its key, shown now and never again."""

    key: str


class VerifierList(msgspec.Struct):
    """All verifiers, by name."""

    verifiers: list[VerifierAnswer]


class RuleAnswer(msgspec.Struct, kw_only=True):
    """A rule of today's policy. Numbers are strings of their digits."""

    id: str
    tool: str
    name: str
    type: RuleType
    parameter: str
    action: Action
    when_missing: WhenMissing = "review"
    enabled: bool = True
    limit: str | None = None
    low: str | None = None
    high: str | None = None
    values: list[str] | None = None
    pattern: str | None = None


class RuleList(msgspec.Struct):
    """Every rule of today's policy, tool by tool."""

    rules: list[RuleAnswer]


class ToolAnswer(msgspec.Struct, kw_only=True):
    """A tool that the policy names, that agents asked about (`first_seen_at`), or both."""

    name: str
    in_policy: bool
    default: Action | None
    expires_in: int | None
    approval_valid_for: int | None
    strict_binding: bool
    rules: list[RuleAnswer]
    first_seen_at: str | None
    first_agent_id: str | None


class ToolList(msgspec.Struct):
    """The policy's tools and the discovered ones, by name."""

    tools: list[ToolAnswer]


class PolicyAnswer(msgspec.Struct):
    """The policy in force. Version 0 is the empty one that every workspace begins with."""

    version: int
    document: dict[str, Any]


class PolicyAuthor(msgspec.Struct):
    """Who put a version in force."""

    kind: str
    id: str


class PolicyVersionSummary(msgspec.Struct, kw_only=True):
    """A version that is or was in force."""

    version: int
    note: str
    author: PolicyAuthor
    created_at: str


class PolicyVersionAnswer(PolicyVersionSummary, kw_only=True):
    """A version with its document."""

    document: dict[str, Any]


class PolicyVersionList(msgspec.Struct):
    """All versions, newest first."""

    versions: list[PolicyVersionSummary]


class PolicyStep(msgspec.Struct):
    """One difference between two policies; `line` says it in words."""

    kind: Literal["added", "removed", "changed", "moved"]
    tool: str | None
    rule: str | None
    line: str


class PolicyChanged(msgspec.Struct):
    """The version now in force and what is different in it; no changes: no new version was made."""

    version: int
    changes: list[PolicyStep]


class PolicyDifference(msgspec.Struct):
    """The steps from one version to another."""

    old: int = msgspec.field(name="from")
    new: int = msgspec.field(name="to")
    changes: list[PolicyStep] = []


class UserAnswer(msgspec.Struct):
    """Somebody who may sign in."""

    id: str
    email: str
    name: str
    role: Role
    active: bool
    created_at: str


class UserList(msgspec.Struct):
    """All users, by mail address."""

    users: list[UserAnswer]


class TokenAnswer(msgspec.Struct, kw_only=True):
    """A personal token without what makes it one."""

    id: str
    name: str
    created_at: str
    revoked_at: str | None


class TokenCreated(TokenAnswer, kw_only=True):
    """A personal token, shown now and never again."""

    token: str


class TokenList(msgspec.Struct):
    """A person's tokens, oldest first."""

    tokens: list[TokenAnswer]


class AuditEntry(msgspec.Struct):
    """A row of the log. `leaf` is what the log's tree holds; `private` has the committed values and their salts."""

    seq: int
    leaf: dict[str, Any]
    private: dict[str, Any]


class AuditPage(msgspec.Struct):
    """A page of the log, newest first."""

    entries: list[AuditEntry]
    next_cursor: str | None


class LimitsAnswer(msgspec.Struct):
    """Limits in force; durations are seconds."""

    held_requests: int
    discovered_tools: int
    thread_lasts: int
    approval_lasts: int


class SigningKeyAnswer(msgspec.Struct):
    """The public half of a key that approvals are or were signed with."""

    kid: str
    public: str
    created_at: str
    retired_at: str | None


class SettingsAnswer(msgspec.Struct):
    """What the gate runs with."""

    version: str
    public_url: str
    limits: LimitsAnswer
    signing_keys: list[SigningKeyAnswer]


def agent_fields(view: AgentView) -> dict[str, Any]:
    """The fields of an AgentAnswer."""
    agent = view.agent
    same = ("id", "name", "state", "api_access", "signed_approvals", "transport", "webhook_url", "expires_in")
    return {
        **{name: getattr(agent, name) for name in same},
        "requests_per_second": agent.requests_per_second,
        "reviewers": list(agent.reviewers),
        "created_at": rfc3339(agent.created_at),
        "keys": [_hint(key) for key in view.keys],
        "webhook": _webhook(view.endpoint),
    }


def _webhook(endpoint: Endpoint | None) -> WebhookState | None:
    if endpoint is None or endpoint.url is None:
        return None
    return WebhookState(
        rfc3339_or_none(endpoint.failing_since),
        rfc3339_or_none(endpoint.switched_off_at),
        endpoint.switched_off_because,
        rfc3339_or_none(endpoint.previous_until),
    )


def agent_answer(view: AgentView) -> AgentAnswer:
    return AgentAnswer(**agent_fields(view))


def verifier_fields(view: VerifierView) -> dict[str, Any]:
    """The fields of a VerifierAnswer."""
    verifier = view.verifier
    return {
        "id": verifier.id,
        "name": verifier.name,
        "tools": list(verifier.tools),
        "enabled": verifier.disabled_at is None,
        "created_at": rfc3339(verifier.created_at),
        "disabled_at": rfc3339_or_none(verifier.disabled_at),
        "keys": [_hint(key) for key in view.keys],
    }


def verifier_answer(view: VerifierView) -> VerifierAnswer:
    return VerifierAnswer(**verifier_fields(view))


def _hint(key: Key) -> KeyHint:
    ends, revoked = rfc3339_or_none(key.expires_at), rfc3339_or_none(key.revoked_at)
    return KeyHint(key.id, key.hint, rfc3339(key.created_at), ends, revoked)


def rule_answer(rule: PlacedRule) -> RuleAnswer:
    return RuleAnswer(id=rule.id, tool=rule.tool, **rule.document)


def tool_answer(tool: Tool) -> ToolAnswer:
    settings = tool.document or {}
    return ToolAnswer(
        name=tool.name,
        in_policy=tool.document is not None,
        default=settings.get("default"),
        expires_in=settings.get("expires_in"),
        approval_valid_for=settings.get("approval_valid_for"),
        strict_binding=settings.get("strict_binding", False),
        rules=[rule_answer(rule) for rule in tool.rules],
        first_seen_at=rfc3339_or_none(tool.first_seen_at),
        first_agent_id=tool.first_agent_id,
    )


def user_answer(user: User) -> UserAnswer:
    role: Any = user.role
    return UserAnswer(user.id, user.email, user.name, role, user.state == "active", rfc3339(user.created_at))


def token_fields(token: PersonalToken) -> dict[str, Any]:
    """The fields of a TokenAnswer."""
    revoked = rfc3339_or_none(token.revoked_at)
    return {"id": token.id, "name": token.name, "created_at": rfc3339(token.created_at), "revoked_at": revoked}


def token_answer(token: PersonalToken) -> TokenAnswer:
    return TokenAnswer(**token_fields(token))
