"""The list of threads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from stacksona_gate.domain.agents import Agent
from stacksona_gate.domain.errors import NotFound
from stacksona_gate.domain.people import User, may_audit, may_read
from stacksona_gate.domain.requests import RISK_LEVELS, ThreadFilter
from stacksona_gate.service import reviews
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.outcomes import count_unknown
from stacksona_gate.service.people import get_user
from stacksona_gate.service.reviews import Listed, Page
from stacksona_gate.service.transactions import Tx
from stacksona_gate.web.notices import Told, told
from stacksona_gate.web.pages import Pages
from stacksona_gate.web.payloads import Value, key_values
from stacksona_gate.web.visitors import signed_in
from stacksona_gate.web.wording import FOLDERS

PER_PAGE: Final = 50
QUERY_MOST: Final = 200


@dataclass(frozen=True, slots=True)
class Filters:
    """What a visitor narrows the list to; empty: nothing."""

    folder: str
    q: str
    agent: str
    tool: str
    risk: str
    cursor: str

    @property
    def is_narrowed(self) -> bool:
        return bool(self.q or self.agent or self.tool or self.risk)

    def address(self, **changed: str) -> str:
        """The inbox with these filters, some of them changed; without the cursor unless it is given."""
        kept = {name: getattr(self, name) for name in ("folder", "q", "agent", "tool", "risk")} | changed
        return "/inbox?" + urlencode({name: value for name, value in kept.items() if value})

    def as_thread_filter(self) -> ThreadFilter:
        return ThreadFilter(
            folder=self.folder,
            text=self.q or None,
            agent_ids=(self.agent,) if self.agent else None,
            tool_name=self.tool or None,
            risk_level=self.risk or None,
            before=int(self.cursor) if self.cursor else None,
            limit=PER_PAGE,
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One line."""

    listed: Listed
    values: tuple[Value, ...]
    claimed_by: User | None


@dataclass(frozen=True, slots=True)
class _Read:
    told: tuple[Told, ...]
    page: Page
    counts: dict[str, int]
    rows: tuple[Row, ...]
    agents: tuple[Agent, ...]
    unknown: int
    """Unknown outcomes, for those who may look at them."""


class Inbox:
    """``GET /inbox``."""

    def __init__(self, gate: Gate, pages: Pages) -> None:
        self._gate = gate
        self._pages = pages

    async def show(self, request: Request) -> Response:
        person = await signed_in(self._gate, request)
        filters = read_filters(request.query_params)
        read = await self._gate.store.scan(lambda tx: _read(tx, self._gate.env, person.user, filters))
        return await self._pages.page(
            "inbox.html",
            person,
            filters=filters,
            counts=read.counts,
            rows=read.rows,
            next_cursor=read.page.next_cursor,
            agents=read.agents,
            unknown=read.unknown,
            tools=sorted({row.listed.request.tool_name for row in read.rows}),
            risks=RISK_LEVELS,
            told=read.told,
            now=self._gate.env.now(),
        )


def read_filters(query: Mapping[str, str]) -> Filters:
    """Whatever an address says: what it may not say counts as not said."""
    folder, risk, cursor = query.get("folder", ""), query.get("risk", ""), query.get("cursor", "")
    return Filters(
        folder=folder if folder in FOLDERS else "new",
        q=query.get("q", "").strip()[:QUERY_MOST],
        agent=query.get("agent", "")[:QUERY_MOST],
        tool=query.get("tool", "").strip()[:QUERY_MOST],
        risk=risk if risk in RISK_LEVELS else "",
        cursor=cursor if cursor.isascii() and cursor.isdecimal() and len(cursor) < 19 else "",
    )


def _read(tx: Tx, env: Environment, user: User, filters: Filters) -> _Read:
    page = reviews.list_threads(tx, user, filters.as_thread_filter())
    agents = tuple(agent for agent in tx.agents.list_all(user.tenant_id) if may_read(user, agent))
    holders = {one.request.claimed_by for one in page.threads if one.request.claimed_by is not None}
    people = {user_id: find_person(tx, user, user_id) for user_id in holders}
    rows = tuple(
        Row(one, key_values(one.request.payload), people.get(one.request.claimed_by or "")) for one in page.threads
    )
    unknown = count_unknown(tx, env, user.tenant_id) if may_audit(user) else 0
    return _Read(told(tx, user), page, reviews.count_folders(tx, user), rows, agents, unknown)


def find_person(tx: Tx, user: User, user_id: str) -> User | None:
    """Another person of the same workspace."""
    try:
        return get_user(tx, user.tenant_id, user_id)
    except NotFound:
        return None
