"""Agents, verifiers and the keys they hold."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

AGENT_KEY_PREFIX: Final = "sg_"
VERIFIER_KEY_PREFIX: Final = "sv_"
PERSONAL_TOKEN_PREFIX: Final = "sp_"  # noqa: S105 - a prefix, not a secret


@dataclass(frozen=True, slots=True)
class Agent:
    """A program that asks.

    ``generation`` grows with every pause: an approval carries the generation that it was given in and is
    worth nothing in another, so that one small write revokes them all.
    """

    tenant_id: str
    id: str
    name: str
    state: str
    """``active`` or ``paused``."""
    api_access: bool
    signed_approvals: bool
    transport: str
    """``polling`` or ``webhook``."""
    webhook_url: str | None
    expires_in: int | None
    """Seconds a thread of this agent waits when neither request nor tool says; None: the installation's default."""
    requests_per_second: int | None
    generation: int
    created_at: int
    reviewers: tuple[str, ...] = ()
    """Ids of the people who decide for it; empty: every reviewer."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """The tool's side: redeems approvals for the tools it names, and nothing else."""

    tenant_id: str
    id: str
    name: str
    tools: tuple[str, ...]
    created_at: int
    disabled_at: int | None


@dataclass(frozen=True, slots=True)
class Key:
    """One key of an agent or a verifier. Only the hash of what was shown is kept."""

    tenant_id: str
    id: str
    owner_kind: str
    """``agent`` or ``verifier``."""
    owner_id: str
    hash: str
    hint: str
    """The first characters, to tell keys apart on a page."""
    created_at: int
    expires_at: int | None
    """End of a rotation's overlap; None: no end."""
    revoked_at: int | None


def key_hash(key: str) -> str:
    """SHA-256 in hex. Keys carry 256 random bits: a slow hash would add nothing."""
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def is_usable(key: Key, now: int) -> bool:
    return key.revoked_at is None and (key.expires_at is None or now < key.expires_at)
