"""The Merkle tree of RFC 6962: its published roots, a proof for each leaf, and none for anything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.tree import audit_path, leaf_hash, node_hash, root_of_path, tree_root

LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", bytes(range(96, 112)).hex())
]
ROOTS = [
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
"""Of the first 0 to 8 leaves, as in the reference tests of Certificate Transparency."""

lists = st.lists(st.binary(max_size=8), min_size=1, max_size=40)


@pytest.mark.parametrize("count", range(9))
def test_the_roots_are_those_of_certificate_transparency(count: int) -> None:
    assert tree_root(LEAVES[:count]).hex() == ROOTS[count]


@given(lists)
def test_every_leaf_has_a_short_proof(leaves: list[bytes]) -> None:
    root = tree_root(leaves)
    for index, leaf in enumerate(leaves):
        path = audit_path(leaves, index)
        assert len(path) <= (len(leaves) - 1).bit_length()
        assert root_of_path(leaf, index, len(leaves), path) == root


@given(lists, st.data())
def test_no_proof_fits_anything_else(leaves: list[bytes], data: st.DataObject) -> None:
    root, count = tree_root(leaves), len(leaves)
    index = data.draw(st.integers(0, count - 1))
    leaf, path = leaves[index], audit_path(leaves, index)
    assert root_of_path(leaf + b"x", index, count, path) != root
    assert root_of_path(leaf, index, count, [*path, root]) != root
    for other in range(-1, count + 1):
        if not 0 <= other < count or leaves[other] != leaf:
            assert root_of_path(leaf, other, count, path) != root
    for place in range(len(path)):
        assert root_of_path(leaf, index, count, path[:place] + path[place + 1 :]) != root
        forged = [*path[:place], leaf_hash(path[place]), *path[place + 1 :]]
        assert root_of_path(leaf, index, count, forged) != root


def test_an_inner_node_is_no_leaf() -> None:
    root = tree_root(LEAVES[:4])
    inner = [node_hash(leaf_hash(LEAVES[n]), leaf_hash(LEAVES[n + 1])) for n in (0, 2)]
    assert tree_root(inner) != root
    assert root_of_path(inner[0], 0, 2, [inner[1]]) != root


def test_who_asks_for_a_leaf_that_is_not_there() -> None:
    with pytest.raises(IndexError, match="no leaf 3 among 3"):
        audit_path(LEAVES[:3], 3)
