"""A publisher, what it is told to do, and what it leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gate.tests.factories import TENANT, World

from stacksona_gate.delivery.addresses import AddressGuard
from stacksona_gate.delivery.mail import Post
from stacksona_gate.delivery.publishing import Publisher
from stacksona_gate.delivery.sender import Sender
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.checkpoints import Checkpoint, open_checkpoint
from stacksona_gate.domain.sealed_log import KeptCheckpoint
from stacksona_gate.service.log import seal_now
from stacksona_gate.service.log_keys import verifier_keys
from stacksona_gate.service.publishing import Publishing, change_publishing


def publisher(
    w: World, *, folder: Path | None = None, post: Post | None = None, allowed: str = "127.0.0.0/8"
) -> Publisher:
    return Publisher(w.gate, Sender(AddressGuard.of(allowed, "")), folder=folder, post=post)


async def configure(w: World, tenant_id: str = TENANT, **given: Any) -> None:
    wanted = Publishing(**given)
    await w.write(lambda tx: change_publishing(tx, w.env, COMMAND_LINE, tenant_id, wanted))


async def sealed(w: World) -> Checkpoint:
    await w.ask(100)
    return await seal_now(w.gate, TENANT)


async def kept(w: World, size: int) -> KeptCheckpoint:
    found = await w.read(lambda tx: tx.log.find_checkpoint(TENANT, size))
    assert found is not None
    return found


async def notices(w: World) -> list[str]:
    return [one.text for one in await w.read(lambda tx: tx.notices.list_open(TENANT, 10))]


async def is_signed(w: World, note: str) -> bool:
    keys = await w.read(lambda tx: verifier_keys(tx, TENANT))
    return open_checkpoint(note, keys).size > 0
