"""Who takes part, and what is known of them: keys, tokens, ids. And what each is in the middle of."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from stacksona_gate.config import Settings
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.ids import FIRST_TENANT
from stacksona_gate.domain.people import ADMIN, REVIEWER
from stacksona_gate.main import opened
from stacksona_gate.policy.parse import parse_policy
from stacksona_gate.service.agents import create_agent, create_verifier
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.log_keys import own_keys
from stacksona_gate.service.people import create_token, create_user
from stacksona_gate.service.policies import apply_policy
from stacksona_gate.store.base import Tx

REFUND: Final = "issue_refund"
WIRE: Final = "wire_money"
"""The tool whose rules are tightened and loosened while agents ask."""
AGENTS: Final = 4
REVIEWERS: Final = 3
POLICY: Final = f"""
version: 1
unknown_tool: review
tools:
  {REFUND}:
    default: review
    strict_binding: true
    rules:
      - {{name: Small, type: between, parameter: amount, low: 0.01, high: 50, action: allow}}
      - {{name: Large, type: upper_limit, parameter: amount, limit: 5000, action: reject}}
  {WIRE}:
    default: reject
"""


@dataclass(slots=True)
class Agent:
    """``webhook_secret``: what its webhooks are signed with."""

    id: str
    name: str
    key: str
    webhook_secret: str


@dataclass(frozen=True, slots=True)
class Thread:
    """One that people may look at."""

    agent: Agent
    thread_id: str
    request_id: str
    revision: int


@dataclass(slots=True)
class Cast:
    """Everybody."""

    agents: list[Agent]
    admin: str
    reviewers: list[str]
    """Personal tokens."""
    verifier: str
    log_keys: str
    desk: deque[Thread] = field(default_factory=lambda: deque(maxlen=500))
    """What waits for review."""
    known: deque[tuple[Agent, str]] = field(default_factory=lambda: deque(maxlen=2000))
    """Requests that were answered, by whose agent."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def pause(self, chance: random.Random, least: float, most: float) -> bool:
        """Waits a while. False when it is over."""
        try:
            await asyncio.wait_for(self.stopping.wait(), chance.uniform(least, most))
        except TimeoutError:
            return True
        return False


async def make_cast(database: str, secret: str, receiver: str) -> Cast:
    """Fills an empty database."""
    settings = Settings(database_url=database, secret_key=secret, log_level="warning")
    async with opened(settings) as gate:
        return await gate.store.write(lambda tx: _filled(tx, gate, receiver))


def _filled(tx: Tx, gate: Gate, receiver: str) -> Cast:
    apply_policy(tx, gate.env, COMMAND_LINE, FIRST_TENANT, parse_policy(POLICY))
    made = [_agent(tx, gate, f"agent-{number}", f"{receiver}/agent-{number}") for number in range(AGENTS)]
    verifier = create_verifier(tx, gate.env, COMMAND_LINE, FIRST_TENANT, "tool", (REFUND, WIRE))
    return Cast(
        made,
        _token(tx, gate, "admin@example.com", ADMIN),
        [_token(tx, gate, f"reviewer-{number}@example.com", REVIEWER) for number in range(REVIEWERS)],
        verifier.key,
        "".join(f"{key}\n" for key in own_keys(tx, gate.root, FIRST_TENANT)),
    )


def _agent(tx: Tx, gate: Gate, name: str, url: str) -> Agent:
    created = create_agent(tx, gate.env, gate.root, COMMAND_LINE, FIRST_TENANT, name, webhook_url=url)
    return Agent(created.made.id, name, created.key, created.webhook_secret or "")


def _token(tx: Tx, gate: Gate, email: str, role: str) -> str:
    """Of somebody who cannot sign in: with no password but this token."""
    user = create_user(tx, gate.env, COMMAND_LINE, FIRST_TENANT, email, role, "no password")
    return create_token(tx, gate.env, COMMAND_LINE, user, "chaos")[1]
