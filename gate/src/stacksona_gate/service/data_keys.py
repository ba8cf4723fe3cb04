"""Changing the keys that content rests encrypted with."""

from __future__ import annotations

from typing import Any, Final

from stacksona_gate.domain.audit import COMMAND_LINE, Actor
from stacksona_gate.service.agents import record
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.gate import Gate
from stacksona_gate.store.base import Tx

REWRITTEN_AT_ONCE: Final = 200
"""Rows per transaction: decisions beside it wait milliseconds."""


async def rotate_data_key(gate: Gate, tenant_id: str, actor: Actor = COMMAND_LINE) -> int:
    """Puts a new key to use, writes all content anew with it, and forgets the ones before.

    Safe to stop at any moment: content opens with the key it was closed with until it was rewritten; called again it
    makes another key and goes through everything. Returns how many keys were forgotten: none when another rotation
    began meanwhile, which still has content to write anew and forgets them in the end.
    """
    key_id = await gate.store.write(lambda tx: _put_to_use(tx, gate.env, tenant_id, actor))
    await rewrite_content(gate, tenant_id)
    # A process that had not heard of the new key yet may have written with an old one behind the place that the pages
    # had reached: a second round finds it, and by then nobody writes with the old one.
    await rewrite_content(gate, tenant_id)
    return await gate.store.write(lambda tx: tx.contents.drop_retired(tenant_id, key_id))


async def rewrite_content(gate: Gate, tenant_id: str) -> None:
    """Encrypts with the key in use whatever is not; also what was stored before content was encrypted."""
    places = await gate.store.read(lambda tx: tx.contents.places)
    for place in range(places):
        after: tuple[Any, ...] | None = None
        while True:
            after = await gate.store.write(lambda tx, p=place, a=after: _rewrite(tx, tenant_id, p, a))  # type: ignore[misc]
            if after is None:
                break


def _rewrite(tx: Tx, tenant_id: str, place: int, after: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    return tx.contents.rewrite(tenant_id, place, after, REWRITTEN_AT_ONCE)


def _put_to_use(tx: Tx, env: Environment, tenant_id: str, actor: Actor) -> str:
    key = tx.contents.new_key(tenant_id, env.now())
    record(tx, env, tenant_id, "data_key.rotated", actor, {"data_key": key.id}, {})
    tx.tenants.bump_config(tenant_id)
    return key.id
