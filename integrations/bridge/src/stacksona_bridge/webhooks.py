"""``POST /webhooks/gate``: a good signature is a reason to look; what is done hangs on what the gate says itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final

from stacksona import AsyncGate, GateError, WebhookEvent, WebhookRefused, WebhookVerifier
from starlette.requests import Request
from starlette.responses import Response

from stacksona_bridge import signatures
from stacksona_bridge.gatekeeper import Gatekeeper
from stacksona_bridge.http import read_body, reply
from stacksona_bridge.problems import Problem
from stacksona_bridge.resuming import Resuming
from stacksona_bridge.trying import try_again

log = logging.getLogger("stacksona_bridge")

BODY_MOST: Final = 1024 * 1024
SECONDS: Final = 12.0
"""The gate waits 15."""
DECIDED: Final = ("decision.approved", "decision.rejected")


@dataclass(frozen=True)
class Webhooks:
    """``agent`` and ``keeper`` tell which of the bridge's two agents a delivery is for, by its secret."""

    gate: AsyncGate
    resuming: Resuming
    gatekeeper: Gatekeeper | None
    agent: WebhookVerifier | None
    keeper: WebhookVerifier | None

    async def receive(self, request: Request) -> Response:
        body = await read_body(request, BODY_MOST)
        pairs = request.headers.items()
        event = _verified(self.agent, pairs, body)
        if event is not None:
            return reply({"done": await _in_time(self._wake(event))})
        event = _verified(self.keeper, pairs, body)
        if event is not None and self.gatekeeper is not None:
            return reply({"done": await _in_time(self._settle(event, self.gatekeeper))})
        log.warning("a webhook without a good signature was refused")
        raise Problem(401, "bad_signature", "no webhook secret of the bridge has signed this")

    async def _wake(self, event: WebhookEvent) -> str:
        if event.event not in DECIDED or event.thread_id is None:
            return "nothing to do"
        try:
            decision = await self.gate.get_decision(thread_id=event.thread_id)
        except GateError as error:
            log.warning("thread of a webhook cannot be read back: %s", type(error).__name__)
            raise try_again("the thread cannot be read back from the gate") from None
        return "not decided" if decision.is_pending else await self.resuming.resume(decision)

    async def _settle(self, event: WebhookEvent, gatekeeper: Gatekeeper) -> str:
        if event.event not in DECIDED or event.thread_id is None:
            return "nothing to do"
        try:
            decision = await gatekeeper.gate.get_decision(thread_id=event.thread_id)
        except GateError as error:
            log.warning("thread of a webhook cannot be read back: %s", type(error).__name__)
            raise try_again("the thread cannot be read back from the gate") from None
        done = await gatekeeper.settle(decision)
        metadata = decision.metadata
        dify = gatekeeper.dify.get(metadata.get("bridge_app", ""))
        if dify is not None and not done.startswith("refused: its"):
            names = signatures.chosen(signatures.KEEP_FIELDS, metadata)
            run_id, user, form = (names[f"bridge_{name}"] or "" for name in ("run", "user", "form"))
            gatekeeper.follow(dify, run_id, user, frozenset({form}))
        return done


def _verified(verifier: WebhookVerifier | None, pairs: list[tuple[str, str]], body: bytes) -> WebhookEvent | None:
    if verifier is None:
        return None
    try:
        return verifier.verify(pairs, body)
    except WebhookRefused:
        return None


async def _in_time(work: Awaitable[str]) -> str:
    try:
        async with asyncio.timeout(SECONDS):
            return await work
    except TimeoutError:
        raise try_again("it takes longer than the gate waits") from None
