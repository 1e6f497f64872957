"""What a piece of content consists of, and which source is asked for which chunk. No IO.

Work is shared by guided self-scheduling: a source may have a share of what is left outstanding, large
at first to fill the pipe, small towards the end so that nobody holds much when the others run dry. A
source with nothing left to ask for repeats the oldest chunk that another one still owes, one at a
time: that is how slow sources are overtaken, without any clock.

Source: Polychronopoulos and Kuck, Guided Self-Scheduling, IEEE ToC 1987; BitTorrent's endgame mode.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from dhtnode.digest import DIGEST_BYTES, leaf_digest, root_digest
from dhtnode.errors import LocalProtocolError

MAX_CHUNK_BYTES = 8 * 1024 * 1024
WINDOW_BYTES = 4 * 1024 * 1024
"""Most that one source may owe us: 50 ms of a 640 Mbit/s line."""


@dataclass(frozen=True)
class Content:
    """What names a piece of content: everything here comes from a source that the caller trusts."""

    label: str
    """Domain of the digests, see dhtnode/digest.py."""
    root: bytes
    """`root_digest(label, leaves)`, 32 bytes."""
    total_bytes: int
    chunk_bytes: int
    """Size of every chunk but the last, which has the rest. Empty content has no chunk."""

    def __post_init__(self) -> None:
        if self.total_bytes < 0 or not 0 < self.chunk_bytes <= MAX_CHUNK_BYTES:
            raise LocalProtocolError(f"{self.total_bytes} bytes in chunks of {self.chunk_bytes}")

    @property
    def chunks(self) -> int:
        """How many there are."""
        return -(-self.total_bytes // self.chunk_bytes)

    def size(self, index: int) -> int:
        """Bytes of one chunk."""
        return min(self.chunk_bytes, self.total_bytes - index * self.chunk_bytes)

    def __str__(self) -> str:
        return f"{self.label} {self.root.hex()[:16]}"


@dataclass(frozen=True)
class ChunkPlan:
    """Content and the leaf digests that its root stands for.

    Raises:
        ValueError: these leaves are not the ones.
    """

    content: Content
    leaves: Sequence[bytes]

    def __post_init__(self) -> None:
        if len(self.leaves) != self.content.chunks:
            raise ValueError(f"{len(self.leaves)} leaves for {self.content.chunks} chunks")
        if root_digest(self.content.label, self.leaves) != self.content.root:
            raise ValueError("the leaves have another root")

    @classmethod
    def parse(cls, content: Content, packed: bytes) -> ChunkPlan:
        """The plan behind a peer's packed leaf list; ValueError as above."""
        return cls(content, [packed[at : at + DIGEST_BYTES] for at in range(0, len(packed), DIGEST_BYTES)])

    def holds(self, index: int, chunk: bytes | memoryview) -> bool:
        """Whether this is the chunk that belongs at `index`."""
        return leaf_digest(self.content.label, index, chunk) == self.leaves[index]


class Assignment:
    """Who is asked for what, until every index has arrived or no source is left that has it.

    Args:
        wanted: chunk indices to fetch, each once, in the order in which they should be asked for.
        sources: peer ids.
        max_window: most chunks that one source may owe.
    """

    def __init__(self, wanted: Iterable[int], sources: Collection[str], max_window: int) -> None:
        self._pending = deque(wanted)
        self._missing = set(self._pending)
        self._owed: dict[str, list[int]] = {source: [] for source in sources}
        self._lacks: dict[str, set[int]] = {source: set() for source in sources}
        self._max_window = max_window

    @property
    def missing(self) -> frozenset[int]:
        """Indices that have not arrived."""
        return frozenset(self._missing)

    def take(self, source: str) -> int | None:
        """The next index to ask this source for; None: wait, it owes enough or has nothing to give."""
        owed = self._owed[source]
        share = max(1, len(self._pending) // (2 * len(self._owed)))
        if len(owed) >= min(share, self._max_window):
            return None
        index = self._next_pending(source)
        if index is None and not owed:
            index = self._overtake(source)
        if index is not None:
            owed.append(index)
        return index

    def arrived(self, source: str, index: int) -> bool:
        """A checked chunk came. Returns whether it is the first copy."""
        self._owed[source].remove(index)
        first = index in self._missing
        self._missing.discard(index)
        return first

    def lacking(self, source: str, index: int) -> None:
        """The source says that it does not have this chunk."""
        self._owed[source].remove(index)
        self._lacks[source].add(index)
        self._give_back([index])

    def drop(self, source: str) -> None:
        """The source is gone, or lied: others get what it owes."""
        del self._lacks[source]
        self._give_back(self._owed.pop(source))

    def may_get_work(self, source: str) -> bool:
        """Whether an idle source could still be needed: somebody else owes a chunk."""
        return any(owed for other, owed in self._owed.items() if other != source)

    def _next_pending(self, source: str) -> int | None:
        for _ in range(len(self._pending)):
            index = self._pending.popleft()
            if index not in self._missing:
                continue  # a repeated copy came after it had been given back
            if index not in self._lacks[source]:
                return index
            self._pending.append(index)
        return None

    def _overtake(self, source: str) -> int | None:
        for other, owed in self._owed.items():
            for index in owed:
                if other != source and index in self._missing and index not in self._lacks[source]:
                    return index
        return None

    def _give_back(self, indices: Iterable[int]) -> None:
        owed_elsewhere = {index for owed in self._owed.values() for index in owed}
        self._pending.extendleft(
            index for index in indices if index in self._missing and index not in owed_elsewhere
        )
