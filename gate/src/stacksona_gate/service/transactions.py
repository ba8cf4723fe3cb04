"""The transaction as the rims see it: they hand it on to use-cases and never look into it."""

from __future__ import annotations

from stacksona_gate.store.base import Tx

__all__ = ["Tx"]
