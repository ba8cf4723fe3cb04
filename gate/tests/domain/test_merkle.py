"""Roots, proofs and tiles against a tree that is written down as RFC 6962 says it, and against known vectors."""

from __future__ import annotations

from hashlib import sha256
from random import Random

import pytest
from hypothesis import given, settings, strategies as st

from stacksona_gate.domain.merkle import (
    EMPTY_ROOT,
    TILE_WIDTH,
    Appended,
    Frontier,
    Node,
    append,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_at,
    root_of,
    tile_nodes,
    verify_consistency,
    verify_inclusion,
)

MOST = 1100
LEAVES = [number.to_bytes(4) for number in range(MOST)]
HASHES = [leaf_hash(leaf) for leaf in LEAVES]
SIZES = st.integers(0, MOST)

# The leaves and roots of the Certificate Transparency reference implementations.
KNOWN_LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
KNOWN_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
A, B, C = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7", KNOWN_ROOTS[2], KNOWN_ROOTS[4]
D = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
E = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
F = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
G = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
H = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"


def naive_root(hashes: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, in its words."""
    if len(hashes) < 2:
        return hashes[0] if hashes else sha256(b"").digest()
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return sha256(b"\1" + naive_root(hashes[:split]) + naive_root(hashes[split:])).digest()


def node_of(hashes: list[bytes]) -> Node:
    return lambda level, index: naive_root(hashes[index << level : (index + 1) << level])


class Tiles:
    """A store of tiles that counts what is read and written."""

    def __init__(self) -> None:
        self.size, self.root, self.held, self.reads = 0, EMPTY_ROOT, dict[tuple[int, int], bytes](), 0

    def read(self, level: int, number: int) -> bytes:
        self.reads += 1
        return self.held.get((level, number), b"")

    def add(self, hashes: list[bytes]) -> Appended:
        appended = append(self.read, self.size, hashes)
        self.held.update(appended.tiles)
        self.size, self.root = appended.size, appended.root
        return appended


def tiles_of(*batches: int) -> Tiles:
    tiles = Tiles()
    for count in batches:
        tiles.add(HASHES[tiles.size : tiles.size + count])
    return tiles


# Roots


@pytest.mark.parametrize("size", range(9))
def test_the_known_leaves_have_the_known_roots(size: int) -> None:
    assert root_of([leaf_hash(leaf) for leaf in KNOWN_LEAVES[:size]]).hex() == KNOWN_ROOTS[size]


@given(SIZES)
def test_every_way_to_a_root_is_the_standards(size: int) -> None:
    expected = naive_root(HASHES[:size])
    assert root_of(HASHES[:size]) == expected
    assert root_at(node_of(HASHES), size) == expected


def test_a_frontier_knows_the_root_at_each_size() -> None:
    frontier, roots = Frontier(), []
    for hashed in HASHES[:70]:
        roots.append(frontier.root())
        frontier.add(hashed)
    assert roots == [naive_root(HASHES[:size]) for size in range(70)]


# Inclusion


@pytest.mark.parametrize(
    ("index", "size", "proof"),
    [(0, 1, []), (0, 8, [A, D, E]), (5, 8, [F, G, C]), (2, 3, [B])],
)
def test_the_known_inclusion_proofs_are_made(index: int, size: int, proof: list[str]) -> None:
    hashes = [leaf_hash(leaf) for leaf in KNOWN_LEAVES]
    assert [one.hex() for one in inclusion_proof(node_of(hashes), index, size)] == proof


@given(st.data(), st.integers(1, MOST))
def test_an_inclusion_proof_holds_for_its_leaf_index_size_and_root_alone(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    root, proof = root_of(HASHES[:size]), inclusion_proof(node_of(HASHES), index, size)
    assert verify_inclusion(HASHES[index], index, size, proof, root)
    assert not verify_inclusion(leaf_hash(b"other"), index, size, proof, root)
    assert not verify_inclusion(HASHES[index], index, size, proof, leaf_hash(b"other"))
    assert not verify_inclusion(HASHES[index], index, size, [*proof, EMPTY_ROOT], root)
    assert not verify_inclusion(HASHES[index], index, size, [EMPTY_ROOT, *proof], root)
    assert not verify_inclusion(HASHES[index], -1, size, proof, root)
    assert not verify_inclusion(HASHES[index], size, size, proof, root)
    if proof:
        other = data.draw(st.integers(0, size - 1).filter(lambda one: one != index))
        assert not verify_inclusion(HASHES[index], other, size, proof, root)
        at = data.draw(st.integers(0, len(proof) - 1))
        assert not verify_inclusion(HASHES[index], index, size, proof[:at] + proof[at + 1 :], root)
        spoiled = [*proof[:at], bytes((proof[at][0] ^ 1,)) + proof[at][1:], *proof[at + 1 :]]
        assert not verify_inclusion(HASHES[index], index, size, spoiled, root)


def test_a_hash_of_another_length_is_no_proof() -> None:
    root = node_hash(HASHES[0], b"short")
    assert not verify_inclusion(HASHES[0], 0, 2, [b"short"], root)


def test_a_subtree_is_no_leaf() -> None:
    left, right = root_of(HASHES[:2]), root_of(HASHES[2:4])
    assert not verify_inclusion(left, 0, 4, [right], node_hash(left, right))


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3)])
def test_no_proof_is_made_for_a_leaf_that_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_proof(node_of(HASHES), index, size)


# Consistency


@pytest.mark.parametrize(
    ("old", "new", "proof"),
    [(1, 1, []), (1, 8, [A, D, E]), (2, 8, [D, E]), (6, 8, [H, G, C]), (2, 5, [D, F])],
)
def test_the_known_consistency_proofs_are_made(old: int, new: int, proof: list[str]) -> None:
    hashes = [leaf_hash(leaf) for leaf in KNOWN_LEAVES]
    assert [one.hex() for one in consistency_proof(node_of(hashes), old, new)] == proof


@given(st.data(), st.integers(1, MOST))
def test_a_consistency_proof_holds_between_its_two_trees_alone(data: st.DataObject, new: int) -> None:
    old = data.draw(st.integers(0, new))
    before, after = root_of(HASHES[:old]), root_of(HASHES[:new])
    proof = consistency_proof(node_of(HASHES), old, new)
    assert verify_consistency(old, before, new, after, proof)
    assert not verify_consistency(old, before, new, after, [*proof, EMPTY_ROOT])
    assert not verify_consistency(old, leaf_hash(b"other"), new, after, proof)
    if old:
        assert not verify_consistency(old, before, new, leaf_hash(b"other"), proof)
    for at in range(len(proof)):
        assert not verify_consistency(old, before, new, after, proof[:at] + proof[at + 1 :])
        spoiled = [*proof[:at], bytes((proof[at][0] ^ 1,)) + proof[at][1:], *proof[at + 1 :]]
        assert not verify_consistency(old, before, new, after, spoiled)


def test_a_smaller_tree_extends_nothing() -> None:
    root = root_of(HASHES[:3])
    assert not verify_consistency(4, root, 3, root, [])
    with pytest.raises(ValueError, match="does not extend"):
        consistency_proof(node_of(HASHES), 4, 3)


# Tiles


@settings(max_examples=60)
@given(st.lists(st.integers(0, 300), max_size=6), st.data())
def test_tiles_appended_in_any_steps_are_those_of_the_whole_tree(batches: list[int], data: st.DataObject) -> None:
    tiles = tiles_of(*batches)
    assert tiles.root == naive_root(HASHES[: tiles.size])
    assert tiles.held == {
        (level, number): b"".join(row[number * TILE_WIDTH : (number + 1) * TILE_WIDTH])
        for level, row in enumerate(tile_rows(tiles.size))
        for number in range((len(row) + TILE_WIDTH - 1) // TILE_WIDTH)
    }
    if tiles.size:
        index, node = data.draw(st.integers(0, tiles.size - 1)), tile_nodes(tiles.read)
        proof = inclusion_proof(node, index, tiles.size)
        assert verify_inclusion(HASHES[index], index, tiles.size, proof, tiles.root)
        old = consistency_proof(node, index, tiles.size)
        assert verify_consistency(index, root_of(HASHES[:index]), tiles.size, tiles.root, old)


def tile_rows(size: int) -> list[list[bytes]]:
    """The definition of tlog-tiles: level l has MTH(D[i * 256**l : (i + 1) * 256**l]) for every full i."""
    rows = [
        [naive_root(HASHES[i * 256**level : (i + 1) * 256**level]) for i in range(size // 256**level)]
        for level in range(3)
    ]
    return [row for row in rows if row]


@pytest.mark.parametrize(
    ("size", "widths"),
    [
        (256, {(0, 0): 256, (1, 0): 1}),
        (70_000, {(0, 272): 256, (0, 273): 112, (1, 0): 256, (1, 1): 17, (2, 0): 1}),
    ],
)
def test_the_tiles_of_a_tree_are_those_of_the_specifications_examples(
    size: int, widths: dict[tuple[int, int], int]
) -> None:
    tiles = Tiles()
    tiles.add([EMPTY_ROOT] * size)
    assert {place: len(tiles.held[place]) // 32 for place in widths} == widths
    assert len(tiles.held) == sum(-(-(size // 256**level) // 256) for level in range(3))


def test_an_older_tree_is_still_read_from_tiles_that_grew() -> None:
    tiles = tiles_of(300, 400)
    assert root_at(tile_nodes(tiles.read), 300) == naive_root(HASHES[:300])


def test_hashes_beyond_the_size_are_left_over_from_nobody() -> None:
    tiles = tiles_of(300)
    appended = append(tiles.read, 290, HASHES[290:310])
    assert appended.tiles[0, 1] == b"".join(HASHES[256:310])
    assert appended.root == naive_root(HASHES[:310])


def test_a_tile_that_lacks_hashes_is_refused() -> None:
    tiles = tiles_of(300)
    tiles.held[0, 1] = tiles.held[0, 1][:-32]
    with pytest.raises(ValueError, match="43 hashes"):
        append(tiles.read, 300, HASHES[:1])
    with pytest.raises(ValueError, match="hashes"):
        root_at(tile_nodes(tiles.read), 300)


def test_appending_nothing_changes_nothing() -> None:
    tiles = tiles_of(300)
    assert append(tiles.read, 300, []) == Appended(300, tiles.root, {})


# Ten million


@pytest.fixture(scope="module")
def large() -> Tiles:
    """Tiles on the right edge and, where asked, elsewhere: made up, as a tree of ten million would have them."""
    made = Tiles()
    random = Random(7)  # noqa: S311 - any hashes do

    class Made(dict[tuple[int, int], bytes]):
        def __missing__(self, place: tuple[int, int]) -> bytes:
            level, number = place
            width = min(256, 10_000_000 // 256**level - number * 256)
            self[place] = random.randbytes(32 * width)
            return self[place]

        def get(self, place: tuple[int, int], default: object = None) -> bytes:
            return self[place]

    made.held, made.size = Made(), 10_000_000
    return made


def test_a_thousand_leaves_on_ten_million_write_few_tiles(large: Tiles) -> None:
    hashes = [leaf_hash(number.to_bytes(4)) for number in range(1000)]
    assert len(append(large.read, large.size, hashes).tiles) <= 7


def test_a_proof_at_ten_million_reads_few_tiles(large: Tiles) -> None:
    large.reads = 0
    inclusion_proof(tile_nodes(large.read), 1_234_567, large.size)
    consistency_proof(tile_nodes(large.read), 9_999_999, large.size)
    assert large.reads <= 2 * 10
