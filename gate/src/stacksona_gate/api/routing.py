"""The route table: what is served, and what the OpenAPI document is made from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from stacksona_gate.api.errors import problem
from stacksona_gate.api.http import Answered, Call, Endpoint, Handler, problem_reply, send_reply
from stacksona_gate.api.watching import Watch
from stacksona_gate.domain.errors import GateError
from stacksona_gate.telemetry.trace import named

OnError = Callable[[Call, GateError], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query field or header. ``schema`` is JSON Schema."""

    name: str
    place: str
    """``query`` or ``header``."""
    description: str
    schema: dict[str, Any]
    required: bool = False


IF_MATCH: Final = Parameter("If-Match", "header", "The ETag that you read; another state is 412", {"type": "string"})


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. The handler's docstring is its description.

    ``answer`` is the struct of the body that ``status`` carries, None where the body has no fixed shape; ``errors``
    are the statuses of problem documents.
    """

    method: str
    path: str
    handler: Callable[[Any, Call], Awaitable[Answered]]
    tag: str
    security: str | None
    """``agent``, ``person``, ``operator`` or None."""
    body: type[msgspec.Struct] | None = None
    forms: bool = False
    answer: Any = None
    status: int = 200
    media_type: str = "application/json"
    errors: Sequence[int] = ()
    parameters: Sequence[Parameter] = ()
    route: str | None = None
    """Where metrics count its calls, when not with all of its API."""


class Methods:
    """An ASGI application that tells methods apart."""

    def __init__(self, endpoints: dict[str, Endpoint]) -> None:
        self._endpoints = endpoints
        self._allow = ", ".join(sorted(endpoints)).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope["method"])
        if endpoint is not None:
            await endpoint(scope, receive, send)
            return
        identity = named(dict(scope["headers"]))
        made = problem(405, "method_not_allowed", f"this address takes {self._allow.decode()}", identity)
        await send_reply(problem_reply(made, ((b"allow", self._allow),)), identity, send)


def build_routes(
    operations: Iterable[Operation], context: Any, on_error: OnError | None = None, watch: Watch | None = None
) -> list[Route]:
    """Starlette routes, one per path, in the order of the table."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    watch = watch or Watch()
    for operation in operations:
        watched = watch.of(f"{operation.method} {operation.path}", route_of(operation))
        endpoint = Endpoint(_bound(operation.handler, context), on_error, watched)
        methods = by_path.setdefault(operation.path, {})
        methods[operation.method] = endpoint
        if operation.method == "GET":
            methods["HEAD"] = endpoint
    return [Route(path, Methods(endpoints)) for path, endpoints in by_path.items()]


def route_of(operation: Operation) -> str:
    """The label of an operation's calls in metrics."""
    if operation.route is not None:
        return operation.route
    if operation.path.startswith("/api/admin/"):
        return "admin"
    return {"agent": "agent", "person": "review"}.get(operation.security or "", "operation")


def _bound(handler: Callable[[Any, Call], Awaitable[Answered]], context: Any) -> Handler:
    async def bound(call: Call) -> Answered:
        return await handler(context, call)

    return bound


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """The router's last word."""
    if scope["type"] != "http":
        return
    identity = named(dict(scope["headers"]))
    made = problem(404, "not_found", "there is nothing at this address: /docs lists what there is", identity)
    await send_reply(problem_reply(made), identity, send, head=scope["method"] == "HEAD")
