"""The list of what nobody knows the end of."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from stacksona_gate.domain.errors import Forbidden
from stacksona_gate.domain.people import User, may_audit
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.outcomes import DoubtPage, list_flagged, list_unknown
from stacksona_gate.service.transactions import Tx
from stacksona_gate.web.pages import Pages
from stacksona_gate.web.visitors import signed_in

PER_PAGE: Final = 50
STATES: Final = ("unknown", "flagged")


class Outcomes:
    """``GET /outcomes``, for admins and auditors."""

    def __init__(self, gate: Gate, pages: Pages) -> None:
        self._gate = gate
        self._pages = pages

    async def show(self, request: Request) -> Response:
        person = await signed_in(self._gate, request)
        if not may_audit(person.user):
            raise Forbidden("this is for admins and auditors: ask one of them")
        state = "flagged" if request.query_params.get("state") == "flagged" else "unknown"
        before = read_cursor(request.query_params.get("cursor", ""), state)
        page = await self._gate.store.scan(lambda tx: self._read(tx, person.user, state, before))
        return await self._pages.page(
            "outcomes.html",
            person,
            state=state,
            doubts=page.doubts,
            next_cursor=page.next_cursor,
            is_first=before is None,
            now=self._gate.env.now(),
        )

    def _read(self, tx: Tx, user: User, state: str, before: tuple[int, int] | None) -> DoubtPage:
        if state == "flagged":
            return list_flagged(tx, user.tenant_id, user, before=before[0] if before else None, limit=PER_PAGE)
        return list_unknown(tx, self._gate.env, user.tenant_id, user, before=before, limit=PER_PAGE)


def read_cursor(text: str, state: str) -> tuple[int, int] | None:
    """The numbers of an address's cursor; one that is none counts as not said."""
    parts = text.split(".")
    good = all(part.isascii() and part.isdecimal() and len(part) < 19 for part in parts)
    if not good or len(parts) != (2 if state == "unknown" else 1):
        return None
    return int(parts[0]), int(parts[-1])
