"""People and what each role may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stacksona_gate.domain.agents import Agent

ADMIN: Final = "admin"
REVIEWER: Final = "reviewer"
AUDITOR: Final = "auditor"
ROLES: Final = frozenset({ADMIN, REVIEWER, AUDITOR})


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who signs in."""

    tenant_id: str
    id: str
    email: str
    name: str
    role: str
    password_hash: str
    state: str
    """``active`` or ``disabled``."""
    created_at: int


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in browser. ``id_hash`` is the SHA-256 of what the cookie holds."""

    tenant_id: str
    id_hash: str
    user_id: str
    csrf: str
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class PersonalToken:
    """A person's key for programs of their own; it may do what the person may."""

    tenant_id: str
    id: str
    user_id: str
    name: str
    hash: str
    created_at: int
    revoked_at: int | None


def may_review(user: User, agent: Agent) -> bool:
    """Whether this person decides for this agent: an agent without reviewers of its own is everybody's."""
    if user.state != "active":
        return False
    if user.role == ADMIN:
        return True
    return user.role == REVIEWER and (not agent.reviewers or user.id in agent.reviewers)


def may_read(user: User, agent: Agent) -> bool:
    """Whether this person sees the agent's threads: auditors see all, reviewers what they may decide."""
    return user.state == "active" and (user.role in (ADMIN, AUDITOR) or may_review(user, agent))


def may_administer(user: User) -> bool:
    return user.state == "active" and user.role == ADMIN


def may_audit(user: User) -> bool:
    return user.state == "active" and user.role in (ADMIN, AUDITOR)
