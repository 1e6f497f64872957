"""Content that this node holds and serves by digest: recent states, and the swarm's dataset.

Fetching is the other direction of the same thing: a state or dataset whose root is known (from a
certificate, from the manifest) is put together from chunks of several peers, each checked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from dhtnode.manifest import DataSection
from dhtnode.net.chunkplan import Content
from dhtnode.net.chunks import fetch
from dhtnode.net.streams import Streams
from training.data import chunk_length
from training.state import CHUNK_BYTES, Shape, State, from_chunks, state_label

STATES_KEPT = 3
"""The current state, the one before for those who lag, and one for a download that has begun."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Shelf:
    leaves: Sequence[bytes]
    chunk: Callable[[int], bytes | memoryview]


class Library:
    """What `dhtnode.net.chunks.serve_chunks` serves from."""

    def __init__(self, swarm_id: bytes, shape: Shape) -> None:
        self._swarm_id = swarm_id
        self._shape = shape
        self._states: dict[bytes, State] = {}
        self._dataset: tuple[bytes, _Shelf] | None = None

    # What is held

    def add_state(self, state: State) -> None:
        """Hold a state; the oldest beyond STATES_KEPT goes."""
        self._states.pop(state.digest, None)
        self._states[state.digest] = state
        while len(self._states) > STATES_KEPT:
            del self._states[next(iter(self._states))]

    def state(self, digest: bytes) -> State | None:
        return self._states.get(digest)

    def add_dataset(self, section: DataSection, content: bytes) -> None:
        """Hold the swarm's dataset, already verified."""
        if section.digest is None:
            return
        view = memoryview(content)
        size = section.chunk_bytes
        leaves = [bytes.fromhex(leaf) for leaf in section.chunks]
        shelf = _Shelf(leaves, lambda index: view[index * size : (index + 1) * size])
        self._dataset = (bytes.fromhex(section.digest), shelf)

    # What is served

    def leaves(self, root: bytes) -> Sequence[bytes] | None:
        shelf = self._shelf(root)
        return shelf.leaves if shelf else None

    def chunk(self, root: bytes, index: int) -> bytes | memoryview | None:
        shelf = self._shelf(root)
        return shelf.chunk(index) if shelf and 0 <= index < len(shelf.leaves) else None

    def _shelf(self, root: bytes) -> _Shelf | None:
        state = self._states.get(root)
        if state is not None:
            return _Shelf(state.leaves, lambda index: state.chunks[index])
        return self._dataset[1] if self._dataset and self._dataset[0] == root else None

    # What is fetched

    async def fetch_state(
        self, streams: Streams, sources: Collection[str], round_no: int, digest: bytes, progress: Progress
    ) -> State:
        """Put a certified state together from several peers, and hold it.

        Raises:
            TransportError: nobody, or not enough of the sources, has it.
        """
        content = Content(
            label=state_label(self._swarm_id, round_no),
            root=digest,
            total_bytes=4 * self._shape.elems,
            chunk_bytes=CHUNK_BYTES,
        )
        chunks: dict[int, bytes] = {}
        await fetch(streams, sources, content, chunks.__setitem__, progress=progress)
        state = from_chunks(self._swarm_id, round_no, self._shape, chunks, digest)
        self.add_state(state)
        return state


async def fetch_dataset(
    streams: Streams, sources: Collection[str], section: DataSection, progress: Progress
) -> bytes:
    """Put the swarm's dataset together from several peers.

    Raises:
        TransportError: nobody, or not enough of the sources, has it.
    """
    root = bytes.fromhex(section.digest or "")
    content = Content(
        label="data", root=root, total_bytes=section.total_bytes, chunk_bytes=section.chunk_bytes
    )
    leaves = [bytes.fromhex(leaf) for leaf in section.chunks]
    chunks: dict[int, bytes] = {}
    await fetch(streams, sources, content, chunks.__setitem__, leaves=leaves, progress=progress)
    joined = b"".join(chunks[index] for index in range(len(section.chunks)))
    if len(joined) != sum(chunk_length(section, index) for index in range(len(section.chunks))):
        raise AssertionError("checked chunks of wrong length")
    return joined
