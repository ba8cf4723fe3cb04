"""What is tried at each address. ``$kind`` stands for the other side's id, ``!kind`` for one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

ASK: Final = {"tool_name": "issue_refund", "subject": "a refund", "payload": {"amount": 20}}


@dataclass(frozen=True, slots=True)
class Try:
    """One way to call an address. ``path``: what stands in its fields where it is not the other's id of that name."""

    query: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    form: Mapping[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    path: Mapping[str, str] = field(default_factory=dict)
    names: bool = False
    """It gives something of one's own a name that the other has too: done last, and each time with another outcome."""


PLAIN: Final = (Try(),)
PATH_IDS: Final[Mapping[str, str]] = {
    "thread_id": "$thread_id",
    "task_id": "$task_id",
    "attachment_id": "$attachment_id",
    "agent_id": "$agent_id",
    "verifier_id": "$verifier_id",
    "name": "$tool",
    "rule_id": "$rule_id",
    "user_id": "$user_id",
    "token_id": "$token_id",
    "delivery_id": "$delivery_id",
    "notice_id": "$notice_id",
    "endpoint_id": "$agent_id",
    "version": "$version",
    "tenant": "$tenant",
    "digest": "$task_id",
}
"""The fields of paths, and whose ids they take."""


def _body(*bodies: Any, **path: str) -> tuple[Try, ...]:
    return tuple(Try(json=body, path=path) for body in bodies)


def _named(*bodies: Any) -> tuple[Try, ...]:
    return tuple(Try(json=body, names=True) for body in bodies)


def _form(**fields: str) -> tuple[Try, ...]:
    return (Try(form=fields),)


def _query(*queries: Mapping[str, str]) -> tuple[Try, ...]:
    return tuple(Try(query=query) for query in queries)


_SELECTORS: Final = ({"thread_id": "$thread_id"}, {"request_id": "$request_id"}, {"request_id": "$allowed_request"})
_VERDICT: Final = {"verdict": "approve", "message": "x", "revision": 1}
_SETTINGS: Final = {"reminders": [50], "outcome_within": 3600}

CASES: Final[dict[str, tuple[Try, ...]]] = {
    # Agents and verifiers
    "POST /api/agent/tasks/{task_id}/requests": (
        Try(json=ASK),
        Try(json=ASK, headers={"Idempotency-Key": "of both"}),
        *_named(ASK | {"tool_name": "$tool"}),
    ),
    "GET /api/agent/decisions": (
        *_query(*_SELECTORS, {"task_id": "$task_id"}, {"thread_id": "$approved_thread"}),
        Try(query={"thread_id": "$thread_id", "wait": "1"}, headers={"If-None-Match": '"0"'}),
    ),
    "GET /api/agent/decisions/stream": _query(*_SELECTORS, {"task_id": "$task_id"}),
    "GET /api/agent/threads": _query({}, {"cursor": "$seq"}, {"tool": "$tool"}),
    "POST /api/agent/approvals/validate": (
        *_body({"task_id": "$task_id-small", "signature": "$token"}),
        *_body({"task_id": "!task_id", "signature": "$token", "tool_name": "issue_refund", "payload": {"amount": 10}}),
    ),
    "POST /api/agent/tasks/{task_id}/events": _body(
        {"event_type": "step", "event_summary": "x", "thread_id": "$thread_id"},
        {"event_type": "revision", "thread_id": "$thread_id", "payload": {"amount": 1}},
    ),
    "POST /api/agent/tasks/{task_id}/outcomes": _body(
        {"status": "executed", "request_id": "$allowed_request"},
        {"status": "executed", "request_id": "$request_id"},
        {"status": "failed", "thread_id": "$approved_thread"},
    ),
    "POST /api/agent/tasks/{task_id}/requests/{thread_id}/cancellation": PLAIN,
    # People
    "GET /api/review/threads": _query({}, {"agent": "$agent_id"}, {"agent": "$agent_name"}, {"q": "$thread_id"}),
    "GET /api/review/threads/{thread_id}": (*PLAIN, Try(path={"thread_id": "$approved_thread"})),
    "GET /api/review/threads/{thread_id}/attachments/{attachment_id}": PLAIN,
    "PUT /api/review/threads/{thread_id}/claim": PLAIN,
    "DELETE /api/review/threads/{thread_id}/claim": PLAIN,
    "POST /api/review/threads/{thread_id}/reviews": _body(_VERDICT, _VERDICT | {"payload": {"amount": 1}}),
    "POST /api/review/threads/{thread_id}/notes": _body({"text": "x"}),
    "GET /api/review/threads/{thread_id}/export": _query({}, {"format": "html", "attachments": "true"}),
    # Admins
    "GET /api/admin/outcomes": _query({}, {"state": "flagged"}),
    "GET /api/admin/settings/timing": PLAIN,
    "PUT /api/admin/settings/timing": _body(_SETTINGS),
    "GET /api/admin/agents": PLAIN,
    "POST /api/admin/agents": (
        *_body({"name": "bot ?fresh", "reviewers": ["$user_id"]}),
        *_named({"name": "$agent_name"}),
    ),
    "GET /api/admin/agents/{agent_id}": (*PLAIN, Try(path={"agent_id": "$agent_name"})),
    "PATCH /api/admin/agents/{agent_id}": (
        *_body({"name": "theirs"}),
        *_body({"reviewers": ["$user_id"]}, agent_id="!agent_id"),
    ),
    "POST /api/admin/agents/{agent_id}/key": _body({}, {"overlap": 60}),
    "PUT /api/admin/agents/{agent_id}/pause": PLAIN,
    "DELETE /api/admin/agents/{agent_id}/pause": PLAIN,
    "GET /api/admin/verifiers": PLAIN,
    "POST /api/admin/verifiers": _body({"name": "tool ?fresh", "tools": ["$tool"]}),
    "GET /api/admin/verifiers/{verifier_id}": PLAIN,
    "PATCH /api/admin/verifiers/{verifier_id}": _body({"enabled": False}),
    "GET /api/admin/policy": PLAIN,
    "PUT /api/admin/policy": _named(
        {"version": 1, "unknown_tool": "review", "tools": {"$tool": {"default": "review"}}}
    ),
    "GET /api/admin/policy/versions": PLAIN,
    "GET /api/admin/policy/versions/{version}": PLAIN,
    "POST /api/admin/policy/versions/{version}/revert": PLAIN,
    "GET /api/admin/policy/diff": _query({"from": "$version"}, {"from": "0", "to": "$version"}),
    "GET /api/admin/tools": PLAIN,
    "GET /api/admin/tools/{name:path}": PLAIN,
    "PUT /api/admin/tools/{name:path}": _named({"default": "review"}),
    "DELETE /api/admin/tools/{name:path}": PLAIN,
    "GET /api/admin/rules": _query({}, {"tool": "$tool"}),
    "POST /api/admin/rules": _named(
        {"tool": "$tool", "name": "r", "type": "upper_limit", "parameter": "a", "limit": 1, "action": "review"}
    ),
    "GET /api/admin/rules/{rule_id}": PLAIN,
    "PATCH /api/admin/rules/{rule_id}": _body({"enabled": False}),
    "DELETE /api/admin/rules/{rule_id}": PLAIN,
    "GET /api/admin/users": PLAIN,
    "POST /api/admin/users": _body({"email": "?fresh@example.com", "role": "auditor", "password": "long enough it is"}),
    "GET /api/admin/users/{user_id}": PLAIN,
    "PATCH /api/admin/users/{user_id}": _body({"role": "auditor"}, {"password": "long enough it is"}),
    "GET /api/admin/users/{user_id}/tokens": PLAIN,
    "POST /api/admin/users/{user_id}/tokens": _body({"name": "x"}),
    "DELETE /api/admin/users/{user_id}/tokens/{token_id}": (*PLAIN, Try(path={"user_id": "me"})),
    "GET /api/admin/audit": _query({}, {"cursor": "$seq"}),
    "GET /api/admin/audit/checkpoint": PLAIN,
    "GET /api/admin/audit/proof": _query({"index": "$index"}, {"index": "0", "size": "$index"}),
    "GET /api/admin/audit/publishing": PLAIN,
    "PUT /api/admin/audit/publishing": _body({"every_minutes": 0}),
    "GET /api/admin/audit/consistency": _query({"from": "$index"}, {"from": "1", "to": "$index"}),
    "GET /api/admin/audit/export": _query({}, {"format": "csv"}),
    "GET /api/admin/redaction": PLAIN,
    "PUT /api/admin/redaction": _body({}),
    "POST /api/admin/redaction/preview": _body({"payload": {"id": "$thread_id"}}),
    "GET /api/admin/retention": PLAIN,
    "PUT /api/admin/retention": _body({"retention_days": 0}),
    "GET /api/admin/webhook-deliveries": _query({}, {"agent": "$agent_id"}, {"cursor": "$seq"}),
    "POST /api/admin/webhook-deliveries/replay": _body({"state": "dead", "agent": "$agent_id"}),
    "GET /api/admin/webhook-deliveries/{delivery_id}": PLAIN,
    "POST /api/admin/webhook-deliveries/{delivery_id}/replay": PLAIN,
    "POST /api/admin/agents/{agent_id}/webhook-test": PLAIN,
    "POST /api/admin/agents/{agent_id}/webhook-secret": _body({}),
    "PUT /api/admin/agents/{agent_id}/webhook-switch-off": PLAIN,
    "DELETE /api/admin/agents/{agent_id}/webhook-switch-off": PLAIN,
    "GET /api/admin/workspace-webhook": PLAIN,
    "PUT /api/admin/workspace-webhook": _body({"url": "https://ops.example/hook"}),
    "DELETE /api/admin/workspace-webhook": PLAIN,
    "PUT /api/admin/workspace-webhook/switch-off": PLAIN,
    "DELETE /api/admin/workspace-webhook/switch-off": PLAIN,
    "GET /api/admin/notices": PLAIN,
    "DELETE /api/admin/notices/{notice_id}": PLAIN,
    "GET /api/admin/settings": PLAIN,
    "POST /api/admin/settings/signing-key": PLAIN,
    # The operator's
    "GET /api/installation/tenants": PLAIN,
    "POST /api/installation/tenants": _body({"name": "a-new-one"}),
    "GET /api/installation/tenants/{tenant}": PLAIN,
    "PATCH /api/installation/tenants/{tenant}": _body({"name": "another-name"}),
    "PUT /api/installation/tenants/{tenant}/limits": _body({"requests_per_second": 1}),
    "PUT /api/installation/tenants/{tenant}/suspension": PLAIN,
    "DELETE /api/installation/tenants/{tenant}/suspension": PLAIN,
    "POST /api/installation/tenants/{tenant}/setup-link": PLAIN,
    # Around it
    "GET /.well-known/jwks.json": PLAIN,
    "GET /healthz": PLAIN,
    "GET /readyz": PLAIN,
    "GET /version": PLAIN,
    "GET /metrics": PLAIN,
    "GET /openapi.json": PLAIN,
    "GET /docs": PLAIN,
    "GET /docs/style.css": PLAIN,
    # Pages
    "GET /": PLAIN,
    "GET /sign-in": _query({}, {"next": "/inbox/$thread_id"}),
    "POST /sign-in": _form(workspace="!name", email="?fresh@both.example", password="wrong"),
    "POST /sign-out": _form(),
    "GET /setup": PLAIN,
    "POST /setup": _form(code="0" * 64, email="they@both.example", password="long enough it is"),
    "GET /static/{digest}/{name}": PLAIN,
    "GET /outcomes": PLAIN,
    "GET /inbox": _query({}, {"agent": "$agent_id"}, {"q": "$thread_id"}, {"folder": "approved"}),
    "GET /inbox/{thread_id}": PLAIN,
    "GET /inbox/{thread_id}/state": PLAIN,
    "GET /inbox/{thread_id}/attachments/{attachment_id}": PLAIN,
    "POST /inbox/{thread_id}/reviews": _form(verdict="approve", message="x", revision="1", edited=""),
    "POST /inbox/{thread_id}/notes": _form(note="x"),
    "POST /inbox/{thread_id}/claim": _form(),
    "POST /inbox/{thread_id}/release": _form(),
    "POST /inbox/{thread_id}/deliveries/{delivery_id}/replay": _form(),
    "POST /notices/{notice_id}/dismissal": _form(),
    "POST /webhooks/{endpoint_id}/switch-on": _form(),
}
STREAMS: Final = frozenset({"GET /api/review/stream", "GET /inbox/stream"})
"""Never end by themselves; they have a test of their own."""
OWN_NAMES: Final = frozenset(
    {
        "POST /api/agent/tasks/{task_id}/requests",
        "PUT /api/admin/tools/{name:path}",
        "GET /static/{digest}/{name}",
    }
)
"""Addresses in which the caller chooses the id: the other's is as good as any."""
