"""What an answer means, before it is read: usable, worth another try, or no answer of the gate at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from stacksona._canonical import read_object
from stacksona._decisions import Decision, read_decision
from stacksona._errors import (
    CallRefused,
    Conflict,
    Forbidden,
    NotFound,
    RedemptionRefused,
    Unauthenticated,
    UnexpectedAnswer,
)
from stacksona._wire import JSON, PROBLEM, Answer, Fault

_REFUSALS: Final = {401: Unauthenticated, 403: Forbidden, 404: NotFound, 409: Conflict}
_PASSING: Final = frozenset({408, 425, 429})
_PREFIX: Final = "stacksona-"
_RETRY_AFTER_MOST: Final = 3600.0


class Unreadable(Exception):
    """An answer of the gate, perhaps, that did not arrive whole: worth another try."""


def call_id(key: str) -> str:
    """The ``X-Request-Id`` of a call, which its answer carries back."""
    return _PREFIX + key


def trouble(answer: Answer | Fault) -> str | None:
    """Why the call should be made again; None when there is an answer to read."""
    if isinstance(answer, Fault):
        return answer.reason
    if answer.status >= 500 or answer.status in _PASSING:
        return f"status {answer.status}"
    return None


def may_have_happened(answer: Answer | Fault) -> bool:
    """Whether a call that gave trouble may have been carried out. A proxy's 503 says nothing about it; the gate's
    own does: nothing was done."""
    if isinstance(answer, Fault):
        return answer.was_sent
    if answer.status in (429, 503) and answer.media_type == PROBLEM:
        try:
            return read_object(answer.body).get("status") != answer.status
        except ValueError:
            return True
    return True


def retry_after(answer: Answer | Fault) -> float:
    """Seconds that the gate asks to let pass; 0 when it does not."""
    text = "" if isinstance(answer, Fault) else answer.headers.get("retry-after", "")
    return min(float(text), _RETRY_AFTER_MOST) if text.isascii() and text.isdigit() else 0.0


def members_of(answer: Answer, sent_id: str, *statuses: int) -> dict[str, Any]:
    """The answer's JSON object.

    Raises CallRefused or RedemptionRefused for a refusal of the gate, UnexpectedAnswer for what is no answer of it,
    Unreadable for what did not arrive whole.
    """
    if 400 <= answer.status < 500:
        raise _refusal(answer, sent_id)
    if 300 <= answer.status < 400:
        raise UnexpectedAnswer(f"a redirect ({answer.status}), which is never followed: check the gate's address")
    if 200 <= answer.status < 300 and answer.media_type != JSON:
        raise Unreadable("the answer is not JSON: something between here and the gate answered")
    if answer.status not in statuses:
        raise UnexpectedAnswer(f"status {answer.status} is no answer to this: check the gate's address")
    require_own(answer, sent_id)
    try:
        return read_object(answer.body)
    except ValueError:
        raise Unreadable("the answer's JSON is broken or cut") from None


def require_own(answer: Answer, sent_id: str) -> None:
    """A proxy may put an id of its own. One of another call of this package is the answer to another question, from a
    cache; and the gate leaves it out of no answer. Raises UnexpectedAnswer."""
    given = answer.headers.get("x-request-id", "")
    if not given:
        raise UnexpectedAnswer("an answer without X-Request-Id is not the gate's: nothing may run on it")
    if given != sent_id and given.startswith(_PREFIX):
        raise UnexpectedAnswer("this is the answer to another call: nothing may run on it")


def decision_of(answer: Answer, sent_id: str) -> Decision:
    """Raises as ``members_of`` does."""
    decision = read_decision(members_of(answer, sent_id, 200), answer.headers.get("etag"))
    if answer.headers.get("x-gate-decision", decision.status) != decision.status:
        raise UnexpectedAnswer("the answer contradicts its header: nothing may run on it")
    return decision


def require(found: Mapping[str, object], **wanted: object) -> None:
    """Raises UnexpectedAnswer when the answer is about something else. None is not compared."""
    for name, value in wanted.items():
        if value is not None and found.get(name) != value:
            raise UnexpectedAnswer(f"the answer is about another {name}: nothing may run on it")


def _refusal(answer: Answer, sent_id: str) -> Exception:
    try:
        problem = read_object(answer.body) if answer.media_type == PROBLEM else {}
    except ValueError:
        return Unreadable("the refusal's JSON is broken or cut")
    if problem.get("status") != answer.status:
        return UnexpectedAnswer(f"status {answer.status} without the gate's reason: check the gate's address")
    require_own(answer, sent_id)
    detail = "".join(one for one in str(problem.get("detail", ""))[:500] if one.isprintable())
    if problem.get("code") == "approval_refused":
        refused = RedemptionRefused(f"the approval is not good: {detail}")
        refused.reason = str(problem.get("reason", "unknown"))
        return refused
    return _call_refused(answer.status, problem, detail)


def _call_refused(status: int, problem: dict[str, Any], detail: str) -> CallRefused:
    error = _REFUSALS.get(status, CallRefused)(f"{status}: {detail}")
    error.status, error.code = status, str(problem.get("code", ""))
    rows = problem.get("errors")
    rows = rows if isinstance(rows, list) else []
    error.errors = [{str(k): str(v) for k, v in row.items()} for row in rows if isinstance(row, dict)]
    return error
