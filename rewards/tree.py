"""A Merkle tree: a list under one digest, and short proofs that something is in it.

The tree of RFC 6962, section 2.1: leaves and inner nodes are hashed under different first bytes, so no
inner node can be shown as a leaf; a list whose length is no power of two splits at the largest power
below it, and nothing is ever counted twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """The digest of a list of byte strings; of an empty one, that of nothing."""
    return _root([leaf_hash(leaf) for leaf in leaves])


def audit_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The digests beside the way from a leaf to the root, the lowest first: at most log2(n), rounded up.

    Raises:
        IndexError: there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise IndexError(f"no leaf {index} among {len(leaves)}")
    return _path([leaf_hash(leaf) for leaf in leaves], index)


def root_of_path(leaf: bytes, index: int, count: int, path: Sequence[bytes]) -> bytes | None:
    """The root of the list in which this leaf has this path; None if `count` leaves have no such path.

    The root of a tree does not tell its `count`: some other counts give the same path. Who signs a root has
    to sign the count with it, as Certificate Transparency does.

    Source: RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < count:
        return None
    found, place, last = leaf_hash(leaf), index, count - 1
    for beside in path:
        if last == 0:
            return None
        if place & 1 or place == last:
            found = node_hash(beside, found)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            found = node_hash(found, beside)
        place >>= 1
        last >>= 1
    return found if last == 0 else None


def _root(hashes: Sequence[bytes]) -> bytes:
    if not hashes:
        return hashlib.sha256().digest()
    if len(hashes) == 1:
        return hashes[0]
    split = _split(len(hashes))
    return node_hash(_root(hashes[:split]), _root(hashes[split:]))


def _path(hashes: Sequence[bytes], index: int) -> list[bytes]:
    if len(hashes) == 1:
        return []
    split = _split(len(hashes))
    left, right = hashes[:split], hashes[split:]
    if index < split:
        return [*_path(left, index), _root(right)]
    return [*_path(right, index - split), _root(left)]


def _split(count: int) -> int:
    """The largest power of two below a count of at least 2."""
    return 1 << (count - 1).bit_length() - 1
