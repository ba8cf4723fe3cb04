"""Problem documents (RFC 9457)."""

from __future__ import annotations

from typing import Final

import msgspec

from stacksona_gate.domain.errors import HTTP_STATUS, FieldError, GateError

TITLES: Final = {
    400: "Malformed call",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    412: "Changed meanwhile",
    413: "Body too large",
    415: "Unsupported media type",
    422: "Invalid field",
    429: "Too many calls",
    500: "Fault in the gate",
    503: "Gate not available",
}

PROBLEM_TYPE: Final = b"application/problem+json"


class Problem(msgspec.Struct, omit_defaults=True):
    """The one shape of every error. ``detail`` says what to do next; ``code`` never changes its meaning."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    http_request_id: str
    errors: list[dict[str, str]] = []
    valid: bool | None = None
    reason: str | None = None


def problem(status: int, code: str, detail: str, request_id: str) -> Problem:
    return Problem(f"urn:stacksona:problem:{code}", TITLES.get(status, "Error"), status, detail, code, request_id)


def problem_of(error: GateError, request_id: str) -> Problem:
    """The problem document of an expected refusal."""
    made = problem(HTTP_STATUS[error.kind], error.code, error.detail, request_id)
    named = error.errors or ((FieldError("", error.detail),) if error.kind == "invalid" else ())
    made.errors = [{"field": item.field, "message": item.message} for item in named]
    return made
