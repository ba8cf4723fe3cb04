"""What a workspace's sealed log is made of, beside its entries and its tree."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogKey:
    """Signs checkpoints (Ed25519). ``public`` is base64; ``private`` is wrapped by the root secret.

    A retired key still verifies what it signed.
    """

    kid: str
    public: str
    private: str
    created_at: int
    retired_at: int | None


@dataclass(frozen=True, slots=True)
class KeptCheckpoint:
    """A signed checkpoint of a workspace's log. ``root`` is base64, ``note`` the whole signed text."""

    tenant_id: str
    size: int
    root: str
    note: str
    created_at: int
    published_at: int | None


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits to be sealed: how many entries, counted up to a limit, and since when the first of them does."""

    entries: int
    oldest_at: int | None
