"""Approvals that were used while nobody said what became of the action, and reports that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stacksona_gate.domain.agents import Agent
from stacksona_gate.domain.people import User
from stacksona_gate.domain.requests import Outcome, Request
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.redaction import for_person
from stacksona_gate.service.timing import read_timing
from stacksona_gate.store.base import Tx

COUNT_MOST = 1000
"""Unknown outcomes are counted no further than this."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A request whose outcome is unknown, or an outcome that is flagged. ``outcome`` None: there is none."""

    request: Request
    agent: Agent
    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class DoubtPage:
    """``next_cursor`` None: the last page."""

    doubts: tuple[Doubt, ...]
    next_cursor: str | None


def list_unknown(
    tx: Tx, env: Environment, tenant_id: str, reader: User | None, *, before: tuple[int, int] | None, limit: int
) -> DoubtPage:
    """Redeemed, and no outcome in its time: newest redemption first. ``before``: the two numbers of a cursor.

    As ``reader`` may see them; None: the command line, which sees everything.
    """
    until = env.now() - read_timing(tx, tenant_id).outcome_within
    found = tx.requests.list_without_outcome(tenant_id, until, before=before, limit=limit + 1)
    place = _placing(tx, tenant_id, reader)
    doubts = tuple(place(request, None) for request in found[:limit])
    last = found[limit - 1] if len(found) > limit else None
    return DoubtPage(doubts, None if last is None else f"{last.redeemed_at}.{last.seq}")


def count_unknown(tx: Tx, env: Environment, tenant_id: str) -> int:
    """How many, up to COUNT_MOST."""
    until = env.now() - read_timing(tx, tenant_id).outcome_within
    return tx.requests.count_without_outcome(tenant_id, until, most=COUNT_MOST)


def count_all_unknown(tx: Tx, env: Environment) -> int:
    """Of all workspaces together, up to COUNT_MOST of each."""
    return sum(count_unknown(tx, env, tenant.id) for tenant in tx.tenants.list_all())


def list_flagged(tx: Tx, tenant_id: str, reader: User | None, *, before: int | None, limit: int) -> DoubtPage:
    """Outcomes that cannot be as reported, newest first. ``before``: the cursor's number. ``reader`` as above."""
    found = tx.conversation.list_flagged_outcomes(tenant_id, limit + 1, before=before)
    place = _placing(tx, tenant_id, reader)
    doubts = []
    for _, outcome in found[:limit]:
        request = tx.requests.find(tenant_id, outcome.request_id)
        if request is not None:
            doubts.append(place(request, outcome))
    return DoubtPage(tuple(doubts), str(found[limit - 1][0]) if len(found) > limit else None)


def _placing(tx: Tx, tenant_id: str, reader: User | None) -> Callable[[Request, Outcome | None], Doubt]:
    agents = {agent.id: agent for agent in tx.agents.list_all(tenant_id)}
    redactor = None if reader is None else for_person(tx, reader)

    def place(request: Request, outcome: Outcome | None) -> Doubt:
        shown = request if redactor is None else redactor.listed(request)
        return Doubt(shown, agents[request.agent_id], outcome)

    return place
