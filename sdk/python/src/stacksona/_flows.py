"""The agent API as flows: each call with its retries, its checks and its one meaning. No I/O in here.

Every call is safe to send again. A question, an event and an outcome carry an ``Idempotency-Key``; a second redemption
of the same token is refused; a thread is cancelled once. What differs is what is known when no answer came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from stacksona._answers import (
    Unreadable,
    call_id,
    decision_of,
    may_have_happened,
    members_of,
    require,
    require_own,
    retry_after,
    trouble,
)
from stacksona._canonical import canonicalize, digest_of
from stacksona._decisions import Decision, Fields, Outcome, Redemption, read_redemption, waiting
from stacksona._errors import (
    Conflict,
    GateError,
    GateUnavailable,
    InvalidRequest,
    RedemptionLost,
    RedemptionRefused,
    UnexpectedAnswer,
    WaitStopped,
)
from stacksona._patience import Patience
from stacksona._requests import (
    ActionRequest,
    json_body,
    require_idempotency_key,
    require_request_id,
    require_task_id,
    require_thread_id,
    require_tool_name,
)
from stacksona._wire import JSON, Answer, Call, Fault, Seams, Sleep, Steps, send

DECISIONS: Final = "/api/agent/decisions"
VALIDATE: Final = "/api/agent/approvals/validate"
JWKS: Final = "/.well-known/jwks.json"
HOLD_MOST: Final = 55
"""Seconds that an answer is held at most: proxies give up at 60."""
BETWEEN_POLLS: Final = 1.0
"""Seconds that a poll takes at least: whoever answers at once without news is not asked without a pause."""

T = TypeVar("T")
Read = Callable[[Answer, str], T]
"""Reads an answer to the call with this id."""


@dataclass(frozen=True)
class Flows:
    """``patience``: seconds of nothing but trouble until a call is given up. ``timeout``: seconds without a byte."""

    seams: Seams
    patience: float
    timeout: float

    # Asking

    def request_decision(self, asked: ActionRequest) -> Steps[Decision]:
        digest, body = asked.digest(), asked.body()
        path = _task_path(asked.task_id, "requests")
        call = self._post(path, body, asked.idempotency_key or self.seams.fresh_key())
        decision = yield from self._exchange(call, decision_of)
        require(vars(decision), task_id=asked.task_id)
        if decision.revision == 1 and not decision.edited:
            require(vars(decision), payload_digest=digest)
        return decision

    def get_decision(
        self, *, thread_id: str | None = None, request_id: str | None = None, task_id: str | None = None
    ) -> Steps[Decision]:
        given = {"thread_id": thread_id, "request_id": request_id, "task_id": task_id}
        named = {name: value for name, value in given.items() if value is not None}
        if len(named) != 1:
            raise InvalidRequest("name exactly one of thread_id, request_id and task_id")
        ((name, value),) = named.items()
        {"thread_id": require_thread_id, "request_id": require_request_id, "task_id": require_task_id}[name](value)
        decision = yield from self._exchange(Call("GET", DECISIONS, self.timeout, ((name, value),)), decision_of)
        return _read_back(decision, named)

    # Waiting

    def wait_for_decision(
        self,
        thread_id: str,
        *,
        timeout: float | None = None,
        ignore_changes: bool = False,
        should_stop: Callable[[], bool] | None = None,
    ) -> Steps[Decision]:
        """Long polls until the decision is final. Raises PendingReview when ``timeout`` seconds are over."""
        require_thread_id(thread_id)
        clock = self.seams.clock
        end = None if timeout is None else clock() + timeout
        patience = Patience(self.seams, self.patience, until=end)
        known: Decision | None = None
        while True:
            if should_stop is not None and should_stop():
                raise _about(WaitStopped("the wait was stopped"), known)
            began = clock()
            answer = yield from self._poll(thread_id, known, end)
            try:
                found = _polled(answer, known, thread_id)
            except (Unreadable, _Troubled) as error:
                yield from self._rest(patience, answer, error, known)
                continue
            patience.renew()
            if not found.is_pending:
                return found
            if (found.revision_requested and not ignore_changes) or (end is not None and clock() >= end):
                raise waiting(found)
            if known is not None and clock() - began < BETWEEN_POLLS:
                yield Sleep(BETWEEN_POLLS if end is None else max(0.0, min(BETWEEN_POLLS, end - clock())))
            known = found

    def _poll(self, thread_id: str, known: Decision | None, end: float | None) -> Steps[_Sent | Fault]:
        """The first poll is answered at once; later ones when there is news, or after the hold."""
        hold = HOLD_MOST if end is None else min(HOLD_MOST, int(end - self.seams.clock()))
        query: tuple[tuple[str, str], ...] = (("thread_id", thread_id),)
        headers = {}
        timeout = self.timeout
        if known is not None and known.etag is not None and hold > 0:
            query = (*query, ("wait", str(hold)))
            headers["if-none-match"] = known.etag
            timeout += hold
        return (yield from self._send(Call("GET", DECISIONS, timeout, query, headers)))

    def _rest(self, patience: Patience, answer: _Sent | Fault, error: Exception, known: Decision | None) -> Steps[None]:
        pause = patience.pause(retry_after(_bare(answer)))
        if pause is None:
            raise _about(_given_up(error), known)
        yield Sleep(pause)

    # Redeeming

    def validate_approval(
        self,
        token: str,
        *,
        task_id: str,
        tool_name: str,
        payload: Mapping[str, Any] | None,
        digest: str | None,
        request_id: str | None = None,
    ) -> Steps[Redemption]:
        """Raises RedemptionRefused, and RedemptionLost when the call may have redeemed and the answer was lost."""
        if payload is None and digest is None:
            raise InvalidRequest("send the payload, or payload_digest: what is about to run must be what was approved")
        wanted = digest if payload is None else digest_of(canonicalize(dict(payload), "payload"))
        if digest is not None and digest != wanted:
            raise InvalidRequest("payload and payload_digest are not of the same payload")
        fields = {
            "task_id": require_task_id(task_id),
            "signature": token,
            "tool_name": require_tool_name(tool_name),
            "payload": None if payload is None else dict(payload),
            "payload_digest": wanted,
        }

        def read(answer: Answer, sent_id: str) -> Redemption:
            redemption = read_redemption(members_of(answer, sent_id, 200))
            named = {"task_id": task_id, "tool_name": tool_name, "request_id": request_id}
            require(vars(redemption), **named, payload_digest=wanted)
            if _digest_or_none(redemption.payload) != wanted:
                raise UnexpectedAnswer("the redeemed payload is not the approved one: nothing may run on it")
            return redemption

        call = Call("POST", VALIDATE, self.timeout, (), _JSON_BODY, json_body(fields))
        return (yield from self._redeem(call, read))

    def _redeem(self, call: Call, read: Read[Redemption]) -> Steps[Redemption]:
        """Sent again after a fault: at most one answer ever says valid, so having it is proof. Having lost it is none:
        ``already_used`` may then be our own lost redemption or somebody else's, and the action must not run."""
        patience, is_lost = Patience(self.seams, self.patience), False
        while True:
            answer = yield from self._send(call)
            try:
                return _read(answer, read)
            except (Unreadable, _Troubled) as error:
                is_lost = is_lost or may_have_happened(_bare(answer))
                pause = patience.pause(retry_after(_bare(answer)))
                if pause is None:
                    raise (_lost(is_spent=False) if is_lost else _given_up(error)) from None
                yield Sleep(pause)
            except GateError as error:
                if not is_lost and not isinstance(error, UnexpectedAnswer):
                    raise
                is_spent = isinstance(error, RedemptionRefused) and error.reason == "already_used"
                raise _lost(is_spent=is_spent) from error

    # Telling

    def log_event(
        self, task_id: str, event_type: str, summary: str, payload: Mapping[str, Any] | None, thread_id: str | None
    ) -> Steps[str]:
        if event_type == "revision":
            raise InvalidRequest("event_type: a revision is sent with log_revision")
        fields = {
            "event_type": event_type,
            "event_summary": summary,
            "payload": None if payload is None else dict(payload),
            "thread_id": None if thread_id is None else require_thread_id(thread_id),
        }
        call = self._post(_task_path(task_id, "events"), json_body(fields), self.seams.fresh_key())
        return Fields((yield from self._exchange(call, _created))).text("event_id")

    def log_revision(self, task_id: str, thread_id: str, fields: Mapping[str, object]) -> Steps[Decision]:
        if all(value is None for value in fields.values()):
            raise InvalidRequest("a revision changes subject, preview, summary, payload or attachments")
        body = json_body({"event_type": "revision", "thread_id": require_thread_id(thread_id), **fields})
        call = self._post(_task_path(task_id, "events"), body, self.seams.fresh_key())
        decision = yield from self._exchange(call, decision_of)
        return _read_back(decision, {"thread_id": thread_id, "task_id": task_id})

    def report_outcome(self, task_id: str, fields: Mapping[str, object]) -> Steps[Outcome]:
        if (fields.get("request_id") is None) == (fields.get("thread_id") is None):
            raise InvalidRequest("name the request_id or the thread_id, one of them")
        call = self._post(_task_path(task_id, "outcomes"), json_body(fields), self.seams.fresh_key())
        answer = Fields((yield from self._exchange(call, _created)))
        return Outcome(answer.text("outcome_id"), answer.text_or_none("flag"))

    def cancel(self, task_id: str, thread_id: str) -> Steps[Decision]:
        path = _task_path(task_id, f"requests/{require_thread_id(thread_id)}/cancellation")
        try:
            decision = yield from self._exchange(Call("POST", path, self.timeout), decision_of)
        except Conflict as conflict:
            # Decided already: by this very cancellation when its first answer was lost, or before it.
            decision = yield from self.get_decision(thread_id=thread_id)
            if decision.reason_code != "cancelled":
                raise _about(conflict, decision) from None
        return _read_back(decision, {"thread_id": thread_id, "task_id": task_id})

    def get_jwks(self) -> Steps[dict[str, Any]]:
        call = Call("GET", JWKS, self.timeout, is_authorized=False)
        return (yield from self._exchange(call, lambda answer, sent_id: members_of(answer, sent_id, 200)))

    # One call

    def _exchange(self, call: Call, read: Read[T]) -> Steps[T]:
        """Sends until there is something to read or patience is at its end."""
        patience = Patience(self.seams, self.patience)
        while True:
            answer = yield from self._send(call)
            try:
                return _read(answer, read)
            except (Unreadable, _Troubled) as error:
                yield from self._rest(patience, answer, error, None)

    def _send(self, call: Call) -> Steps[_Sent | Fault]:
        sent_id = call_id(self.seams.fresh_key())
        headers = {**call.headers, "x-request-id": sent_id}
        tried = Call(call.method, call.path, call.timeout, call.query, headers, call.body, call.is_authorized)
        answer = yield from send(tried)
        return answer if isinstance(answer, Fault) else _Sent(answer, sent_id)

    def _post(self, path: str, body: bytes, key: str) -> Call:
        headers = {**_JSON_BODY, "idempotency-key": require_idempotency_key(key)}
        return Call("POST", path, self.timeout, (), headers, body)


_JSON_BODY: Final = {"content-type": JSON}


@dataclass(frozen=True)
class _Sent:
    """An answer, and the id of the call that it must be the answer to."""

    answer: Answer
    sent_id: str


class _Troubled(Exception):
    """No answer to read: worth another try."""


def _bare(answer: _Sent | Fault) -> Answer | Fault:
    return answer.answer if isinstance(answer, _Sent) else answer


def _read(answer: _Sent | Fault, read: Read[T]) -> T:
    """Raises _Troubled, and what ``read`` raises."""
    why = trouble(_bare(answer))
    if isinstance(answer, Fault) or why is not None:
        raise _Troubled(why)
    return read(answer.answer, answer.sent_id)


def _polled(answer: _Sent | Fault, known: Decision | None, thread_id: str) -> Decision:
    if isinstance(answer, _Sent) and answer.answer.status == 304 and known is not None:
        require_own(answer.answer, answer.sent_id)
        return known
    return _read_back(_read(answer, decision_of), {"thread_id": thread_id})


def _read_back(decision: Decision, named: Mapping[str, str]) -> Decision:
    """A decision with the payload that it is about; checked to be of what was asked for, and whole."""
    require(vars(decision), **named)
    if decision.payload is None or _digest_or_none(decision.payload) != decision.payload_digest:
        raise UnexpectedAnswer("the payload is not that of its digest: nothing may run on it")
    return decision


def _digest_or_none(payload: dict[str, Any]) -> str | None:
    try:
        return digest_of(canonicalize(payload))
    except InvalidRequest:
        return None


def _created(answer: Answer, sent_id: str) -> dict[str, Any]:
    return members_of(answer, sent_id, 201)


def _task_path(task_id: str, rest: str) -> str:
    return f"/api/agent/tasks/{require_task_id(task_id)}/{rest}"


def _given_up(error: Exception) -> GateError:
    if isinstance(error, Unreadable):
        return UnexpectedAnswer(str(error))
    return GateUnavailable(f"no usable answer from the gate: {error}")


def _lost(*, is_spent: bool) -> RedemptionLost:
    if is_spent:
        what = "the gate says that the approval is used up: by that call, or by another process"
    else:
        what = "nobody knows whether the approval is used up"
    error = RedemptionLost(
        f"the redemption's answer was lost, and {what}. The action was not run here. Find out whether it ran before "
        "you ask again"
    )
    error.is_spent = is_spent
    return error


def _about(error: GateError, decision: Decision | None) -> GateError:
    error.decision = decision
    return error
