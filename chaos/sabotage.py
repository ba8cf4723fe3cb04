"""Breaks the database by hand in the middle of a run, to show that the checks see it. Of no other use."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from chaos.agents import Case
from chaos.client import Answer
from chaos.world import World

PATIENCE: Final = 30.0

Break = Callable[[World], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Sabotage:
    """``found_by``: properties that cannot hold after it."""

    do: Break
    found_by: tuple[str, ...]


async def _lose_a_decision(world: World) -> None:
    await _change_one(world, "DELETE FROM requests", "requests", "status = 'approved'")


async def _change_a_decision(world: World) -> None:
    await _change_one(world, "UPDATE requests SET status = 'allow'", "requests", "status = 'reject'")


async def _lose_a_webhook(world: World) -> None:
    await _change_one(
        world, "DELETE FROM deliveries", "deliveries", "state = 'delivered' AND event = 'decision.approved'"
    )


async def _edit_the_log(world: World) -> None:
    edit = "UPDATE audit SET leaf = replace(leaf, 'agent.created', 'agent.changed')"
    await _change_one(world, edit, "audit", "event = 'agent.created'")


async def _redeem_twice(world: World) -> None:
    """An approval is made as if it had not been used, and used again."""
    case = Case(world.client, world.cast, world.cast.agents[0], random.Random("twice"), "twice")
    end = time.monotonic() + PATIENCE
    number = 0
    while time.monotonic() < end:
        number += 1
        case.name = f"twice-{number}"
        answer = await case.ask()
        if answer is not None and "approval_token" in answer.body and await _used_again(world, case, answer):
            return
    raise RuntimeError("nothing could be redeemed in time")


async def _used_again(world: World, case: Case, answer: Answer) -> bool:
    """Whether both were told that it is theirs."""
    token, case.request_id = answer.body["approval_token"], answer.body["request_id"]
    if await case.redeem(token, case.payload()) != "ok":
        return False
    unused = "UPDATE requests SET redeemed_at = NULL, redeemed_by = NULL"
    await asyncio.to_thread(world.database.run, f"{unused} WHERE id = '{case.request_id}'")
    return await case.redeem(token, case.payload()) == "ok"


async def _change_one(world: World, change: str, table: str, where: str) -> None:
    """One row for which ``where`` holds, as soon as there is one."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        rows = await asyncio.to_thread(world.database.rows, f"SELECT id FROM {table} WHERE {where} LIMIT 1")
        if rows:
            await asyncio.to_thread(world.database.run, f"{change} WHERE id = '{rows[0][0]}'")
            return
        await asyncio.sleep(0.2)
    raise RuntimeError(f"nothing to break among the {table} in time")


SABOTAGES: Final = {
    "lost-decision": Sabotage(_lose_a_decision, ("acknowledged_survives", "allow_rests_on_a_row")),
    "changed-decision": Sabotage(_change_a_decision, ("acknowledged_survives", "told_never_changes")),
    "second-redemption": Sabotage(_redeem_twice, ("at_most_one_redemption", "redemptions_are_recorded")),
    "lost-webhook": Sabotage(_lose_a_webhook, ("webhooks_arrive",)),
    "edited-log": Sabotage(_edit_the_log, ("log_extends_every_checkpoint", "log_is_whole")),
}
ALL: Final = "all"


async def sabotage(world: World, name: str) -> None:
    """One of them, or all one after the other."""
    for known, one in SABOTAGES.items():
        if name in (ALL, known):
            await one.do(world)
