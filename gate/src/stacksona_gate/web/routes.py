"""Every page and its address."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from stacksona_gate.service.decisions import DrainFlag
from stacksona_gate.service.gate import Gate
from stacksona_gate.web.assets import Assets
from stacksona_gate.web.attachments import Attachments
from stacksona_gate.web.errors import Endpoint, guarded, missing_page
from stacksona_gate.web.inbox import Inbox
from stacksona_gate.web.live import Live
from stacksona_gate.web.outcomes import Outcomes
from stacksona_gate.web.pages import Pages, see_other
from stacksona_gate.web.reviewing import Reviewing
from stacksona_gate.web.sign_in import SignIn
from stacksona_gate.web.thread import Threads
from stacksona_gate.web.webhooks import Webhooks


def routes(gate: Gate, draining: DrainFlag | None = None) -> list[BaseRoute]:
    """The pages. ``draining``: set when the process is about to end, so that open streams do."""
    assets = Assets()
    pages = Pages(assets)
    sign_in, threads = SignIn(gate, pages), Threads(gate, pages)
    reviewing, webhooks = Reviewing(gate, threads), Webhooks(gate, threads)

    def get(path: str, endpoint: Endpoint) -> Route:
        return Route(path, guarded(gate, pages, endpoint), methods=["GET"])

    def post(path: str, endpoint: Endpoint) -> Route:
        return Route(path, guarded(gate, pages, endpoint), methods=["POST"])

    async def static(request: Request) -> Response:
        return assets.serve(request)

    return [
        get("/", _home),
        get("/sign-in", sign_in.form),
        post("/sign-in", sign_in.sign_in),
        post("/sign-out", sign_in.sign_out),
        get("/setup", sign_in.setup_form),
        post("/setup", sign_in.set_up),
        get("/static/{digest}/{name}", static),
        get("/outcomes", Outcomes(gate, pages).show),
        get("/inbox", Inbox(gate, pages).show),
        get("/inbox/stream", Live(gate, draining or DrainFlag()).stream),
        get("/inbox/{thread_id}", threads.show),
        get("/inbox/{thread_id}/state", threads.state),
        get("/inbox/{thread_id}/attachments/{attachment_id}", Attachments(gate).show),
        post("/inbox/{thread_id}/reviews", reviewing.review),
        post("/inbox/{thread_id}/notes", reviewing.note),
        post("/inbox/{thread_id}/claim", reviewing.claim),
        post("/inbox/{thread_id}/release", reviewing.release),
        post("/inbox/{thread_id}/deliveries/{delivery_id}/replay", webhooks.replay),
        post("/notices/{notice_id}/dismissal", webhooks.dismiss),
        post("/webhooks/{endpoint_id}/switch-on", webhooks.switch_on),
    ]


def missing(gate: Gate, otherwise: ASGIApp) -> ASGIApp:
    """The router's last word: a page for browsers, ``otherwise`` for programs."""
    page = missing_page(gate, Pages(Assets()))

    async def last_word(scope: Scope, receive: Receive, send: Send) -> None:
        browser = scope["type"] == "http" and b"text/html" in dict(scope["headers"]).get(b"accept", b"")
        chosen = page if browser and not scope["path"].startswith(("/api/", "/.well-known/")) else otherwise
        await chosen(scope, receive, send)

    return last_word


async def _home(request: Request) -> Response:
    return see_other("/inbox")
