"""Signing in and out, and making the first admin."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from stacksona_gate.domain.errors import Forbidden, GateError, Invalid, TooMany, Unauthenticated
from stacksona_gate.domain.ids import FIRST_TENANT
from stacksona_gate.domain.times import SECOND
from stacksona_gate.service import people, sessions
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.secrets import PASSWORD_LEAST
from stacksona_gate.web.errors import status_of
from stacksona_gate.web.pages import Pages, see_other
from stacksona_gate.web.visitors import (
    SIGN_IN_MOST,
    client_address,
    form_fields,
    local_path,
    require_own_page,
    require_safe_transport,
    signed_in,
    submitted,
    visitor,
)

WORKSPACE_COOKIE: Final = "stacksona_workspace"
"""Where somebody signed in last from this browser: no secret, and sent to the sign-in page alone."""
WORKSPACE_MOST: Final = 63
REMEMBERED: Final = 365 * 24 * 3600
"""Seconds."""


class SignIn:
    """``/sign-in``, ``/sign-out`` and ``/setup``."""

    def __init__(self, gate: Gate, pages: Pages) -> None:
        self._gate = gate
        self._pages = pages

    async def form(self, request: Request) -> Response:
        require_safe_transport(self._gate, request)
        next_path = local_path(request.query_params.get("next"))
        if await visitor(self._gate, request) is not None:
            return see_other(next_path)
        workspace = request.query_params.get("workspace") or request.cookies.get(WORKSPACE_COOKIE) or ""
        return await self._sign_in_page(next_path, workspace[:WORKSPACE_MOST])

    async def sign_in(self, request: Request) -> Response:
        require_safe_transport(self._gate, request)
        require_own_page(self._gate, request)
        fields = await form_fields(request, SIGN_IN_MOST)
        email, next_path = fields.get("email", ""), local_path(fields.get("next"))
        workspace, address = fields.get("workspace", "").strip(), client_address(request)
        try:
            signed = await people.sign_in(
                self._gate, workspace or FIRST_TENANT, email, fields.get("password", ""), address
            )
        except (Unauthenticated, TooMany, Forbidden) as error:
            if error.kind == "too_many":
                self._gate.env.measures.limited[error.code] += 1
            return await self._sign_in_page(next_path, workspace[:WORKSPACE_MOST], email, error)
        return self._begun(signed, next_path, workspace)

    def _begun(self, signed: people.SignedIn, next_path: str, workspace: str = "") -> Response:
        response = see_other(next_path)
        seconds = (signed.session.expires_at - signed.session.created_at) // SECOND
        response.headers["Set-Cookie"] = sessions.session_cookie(self._gate.env.public_url, signed.cookie, seconds)
        if workspace:
            remembered = f"{WORKSPACE_COOKIE}={quote(workspace)}; Path=/sign-in; Max-Age={REMEMBERED}; HttpOnly"
            response.headers.append("Set-Cookie", remembered + "; SameSite=Lax")
        return response

    async def _sign_in_page(
        self, next_path: str, workspace: str, email: str = "", error: GateError | None = None
    ) -> Response:
        headers = {} if error is None or error.retry_after is None else {"Retry-After": str(error.retry_after)}
        return await self._pages.page(
            "sign_in.html",
            None,
            status=200 if error is None else status_of(error),
            headers=headers,
            next=next_path,
            several=await people.has_several_workspaces(self._gate),
            named=workspace,
            email=email,
            error=error,
        )

    async def sign_out(self, request: Request) -> Response:
        gate = self._gate
        person = await signed_in(gate, request)
        await submitted(gate, request, person)
        await gate.store.write(lambda tx: people.sign_out(tx, gate.env, person))
        response = see_other("/sign-in")
        response.headers["Set-Cookie"] = sessions.session_cookie(gate.env.public_url, "", 0)
        return response

    async def setup_form(self, request: Request) -> Response:
        """The code is in the address's fragment, which browsers send to nobody."""
        require_safe_transport(self._gate, request)
        return await self._setup_page()

    async def set_up(self, request: Request) -> Response:
        require_safe_transport(self._gate, request)
        require_own_page(self._gate, request)
        fields = await form_fields(request, SIGN_IN_MOST)
        code, email, password = (fields.get(name, "") for name in ("code", "email", "password"))
        try:
            user = await people.use_setup_code(self._gate, code, email, password)
            signed = await people.sign_in(self._gate, user.tenant_id, user.email, password, client_address(request))
        except (Invalid, Forbidden) as error:
            return await self._setup_page(code, email, error)
        return self._begun(signed, "/inbox")

    async def _setup_page(self, code: str = "", email: str = "", error: GateError | None = None) -> Response:
        status = 200 if error is None else status_of(error)
        return await self._pages.page(
            "setup.html", None, status=status, code=code, email=email, error=error, least=PASSWORD_LEAST
        )
