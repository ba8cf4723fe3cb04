"""The client for programs that wait in their thread."""

from __future__ import annotations

import functools
import inspect
import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from stacksona._decisions import Decision, GatedRun, Outcome, Redemption
from stacksona._errors import PendingReview, Rejected
from stacksona._flows import Flows
from stacksona._gating import gated, resumed
from stacksona._guard import Given, Register, Registered, no_check, question
from stacksona._http import Connection
from stacksona._requests import ActionRequest, Attachment, RiskLevel, attachments
from stacksona._settings import settings
from stacksona._wire import Act, Acted, Call, Seams, Sleep, Step, Steps

if TYPE_CHECKING:
    import httpx2

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
NOT_PLAIN = "this client waits in its thread: use AsyncGate for asynchronous functions"
_Self = TypeVar("_Self", bound="Gate")


class Gate:
    """The gate, for one agent or one of the tool's verifiers. Close it, or use it in a ``with``.

    ``url`` and ``api_key`` come from ``STACKSONA_GATE_URL`` and ``STACKSONA_API_KEY`` when they are not given.
    ``transport`` is one of httpx2, for proxies, certificates of your own, and tests. ``timeout``: seconds without a
    byte until a call is given up and made again; ``patience``: seconds of nothing but trouble until that ends.
    ``clock`` counts seconds and only grows; it and ``sleep`` are for tests.
    Threads may share it. Raises ConfigurationError.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        transport: httpx2.BaseTransport | None = None,
        timeout: float = 10.0,
        patience: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings(url, api_key)
        self._connection = Connection(self._settings, transport, clock)
        self._sleep = sleep
        seams = Seams(clock, random.random, functools.partial(secrets.token_hex, 16))
        self._flows = Flows(seams, patience, timeout)
        self._register = Register()

    def __repr__(self) -> str:
        return f"Gate(url={self._settings.url!r})"

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends its connections."""
        self._connection.close()

    # Asking and waiting

    def request_decision(self, request: ActionRequest) -> Decision:
        """Asks whether an action may run. Safely sent again after faults: the first decision comes back."""
        return self._drive(self._flows.request_decision(request))

    def get_decision(
        self, *, thread_id: str | None = None, request_id: str | None = None, task_id: str | None = None
    ) -> Decision:
        """The decision as it stands; by ``task_id`` that of the task's newest request. Name exactly one."""
        return self._drive(self._flows.get_decision(thread_id=thread_id, request_id=request_id, task_id=task_id))

    def wait_for_decision(
        self,
        thread_id: str,
        *,
        timeout: float | None = None,
        ignore_changes: bool = False,
        should_stop: Callable[[], bool] | None = None,
    ) -> Decision:
        """The final decision, by long polls of up to 55 seconds.

        ``timeout``: seconds, None: until it is decided, which it is at the latest when it expires. Raises
        PendingReview when they are over, ChangesRequested as soon as a reviewer asks for a revision (unless
        ``ignore_changes``), WaitStopped when ``should_stop``, asked before each poll, says so.
        """
        steps = self._flows.wait_for_decision(
            thread_id, timeout=timeout, ignore_changes=ignore_changes, should_stop=should_stop
        )
        return self._drive(steps)

    def validate_approval(
        self,
        token: str,
        *,
        task_id: str,
        tool_name: str,
        payload: Mapping[str, Any] | None = None,
        payload_digest: str | None = None,
    ) -> Redemption:
        """Redeems an approval, which succeeds once, ever: only then run ``tool_name`` with the redeemed payload.

        ``tool_name`` is the literal name of what is about to run, never one that came with the answer. With the key
        of an agent, or of a verifier on the tool's side. Raises RedemptionRefused; RedemptionLost when it may have
        been redeemed and the answer was lost.
        """
        steps = self._flows.validate_approval(
            token, task_id=task_id, tool_name=tool_name, payload=payload, digest=payload_digest
        )
        return self._drive(steps)

    # Telling

    def log_event(
        self,
        task_id: str,
        event_type: str,
        event_summary: str = "",
        *,
        payload: Mapping[str, Any] | None = None,
        thread_id: str | None = None,
    ) -> str:
        """Puts an event on the task's timeline, which reviewers see. Returns its id."""
        return self._drive(self._flows.log_event(task_id, event_type, event_summary, payload, thread_id))

    def log_revision(
        self,
        task_id: str,
        thread_id: str,
        *,
        subject: str | None = None,
        preview: str | None = None,
        summary: Sequence[str] | None = None,
        payload: Mapping[str, Any] | None = None,
        files: Sequence[Attachment] | None = None,
    ) -> Decision:
        """The next revision of a pending thread: what is not given stays. Reviews so far are void.

        Raises Conflict when the thread is no longer pending.
        """
        fields = {
            "subject": subject,
            "preview": preview,
            "summary": None if summary is None else list(summary),
            "payload": None if payload is None else dict(payload),
            "attachments": None if files is None else attachments(files),
        }
        return self._drive(self._flows.log_revision(task_id, thread_id, fields))

    def report_outcome(
        self,
        task_id: str,
        status: str,
        *,
        request_id: str | None = None,
        thread_id: str | None = None,
        detail: str | None = None,
        payload_digest: str | None = None,
    ) -> Outcome:
        """Reports ``executed``, ``failed`` or ``skipped``. ``detail`` is kept: put no secrets into it."""
        fields = {
            "status": status,
            "request_id": request_id,
            "thread_id": thread_id,
            "detail": detail,
            "payload_digest": payload_digest,
        }
        return self._drive(self._flows.report_outcome(task_id, fields))

    def cancel(self, task_id: str, thread_id: str) -> Decision:
        """Takes a pending question back; one that is cancelled already stays so. Raises Conflict."""
        return self._drive(self._flows.cancel(task_id, thread_id))

    def get_jwks(self) -> dict[str, Any]:
        """The gate's public keys, for ``verify_approval``. Asked for without the key of the agent."""
        return self._drive(self._flows.get_jwks())

    # Acting

    def run_gated_action(
        self, request: ActionRequest, fn: Callable[[dict[str, Any]], Any], *, wait: float | None = None
    ) -> GatedRun:
        """Asks, waits, redeems, calls ``fn`` once with the approved payload, and reports the outcome.

        A refusal, or nothing decided after ``wait`` seconds, is ``executed`` false with the decision that says so.
        Everything else that is no permission raises, and so does what ``fn`` raises.
        """

        _require_plain(fn)

        def actor(act: Act) -> Acted:
            return _acted(fn, act.payload)

        try:
            ran = self._drive(gated(self._flows, request, wait, no_check), actor)
        except (Rejected, PendingReview) as error:
            if error.decision is None:
                raise
            return GatedRun(error.decision, False, None)
        return ran.result()

    def guard(
        self,
        tool_name: str,
        *,
        subject: Given[str],
        wait: float | None = None,
        task_id: Given[str] | None = None,
        workflow_name: str | None = None,
        task_label: Given[str] | None = None,
        risk_level: Given[RiskLevel] | None = None,
        preview: Given[str] | None = None,
        summary: Given[Sequence[str]] | None = None,
        metadata: Given[Mapping[str, str]] | None = None,
        expires_in: int | None = None,
        idempotency_key: Given[str] | None = None,
    ) -> Callable[[Callable[P, R]], Guarded[P, R]]:
        """Guards a function: each call asks first, and runs with the approved arguments, once.

        The payload is all arguments by name. Fields may be functions of them. ``wait``: seconds for people to decide,
        None: as long as it takes, 0: not at all; then PendingReview is raised, and ``resume`` comes back. The other
        refusals and faults are errors of this package too, never a value in place of the result.
        """

        def guarded(function: Callable[P, R]) -> Guarded[P, R]:
            _require_plain(function)
            asking = question(
                tool_name,
                function,
                subject=subject,
                task_id=task_id,
                workflow_name=workflow_name,
                task_label=task_label,
                risk_level=risk_level,
                preview=preview,
                summary=summary,
                metadata=metadata,
                expires_in=expires_in,
                idempotency_key=idempotency_key,
            )
            registered = Registered(asking, function)
            self._register.add(registered)
            return Guarded(self, registered, wait)

        return guarded

    def resume(self, thread_id: str, *, wait: float | None = 0.0) -> Any:
        """Comes back to a thread of a guarded function: what the function gives, or the same errors as its call.

        The function is the one that is guarded as the thread's tool here. It runs with the approved arguments, once
        in all: whoever comes second gets RedemptionRefused.
        """
        ran = self._drive(resumed(self._flows, thread_id, wait, self._register.find), self._act)
        return ran.result().result

    def _call(self, asked: ActionRequest, registered: Registered, wait: float | None) -> Any:
        ran = self._drive(
            gated(self._flows, asked, wait, registered.question.check), functools.partial(_acting, registered)
        )
        return ran.result().result

    def _resume(self, thread_id: str, registered: Registered, wait: float | None) -> Any:
        ran = self._drive(
            resumed(self._flows, thread_id, wait, registered.find), functools.partial(_acting, registered)
        )
        return ran.result().result

    def _act(self, act: Act) -> Acted:
        registered = self._register.named(act.tool_name)
        return _acting(registered, act)

    def _drive(self, steps: Steps[T], actor: Callable[[Act], Acted] | None = None) -> T:
        """Does the steps of a flow, to its end."""
        reply: object = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            reply = self._do(step, actor)

    def _do(self, step: Step, actor: Callable[[Act], Acted] | None) -> object:
        if isinstance(step, Call):
            return self._connection.send(step)
        if isinstance(step, Sleep):
            self._sleep(step.seconds)
            return None
        if actor is None:
            raise AssertionError("a flow without an action wants to act")
        return actor(step)


class Guarded(Generic[P, R]):
    """A guarded function. Calling it asks first."""

    def __init__(self, gate: Gate, registered: Registered, wait: float | None) -> None:
        self._gate = gate
        self._registered = registered
        self._wait = wait
        functools.update_wrapper(self, registered.function)

    def __repr__(self) -> str:
        return f"<{self._registered.question.tool_name}, guarded>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        asked = self._registered.question.asked(args, kwargs, secrets.token_hex(8))
        result: R = self._gate._call(asked, self._registered, self._wait)
        return result

    def resume(self, thread_id: str, *, wait: float | None = 0.0) -> R:
        """As the gate's ``resume``, for a thread of this function."""
        result: R = self._gate._resume(thread_id, self._registered, wait)
        return result


def _acting(registered: Registered, act: Act) -> Acted:
    return _acted(registered.question.call, registered.function, act.payload)


def _acted(action: Callable[..., Any], *arguments: Any) -> Acted:
    try:
        value = action(*arguments)
        if inspect.iscoroutine(value):
            value.close()  # nothing of it ran
            raise TypeError(NOT_PLAIN)
        return Acted(value)
    except Exception as error:
        return Acted(error=error)


def _require_plain(function: Callable[..., Any]) -> None:
    """Raises TypeError for a coroutine function."""
    if inspect.iscoroutinefunction(function):
        raise TypeError(NOT_PLAIN)
