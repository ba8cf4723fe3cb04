"""Who looks at a page, and whether a form of theirs may change something."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from starlette.requests import Request

from stacksona_gate.domain.errors import Forbidden, GateError, Invalid, TooLarge, UnsupportedMediaType
from stacksona_gate.domain.forms import read_form
from stacksona_gate.service import sessions
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.people import Person, person_of_session
from stacksona_gate.telemetry.trace import CURRENT

FORM_MOST: Final = 2_000_000
"""Bytes of a form: an edited payload, percent-encoded, with a message beside it."""
SIGN_IN_MOST: Final = 20_000
FORM_TYPE: Final = "application/x-www-form-urlencoded"
HOME: Final = "/inbox"


class SignInNeeded(GateError):
    """Nobody is signed in. ``next`` is where they wanted to go."""

    kind = code = "sign_in_needed"

    def __init__(self, next_path: str) -> None:
        super().__init__("sign in first")
        self.next_path = next_path

    @property
    def location(self) -> str:
        return "/sign-in?next=" + quote(self.next_path, safe="/")


async def visitor(gate: Gate, request: Request) -> Person | None:
    """Who is signed in; None when nobody is."""
    cookie = request.cookies.get(sessions.cookie_name(gate.env.public_url))
    person = await person_of_session(gate, cookie) if cookie else None
    trace = CURRENT.get()
    if person is not None and trace is not None:
        trace.tenant_id = person.user.tenant_id
    return person


async def signed_in(gate: Gate, request: Request) -> Person:
    """Raises SignInNeeded."""
    person = await visitor(gate, request)
    if person is None:
        raise SignInNeeded(_page_of(request))
    return person


def _page_of(request: Request) -> str:
    """The page asked for; of a form, the page it is on, where the browser kept what was typed."""
    if request.method in ("GET", "HEAD"):
        return request.url.path + (f"?{request.url.query}" if request.url.query else "")
    thread_id = request.path_params.get("thread_id")
    return f"{HOME}/{thread_id}" if thread_id else HOME


async def submitted(gate: Gate, request: Request, person: Person) -> dict[str, str]:
    """The fields of a signed-in person's form. Raises Forbidden unless the form is one of our pages' to them."""
    if person.session is None:
        raise Forbidden("forms need a session")
    fields = await form_fields(request, FORM_MOST)
    sessions.require_csrf(
        person.session,
        fields.get(sessions.CSRF_FIELD),
        public_url=gate.env.public_url,
        origin=request.headers.get("origin"),
        sec_fetch_site=request.headers.get("sec-fetch-site"),
    )
    return fields


def require_own_page(gate: Gate, request: Request) -> None:
    """For forms of people who have no session yet. Raises Forbidden."""
    sessions.require_same_site(
        gate.env.public_url, request.headers.get("origin"), request.headers.get("sec-fetch-site")
    )


def require_safe_transport(gate: Gate, request: Request) -> None:
    """Raises Forbidden where a password would cross a network in the clear."""
    server = request.scope.get("server")
    sessions.require_safe_transport(gate.env.public_url, server[0] if server else "")


async def form_fields(request: Request, limit: int) -> dict[str, str]:
    """A form's fields, each once. Raises UnsupportedMediaType, TooLarge, Invalid."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM_TYPE:
        raise UnsupportedMediaType("this page reads forms only")
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"this form is over {limit:,} bytes: send a shorter one")
        chunks.append(chunk)
    return {name: _text(value) for name, value in read_form(b"".join(chunks)).items()}


def _text(value: object) -> str:
    """Browsers send line breaks as CR LF."""
    if not isinstance(value, str):
        raise Invalid("this page reads plain fields only")
    return value.replace("\r\n", "\n")


def client_address(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def local_path(wanted: str | None) -> str:
    """A path of this site to go to, else the inbox. Browsers read ``\\`` as ``/`` and drop tabs."""
    wanted = wanted or ""
    is_path = wanted.startswith("/") and not wanted.startswith("//") and wanted.isprintable() and len(wanted) < 2000
    return wanted if is_path and "\\" not in wanted and wanted.isascii() else HOME
