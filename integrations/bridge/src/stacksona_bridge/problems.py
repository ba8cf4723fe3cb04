"""Problem documents (RFC 9457), of the gate's shape. Nothing here ever looks like a decision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from stacksona import (
    CallRefused,
    GateError,
    GateUnavailable,
    InvalidRequest,
    RedemptionLost,
    RedemptionRefused,
    Unauthenticated,
    UnexpectedAnswer,
)
from starlette.responses import Response

TITLES: Final = {
    400: "Malformed call",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Body not in time",
    409: "Conflict",
    413: "Body too large",
    415: "Unsupported media type",
    422: "Invalid field",
    429: "Too many calls",
    500: "Fault in the bridge",
    502: "No usable answer",
    503: "Not available",
}
PROBLEM_TYPE: Final = "application/problem+json"


class Problem(Exception):
    """A refusal, as its caller sees it. ``detail`` says what to do next and holds no secret."""

    def __init__(self, status: int, code: str, detail: str, *, retry_after: int | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after = retry_after
        self.more = more

    def response(self, request_id: str) -> Response:
        body = {
            "type": f"urn:stacksona:problem:{self.code}",
            "title": TITLES.get(self.status, "Error"),
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "http_request_id": request_id,
            **self.more,
        }
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        if self.status == 401:
            headers["www-authenticate"] = 'Bearer realm="stacksona-bridge"'
        return Response(msgspec.json.encode(body), self.status, headers, PROBLEM_TYPE)


def invalid(field: str, message: str) -> Problem:
    """422 about one field."""
    return Problem(422, "invalid", f"{field}: {message}", errors=[{"field": field, "message": message}])


@contextmanager
def gate_faults() -> Iterator[None]:
    """What the client of the gate raises, as what the bridge answers. A fault of the gate is 502 or 503."""
    try:
        yield
    except GateError as error:
        raise problem_of(error) from error


def problem_of(error: GateError) -> Problem:
    """What the caller is told of an error of the gate's client."""
    if isinstance(error, RedemptionRefused):
        return Problem(403, "approval_refused", str(error), valid=False, reason=error.reason)
    if isinstance(error, RedemptionLost):
        return Problem(502, "redemption_lost", str(error), valid=False, is_spent=error.is_spent)
    if isinstance(error, InvalidRequest):
        field = str(error).partition(":")[0]
        return Problem(422, "invalid", str(error), errors=[{"field": field, "message": str(error)}])
    if isinstance(error, Unauthenticated):
        return Problem(502, "gate_refuses_bridge", "the gate does not accept the bridge's key: see BRIDGE_GATE_KEY")
    if isinstance(error, CallRefused):
        return _refused(error)
    if isinstance(error, UnexpectedAnswer):
        return Problem(502, "gate_answer", f"the gate's answer is none, and nothing may run on it: {error}")
    if isinstance(error, GateUnavailable):
        return Problem(503, "gate_unavailable", f"nothing was decided: {error}", retry_after=5)
    return Problem(502, "gate_fault", "the gate could not be asked: nothing may run")


def _refused(error: CallRefused) -> Problem:
    detail = str(error).partition(": ")[2] or str(error)
    more: dict[str, Any] = {"errors": [dict(one) for one in error.errors]} if error.errors else {}
    return Problem(error.status, error.code or "refused", detail, **more)
