"""How long an inclusion and a consistency proof of a log of ten million entries take, read through the store.

The tree is made of random leaf hashes and written tile by tile, as sealing would have left it; there are no entries.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from bench.fill import Tiles, edge_of, sign_tree
from bench.loader import Loader
from bench.prepare import settings_for
from bench.report import BenchBroken, Line, percentile
from stacksona_gate.domain import merkle
from stacksona_gate.domain.ids import FIRST_TENANT
from stacksona_gate.domain.merkle import HASH_BYTES, TILE_WIDTH
from stacksona_gate.main import opened
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.log import consistency, inclusion
from stacksona_gate.store.base import Tx

ENTRIES: Final = 10_000_000
QUICK_ENTRIES: Final = 200_000
PROOFS: Final = 2_000
MOST_MILLISECONDS: Final = 5.0
_PIECE: Final = TILE_WIDTH * TILE_WIDTH
"""Leaves appended at once: a whole tile of the second level."""

Taken = tuple[float, float]
"""Milliseconds that passed, and those in which this thread computed, which other programs do not move."""
Check = Callable[[list[bytes]], bool]


def measure(folder: Path, loader: Loader, *, quick: bool) -> list[Line]:
    """Raises BenchBroken when a proof does not hold or a tile is missing."""
    return asyncio.run(_measure(folder / "proofs.db", QUICK_ENTRIES if quick else ENTRIES))


async def _measure(path: Path, size: int) -> list[Line]:
    async with opened(settings_for(f"sqlite:///{path}")) as gate:
        begun = time.perf_counter()
        roots = await _grow(gate, size)
        counted = await gate.store.scan(lambda tx: _count_tiles(tx, size))
        took = time.perf_counter() - begun
        print(f"\nproofs: a tree of {size:,} leaves in {counted:,} tiles, made in {took:.0f} s")
        chance = random.Random(size)
        return [
            _line(
                "inclusion proof", size, [await _inclusion(gate, chance.randrange(size), size, roots) for _ in _times()]
            ),
            _line(
                "consistency proof",
                size,
                [await _consistency(gate, chance.choice(list(roots)), size, roots) for _ in _times()],
            ),
            _line(
                "consistency proof from any size",
                size,
                [
                    await _timed(gate, consistency, chance.randrange(1, size), size, lambda proof: True)
                    for _ in _times()
                ],
            ),
        ]


def _times() -> range:
    return range(PROOFS)


async def _grow(gate: Gate, size: int) -> dict[int, bytes]:
    """Writes the tree, and the checkpoint of its end. Returns roots by size: of each piece that was appended."""
    roots: dict[int, bytes] = {}
    edge: Tiles = {}
    grown = 0
    while grown < size:
        count = min(_PIECE, size - grown)
        noise = os.urandom(count * HASH_BYTES)
        hashes = [noise[at : at + HASH_BYTES] for at in range(0, len(noise), HASH_BYTES)]
        appended = merkle.append(partial(_read, edge), grown, hashes)
        tiles = dict(appended.tiles)
        await gate.store.write(lambda tx, tiles=tiles: tx.log.put_tiles(FIRST_TENANT, tiles))  # type: ignore[misc]
        edge = edge_of(edge | tiles)
        grown = appended.size
        roots[grown] = appended.root
    await gate.store.write(lambda tx: sign_tree(tx, gate, grown, roots[grown]))
    return roots


def _read(tiles: Tiles, level: int, number: int) -> bytes:
    return tiles.get((level, number), b"")


def _count_tiles(tx: Tx, size: int) -> int:
    """Looks at every tile that a tree of this size has. Raises BenchBroken."""
    counted, level, width = 0, 0, size
    while width:
        for number in range(-(-width // TILE_WIDTH)):
            wanted = min(TILE_WIDTH, width - number * TILE_WIDTH) * HASH_BYTES
            if len(tx.log.find_tile(FIRST_TENANT, level, number)) != wanted:
                raise BenchBroken(f"tile {number} of level {level} is not whole")
            counted += 1
        level, width = level + 1, width // TILE_WIDTH
    return counted


async def _inclusion(gate: Gate, index: int, size: int, roots: dict[int, bytes]) -> Taken:
    tile = await gate.store.read(lambda tx: tx.log.find_tile(FIRST_TENANT, 0, index // TILE_WIDTH))
    at = index % TILE_WIDTH * HASH_BYTES
    leaf = tile[at : at + HASH_BYTES]
    return await _timed(
        gate, inclusion, index, size, lambda proof: merkle.verify_inclusion(leaf, index, size, proof, roots[size])
    )


async def _consistency(gate: Gate, old: int, size: int, roots: dict[int, bytes]) -> Taken:
    return await _timed(
        gate,
        consistency,
        old,
        size,
        lambda proof: merkle.verify_consistency(old, roots[old], size, roots[size], proof),
    )


async def _timed(
    gate: Gate, prove: Callable[[Tx, str, int, int], list[bytes]], first: int, second: int, check: Check
) -> Taken:
    """Of one proof. Raises BenchBroken when it does not hold."""
    begun, computing = time.perf_counter(), time.thread_time()
    proof = await gate.store.read(lambda tx: prove(tx, FIRST_TENANT, first, second))
    took = (time.perf_counter() - begun) * 1000, (time.thread_time() - computing) * 1000
    if not check(proof):
        raise BenchBroken(f"the proof of {first} in {second} does not hold")
    return took


def _line(what: str, size: int, taken: list[Taken]) -> Line:
    passed, computed = ([one[which] for one in taken] for which in (0, 1))
    p50, p99 = percentile(passed, 50), percentile(passed, 99)
    measured = f"p50 {p50:.2f}, p99 {p99:.2f} ms; CPU p99 {percentile(computed, 99):.2f} ms"
    return Line(f"{what}, {size:,} entries", measured, f"p99 under {MOST_MILLISECONDS:.0f} ms", p99 < MOST_MILLISECONDS)
