"""Templates, and the headers that every page carries."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from stacksona_gate.domain.ids import FIRST_TENANT
from stacksona_gate.domain.times import rfc3339
from stacksona_gate.service.people import Person
from stacksona_gate.service.sessions import CSRF_FIELD
from stacksona_gate.web import lines, text, wording
from stacksona_gate.web.assets import Assets

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_FOLDER: Final = Path(__file__).parent / "templates"


class Pages:
    """Renders. One for all requests."""

    def __init__(self, assets: Assets) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(_FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        of_text = (text.shown, text.line, text.block, text.warned, text.plain)
        filters = (*of_text, lines.values, lines.since, lines.until, rfc3339, wording.moment)
        self._templates.filters.update({one.__name__: one for one in filters})
        self._templates.globals.update(asset=assets.path, csrf_field=CSRF_FIELD, wording=wording)

    def render(self, template: str, /, **values: object) -> str:
        return self._templates.get_template(template).render(**values)

    async def page(
        self,
        template: str,
        person: Person | None,
        /,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **values: object,
    ) -> Response:
        """Rendered in a thread: a page of hostile text takes longer than a decision may wait."""
        csrf = "" if person is None or person.session is None else person.session.csrf
        user = None if person is None else person.user
        values.setdefault("workspace", _workspace(person))
        body = await asyncio.to_thread(self.render, template, user=user, csrf=csrf, **values)
        return HTMLResponse(body, status, {**HEADERS, **(headers or {})})


def _workspace(person: Person | None) -> str:
    """What tells one workspace of a person from another: nothing, where there is the first one only."""
    tenant = None if person is None else person.tenant
    return "" if tenant is None or tenant.name == FIRST_TENANT else tenant.name


def see_other(path: str) -> RedirectResponse:
    """What answers a form: the browser goes on with GET."""
    return RedirectResponse(path, 303, {"Cache-Control": "no-store", "Referrer-Policy": "same-origin"})
