"""Refusals as pages."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import perf_counter
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from stacksona_gate.domain.errors import HTTP_STATUS, GateError, NotFound, Unavailable, Unknown
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.people import Person
from stacksona_gate.telemetry.trace import CURRENT, traced
from stacksona_gate.web.pages import Pages, see_other
from stacksona_gate.web.visitors import SignInNeeded, visitor

log = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]

ROUTE: Final = "pages"
"""Where metrics count them."""
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
    return HTTP_STATUS.get(error.kind, 500)


def guarded(gate: Gate, pages: Pages, endpoint: Endpoint) -> Endpoint:
    """The endpoint with its refusals as pages; who is not signed in goes to sign in."""

    measures = gate.env.measures
    answers, seconds = measures.answers(ROUTE), measures.histogram(ROUTE)

    async def answer(request: Request) -> Response:
        begun, fields = perf_counter(), request.scope["headers"]
        trace = traced(dict(fields), fields)
        CURRENT.set(trace)
        response = await refusable(request)
        response.headers["X-Request-Id"] = trace.http_request_id or ""
        answers[response.status_code] += 1
        seconds.observe(perf_counter() - begun)
        return response

    async def refusable(request: Request) -> Response:
        try:
            return await endpoint(request)
        except SignInNeeded as needed:
            return see_other(needed.location)
        except GateError as error:
            if error.kind == "too_many":
                measures.limited[error.code] += 1
            return await error_page(gate, pages, request, error)
        except Exception:
            log.exception("fault in a page")
            fault = GateError("The gate has a fault here; its log says more.", code="fault")
            return await _page(pages, None, fault)  # who asks is not looked up: the fault may be there

    return answer


def missing_page(gate: Gate, pages: Pages) -> ASGIApp:
    """What a browser sees at an address where there is nothing."""

    async def missing(scope: Scope, receive: Receive, send: Send) -> None:
        error = NotFound("There is nothing at this address.")
        response = await error_page(gate, pages, Request(scope, receive), error)
        await response(scope, receive, send)

    return missing


async def error_page(gate: Gate, pages: Pages, request: Request, error: GateError) -> Response:
    """A refusal that a person can act on."""
    return await _page(pages, await _known(gate, request), error)


async def _page(pages: Pages, person: Person | None, error: GateError) -> Response:
    status = status_of(error)
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    title = TITLES.get(status, "Something went wrong")
    return await pages.page(
        "error.html", person, status=status, headers=headers, title=title, error=error, became=_what_became(error)
    )


def _what_became(error: GateError) -> str:
    """What the refusal itself does not say."""
    if isinstance(error, Unknown) or error.kind not in HTTP_STATUS:
        return "Look what became of it before you do it again."
    return "" if "nothing was decided" in error.detail.lower() else "Nothing was decided."


async def _known(gate: Gate, request: Request) -> Person | None:
    """Who is signed in, as far as a store that may be away can tell."""
    with suppress(Unavailable):
        return await visitor(gate, request)
    return None
