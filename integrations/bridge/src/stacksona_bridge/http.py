"""How a call is read and answered: who calls, how much is read and for how long, and what an error looks like."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from stacksona_bridge.problems import Problem
from stacksona_bridge.reading import Malformed, read_object

log = logging.getLogger("stacksona_bridge")

BODY_SECONDS: Final = 30.0
CALL_BODY_MOST: Final = 7 * 1024 * 1024 + 65_536
"""What the gate takes with attachments."""
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:\-]{1,128}")

Handler = Callable[[Request], Awaitable[Response]]


def answering(handler: Handler) -> Handler:
    """The handler with its errors as problem documents, and the headers that every answer has."""

    async def endpoint(request: Request) -> Response:
        request_id = _request_id(request)
        try:
            response = await handler(request)
        except Problem as problem:
            response = problem.response(request_id)
        except ClientDisconnect:
            response = Response(status_code=400)
        except Exception:
            log.exception("fault in %s", request.scope.get("path"))
            response = Problem(500, "fault", "the bridge has a fault here: nothing was allowed").response(request_id)
        response.headers["x-request-id"] = request_id
        response.headers["x-content-type-options"] = "nosniff"
        response.headers.setdefault("cache-control", "no-store")
        return response

    return endpoint


def caller_of(request: Request, callers: Mapping[str, bytes]) -> str:
    """The name of who calls. Every token is compared to its end. Raises Problem (401)."""
    given = request.headers.getlist("authorization")
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    digest = hashlib.sha256(token.strip().encode("utf-8", "replace")).digest()
    equal = [name for name, known in callers.items() if hmac.compare_digest(known, digest)]
    if scheme.lower() != "bearer" or not equal:
        raise Problem(401, "unauthenticated", "send Authorization: Bearer and a token of BRIDGE_CALLERS")
    return equal[0]


async def read_body(request: Request, most: int) -> bytes:
    """The whole body. Raises Problem as soon as it is over ``most`` bytes, and when it takes too long."""
    pieces, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                size += len(piece)
                if size > most:
                    raise Problem(413, "too_large", f"the body is over {most} bytes: send a smaller one")
                pieces.append(piece)
    except TimeoutError:
        raise Problem(408, "slow_body", "the body did not come in time") from None
    return b"".join(pieces)


async def read_call(request: Request) -> dict[str, Any]:
    """The JSON object that is sent. Raises Problem."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(415, "media_type", "send application/json")
    return read_or_refuse(await read_body(request, CALL_BODY_MOST))


def read_or_refuse(body: bytes) -> dict[str, Any]:
    """Raises Problem (400) for what has not exactly one reading."""
    try:
        return read_object(body)
    except Malformed as error:
        raise Problem(400, "malformed", str(error)) from None


def reply(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, dict(headers or {}), "application/json")


class Holds:
    """Calls that wait for people, counted."""

    def __init__(self, most: int) -> None:
        self._left = most

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Raises Problem (429) when there are too many."""
        if self._left <= 0:
            raise Problem(429, "too_many_held", "too many calls wait already: ask again later", retry_after=5)
        self._left -= 1
        try:
            yield
        finally:
            self._left += 1


def _request_id(request: Request) -> str:
    given = request.headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else os.urandom(16).hex()
