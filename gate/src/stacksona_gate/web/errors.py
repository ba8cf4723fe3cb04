"""Refusals as pages. The HTTP status of each kind is chosen here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from stacksona_gate.domain.errors import GateError, Unavailable
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.people import Person
from stacksona_gate.web.pages import Pages, see_other
from stacksona_gate.web.visitors import SignInNeeded, visitor

Endpoint = Callable[[Request], Awaitable[Response]]

STATUS: Final = {
    "malformed": 400,
    "invalid": 422,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "precondition_failed": 412,
    "too_large": 413,
    "unsupported_media_type": 415,
    "too_many": 429,
    "unavailable": 503,
}
TITLES: Final = {
    400: "That could not be read",
    401: "Sign in first",
    403: "Not allowed",
    404: "Not here",
    409: "Too late",
    413: "Too large",
    415: "That could not be read",
    422: "That does not work",
    429: "Too many tries",
    503: "Not available just now",
}


def status_of(error: GateError) -> int:
    return STATUS.get(error.kind, 500)


def guarded(gate: Gate, pages: Pages, endpoint: Endpoint) -> Endpoint:
    """The endpoint with its refusals as pages; who is not signed in goes to sign in."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except SignInNeeded as needed:
            return see_other(needed.location)
        except GateError as error:
            return await error_page(gate, pages, request, error)

    return answer


async def error_page(gate: Gate, pages: Pages, request: Request, error: GateError) -> Response:
    """A refusal that a person can act on."""
    status = status_of(error)
    person = await _known(gate, request)
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    title = TITLES.get(status, "Something went wrong")
    return await pages.page(
        "error.html", person, status=status, headers=headers, title=title, detail=error.detail, code=error.code
    )


async def _known(gate: Gate, request: Request) -> Person | None:
    """Who is signed in, as far as a store that may be away can tell."""
    with suppress(Unavailable):
        return await visitor(gate, request)
    return None
