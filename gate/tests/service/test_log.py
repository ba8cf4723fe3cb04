"""Sealing: one history whatever happens beside it, and proofs that hold."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gate.tests.factories import PATIENCE, TENANT, World, beside, second_tenant, sqlite_database, world

from stacksona_gate.domain import merkle
from stacksona_gate.domain.audit import GATE
from stacksona_gate.domain.checkpoints import open_checkpoint, sign_checkpoint
from stacksona_gate.domain.errors import Conflict, NotFound, Unavailable
from stacksona_gate.domain.signed_notes import ED25519, VerifierKey
from stacksona_gate.service import log
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.log import LogBroken, commit, consistency, inclusion, latest, prepare, seal, seal_now
from stacksona_gate.service.log_keys import ensure_log_key, rotate_log_key, verifier_keys
from stacksona_gate.service.sealer import LEASE_LASTS, Sealer
from stacksona_gate.store.base import Tx
from stacksona_gate.store.sqlite_connection import SQLiteRows

HOUR = 3600.0


def append_some(w: World, count: int, tenant_id: str = TENANT) -> Callable[[Tx], None]:
    def unit(tx: Tx) -> None:
        for number in range(count):
            made = w.env.entry(
                "task.event", tenant_id=tenant_id, at=w.env.now(), actor=GATE, objects={}, private={"n": number}
            )
            tx.audit.append(made)

    return unit


async def add(w: World, count: int, tenant_id: str = TENANT) -> None:
    await w.write(append_some(w, count, tenant_id))


async def sealed_leaves(w: World, size: int, tenant_id: str = TENANT) -> list[bytes]:
    """Leaf hashes in the order of their indexes, which are 0, 1, … ."""
    listed = await w.read(lambda tx: tx.log.list_sealed(tenant_id, 0, size + 1, below=size))
    assert [index for index, _ in listed] == list(range(size))
    return [merkle.leaf_hash(entry.leaf.encode()) for _, entry in listed]


async def kept_sizes(w: World) -> list[int]:
    newest = await w.read(lambda tx: latest(tx, TENANT))
    found = await w.read(lambda tx: [tx.log.find_checkpoint(TENANT, size) for size in range(newest.size + 1)])
    return [one.size for one in found if one is not None]


async def seal_in_chunks(w: World, most: int) -> None:
    while await log.seal_next(w.gate, TENANT, most):
        pass


# The tree


async def test_a_checkpoint_is_the_signed_root_over_every_leaf_so_far(w: World) -> None:
    await w.ask(100)
    made = await seal_now(w.gate, TENANT)
    keys = await w.read(lambda tx: verifier_keys(tx, TENANT))
    assert open_checkpoint(made.note, keys) == made
    assert made.origin == f"stacksona-gate/{w.gate.keyring.issuer}/{TENANT}"
    assert made.size == len(await w.entries())
    assert merkle.root_of(await sealed_leaves(w, made.size)) == made.root


async def test_every_entry_has_a_proof(w: World) -> None:
    await add(w, 300)
    made = await seal_now(w.gate, TENANT)
    leaves = await sealed_leaves(w, made.size)
    proofs = await w.read(lambda tx: [inclusion(tx, TENANT, index, made.size) for index in range(made.size)])
    assert all(
        merkle.verify_inclusion(leaf, index, made.size, proof, made.root)
        for index, (leaf, proof) in enumerate(zip(leaves, proofs, strict=True))
    )


async def test_each_checkpoint_is_consistent_with_each_later_one(w: World) -> None:
    made = [await seal_now(w.gate, TENANT)]
    for count in (1, 250, 3, 520):
        await add(w, count)
        made.append(await seal_now(w.gate, TENANT))
    for i, old in enumerate(made):
        for new in made[i:]:
            proof = await w.read(lambda tx, o=old, n=new: consistency(tx, TENANT, o.size, n.size))  # type: ignore[misc]
            assert merkle.verify_consistency(old.size, old.root, new.size, new.root, proof)


@pytest.mark.parametrize("most", [1, 7, 256, 500])
async def test_the_tree_does_not_depend_on_how_it_was_cut(w: World, most: int) -> None:
    await log.seal_next(w.gate, TENANT)
    await add(w, 600)
    await seal_in_chunks(w, most)
    made = await w.read(lambda tx: latest(tx, TENANT))
    assert made.root == merkle.root_of(await sealed_leaves(w, made.size))


async def test_sealing_again_changes_nothing(w: World) -> None:
    made = await seal_now(w.gate, TENANT)
    assert await seal_now(w.gate, TENANT) == made


async def test_a_workspace_without_entries_has_a_signed_checkpoint_of_nothing(w: World) -> None:
    await second_tenant(w, "other")
    made = await w.write(lambda tx: seal(tx, w.env, w.gate.root, "other"))
    assert made is not None
    assert (made.size, made.root) == (0, merkle.EMPTY_ROOT)


async def test_workspaces_have_logs_of_their_own(w: World) -> None:
    other = await second_tenant(w, "other")
    theirs, ours = await seal_now(other.gate, "other"), await seal_now(w.gate, TENANT)
    assert theirs.origin != ours.origin
    assert merkle.root_of(await sealed_leaves(w, theirs.size, "other")) == theirs.root


async def test_no_proof_goes_beyond_what_is_signed(w: World) -> None:
    made = await seal_now(w.gate, TENANT)
    await add(w, 5)
    for query in (
        lambda tx: inclusion(tx, TENANT, 0, made.size + 1),
        lambda tx: inclusion(tx, TENANT, made.size, made.size),
        lambda tx: consistency(tx, TENANT, 1, made.size + 1),
        lambda tx: consistency(tx, TENANT, made.size, made.size - 1),
    ):
        with pytest.raises(NotFound):
            await w.read(query)


async def test_a_workspace_that_is_none_is_not_sealed(w: World) -> None:
    with pytest.raises(NotFound):
        await seal_now(w.gate, "nobody")


async def test_there_is_no_checkpoint_to_read_before_the_first_sealing(w: World) -> None:
    with pytest.raises(Unavailable):
        await w.read(lambda tx: latest(tx, TENANT))


# Several sealers, crashes


async def test_of_two_that_prepared_the_same_piece_one_wins(w: World) -> None:
    await seal_now(w.gate, TENANT)
    await add(w, 10)
    first = await w.read(lambda tx: prepare(tx, w.env, w.gate.root, TENANT))
    second = await w.read(lambda tx: prepare(tx, w.env, w.gate.root, TENANT, 3))
    assert first is not None
    assert second is not None
    made = await w.write(lambda tx: commit(tx, first))
    assert await w.write(lambda tx: commit(tx, second)) is None
    assert await w.read(lambda tx: latest(tx, TENANT)) == made


async def test_two_processes_that_seal_at_once_make_one_history(w: World) -> None:
    async with beside(w) as other:
        stop = asyncio.Event()

        async def write() -> None:
            for _ in range(60):
                await add(w, 5)
            stop.set()

        async def keep_sealing(gate: Gate) -> None:
            while not stop.is_set():
                await log.seal_next(gate, TENANT, 7)

        await asyncio.gather(write(), keep_sealing(w.gate), keep_sealing(other.gate))
        made = await seal_now(other.gate, TENANT)
    assert made.size == len(await w.entries())
    assert merkle.root_of(await sealed_leaves(w, made.size)) == made.root


async def test_a_transaction_that_fails_after_sealing_leaves_the_log_as_it_was(w: World) -> None:
    before = await seal_now(w.gate, TENANT)
    await add(w, 10)

    def fails(tx: Tx) -> None:
        assert seal(tx, w.env, w.gate.root, TENANT) is not None
        raise Conflict("the process is gone")

    with pytest.raises(Conflict):
        await w.write(fails)
    assert await w.read(lambda tx: latest(tx, TENANT)) == before
    after = await seal_now(w.gate, TENANT)
    proof = await w.read(lambda tx: consistency(tx, TENANT, before.size, after.size))
    assert merkle.verify_consistency(before.size, before.root, after.size, after.root, proof)


# What was changed from outside


async def test_a_log_whose_tiles_were_changed_goes_no_further(w: World) -> None:
    before = await seal_now(w.gate, TENANT)
    await w.write(lambda tx: tx.log.put_tiles(TENANT, {(0, 0): bytes(32 * before.size)}))
    await add(w, 1)
    with pytest.raises(LogBroken, match="tiles"):
        await seal_now(w.gate, TENANT)
    assert await w.read(lambda tx: latest(tx, TENANT)) == before


async def test_a_log_whose_tiles_are_gone_goes_no_further(w: World) -> None:
    await seal_now(w.gate, TENANT)
    await w.write(lambda tx: tx.log.put_tiles(TENANT, {(0, 0): b""}))
    await add(w, 1)
    with pytest.raises(LogBroken):
        await seal_now(w.gate, TENANT)


async def test_a_log_whose_newest_checkpoint_is_not_the_keys_goes_no_further(w: World) -> None:
    made = await seal_now(w.gate, TENANT)
    signed = made.note.replace(f"\n{made.size}\n", f"\n{made.size + 1}\n")
    forged = await w.read(lambda tx: tx.log.newest(TENANT))
    assert forged is not None
    await w.write(lambda tx: tx.log.insert_checkpoint(replace(forged, size=made.size + 1, note=signed)))
    await add(w, 1)
    with pytest.raises(LogBroken, match="not signed"):
        await seal_now(w.gate, TENANT)


async def test_a_log_whose_newest_checkpoint_is_said_to_be_of_another_size_goes_no_further(w: World) -> None:
    made = await seal_now(w.gate, TENANT)
    kept = await w.read(lambda tx: tx.log.newest(TENANT))
    assert kept is not None
    await w.write(lambda tx: tx.log.insert_checkpoint(replace(kept, size=made.size + 1)))
    await add(w, 1)
    with pytest.raises(LogBroken, match="tree"):
        await seal_now(w.gate, TENANT)


async def test_a_log_whose_newest_checkpoint_was_signed_with_a_planted_key_goes_no_further(w: World) -> None:
    made = await seal_now(w.gate, TENANT)
    (own,) = await w.read(lambda tx: tx.log.list_keys())
    theirs = Ed25519PrivateKey.generate()
    public = theirs.public_key().public_bytes_raw()
    planted = replace(own, kid="log_planted", public=base64.b64encode(public).decode(), retired_at=w.env.now())
    note = sign_checkpoint(made.size, made.root, VerifierKey(made.origin, ED25519, public), theirs.sign).note

    def plant(tx: Tx) -> None:
        newest = tx.log.newest(TENANT)
        assert newest is not None
        tx.log.insert_key(planted)
        tx.log.publish_checkpoint(replace(newest, note=note))

    await w.write(plant)
    await add(w, 1)
    with pytest.raises(LogBroken, match="not signed"):
        await seal_now(w.gate, TENANT)


async def test_a_log_that_lost_an_entry_before_it_was_sealed_goes_no_further() -> None:
    with sqlite_database() as database:
        async with world(database) as w:
            before = await seal_now(w.gate, TENANT)
            await add(w, 1)
            rows = SQLiteRows(database.path)
            rows.execute("DELETE FROM audit WHERE seq = (SELECT MAX(seq) FROM audit)")
            rows.close()
            with pytest.raises(LogBroken, match="taken away"):
                await asyncio.wait_for(seal_now(w.gate, TENANT), PATIENCE)
            assert await w.read(lambda tx: latest(tx, TENANT)) == before


# How many checkpoints are kept


async def test_of_an_hour_only_the_last_checkpoint_is_kept(w: World) -> None:
    sizes = []
    for _ in range(3):
        await add(w, 1)
        sizes.append((await seal_now(w.gate, TENANT)).size)
    assert await kept_sizes(w) == sizes[-1:]
    w.clock.advance(HOUR)
    for _ in range(2):
        await add(w, 1)
        sizes.append((await seal_now(w.gate, TENANT)).size)
    assert await kept_sizes(w) == [sizes[2], sizes[4]]


async def test_a_published_checkpoint_is_kept(w: World) -> None:
    published = await seal_now(w.gate, TENANT)
    kept = await w.read(lambda tx: tx.log.newest(TENANT))
    assert kept is not None
    await w.write(lambda tx: tx.log.publish_checkpoint(replace(kept, published_at=w.env.now())))
    await add(w, 1)
    made = await seal_now(w.gate, TENANT)
    assert await kept_sizes(w) == [published.size, made.size]


# Keys


async def test_the_private_half_does_not_rest_in_the_clear(w: World) -> None:
    (key,) = await w.read(lambda tx: tx.log.list_keys())
    raw = w.gate.root.unwrap(key.private, f"log key {key.kid}")
    assert len(raw) == 32
    assert base64.b64encode(raw).decode() not in key.private
    with pytest.raises(Unavailable):
        w.gate.root.unwrap(key.private, f"log key {key.kid}x")


async def test_the_log_key_is_not_the_token_key(w: World) -> None:
    keys = await w.read(lambda tx: (tx.log.list_keys(), tx.installations.list_signing_keys()))
    raw = [base64.urlsafe_b64decode(key.public.translate({43: 45, 47: 95}) + "==")[:32] for one in keys for key in one]
    assert len(raw) == len(set(raw)) == 2


async def test_a_database_gets_its_log_key_once(w: World) -> None:
    before = await w.read(lambda tx: tx.log.list_keys())
    await w.write(lambda tx: ensure_log_key(tx, w.env, w.gate.root))
    assert await w.read(lambda tx: tx.log.list_keys()) == before
    assert len(await w.entries("log_key.created")) == 1


async def test_after_a_rotation_the_new_key_signs_and_the_old_one_still_verifies(w: World) -> None:
    await second_tenant(w, "other")
    old = await seal_now(w.gate, TENANT)
    await seal_now(w.gate, "other")
    await w.write(lambda tx: rotate_log_key(tx, w.env, w.gate.root))
    new = {tenant: await seal_now(w.gate, tenant) for tenant in (TENANT, "other")}
    keys = {tenant: await w.read(lambda tx, t=tenant: verifier_keys(tx, t)) for tenant in new}  # type: ignore[misc]
    assert open_checkpoint(old.note, keys[TENANT][1:]) == old
    for tenant, made in new.items():
        assert open_checkpoint(made.note, keys[tenant][:1]) == made
    assert len(await w.entries("log_key.rotated")) == 1


async def test_a_piece_that_was_signed_with_a_key_just_retired_is_not_written(w: World) -> None:
    await seal_now(w.gate, TENANT)
    await add(w, 1)
    prepared = await w.read(lambda tx: prepare(tx, w.env, w.gate.root, TENANT))
    assert prepared is not None
    await w.write(lambda tx: rotate_log_key(tx, w.env, w.gate.root))
    assert await w.write(lambda tx: commit(tx, prepared)) is None


# The sealer


async def sizes(w: World, *tenants: str) -> list[int]:
    found = await w.read(lambda tx: [tx.log.newest(tenant) for tenant in tenants])
    return [-1 if one is None else one.size for one in found]


async def test_a_round_seals_all_workspaces_and_a_second_one_nothing(w: World) -> None:
    await second_tenant(w, "other")
    await add(w, 1200)
    sealer = Sealer(w.gate)
    assert await sealer.round() == 0  # every log begins with a checkpoint of nothing
    waiting = [len(await w.read(lambda tx, t=t: tx.log.list_unsealed(t, 5000))) for t in (TENANT, "other")]  # type: ignore[misc]
    assert await sealer.round() == sum(waiting)
    assert await sizes(w, TENANT, "other") == waiting
    assert await sealer.round() == 0


async def test_a_log_that_another_process_seals_is_left_alone_until_that_one_is_gone(w: World) -> None:
    await Sealer(w.gate).round()
    late = Sealer(w.gate)
    await late.round()
    assert await sizes(w, TENANT) == [0]
    w.clock.advance(LEASE_LASTS / 1_000_000 + 1)
    assert await Sealer(w.gate).round() > 0


async def test_a_sealer_that_stops_lets_the_next_one_go_on_at_once(w: World) -> None:
    first = Sealer(w.gate)
    await first.round()
    await first.stop()
    assert await Sealer(w.gate).round() > 0


async def test_a_broken_log_does_not_stop_the_others(w: World, caplog: pytest.LogCaptureFixture) -> None:
    await second_tenant(w, "other")
    made = await seal_now(w.gate, TENANT)
    await w.write(lambda tx: tx.log.put_tiles(TENANT, {(0, 0): bytes(32 * made.size)}))
    await add(w, 1)
    await add(w, 1, "other")
    sealer = Sealer(w.gate)
    await sealer.round()
    await sealer.round()
    ours, theirs = await sizes(w, TENANT, "other")
    assert (ours, theirs > 0) == (made.size, True)
    assert "workspace default was changed from outside or damaged" in caplog.text
