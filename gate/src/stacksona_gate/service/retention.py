"""How long a workspace keeps content, and taking away what is older. Proofs and statuses stay for ever."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from stacksona_gate.domain.audit import GATE, Actor
from stacksona_gate.domain.errors import FieldError, Invalid
from stacksona_gate.domain.times import DAY
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.erasure import Erased, erase_content, forget_replays
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.workspace_settings import change_setting
from stacksona_gate.store.base import Tx

SETTING: Final = "retention"
DAYS_MOST: Final = 36_500
BATCH: Final = 100
"""Requests per transaction: decisions in the same batch do not wait for thousands of them."""
PAGE: Final = 2_000
"""Requests looked at per step."""
_MARK: Final = "retention_mark"
"""The setting that says up to which request everything is gone already."""
REPLAYS_LAST: Final = 4 * DAY
"""Kept answers are gone by then without our doing."""


class Retention(msgspec.Struct, frozen=True):
    """0: content is kept for ever."""

    retention_days: int = 0


@dataclass(frozen=True, slots=True)
class _Step:
    """``reached``: the last that was looked at. ``held``: the first whose content has to stay for now."""

    due: tuple[str, ...]
    reached: int
    held: int | None
    is_last: bool


def read_retention(tx: Tx, tenant_id: str) -> Retention:
    """What holds for the workspace. A setting that was damaged removes nothing."""
    text = tx.tenants.get_setting(tenant_id, SETTING)
    try:
        return Retention() if text is None else msgspec.json.decode(text, type=Retention)
    except msgspec.MsgspecError:
        return Retention()


def change_retention(tx: Tx, env: Environment, actor: Actor, tenant_id: str, retention: Retention) -> Retention:
    """Holds from the next round of clearing out. Raises Invalid."""
    if not 0 <= retention.retention_days <= DAYS_MOST:
        error = FieldError("retention_days", f"0 (for ever) to {DAYS_MOST}")
        raise Invalid(f"retention_days: {error.message}", errors=(error,))
    change_setting(tx, env, actor, tenant_id, SETTING, read_retention(tx, tenant_id), retention)
    return retention


async def expire_content(gate: Gate) -> int:
    """Takes away the content of final requests that is older than their workspaces keep it. Returns of how many.

    Each transaction stands for itself: a process that ends in between is taken up by the next round.
    """
    now = await gate.earlier_now()
    tenants = await gate.store.scan(lambda tx: tx.tenants.list_all())
    return sum([await _expire_of(gate, tenant.id, now) for tenant in tenants])


async def _expire_of(gate: Gate, tenant_id: str, now: int) -> int:
    retention = await gate.store.read(lambda tx: read_retention(tx, tenant_id))
    if not retention.retention_days:
        return 0
    before = now - retention.retention_days * DAY
    after = await gate.store.read(lambda tx: int(tx.tenants.get_setting(tenant_id, _MARK) or 0))
    held: int | None = None
    gone: list[str] = []
    while True:
        step = await _look(gate, tenant_id, after, before, now)
        for start in range(0, len(step.due), BATCH):
            gone += await _expire(gate, tenant_id, step.due[start : start + BATCH], before)
        after, held = step.reached, step.held if held is None else held
        mark = str(after if held is None else held - 1)
        await gate.store.write(lambda tx, mark=mark: tx.tenants.set_setting(tenant_id, _MARK, mark))  # type: ignore[misc]
        if step.is_last:
            break
    if retention.retention_days * DAY < REPLAYS_LAST:
        await forget_replays(gate, tenant_id, frozenset(gone))
    await _expire_events(gate, tenant_id, before)
    return len(gone)


async def _look(gate: Gate, tenant_id: str, after: int, before: int, now: int) -> _Step:
    def look(tx: Tx) -> _Step:
        listed = tx.erasure.list_states(tenant_id, after=after, limit=PAGE)
        kept = [state for state in listed if state.erased_at is None]
        due = [one for one in kept if one.is_final(now) and max(one.created_at, one.decided_at or now) < before]
        held = {state.seq for state in kept} - {state.seq for state in due}
        reached = listed[-1].seq if listed else after
        # They stand in the order of their times, but for a clock that was set: one page of too young ones is the end.
        is_last = len(listed) < PAGE or all(state.created_at >= before for state in listed)
        return _Step(tuple(state.id for state in due), reached, min(held, default=None), is_last)

    return await gate.store.scan(look)


async def _expire(gate: Gate, tenant_id: str, due: tuple[str, ...], before: int) -> tuple[str, ...]:
    def unit(tx: Tx) -> Erased:
        # The workspace may have chosen to keep it meanwhile.
        if not read_retention(tx, tenant_id).retention_days:
            return Erased()
        return erase_content(tx, gate.env, GATE, tenant_id, due, "content.expired", events_before=before)

    erased = await gate.store.write(unit)
    return erased.requests


async def _expire_events(gate: Gate, tenant_id: str, before: int) -> None:
    """What agents said about tasks outside of any thread."""
    removed = BATCH
    while removed == BATCH:
        removed = await gate.store.write(lambda tx: tx.erasure.erase_loose_events(tenant_id, before, BATCH))
