"""Which work is somebody's just now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set

from stacksona_gate.service.environment import Environment
from stacksona_gate.store.base import Tx


def leases_by_kind(tx: Tx, env: Environment, holders: Set[str]) -> tuple[Counter[str], Counter[str]]:
    """How many leases hold now, by the first word of their names: of anybody, and of ``holders``."""
    held = tx.leases.list_held(env.shared_now(tx))
    everybody = Counter(name.partition(" ")[0] for name, _ in held)
    return everybody, Counter(name.partition(" ")[0] for name, holder in held if holder in holders)
