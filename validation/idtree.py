"""A set of record ids under one root: equal sets have equal roots, and a difference is found from the top.

Ids are sorted into buckets by their first half-bytes. A bucket with few ids is a leaf; its digest is a hash
over the ids, sorted. A fuller one has sixteen children; its digest is a hash over theirs. Both follow
from the set alone, not from the order in which it grew, nor from what was ever taken out.

Digests are recomputed for the buckets that have changed, when they are asked for. Adding ids up, or
combining them by XOR, would make that a constant-time update. But who picks ids freely (every signer
does, by trying out bodies) finds ids with any such sum by linear algebra, or by the generalized
birthday attack (Wagner, "A generalized birthday problem", 2002). It could make two different buckets
look equal, so that an honest record in one of them never spreads. A hash over sorted ids has no such
structure, and a leaf costs microseconds.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

from dhtnode.digest import digest

FANOUT = 16
MAX_DEPTH = 64
"""Half-bytes of an id."""
LEAF_IDS = 64
"""Ids of the fullest leaf: with 16 children, leaves of a large set hold 4 to 64. Then a difference costs
about as many bytes of names as of digests."""
EMPTY = digest("leaf", b"")


class IdTree:
    """Ids of 32 bytes, each once."""

    def __init__(self) -> None:
        self._root = _Bucket(0)

    def __len__(self) -> int:
        return self._root.count

    def __contains__(self, id_: bytes) -> bool:
        bucket = self._root
        while bucket.children is not None:
            bucket = bucket.children[_half_byte(id_, bucket.depth)]
        return bucket.first(id_) == id_

    def __iter__(self) -> Iterator[bytes]:
        """All ids, sorted."""
        return self._root.all()

    @property
    def root(self) -> bytes:
        """32 bytes that name the set."""
        return self._root.digest()

    def add(self, id_: bytes) -> bool:
        """Returns whether it is new."""
        return id_ not in self and self._root.add(id_)

    def discard(self, id_: bytes) -> bool:
        """Returns whether it was there."""
        return id_ in self and self._root.discard(id_)

    def bucket(self, prefix: tuple[int, ...]) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """What is under a prefix of half-bytes.

        Returns:
            Its sixteen children's digests and no ids, or no digests and its ids, sorted.
        """
        bucket = self._root
        for half_byte in prefix:
            if bucket.children is None:
                return (), tuple(id_ for id_ in bucket.ids if _starts(id_, prefix))
            bucket = bucket.children[half_byte]
        if bucket.children is None:
            return (), tuple(bucket.ids)
        return tuple(child.digest() for child in bucket.children), ()

    def digest_of(self, prefix: tuple[int, ...]) -> bytes:
        """The digest of what is under a prefix, as a tree would have it that is so deep there."""
        bucket = self._root
        for half_byte in prefix:
            if bucket.children is None:
                return digest("leaf", b"".join(self.bucket(prefix)[1]))
            bucket = bucket.children[half_byte]
        return bucket.digest()

    def find(self, name: bytes) -> bytes | None:
        """The id that begins with these bytes; the smallest, should there be more than one."""
        bucket = self._root
        while bucket.children is not None:
            bucket = bucket.children[_half_byte(name, bucket.depth)]
        first = bucket.first(name)
        return first if first is not None and first.startswith(name) else None


class _Bucket:
    """A leaf, or sixteen children."""

    __slots__ = ("_digest", "children", "count", "depth", "ids")

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.count = 0
        self.ids: list[bytes] = []
        """Of a leaf, sorted."""
        self.children: list[_Bucket] | None = None
        self._digest: bytes | None = EMPTY

    def add(self, id_: bytes) -> bool:
        bucket = self
        while True:
            bucket.count += 1
            bucket._digest = None
            if bucket.children is None:
                break
            bucket = bucket.children[_half_byte(id_, bucket.depth)]
        insort(bucket.ids, id_)
        if bucket.count > LEAF_IDS:
            bucket._split()
        return True

    def discard(self, id_: bytes) -> bool:
        bucket, merged = self, None
        while True:
            bucket.count -= 1
            bucket._digest = None
            if bucket.children is None:
                break
            if merged is None and bucket.count <= LEAF_IDS:
                merged = bucket
            bucket = bucket.children[_half_byte(id_, bucket.depth)]
        bucket.ids.remove(id_)
        if merged is not None:
            merged.ids, merged.children = list(merged.all()), None
        return True

    def first(self, name: bytes) -> bytes | None:
        """Of a leaf: the smallest id that is not before a name."""
        place = bisect_left(self.ids, name)
        return self.ids[place] if place < len(self.ids) else None

    def digest(self) -> bytes:
        if self._digest is None:
            if self.children is None:
                self._digest = digest("leaf", b"".join(self.ids))
            else:
                self._digest = digest("branch", b"".join(child.digest() for child in self.children))
        return self._digest

    def all(self) -> Iterator[bytes]:
        if self.children is None:
            yield from self.ids
            return
        for child in self.children:
            yield from child.all()

    def _split(self) -> None:
        """Ids differ somewhere: two equal ones are never here, so this ends."""
        self.children = [_Bucket(self.depth + 1) for _ in range(FANOUT)]
        for id_ in self.ids:
            self.children[_half_byte(id_, self.depth)].add(id_)
        self.ids = []


def _half_byte(id_: bytes, depth: int) -> int:
    byte = id_[depth // 2]
    return byte >> 4 if depth % 2 == 0 else byte & 15


def _starts(id_: bytes, prefix: tuple[int, ...]) -> bool:
    return all(_half_byte(id_, depth) == half_byte for depth, half_byte in enumerate(prefix))
