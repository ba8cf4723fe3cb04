"""The agent API's table."""

from __future__ import annotations

from typing import Final

from stacksona_gate.api.agent import answers, bodies, decisions, requests
from stacksona_gate.api.routing import Operation, Parameter

_IDEMPOTENCY: Final = Parameter(
    "Idempotency-Key",
    "header",
    "Makes a retry safe: the same key and body get the first answer again",
    {"type": "string", "minLength": 1, "maxLength": 200},
)
_SELECTORS: Final = (
    Parameter("thread_id", "query", "A thread; name exactly one id", {"type": "string"}),
    Parameter("request_id", "query", "A request", {"type": "string"}),
    Parameter("task_id", "query", "A task: its newest request", {"type": "string"}),
)
_WAIT: Final = Parameter(
    "wait", "query", "Seconds to hold the answer while it is pending", {"type": "integer", "minimum": 1, "maximum": 60}
)
_KNOWN: Final = Parameter("If-None-Match", "header", "The ETag of the state that you know", {"type": "string"})
_LIST: Final = (
    Parameter("status", "query", "Only threads with this status", {"type": "string"}),
    Parameter("tool", "query", "Only threads of this tool", {"type": "string"}),
    Parameter("redeemed", "query", "Only threads redeemed, or not", {"type": "string", "enum": ["true", "false"]}),
    Parameter(
        "redeemable",
        "query",
        "Only approvals that are neither used nor over",
        {"type": "string", "enum": ["true"]},
    ),
    Parameter("since", "query", "Only threads opened at or after this time", {"type": "string", "format": "date-time"}),
    Parameter("limit", "query", "Threads per page", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}),
    Parameter("cursor", "query", "next_cursor of the page before", {"type": "string", "pattern": "^[0-9]{1,18}$"}),
)
_READ: Final = (400, 401, 403, 404, 422, 429, 503)
_WRITE: Final = (400, 401, 403, 404, 409, 413, 415, 422, 429, 503)

OPERATIONS: Final = (
    Operation(
        "POST",
        "/api/agent/tasks/{task_id}/requests",
        requests.create_request,
        "Requests",
        "agent",
        body=bodies.RequestBody,
        forms=True,
        answer=answers.Decision,
        errors=_WRITE,
        parameters=(_IDEMPOTENCY,),
        route="ask",
    ),
    Operation(
        "GET",
        "/api/agent/decisions",
        decisions.get_decision,
        "Decisions",
        "agent",
        answer=answers.PolledDecision,
        errors=_READ,
        parameters=(*_SELECTORS, _WAIT, _KNOWN),
        route="poll",
    ),
    Operation(
        "POST",
        "/api/agent/approvals/validate",
        decisions.validate_approval,
        "Approvals",
        "agent",
        body=bodies.ValidateBody,
        forms=True,
        answer=answers.Redemption,
        errors=(400, 401, 403, 413, 415, 422, 503),
        route="validate",
    ),
    Operation(
        "GET",
        "/api/agent/decisions/stream",
        decisions.stream_decisions,
        "Decisions",
        "agent",
        media_type="text/event-stream",
        errors=_READ,
        parameters=_SELECTORS,
        route="stream",
    ),
    Operation(
        "GET",
        "/api/agent/threads",
        decisions.list_threads,
        "Decisions",
        "agent",
        answer=answers.DecisionPage,
        errors=(400, 401, 403, 422, 503),
        parameters=_LIST,
    ),
    Operation(
        "POST",
        "/api/agent/tasks/{task_id}/events",
        requests.create_event,
        "Tasks",
        "agent",
        body=bodies.EventBody,
        forms=True,
        answer=answers.EventCreated,
        status=201,
        errors=_WRITE,
        parameters=(_IDEMPOTENCY,),
    ),
    Operation(
        "POST",
        "/api/agent/tasks/{task_id}/outcomes",
        requests.create_outcome,
        "Tasks",
        "agent",
        body=bodies.OutcomeBody,
        forms=True,
        answer=answers.OutcomeCreated,
        status=201,
        errors=_WRITE,
        parameters=(_IDEMPOTENCY,),
    ),
    Operation(
        "POST",
        "/api/agent/tasks/{task_id}/requests/{thread_id}/cancellation",
        requests.cancel_request,
        "Requests",
        "agent",
        answer=answers.PolledDecision,
        errors=(401, 403, 404, 409, 422, 503),
    ),
)
