"""The small world of the factories, spoken to over HTTP as an agent does."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import apsw
import httpx2
from gate.tests.factories import SQLiteDatabase, World, world
from starlette.routing import Router
from starlette.types import ASGIApp

from stacksona_gate.api import operations
from stacksona_gate.api.agent.context import Context
from stacksona_gate.api.agent.routes import OPERATIONS as AGENT_OPERATIONS
from stacksona_gate.api.routing import build_routes, not_found
from stacksona_gate.api.watching import Watch
from stacksona_gate.domain.requests import Request
from stacksona_gate.service import reviews
from stacksona_gate.service.environment import Limits
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.holds import Holds

REFUND: Final[dict[str, Any]] = {
    "tool_name": "issue_refund",
    "subject": "Issue a refund to customer cus_99",
    "payload": {"amount": 500, "currency": "usd", "customer_id": "cus_99"},
}
"""``support-bot`` asks for this; people must look. 100 is allowed, 6,000 refused."""
TASK: Final = "/api/agent/tasks/task-1"
ASK: Final = TASK + "/requests"
DECISIONS: Final = "/api/agent/decisions"
VALIDATE: Final = "/api/agent/approvals/validate"
FORM: Final = "application/x-www-form-urlencoded"
PAYLOAD_TYPE: Final = "application/vnd.stacksona.payload+json"


def refund(amount: object = 500, **changes: object) -> dict[str, Any]:
    """The example request with another amount, and other fields; None takes a field away."""
    body = {**REFUND, "payload": {**REFUND["payload"], "amount": amount}, **changes}
    return {name: value for name, value in body.items() if value is not None}


@dataclass(slots=True)
class Api:
    """A gate, and an HTTP client with its agent's key."""

    world: World
    context: Context
    app: ASGIApp
    http: httpx2.AsyncClient

    async def post(
        self,
        path: str,
        body: object = None,
        *,
        raw: bytes | str | None = None,
        form: Mapping[str, str] | list[tuple[str, str]] | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """``body`` goes as JSON, ``form`` as a form, ``raw`` as it is."""
        sent = {"content-type": "application/json" if form is None else FORM, **(headers or {})}
        if key is not None:
            sent["authorization"] = f"Bearer {key}"
        content: bytes | str
        if raw is not None:
            content = raw
        elif form is not None:
            content = urlencode(form)
        else:
            content = b"" if body is None else json.dumps(body)
        return await self.http.post(path, content=content, headers=sent)

    async def ask(self, amount: object = 500, *, task: str = "task-1", key: str | None = None, **fields: object) -> Any:
        """The decision's body."""
        answer = await self.post(f"/api/agent/tasks/{task}/requests", refund(amount, **fields), key=key)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def get(
        self, path: str, *, key: str | None = None, headers: Mapping[str, str] | None = None, **query: Any
    ) -> httpx2.Response:
        sent = dict(headers or {})
        if key is not None:
            sent["authorization"] = f"Bearer {key}"
        return await self.http.get(path, params={name: str(value) for name, value in query.items()}, headers=sent)

    async def poll(self, decision: Mapping[str, Any]) -> Any:
        answer = await self.get(DECISIONS, request_id=decision["request_id"])
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def review(
        self,
        decision: Mapping[str, Any],
        verdict: str = "approve",
        *,
        message: str = "looked at it",
        payload: dict[str, object] | None = None,
        revision: int = 1,
    ) -> None:
        """Rita decides."""
        said = reviews.Verdict(verdict, message, revision, payload)
        w = self.world
        await w.write(lambda tx: reviews.review(tx, w.env, w.reviewer, decision["thread_id"], said))

    async def approved(self, amount: object = 500, **review: Any) -> Any:
        """A decision that Rita approved, with its token."""
        decision = await self.ask(amount)
        await self.review(decision, **review)
        return await self.poll(decision)

    async def redeem(self, decision: Mapping[str, Any], *, key: str | None = None, **fields: object) -> httpx2.Response:
        """Sends all that was approved, unless ``fields`` say otherwise; None takes a field away."""
        body = {
            "task_id": decision["task_id"],
            "signature": decision["approval_token"],
            "tool_name": decision.get("tool_name", "issue_refund"),
            "payload_digest": decision["payload_digest"],
            **fields,
        }
        return await self.post(VALIDATE, {name: value for name, value in body.items() if value is not None}, key=key)

    def counted(self) -> dict[str, int]:
        """Rows of every table that a decision could touch."""
        return rows_of(self.world)

    async def request(self, decision: Mapping[str, Any]) -> Request:
        """As it is on disk."""
        found = await self.world.read(lambda tx: tx.requests.find(self.world.tenant_id, decision["request_id"]))
        assert found is not None
        return found


def rows_of(w: World) -> dict[str, int]:
    """Calls that were refused are recorded as such; that row is not counted."""
    assert isinstance(w.database, SQLiteDatabase)
    file = apsw.Connection(w.database.path)
    try:
        counts = {table: file.execute(f"SELECT COUNT(*) FROM {table}").get for table in _TABLES}  # noqa: S608
        counts["audit"] = file.execute("SELECT COUNT(*) FROM audit WHERE event <> 'calls.refused'").get
    finally:
        file.close()
    return counts


_TABLES: Final = (
    "requests",
    "revisions",
    "attachments",
    "reviews",
    "task_events",
    "outcomes",
    "replays",
    "discovered_tools",
)


def agent_app(gate: Gate) -> tuple[ASGIApp, Context]:
    """The agent API and what is around it, without pages and documents: they take a second to build."""
    context = Context(gate, Holds(gate.env.limits.held_requests))
    watch = Watch(gate.env.measures, spans=gate.env.spans)
    routes = [
        *build_routes(AGENT_OPERATIONS, context, context.refused, watch),
        *build_routes(operations.OPERATIONS, context, watch=watch),
    ]
    return Router(routes, redirect_slashes=False, default=not_found), context


@asynccontextmanager
async def api_of(w: World, *, peer: str = "127.0.0.1") -> AsyncIterator[Api]:
    """HTTP to a world's gate, without sockets."""
    app, context = agent_app(w.gate)
    transport = httpx2.ASGITransport(app=app, client=(peer, 50_000))
    headers = {"authorization": f"Bearer {w.key}"}
    async with httpx2.AsyncClient(transport=transport, base_url="https://testserver", headers=headers) as http:
        yield Api(w, context, app, http)


@asynccontextmanager
async def api_world(*, limits: Limits | None = None, policy: str | None = None) -> AsyncIterator[Api]:
    given: dict[str, Any] = {} if policy is None else {"policy": policy}
    async with world(limits=limits, **given) as w, api_of(w) as api:
        yield api


def attachment(name: str = "note.txt", data: bytes = b"hello", content_type: str = "text/plain") -> dict[str, str]:
    return {"name": name, "content_type": content_type, "data": base64.b64encode(data).decode()}


def problem(answer: httpx2.Response, status: int, code: str | None = None) -> Any:
    """An error's document, checked for what every error has, and for what none may have."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert not [name for name in answer.headers if name.startswith("x-gate")]
    made = answer.json()
    assert {"type", "title", "status", "detail", "code", "http_request_id"} <= made.keys()
    assert made["status"] == status
    assert made["http_request_id"] == answer.headers["x-request-id"]
    assert len(made["detail"]) > 10
    assert ("errors" in made) >= (status == 422)
    assert code is None or made["code"] == code, made
    return made
