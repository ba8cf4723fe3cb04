"""Seals the logs of all workspaces in the background, within a second of the commits."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final

from stacksona_gate.domain.errors import GateError
from stacksona_gate.domain.times import MINUTE, SECOND
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.log import SEALED_AT_ONCE, LogBroken, seal_next
from stacksona_gate.store.base import Tx

SEAL_SECONDS: Final = 0.3
"""Between two rounds: an entry waits half of it on average."""
LEASE_LASTS: Final = 10 * SECOND
"""A sealer that is gone is replaced after this. Its lease saves work in vain; what keeps a log one history is that a
piece is written only where the one before it still ends."""

log = logging.getLogger(__name__)


class Sealer:
    """One process's sealer. Takes a lease for each workspace; whoever has none leaves its log alone."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._holder = gate.new_holder("sealer_")
        self._renew_at: dict[str, float] = {}
        self._leave_until: dict[str, float] = {}

    async def round(self) -> int:
        """Seals what waits, workspaces in turns, until nothing does. Returns how many entries that were."""
        waiting = deque(await self._gate.store.scan(_to_seal))
        total = 0
        while waiting:
            tenant_id, begun = waiting.popleft(), self._gate.env.monotonic()
            sealed = await self._seal(tenant_id)
            total += sealed
            if sealed == SEALED_AT_ONCE:
                waiting.append(tenant_id)
                # Half of the time at most: a backlog of hours must not halve the rate of decisions beside it.
                await asyncio.sleep(self._gate.env.monotonic() - begun)
        return total

    async def _seal(self, tenant_id: str) -> int:
        """One piece of one log; 0 also where another process does it, and where the log is broken."""
        try:
            if not await self._may_seal(tenant_id):
                return 0
            sealed = await seal_next(self._gate, tenant_id)
        except LogBroken as error:
            log.error("%s", error.detail)
            self._leave(tenant_id, MINUTE)
            return 0
        except GateError as error:
            log.warning("the log of workspace %s is not sealed: %s", tenant_id, error.detail)
            self._leave(tenant_id, SECOND)
            return 0
        except Exception:
            log.exception("the log of workspace %s is not sealed", tenant_id)
            self._leave(tenant_id, MINUTE)
            return 0
        return sealed or 0

    async def _may_seal(self, tenant_id: str) -> bool:
        """Whether the lease is this process's, renewed in time."""
        now = self._gate.env.monotonic()
        if now < self._leave_until.get(tenant_id, now):
            return False
        if now < self._renew_at.get(tenant_id, now):
            return True
        fence = await self._gate.store.write(lambda tx: self._take(tx, tenant_id), holds=True)
        if fence is None:
            self._leave(tenant_id, SECOND)
            return False
        self._renew_at[tenant_id] = now + LEASE_LASTS / SECOND / 2
        return True

    def _leave(self, tenant_id: str, microseconds: int) -> None:
        self._renew_at.pop(tenant_id, None)
        self._leave_until[tenant_id] = self._gate.env.monotonic() + microseconds / SECOND

    async def stop(self) -> None:
        """Lets others go on at once."""
        for tenant_id in list(self._renew_at):
            await self._gate.store.write(lambda tx, t=tenant_id: self._give_back(tx, t))  # type: ignore[misc]

    def _take(self, tx: Tx, tenant_id: str) -> int | None:
        now = self._gate.env.shared_now(tx)
        return tx.leases.take(_lease(tenant_id), self._holder, now, LEASE_LASTS)

    def _give_back(self, tx: Tx, tenant_id: str) -> None:
        fence = self._take(tx, tenant_id)
        if fence is not None:
            tx.leases.give_back(_lease(tenant_id), self._holder, fence)


def _lease(tenant_id: str) -> str:
    return f"seal {tenant_id}"


def _to_seal(tx: Tx) -> list[str]:
    """Workspaces where something waits, or whose log has not begun."""
    tenants = [tenant.id for tenant in tx.tenants.list_all()]
    return [one for one in tenants if tx.log.last_unsealed(one) is not None or tx.log.newest(one) is None]
