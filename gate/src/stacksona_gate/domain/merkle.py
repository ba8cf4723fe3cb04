"""The Merkle tree of RFC 6962 section 2.1 (RFC 9162 section 2.1): hashes, roots, proofs, and the tiles they lie in.

Every hash is SHA-256, 32 bytes. A tree of ``size`` leaves never changes: a larger tree only adds to it. Full subtrees
are named by ``level`` and ``index``: the one of the leaves ``index << level`` to ``(index + 1) << level``, exclusive.

Tiles are those of C2SP tlog-tiles, height 8: tile ``number`` of tile level ``level`` holds, one after the other, the up
to 256 hashes of full subtrees of ``256 ** level`` leaves from ``number * 256`` on. A partial tile is a prefix of the
full one, so that a reader may hand out a tile that grew since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

HASH_BYTES: Final = 32
TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
MAX_SIZE: Final = 2**63 - 1
MAX_PROOF: Final = 63
"""No proof over a tree of at most ``MAX_SIZE`` leaves has more hashes."""

Node = Callable[[int, int], bytes]
"""``node(level, index)`` is the hash of a full subtree."""
TileReader = Callable[[int, int], bytes]
"""``read(level, number)`` is a tile's hashes, at least as many as the tree in question has; ``b""`` when none."""


def leaf_hash(leaf: bytes) -> bytes:
    return sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


EMPTY_ROOT: Final = sha256(b"").digest()


class Frontier:
    """A tree that is only appended to, in memory for its right edge alone: at most one hash for each level."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def add(self, hashed: bytes) -> None:
        """Appends the leaf with this leaf hash."""
        size = self.size
        while size & 1:
            hashed = node_hash(self._peaks.pop(), hashed)
            size >>= 1
        self._peaks.append(hashed)
        self.size += 1

    def root(self) -> bytes:
        return _fold(self._peaks)


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over leaves with these leaf hashes."""
    tree = Frontier()
    for hashed in hashes:
        tree.add(hashed)
    return tree.root()


def root_at(node: Node, size: int) -> bytes:
    """The root of the first ``size`` leaves."""
    return _range(node, 0, size) if size else EMPTY_ROOT


# Proofs


def inclusion_proof(node: Node, index: int, size: int) -> list[bytes]:
    """PATH of RFC 6962 section 2.1.1. Raises ValueError unless 0 <= index < size."""
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    proof, low, high = [], 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            proof.append(_range(node, middle, high))
            high = middle
        else:
            proof.append(_range(node, low, middle))
            low = middle
    return proof[::-1]


def consistency_proof(node: Node, old: int, new: int) -> list[bytes]:
    """PROOF of RFC 6962 section 2.1.2; empty from size 0 and between equal sizes.

    Raises ValueError unless 0 <= old <= new.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} does not extend one of {old}")
    if old in (0, new):
        return []
    proof, low, high = [], 0, new
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            proof.append(_range(node, middle, high))
            high = middle
        else:
            proof.append(_range(node, low, middle))
            low = middle
    if low:
        proof.append(_range(node, low, high))
    return proof[::-1]


def verify_inclusion(hashed: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf hash is the one at ``index`` under ``root`` (RFC 9162 section 2.1.3.2). Never raises."""
    if not (0 <= index < size and _are_hashes(proof)):
        return False
    at, last = index, size - 1
    for sibling in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            hashed = node_hash(sibling, hashed)
            at, last = _up_to_right_child(at, last)
        else:
            hashed = node_hash(hashed, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and hashed == root


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the tree of ``new`` leaves starts with that of ``old`` (RFC 9162 section 2.1.4.2). Never raises."""
    if not (0 <= old <= new and _are_hashes(proof)):
        return False
    if old == 0:
        return not proof and old_root == EMPTY_ROOT
    if old == new:
        return not proof and old_root == new_root
    return _consistent(old, old_root, new, new_root, proof)


def _consistent(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    path = iter(proof if at else (old_root, *proof))
    first = second = next(path, b"")
    for sibling in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            at, last = _up_to_right_child(at, last)
        else:
            second = node_hash(second, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root


def _up_to_right_child(at: int, last: int) -> tuple[int, int]:
    """Over the levels on which the right edge has no sibling."""
    while at and not at & 1:
        at, last = at >> 1, last >> 1
    return at, last


def _are_hashes(proof: Sequence[bytes]) -> bool:
    return len(proof) <= MAX_PROOF + 1 and all(len(one) == HASH_BYTES for one in proof)


def _split(count: int) -> int:
    """The largest power of two below ``count`` (at least 2)."""
    return 1 << ((count - 1).bit_length() - 1)


def _range(node: Node, low: int, high: int) -> bytes:
    """The root over leaves ``low`` to ``high``; ``low`` is where a subtree of that many leaves may start."""
    return _fold([node(level, low >> level) for level, low in _peaks(low, high)])


def _peaks(low: int, high: int) -> Iterator[tuple[int, int]]:
    """The full subtrees that a range is made of, largest first: level and first leaf."""
    while low < high:
        level = (high - low).bit_length() - 1
        yield level, low
        low += 1 << level


def _fold(peaks: Sequence[bytes]) -> bytes:
    if not peaks:
        return EMPTY_ROOT
    folded = peaks[-1]
    for peak in reversed(peaks[:-1]):
        folded = node_hash(peak, folded)
    return folded


# Tiles


@dataclass(frozen=True, slots=True)
class Appended:
    """What appending makes: the new ``size`` and ``root``, and the tiles that changed, by level and number, whole."""

    size: int
    root: bytes
    tiles: Mapping[tuple[int, int], bytes]


def append(read: TileReader, size: int, hashes: Sequence[bytes]) -> Appended:
    """Appends leaves with these leaf hashes to a tree of ``size``.

    Reads one tile for each tile level and hashes O(len(hashes) + log size). Raises ValueError when a tile lacks hashes
    that a tree of ``size`` has.
    """
    tiles: dict[tuple[int, int], bytes] = {}
    level, start, fresh = 0, size, b"".join(hashes)
    while fresh:
        start, fresh = _fill(read, tiles, level, start, fresh)
        level += 1
    new = size + len(hashes)

    def current(level: int, number: int) -> bytes:
        return tiles.get((level, number)) or read(level, number)

    return Appended(new, root_at(tile_nodes(current), new), tiles)


def _fill(
    read: TileReader, tiles: dict[tuple[int, int], bytes], level: int, start: int, fresh: bytes
) -> tuple[int, bytes]:
    """Puts hashes into a level's tiles from hash ``start`` on.

    Returns, for the level above, the number of the first tile that is full now and the hashes of all such.
    """
    number, there = divmod(start, TILE_WIDTH)
    content = (_hashes(read(level, number), 0, there) if there else b"") + fresh
    above, tile_bytes = [], TILE_WIDTH * HASH_BYTES
    for offset in range(0, len(content), tile_bytes):
        tile = content[offset : offset + tile_bytes]
        tiles[level, number + offset // tile_bytes] = tile
        if len(tile) == tile_bytes:
            above.append(_perfect_root(tile))
    return number, b"".join(above)


def tile_nodes(read: TileReader) -> Node:
    """Subtree hashes out of tiles. Reads each tile once; raises ValueError for a hash that is not there."""
    kept: dict[tuple[int, int], bytes] = {}

    def node(level: int, index: int) -> bytes:
        tile_level, inside = divmod(level, TILE_HEIGHT)
        number, first = divmod(index << inside, TILE_WIDTH)
        tile = kept.get((tile_level, number))
        if tile is None:
            tile = kept[tile_level, number] = read(tile_level, number)
        return _perfect_root(_hashes(tile, first, first + (1 << inside)))

    return node


def _hashes(tile: bytes, first: int, end: int) -> bytes:
    if len(tile) < end * HASH_BYTES:
        raise ValueError(f"a tile has {len(tile) // HASH_BYTES} hashes where the tree has at least {end}")
    return tile[first * HASH_BYTES : end * HASH_BYTES]


def _perfect_root(row: bytes) -> bytes:
    """The root over a power of two of hashes."""
    pair = 2 * HASH_BYTES
    while len(row) > HASH_BYTES:
        row = b"".join([sha256(b"\1" + row[at : at + pair]).digest() for at in range(0, len(row), pair)])
    return row
