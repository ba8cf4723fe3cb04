"""Decides forms of Dify by the gate: a form becomes a question, its decision the form's answer.

Here the form does decide, so everything hangs on whose word it is: the questions are asked with a key that no caller
has, and what a thread says about its form is signed. An approval is redeemed before the form is approved, once in all:
when it is found used and the form open, somebody died in between, and the form is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from stacksona import (
    ActionRequest,
    AsyncGate,
    Decision,
    GateError,
    GateUnavailable,
    InvalidRequest,
    NotFound,
    PendingReview,
    RedemptionLost,
    RedemptionRefused,
    UnexpectedAnswer,
    payload_digest,
)

from stacksona_bridge import signatures
from stacksona_bridge.apps import Node
from stacksona_bridge.dify import Dify, DifyUnavailable, Form, RunNotFound, Sent
from stacksona_bridge.problems import Problem
from stacksona_bridge.trying import Clock, missing, seconds_since, try_again

log = logging.getLogger("stacksona_bridge")

GRACE_SECONDS: Final = 120.0
"""After a redemption: whoever redeemed may still be on the way to the form."""
SEND_TRIES: Final = 3
SETTLE_PAUSES: Final = (0.5, 1.0, 2.0, 5.0)
FOLLOW_SECONDS: Final = 1800.0
CONTENT_MOST: Final = 20_000

Pause = Callable[[float], Awaitable[None]]


class CannotAsk(Exception):
    """The form cannot be put to the gate as the settings say: it is refused."""


@dataclass(frozen=True)
class Kept:
    """A form of a run that the gate decides."""

    dify: Dify
    run_id: str
    user: str
    form: Form
    node: Node

    def payload(self) -> dict[str, str]:
        """The action's arguments, as the form shows them. Raises CannotAsk."""
        unknown = [name for name in self.node.payload if name not in self.form.defaults]
        if unknown:
            raise CannotAsk(f"the form has no text input {unknown[0]}")
        return {name: self.form.defaults[name] for name in self.node.payload}

    def task_id(self) -> str:
        """Of this form alone."""
        about = [self.dify.app.name, self.run_id, self.form.node_id, self.form.form_id]
        return "dify-" + hashlib.sha256(json.dumps(about).encode()).hexdigest()[:40]

    def digest(self) -> str:
        """Of everything that reviewers see of it."""
        return payload_digest({"payload": self.payload(), "content": self.form.content})

    def fields(self) -> dict[str, str | None]:
        """What the thread says about its form."""
        return {
            "bridge_app": self.dify.app.name,
            "bridge_run": self.run_id,
            "bridge_user": self.user,
            "bridge_node": self.form.node_id,
            "bridge_form": self.form.form_id,
            "bridge_approve": self.node.approve,
            "bridge_reject": self.node.reject,
            "bridge_digest": self.digest(),
        }


@dataclass
class Gatekeeper:
    """``gate`` has the gatekeeper's own key."""

    gate: AsyncGate
    keys: tuple[bytes, ...] = field(repr=False)
    dify: Mapping[str, Dify] = field(repr=False)
    clock: Clock = time.time
    pause: Pause = asyncio.sleep
    _settling: dict[str, asyncio.Task[str]] = field(default_factory=dict, repr=False)
    _following: dict[tuple[str, str], asyncio.Task[None]] = field(default_factory=dict, repr=False)

    def kept(self, dify: Dify, run_id: str, user: str, form: Form) -> Kept | None:
        """None for a form that the gate does not decide."""
        node = dify.app.nodes.get(form.node_id)
        return None if node is None else Kept(dify, run_id, user, form, node)

    # Asking

    async def ask(self, kept: Kept) -> Decision:
        """The gate's answer about a form, the same one however often it is asked. Raises CannotAsk, GateError.

        What was asked before stands: also with other settings, or another signing key, or after the gate has forgotten
        the idempotency key.
        """
        task_id = kept.task_id()
        with contextlib.suppress(NotFound):
            return await self.gate.get_decision(task_id=task_id)
        try:
            return await self.gate.request_decision(self._question(kept, task_id))
        except InvalidRequest as error:
            raise CannotAsk(str(error)) from error

    def _question(self, kept: Kept, task_id: str) -> ActionRequest:
        form, node, fields = kept.form, kept.node, kept.fields()
        if len(form.content) > CONTENT_MOST:
            raise CannotAsk("the form is too long to be shown whole")
        signed = signatures.signature(self.keys, signatures.KEEP, task_id, node.tool, fields)
        metadata = {name: value for name, value in fields.items() if value is not None}
        return ActionRequest(
            task_id,
            node.tool,
            node.subject or f"{kept.dify.app.name}: {form.node_title}"[:500],
            kept.payload(),
            workflow_name=kept.dify.app.name,
            preview=form.content or None,
            metadata={**metadata, signatures.KEEP_SIGNATURE: signed},
            expires_in=node.expires_in,
            idempotency_key=task_id,
        )

    async def wait(self, decision: Decision, seconds: float) -> Decision:
        """The decision after at most ``seconds``, decided or not."""
        if not decision.is_pending or decision.thread_id is None or seconds <= 0:
            return decision
        try:
            return await self.gate.wait_for_decision(decision.thread_id, timeout=seconds, ignore_changes=True)
        except PendingReview as pending:
            return pending.decision or decision

    # Answering

    async def settle(self, decision: Decision) -> str:
        """Answers the form that a decision is about; what was done, in words. Raises Problem (503) to be tried again.

        At most one at a time per decision here, and it goes on to its end although its caller is cancelled.
        """
        running = self._settling.get(decision.request_id)
        if running is None:
            running = asyncio.create_task(self._settle(decision.request_id))
            self._settling[decision.request_id] = running
            running.add_done_callback(lambda done: self._settled(decision.request_id, done))
        return await asyncio.shield(running)

    def _settled(self, request_id: str, done: asyncio.Task[str]) -> None:
        self._settling.pop(request_id, None)
        if not done.cancelled():
            done.exception()  # whoever waits is told; when nobody does, the gate's next webhook tries again

    async def finish(self) -> None:
        """Lets what is being answered come to its end; what is only watched is left."""
        for task in self._following.values():
            task.cancel()
        await asyncio.gather(*self._settling.values(), *self._following.values(), return_exceptions=True)

    async def _settle(self, request_id: str) -> str:
        try:
            decision = await self.gate.get_decision(request_id=request_id)
        except GateError as error:
            raise try_again("the gate does not answer") from error
        if decision.is_pending:
            return "not decided yet"
        fields = signatures.chosen(signatures.KEEP_FIELDS, decision.metadata)
        about = (decision.task_id, decision.tool_name or "")
        given = decision.metadata.get(signatures.KEEP_SIGNATURE)
        if not signatures.is_signed(self.keys, signatures.KEEP, *about, fields, given):
            log.warning("request %s is not signed by the bridge: nothing is answered", request_id)
            return "refused: its metadata is not signed by the bridge"
        return await self._answer(decision, {name: value for name, value in fields.items() if value is not None})

    async def _answer(self, decision: Decision, fields: Mapping[str, str]) -> str:
        dify = self.dify.get(fields["bridge_app"])
        if dify is None:
            return "refused: the settings have no such app"
        try:
            run = await dify.look(fields["bridge_run"], fields["bridge_user"])
        except RunNotFound:
            return missing("no such run of this user", decision, self.clock)
        except DifyUnavailable as error:
            raise try_again(str(error)) from None
        form = next((one for one in run.forms if one.form_id == fields["bridge_form"]), None)
        if run.finished is not None or (form is None and run.is_paused):
            return "nothing waits any more"
        if form is None or not run.is_paused:
            raise try_again("the run does not wait yet")
        node = Node(decision.tool_name or "", fields["bridge_approve"], fields.get("bridge_reject"), _names(decision))
        kept = Kept(dify, fields["bridge_run"], fields["bridge_user"], form, node)
        return await self._approve(kept, decision, fields) if decision.may_run else await self.refuse(kept)

    async def _approve(self, kept: Kept, decision: Decision, fields: Mapping[str, str]) -> str:
        inputs = _inputs(kept, decision, fields["bridge_digest"])
        if inputs is None:
            log.warning("request %s is not about its form any more: the form is refused", decision.request_id)
            return await self.refuse(kept)
        if decision.approval_state == "redeemed":
            return await self._found_redeemed(kept, decision)
        if decision.approval_token is None:
            log.warning("request %s has no approval to redeem: the form is refused", decision.request_id)
            return await self.refuse(kept)
        if not await self._redeem(decision):
            return await self.refuse(kept)
        sent = await self._send_approved(kept, inputs)
        if sent is Sent.REFUSED:
            log.warning("Dify refuses the approved inputs of request %s: the form is refused", decision.request_id)
            await self._report(decision, "failed", "Dify refused the approved inputs")
            return await self.refuse(kept)
        await self._report(decision, "executed" if sent is Sent.ANSWERED else "skipped", f"the form was {sent.value}")
        return f"approved: {sent.value}"

    async def _redeem(self, decision: Decision) -> bool:
        """Whether this very call redeemed. False: the approval is good for nothing any more."""
        try:
            await self.gate.validate_approval(
                decision.approval_token or "",
                task_id=decision.task_id,
                tool_name=decision.tool_name or "",
                payload=decision.payload,
                payload_digest=decision.payload_digest,
            )
        except RedemptionRefused as error:
            if error.reason == "already_used":
                raise try_again("another bridge is answering the form") from None
            return False
        except (RedemptionLost, GateUnavailable, UnexpectedAnswer) as error:
            raise try_again("the redemption's answer was lost") from error
        except GateError:
            return False
        return True

    async def _found_redeemed(self, kept: Kept, decision: Decision) -> str:
        """Used, and the form still open. Not approved again: nobody knows how far the other one came."""
        if seconds_since(decision.redeemed_at, self.clock) < GRACE_SECONDS:
            raise try_again("the approval is redeemed, and the form is not answered yet")
        log.warning("request %s was redeemed and its form never approved: it is refused", decision.request_id)
        done = await self.refuse(kept)
        await self._report(decision, "failed", "the bridge ended between redeeming and answering the form")
        return done

    async def _send_approved(self, kept: Kept, inputs: Mapping[str, str]) -> Sent:
        """The one form that this redemption is for; it can be answered once, so sending it again does no harm."""
        for tried in range(SEND_TRIES):
            try:
                return await kept.dify.send(kept.form, kept.user, kept.node.approve, inputs)
            except DifyUnavailable:
                await self.pause(1.0 + tried)
        raise try_again("the approval is redeemed, and Dify does not take the form")

    async def refuse(self, kept: Kept) -> str:
        """Answers with the reject action; without one the form expires. Raises Problem (503)."""
        if kept.node.reject is None:
            return "refused: the form is left to expire"
        try:
            sent = await kept.dify.send(kept.form, kept.user, kept.node.reject, kept.form.defaults)
        except DifyUnavailable as error:
            raise try_again(str(error)) from None
        if sent is Sent.REFUSED:
            raise try_again("Dify refuses the reject action: see the node in BRIDGE_DIFY_APPS")
        return f"refused: {sent.value}"

    async def _report(self, decision: Decision, status: str, detail: str) -> None:
        """For the timeline; the form is answered whether or not it gets there."""
        try:
            await self.gate.report_outcome(
                decision.task_id,
                status,
                request_id=decision.request_id,
                detail=detail,
                payload_digest=decision.payload_digest if status == "executed" else None,
            )
        except GateError as error:
            log.warning("the outcome of request %s was not reported: %s", decision.request_id, type(error).__name__)

    # Following

    def follow(self, dify: Dify, run_id: str, user: str, answered: frozenset[str] = frozenset()) -> None:
        """Watches a run in the background: its next forms are put to the gate too. ``answered``: forms known so far."""
        key = (dify.app.name, run_id)
        if key not in self._following:
            task = asyncio.create_task(self._follow(dify, run_id, user, answered))
            self._following[key] = task
            task.add_done_callback(lambda _: self._following.pop(key, None))

    async def _follow(self, dify: Dify, run_id: str, user: str, answered: frozenset[str]) -> None:
        try:
            async with asyncio.timeout(FOLLOW_SECONDS):
                await self._watch(dify, run_id, user, answered)
        except (GateError, DifyUnavailable, RunNotFound, CannotAsk, Problem, TimeoutError) as error:
            log.warning("run %s is not watched any more: %s", run_id, type(error).__name__)

    async def _watch(self, dify: Dify, run_id: str, user: str, answered: frozenset[str]) -> None:
        while True:
            run = await dify.look(run_id, user, FOLLOW_SECONDS)
            fresh = [form for form in run.forms if form.form_id not in answered]
            if run.finished is not None or (not run.is_paused and not fresh):
                return
            kept = [one for form in fresh if (one := self.kept(dify, run_id, user, form)) is not None]
            if fresh and not await self.ask_all(kept):
                return  # people decide: the webhook finishes it
            answered |= {form.form_id for form in fresh}
            await self.pause(1.0)

    async def ask_all(self, kept: list[Kept]) -> list[Decision]:
        """Asks about forms of a paused run; what is decided at once is answered at once: those decisions."""
        settled = []
        for one in kept:
            try:
                decision = await self.ask(one)
            except CannotAsk as error:
                log.warning("form of node %s cannot be put to the gate: %s", one.form.node_id, error)
                await self.refuse(one)
                continue
            if not decision.is_pending:
                await self.settle_soon(decision)
                settled.append(decision)
        return settled

    async def settle_soon(self, decision: Decision) -> str:
        """As ``settle``, tried a few times: no webhook comes for what was decided at once."""
        for seconds in SETTLE_PAUSES:
            try:
                return await self.settle(decision)
            except Problem:
                await self.pause(seconds)
        return await self.settle(decision)


def _names(decision: Decision) -> tuple[str, ...]:
    return tuple(decision.payload or {})


def _inputs(kept: Kept, decision: Decision, digest: str) -> Mapping[str, Any] | None:
    """What the approved form is sent with: its defaults, with what a reviewer changed. None when the decision is not
    about the form that now waits."""
    payload = decision.payload or {}
    try:
        if kept.digest() != digest or (not decision.edited and payload != kept.payload()):
            return None
    except CannotAsk:
        return None
    if not all(isinstance(value, str) for value in payload.values()):
        return None
    return {**kept.form.defaults, **payload}
