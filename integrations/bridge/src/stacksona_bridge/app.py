"""Everything that is served, wired together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx2
from stacksona import AsyncGate, GateError, WebhookVerifier
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stacksona_bridge.decisions import Decisions
from stacksona_bridge.dify import Dify
from stacksona_bridge.gatekeeper import Gatekeeper
from stacksona_bridge.http import Handler, Holds, answering, reply
from stacksona_bridge.passing import Passing
from stacksona_bridge.posting import Poster
from stacksona_bridge.problems import Problem
from stacksona_bridge.resuming import Resuming
from stacksona_bridge.settings import Config
from stacksona_bridge.webhooks import Webhooks

GATE_SECONDS = 8.0
GATE_PATIENCE = 20.0
"""How long a call of the bridge's callers lasts while the gate gives nothing but trouble."""
NO_SUCH_ID = "THR-00000000000000000000000000"


@dataclass
class Bridge:
    """The application and what it holds open."""

    config: Config
    client: httpx2.AsyncClient = field(repr=False)
    gate: AsyncGate = field(repr=False)
    keeper: AsyncGate | None = field(repr=False)
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    passing: Passing | None = None

    def build(self) -> Starlette:
        config = self.config
        dify = {name: Dify(self.client, config.dify_url or "", app) for name, app in config.apps.items()}
        holds = Holds(config.held_calls)
        decisions = Decisions(config, self.gate, holds, self.draining)
        gatekeeper = None if self.keeper is None else Gatekeeper(self.keeper, config.signing_keys, dify)
        resuming = Resuming(config, dify, Poster(self.client, config.guard))
        webhooks = Webhooks(
            self.gate,
            resuming,
            gatekeeper,
            _verifier(config.webhook_secrets),
            _verifier(config.gatekeeper_webhook_secrets),
        )
        routes = [
            _route("/decisions", decisions.ask, "POST"),
            _route("/decisions/{thread_id}", decisions.look, "GET"),
            _route("/approvals/validate", decisions.redeem, "POST"),
            _route("/events", decisions.tell, "POST"),
            _route("/outcomes", decisions.report, "POST"),
            _route("/webhooks/gate", webhooks.receive, "POST"),
            _route("/healthz", _health, "GET"),
            _route("/readyz", self._ready, "GET"),
        ]
        if gatekeeper is not None:
            self.passing = Passing(config, self.client, gatekeeper, holds, self.draining)
            routes += _passing_routes(self.passing)
        return Starlette(routes=routes, lifespan=self._lifespan, exception_handlers={HTTPException: _refused})

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            if self.passing is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.config.drain_seconds):
                        await self.passing.finish()
                await self.passing.gatekeeper.finish()
            await self.gate.aclose()
            if self.keeper is not None:
                await self.keeper.aclose()
            await self.client.aclose()

    async def _ready(self, request: Request) -> Response:
        """Whether the gate answers to the bridge's keys, and nothing is ending."""
        if self.draining.is_set():
            raise Problem(503, "draining", "the bridge is ending")
        for gate in filter(None, (self.gate, self.keeper)):
            try:
                async with asyncio.timeout(5):
                    await gate.get_decision(thread_id=NO_SUCH_ID)
            except TimeoutError:
                raise Problem(503, "gate_unavailable", "the gate does not answer") from None
            except GateError as error:
                if getattr(error, "status", None) != 404:
                    raise Problem(503, "gate_unavailable", f"the gate: {type(error).__name__}") from None
        return reply({"status": "ready"})


def build_bridge(config: Config) -> Bridge:
    """Opens nothing yet. Raises ConfigurationError for a key or secret that is none."""
    limits = httpx2.Limits(max_connections=1000, max_keepalive_connections=50)
    client = httpx2.AsyncClient(follow_redirects=False, trust_env=False, limits=limits, timeout=10.0)
    gate = AsyncGate(config.gate_url, config.gate_key, timeout=GATE_SECONDS, patience=GATE_PATIENCE)
    keeper = None
    if config.gatekeeper_key is not None:
        keeper = AsyncGate(config.gate_url, config.gatekeeper_key, timeout=GATE_SECONDS, patience=GATE_PATIENCE)
    return Bridge(config, client, gate, keeper)


def _verifier(secrets: tuple[str, ...]) -> WebhookVerifier | None:
    return WebhookVerifier(*secrets) if secrets else None


def _route(path: str, handler: Handler, method: str) -> Route:
    return Route(path, answering(handler), methods=[method])


def _passing_routes(passing: Passing) -> list[Route]:
    routes = []
    for start in ("/v1", "/apps/{app}/v1"):
        routes += [
            _route(start + "/workflows/run", passing.run, "POST"),
            _route(start + "/chat-messages", passing.chat, "POST"),
            _route(start + "/workflow/{run}/events", passing.events, "GET"),
            _route(start + "/workflows/run/{run}", passing.result, "GET"),
        ]
    return routes


async def _health(request: Request) -> Response:
    return reply({"status": "ok"})


async def _refused(request: Request, error: Exception) -> Response:
    """What no route takes."""
    status = error.status_code if isinstance(error, HTTPException) else 500

    async def refuse(request: Request) -> Response:
        if status == 405:
            raise Problem(405, "method", "this address does not take that method")
        raise Problem(status, "not_found", "the bridge has nothing here; what it passes to Dify is in its README")

    return await answering(refuse)(request)
