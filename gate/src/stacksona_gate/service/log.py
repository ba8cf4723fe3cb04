"""The sealed log: entries get their index and the tree its next checkpoint, and proofs are read from it.

Sealing is in two steps. ``prepare`` reads, hashes and signs; ``commit`` writes indexes, tiles and checkpoint in one
transaction, and only if the tree is still the one that was read. Between them nothing is held: of any number of
sealers at once one wins, the others start over. A crash leaves the tree as it was before or as it is after.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from stacksona_gate.domain import merkle
from stacksona_gate.domain.checkpoints import Checkpoint, open_checkpoint, parse_checkpoint, sign_checkpoint
from stacksona_gate.domain.errors import Conflict, Invalid, Malformed, NotFound, Unavailable
from stacksona_gate.domain.sealed_log import KeptCheckpoint
from stacksona_gate.domain.times import HOUR
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.log_keys import key_in_use, log_signer, own_keys
from stacksona_gate.service.secrets import RootSecret
from stacksona_gate.store.base import Tx

SEALED_AT_ONCE: Final = 500
"""Entries per transaction: decisions in the same batch wait for it, a few milliseconds."""
COUNTED_MOST: Final = 100_000
TRIES: Final = 50
"""How often sealing starts over because another process was faster, before it says so."""


class LogBroken(Unavailable):
    """What is stored is not what was signed: the log goes no further, so that no checkpoint hides it."""


@dataclass(frozen=True, slots=True)
class Sealing:
    """The next piece of a log, hashed and signed, not yet written. ``before``: the checkpoint that it extends."""

    tenant_id: str
    before: KeptCheckpoint | None
    seqs: tuple[int, ...]
    tiles: Mapping[tuple[int, int], bytes]
    checkpoint: Checkpoint
    kid: str
    at: int


def prepare(tx: Tx, env: Environment, root: RootSecret, tenant_id: str, most: int = SEALED_AT_ONCE) -> Sealing | None:
    """The next up to ``most`` entries; None when nothing waits. A new log starts with a checkpoint of nothing.

    Reads only. Raises LogBroken when the stored tree is not the one that its newest checkpoint signs or an entry that
    waits is gone, Unavailable without a key.
    """
    before = tx.log.newest(tenant_id)
    waiting = tx.log.list_unsealed(tenant_id, most) if before is not None else []
    if before is not None and not waiting:
        return None
    if not all(leaf for _, leaf in waiting):
        raise _broken(tenant_id, "an entry that waited to be sealed was taken away")
    try:
        size = 0 if before is None else _checked(tx, root, before)
        hashes = [merkle.leaf_hash(leaf.encode()) for _, leaf in waiting]
        grown = merkle.append(functools.partial(tx.log.find_tile, tenant_id), size, hashes)
    except ValueError as error:
        raise _broken(tenant_id, str(error)) from error
    signer = log_signer(tx, root, tenant_id)
    checkpoint = sign_checkpoint(grown.size, grown.root, signer.key, signer.sign)
    seqs = tuple(seq for seq, _ in waiting)
    return Sealing(tenant_id, before, seqs, grown.tiles, checkpoint, signer.kid, env.now())


def _checked(tx: Tx, root: RootSecret, before: KeptCheckpoint) -> int:
    """The size to go on from. Raises LogBroken, ValueError."""
    try:
        signed = open_checkpoint(before.note, own_keys(tx, root, before.tenant_id))
    except (Malformed, Invalid) as error:
        raise _broken(before.tenant_id, f"its newest checkpoint is not signed by its key: {error.detail}") from None
    if signed.size != before.size or merkle.root_at(tree(tx, before.tenant_id), signed.size) != signed.root:
        raise _broken(before.tenant_id, f"its tiles are not the tree of {signed.size} entries that was signed")
    return signed.size


def _broken(tenant_id: str, why: str) -> LogBroken:
    return LogBroken(
        f"the sealed log of workspace {tenant_id} was changed from outside or damaged: {why}. Nothing more is sealed;"
        " compare the database with a backup and with saved checkpoints"
    )


def commit(tx: Tx, sealing: Sealing) -> Checkpoint | None:
    """Writes a prepared piece. None, and nothing written, when the tree or the key is no longer the one prepared for.

    Raises Conflict when an entry was sealed meanwhile all the same: the whole transaction is to be undone.
    """
    tenant_id, before, made = sealing.tenant_id, sealing.before, sealing.checkpoint
    newest = tx.log.newest(tenant_id)
    if _size(newest) != _size(before) or key_in_use(tx).kid != sealing.kid:
        return None
    tx.log.number(tenant_id, made.size - len(sealing.seqs), sealing.seqs)
    tx.log.put_tiles(tenant_id, sealing.tiles)
    kept = KeptCheckpoint(tenant_id, made.size, _base64(made.root), made.note, sealing.at, None)
    tx.log.insert_checkpoint(kept)
    if newest is not None and newest.published_at is None and newest.created_at // HOUR == sealing.at // HOUR:
        tx.log.drop_checkpoint(tenant_id, newest.size)  # kept are: the newest, the last of each hour, the published
    return made


def _size(checkpoint: KeptCheckpoint | None) -> int:
    return -1 if checkpoint is None else checkpoint.size


def seal(tx: Tx, env: Environment, root: RootSecret, tenant_id: str, most: int = SEALED_AT_ONCE) -> Checkpoint | None:
    """Both steps in one transaction. None when nothing waited."""
    prepared = prepare(tx, env, root, tenant_id, most)
    return None if prepared is None else commit(tx, prepared)


async def seal_next(gate: Gate, tenant_id: str, most: int = SEALED_AT_ONCE) -> int | None:
    """Seals the next piece, hashing beside the writer. Returns how many entries it has; None: another was faster."""
    prepared = await gate.store.scan(lambda tx: prepare(tx, gate.env, gate.root, tenant_id, most))
    if prepared is None:
        return 0

    def unit(tx: Tx) -> Checkpoint | None:
        made = commit(tx, prepared)
        gate.env.reached("seal.before_commit")
        return made

    try:
        made = await gate.store.write(unit, holds=True)  # each entry is numbered only while it has no number
    except Conflict:
        return None
    gate.env.reached("seal.after_commit")
    return None if made is None else len(prepared.seqs)


async def seal_now(gate: Gate, tenant_id: str) -> Checkpoint:
    """Seals everything committed so far and returns the newest checkpoint. Works beside a sealer.

    Raises LogBroken, Unavailable, NotFound for a workspace that is none.
    """
    if await gate.store.read(lambda tx: tx.tenants.find(tenant_id)) is None:
        raise NotFound(f"there is no workspace {tenant_id!r}")
    last = await gate.store.scan(lambda tx: tx.log.last_unsealed(tenant_id))
    tries = 0
    while not await gate.store.read(lambda tx: _is_sealed(tx, tenant_id, last)):
        tries = tries + 1 if await seal_next(gate, tenant_id) is None else 0
        if tries == TRIES:
            raise Unavailable("others seal this log all the time: try again", retry_after=1)
    return await gate.store.read(lambda tx: latest(tx, tenant_id))


def _is_sealed(tx: Tx, tenant_id: str, last: int | None) -> bool:
    return tx.log.newest(tenant_id) is not None and (last is None or tx.log.is_sealed_to(tenant_id, last))


# Reading


def latest(tx: Tx, tenant_id: str) -> Checkpoint:
    """The newest checkpoint, with the cosignatures that it got. Raises Unavailable before there is one."""
    return parse_checkpoint(latest_kept(tx, tenant_id).note)


def latest_kept(tx: Tx, tenant_id: str) -> KeptCheckpoint:
    """As ``latest``, with when it was made and published."""
    newest = tx.log.newest(tenant_id)
    if newest is None:
        raise Unavailable("the log is not sealed yet: try again in a second", retry_after=1)
    return newest


def tree(tx: Tx, tenant_id: str) -> merkle.Node:
    """Subtree hashes of a log, each tile and each hash worked out once: for several proofs of one transaction."""
    return functools.cache(merkle.tile_nodes(functools.partial(tx.log.find_tile, tenant_id)))


def inclusion(tx: Tx, tenant_id: str, index: int, size: int) -> list[bytes]:
    """The proof that the entry at ``index`` is in the tree of ``size`` entries (RFC 6962 section 2.1.1).

    Raises NotFound when the tree has no such entry or is not that large, LogBroken when hashes are missing.
    """
    _require(tx, tenant_id, size)
    if not 0 <= index < size:
        raise NotFound(f"there is no entry {index} among the first {size}")
    try:
        return merkle.inclusion_proof(tree(tx, tenant_id), index, size)
    except ValueError as error:
        raise _broken(tenant_id, str(error)) from None


def consistency(tx: Tx, tenant_id: str, old: int, new: int) -> list[bytes]:
    """The proof that the tree of ``new`` entries starts with that of ``old`` (RFC 6962 section 2.1.2).

    Raises NotFound, LogBroken.
    """
    _require(tx, tenant_id, new)
    if not 0 <= old <= new:
        raise NotFound(f"a log of {new} entries has no earlier state of {old}")
    try:
        return merkle.consistency_proof(tree(tx, tenant_id), old, new)
    except ValueError as error:
        raise _broken(tenant_id, str(error)) from None


def root_of(tx: Tx, tenant_id: str, size: int) -> bytes:
    """The root of the first ``size`` entries. Raises NotFound, LogBroken."""
    _require(tx, tenant_id, size)
    try:
        return merkle.root_at(tree(tx, tenant_id), size)
    except ValueError as error:
        raise _broken(tenant_id, str(error)) from None


@dataclass(frozen=True, slots=True)
class LogState:
    """All workspaces' logs together. ``lag``: microseconds for which the oldest unsealed entry waits."""

    entries: int
    unsealed: int
    lag: int


def measure(tx: Tx, env: Environment) -> LogState:
    """For metrics. Unsealed entries are counted up to COUNTED_MOST in each workspace."""
    tenants = [tenant.id for tenant in tx.tenants.list_all()]
    backlogs = [tx.log.measure_backlog(tenant_id, COUNTED_MOST) for tenant_id in tenants]
    since = [one.oldest_at for one in backlogs if one.oldest_at is not None]
    lag = max(0, env.now() - min(since)) if since else 0
    sizes = [max(0, _size(tx.log.newest(tenant_id))) for tenant_id in tenants]
    return LogState(sum(sizes), sum(one.entries for one in backlogs), lag)


def _require(tx: Tx, tenant_id: str, size: int) -> None:
    """Proofs are against what was signed: a size beyond the newest checkpoint is none yet."""
    newest = tx.log.newest(tenant_id)
    if newest is None or not 0 <= size <= newest.size:
        raise NotFound(f"the sealed log has no {size} entries: it has {0 if newest is None else newest.size}")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
