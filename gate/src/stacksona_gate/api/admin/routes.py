"""The admin API's table. Admins may do everything; auditors may GET; personal tokens are their owners' own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from msgspec import Struct

from stacksona_gate.api.admin import (
    agents,
    answers,
    audit,
    bodies,
    exports,
    log,
    notices,
    outcomes,
    policy,
    redaction,
    retention,
    settings,
    timing,
    tools,
    users,
    verifiers,
    webhook_answers as sent,
    webhooks,
)
from stacksona_gate.api.fields import PAGE, PAGE_MOST
from stacksona_gate.api.http import Call, Reply
from stacksona_gate.api.people import PeopleContext
from stacksona_gate.api.routing import IF_MATCH, Operation, Parameter
from stacksona_gate.domain.webhooks import STATES

_Handler = Callable[[PeopleContext, Call], Awaitable[Reply]]

_LIST: Final = (400, 401, 403, 422, 503)
_READ: Final = (400, 401, 403, 404, 422, 503)
_CREATE: Final = (400, 401, 403, 409, 413, 415, 422, 503)
_CHANGE: Final = (400, 401, 403, 404, 409, 412, 413, 415, 422, 503)
_SWITCH: Final = (401, 403, 404, 409, 412, 422, 503)
_VERSION: Final = {"type": "integer", "minimum": 0, "maximum": policy.VERSION_MOST}
_NOTE: Final = Parameter(
    "note", "query", "Why it changes, kept with the version", {"type": "string", "maxLength": policy.NOTE_MOST}
)
_FROM: Final = Parameter("from", "query", "The version to compare with", _VERSION, required=True)
_TO: Final = Parameter("to", "query", "The version to compare; without it the one in force", _VERSION)
_OF_TOOL: Final = Parameter("tool", "query", "Only rules of this tool", {"type": "string"})
_MOMENT: Final = {"type": "string", "format": "date-time"}
_EXPORT: Final = (
    Parameter(
        "format",
        "query",
        "jsonl, which can be verified, or csv to read",
        {"type": "string", "enum": ["jsonl", "csv"], "default": "jsonl"},
    ),
    Parameter("from", "query", "Entries from this time on", _MOMENT),
    Parameter("to", "query", "Entries before this time", _MOMENT),
)
_SENT: Final = (
    Parameter("state", "query", "Only deliveries in this state", {"type": "string", "enum": [*STATES]}),
    Parameter("agent", "query", "Only those of this agent, by id or name, or `workspace`", {"type": "string"}),
)
_PAGE: Final = (
    Parameter(
        "limit",
        "query",
        "Entries per page",
        {"type": "integer", "minimum": 1, "maximum": PAGE_MOST, "default": PAGE},
    ),
    Parameter("cursor", "query", "next_cursor of the page before", {"type": "string", "pattern": "^[0-9]{1,18}$"}),
)

_SIZE: Final = {"type": "integer", "minimum": 0, "maximum": log.SIZE_MOST}
_INCLUSION: Final = (
    Parameter("index", "query", "Which entry: its place in the log, from 0 on", _SIZE, required=True),
    Parameter("size", "query", "Among the first so many entries; without it those of the newest checkpoint", _SIZE),
)
_CONSISTENCY: Final = (
    Parameter("from", "query", "The size of a checkpoint saved earlier", _SIZE, required=True),
    Parameter("to", "query", "The size of a later one; without it that of the newest", _SIZE),
)
_DOUBTS: Final = (
    Parameter(
        "state", "query", "Which of the two", {"type": "string", "enum": list(outcomes.STATES), "default": "unknown"}
    ),
    _PAGE[0],
    Parameter(
        "cursor",
        "query",
        "next_cursor of the page before",
        {"type": "string", "pattern": r"^[0-9]{1,18}(\.[0-9]{1,18})?$"},
    ),
)


def _get(
    path: str, handler: _Handler, tag: str, answer: Any, *parameters: Parameter, errors: tuple[int, ...] = _READ
) -> Operation:
    return Operation(
        "GET", f"/api/admin/{path}", handler, tag, "person", answer=answer, errors=errors, parameters=parameters
    )


def _create(path: str, handler: _Handler, tag: str, body: type[Struct], answer: Any) -> Operation:
    return Operation(
        "POST", f"/api/admin/{path}", handler, tag, "person", body=body, answer=answer, status=201, errors=_CREATE
    )


def _change(method: str, path: str, handler: _Handler, tag: str, body: type[Struct] | None, answer: Any) -> Operation:
    return Operation(
        method,
        f"/api/admin/{path}",
        handler,
        tag,
        "person",
        body=body,
        answer=answer,
        errors=_SWITCH if body is None else _CHANGE,
        parameters=(IF_MATCH,),
    )


_AGENTS: Final = (
    _get("agents", agents.get_agents, "Agents", answers.AgentList, errors=_LIST),
    _create("agents", agents.create_agent, "Agents", bodies.NewAgent, answers.AgentSecrets),
    _get("agents/{agent_id}", agents.get_agent, "Agents", answers.AgentAnswer),
    _change("PATCH", "agents/{agent_id}", agents.change_agent, "Agents", bodies.AgentPatch, answers.AgentSecrets),
    Operation(
        "POST",
        "/api/admin/agents/{agent_id}/key",
        agents.rotate_key,
        "Agents",
        "person",
        body=bodies.KeyRotation,
        answer=answers.AgentSecrets,
        status=201,
        errors=_CHANGE,
        parameters=(IF_MATCH,),
    ),
    _change("PUT", "agents/{agent_id}/pause", agents.pause, "Agents", None, answers.AgentAnswer),
    _change("DELETE", "agents/{agent_id}/pause", agents.resume, "Agents", None, answers.AgentAnswer),
)

_VERIFIERS: Final = (
    _get("verifiers", verifiers.get_verifiers, "Verifiers", answers.VerifierList, errors=_LIST),
    _create("verifiers", verifiers.create_verifier, "Verifiers", bodies.NewVerifier, answers.VerifierCreated),
    _get("verifiers/{verifier_id}", verifiers.get_verifier, "Verifiers", answers.VerifierAnswer),
    _change(
        "PATCH",
        "verifiers/{verifier_id}",
        verifiers.change_verifier,
        "Verifiers",
        bodies.VerifierPatch,
        answers.VerifierAnswer,
    ),
)

_POLICY: Final = (
    _get("policy", policy.get_policy, "Policy", answers.PolicyAnswer, errors=_LIST),
    Operation(
        "PUT",
        "/api/admin/policy",
        policy.put_policy,
        "Policy",
        "person",
        body=bodies.PolicyDocument,
        answer=answers.PolicyChanged,
        errors=_CHANGE,
        parameters=(_NOTE, IF_MATCH),
    ),
    _get("policy/versions", policy.get_versions, "Policy", answers.PolicyVersionList, errors=_LIST),
    _get("policy/versions/{version}", policy.get_version, "Policy", answers.PolicyVersionAnswer),
    _change("POST", "policy/versions/{version}/revert", policy.revert, "Policy", None, answers.PolicyChanged),
    _get("policy/diff", policy.get_difference, "Policy", answers.PolicyDifference, _FROM, _TO),
    _get("tools", tools.get_tools, "Policy", answers.ToolList, errors=_LIST),
    _get("tools/{name:path}", tools.get_tool, "Policy", answers.ToolAnswer),
    _change("PUT", "tools/{name:path}", tools.put_tool, "Policy", bodies.ToolSettings, answers.ToolAnswer),
    _change("DELETE", "tools/{name:path}", tools.delete_tool, "Policy", None, answers.PolicyChanged),
    _get("rules", tools.get_rules, "Policy", answers.RuleList, _OF_TOOL, errors=_LIST),
    _create("rules", tools.create_rule, "Policy", bodies.NewRule, answers.RuleAnswer),
    _get("rules/{rule_id}", tools.get_rule, "Policy", answers.RuleAnswer),
    _change("PATCH", "rules/{rule_id}", tools.change_rule, "Policy", bodies.RulePatch, answers.RuleAnswer),
    _change("DELETE", "rules/{rule_id}", tools.delete_rule, "Policy", None, answers.PolicyChanged),
)

_USERS: Final = (
    _get("users", users.get_users, "Users", answers.UserList, errors=_LIST),
    _create("users", users.create_user, "Users", bodies.NewUser, answers.UserAnswer),
    _get("users/{user_id}", users.get_user, "Users", answers.UserAnswer),
    _change("PATCH", "users/{user_id}", users.change_user, "Users", bodies.UserPatch, answers.UserAnswer),
    _get("users/{user_id}/tokens", users.get_tokens, "Users", answers.TokenList),
    Operation(
        "POST",
        "/api/admin/users/{user_id}/tokens",
        users.create_token,
        "Users",
        "person",
        body=bodies.NewToken,
        answer=answers.TokenCreated,
        status=201,
        errors=(*_CREATE, 404),
    ),
    Operation(
        "DELETE",
        "/api/admin/users/{user_id}/tokens/{token_id}",
        users.delete_token,
        "Users",
        "person",
        answer=answers.TokenAnswer,
        errors=(401, 403, 404, 503),
    ),
)

_TIME: Final = (
    _get("outcomes", outcomes.get_outcomes, "Outcomes", outcomes.DoubtfulOutcomePage, *_DOUBTS, errors=_LIST),
    _get("settings/timing", timing.get_timing, "Audit and settings", timing.TimingBody, errors=_LIST),
    _change("PUT", "settings/timing", timing.put_timing, "Audit and settings", timing.TimingBody, timing.TimingBody),
)

_LOG: Final = (
    _get("audit/checkpoint", log.get_checkpoint, "Audit and settings", log.CheckpointAnswer, errors=(401, 403, 503)),
    _get("audit/proof", log.get_proof, "Audit and settings", log.InclusionAnswer, *_INCLUSION),
    _get("audit/publishing", log.get_publishing, "Audit and settings", log.PublishingBody, errors=(401, 403, 503)),
    _change(
        "PUT", "audit/publishing", log.put_publishing, "Audit and settings", log.PublishingBody, log.PublishingBody
    ),
    _get("audit/consistency", log.get_consistency, "Audit and settings", log.ConsistencyAnswer, *_CONSISTENCY),
)

_PRIVACY: Final = (
    _get("redaction", redaction.get_redaction, "Privacy", redaction.RedactionSettings, errors=(401, 403, 503)),
    _change(
        "PUT",
        "redaction",
        redaction.put_redaction,
        "Privacy",
        redaction.RedactionSettings,
        redaction.RedactionSettings,
    ),
    Operation(
        "POST",
        "/api/admin/redaction/preview",
        redaction.preview_redaction,
        "Privacy",
        "person",
        body=redaction.RedactionSample,
        answer=redaction.RedactionPreview,
        errors=(400, 401, 403, 413, 415, 422, 503),
    ),
    _get("retention", retention.get_retention, "Privacy", retention.RetentionSettings, errors=(401, 403, 503)),
    _change(
        "PUT",
        "retention",
        retention.put_retention,
        "Privacy",
        retention.RetentionSettings,
        retention.RetentionSettings,
    ),
)

_WEBHOOKS: Final = (
    _get("webhook-deliveries", webhooks.get_deliveries, "Webhooks", sent.DeliveryList, *_SENT, *_PAGE, errors=_LIST),
    Operation(
        "POST",
        "/api/admin/webhook-deliveries/replay",
        webhooks.replay_many,
        "Webhooks",
        "person",
        body=sent.Replay,
        answer=sent.Replayed,
        errors=(400, 401, 403, 404, 409, 413, 415, 422, 503),
    ),
    _get("webhook-deliveries/{delivery_id}", webhooks.get_delivery, "Webhooks", sent.DeliveryDetails),
    Operation(
        "POST",
        "/api/admin/webhook-deliveries/{delivery_id}/replay",
        webhooks.replay,
        "Webhooks",
        "person",
        answer=sent.DeliveryAnswer,
        errors=(401, 403, 404, 409, 503),
    ),
    Operation(
        "POST",
        "/api/admin/agents/{agent_id}/webhook-test",
        webhooks.send_test,
        "Webhooks",
        "person",
        answer=sent.DeliveryAnswer,
        status=201,
        errors=(401, 403, 404, 409, 503),
    ),
    Operation(
        "POST",
        "/api/admin/agents/{agent_id}/webhook-secret",
        webhooks.rotate_secret,
        "Webhooks",
        "person",
        body=sent.SecretRotation,
        answer=sent.WebhookSecret,
        status=201,
        errors=_CHANGE,
        parameters=(IF_MATCH,),
    ),
    _change("PUT", "agents/{agent_id}/webhook-switch-off", webhooks.switch_off, "Webhooks", None, answers.AgentAnswer),
    _change(
        "DELETE", "agents/{agent_id}/webhook-switch-off", webhooks.switch_on, "Webhooks", None, answers.AgentAnswer
    ),
    _get(
        "workspace-webhook", webhooks.get_workspace_webhook, "Webhooks", sent.WorkspaceWebhook, errors=(401, 403, 503)
    ),
    _change(
        "PUT",
        "workspace-webhook",
        webhooks.put_workspace_webhook,
        "Webhooks",
        sent.WorkspaceWebhookBody,
        sent.WorkspaceWebhook,
    ),
    _change("DELETE", "workspace-webhook", webhooks.delete_workspace_webhook, "Webhooks", None, sent.WorkspaceWebhook),
    _change(
        "PUT",
        "workspace-webhook/switch-off",
        webhooks.switch_workspace_webhook_off,
        "Webhooks",
        None,
        sent.WorkspaceWebhook,
    ),
    _change(
        "DELETE",
        "workspace-webhook/switch-off",
        webhooks.switch_workspace_webhook_on,
        "Webhooks",
        None,
        sent.WorkspaceWebhook,
    ),
    _get("notices", notices.get_notices, "Webhooks", sent.NoticeList, errors=(401, 403, 503)),
    Operation(
        "DELETE",
        "/api/admin/notices/{notice_id}",
        notices.delete_notice,
        "Webhooks",
        "person",
        answer=sent.NoticeAnswer,
        errors=(401, 403, 404, 503),
    ),
)

_INSTALLATION: Final = (
    _get("audit", audit.get_audit, "Audit and settings", answers.AuditPage, *_PAGE, errors=_LIST),
    Operation(
        "GET",
        "/api/admin/audit/export",
        exports.get_export,
        "Audit and settings",
        "person",
        media_type="application/jsonl",
        errors=(400, 401, 403, 422, 429, 503),
        parameters=_EXPORT,
    ),
    _get("settings", settings.get_settings, "Audit and settings", answers.SettingsAnswer, errors=(401, 403, 503)),
    Operation(
        "POST",
        "/api/admin/settings/signing-key",
        settings.create_signing_key,
        "Audit and settings",
        "person",
        answer=answers.SigningKeyAnswer,
        status=201,
        errors=(401, 403, 503),
    ),
)

ADMIN_OPERATIONS: Final = (
    *_TIME,
    *_AGENTS,
    *_VERIFIERS,
    *_POLICY,
    *_USERS,
    *_LOG,
    *_PRIVACY,
    *_WEBHOOKS,
    *_INSTALLATION,
)
