"""The transaction that pages hand on to use-cases."""

from __future__ import annotations

# Pages may not import the store; the service layer shows what of it they need.
from stacksona_gate.service.reviews import Tx  # type: ignore[attr-defined]

__all__ = ["Tx"]
