"""The shared state after a round: what every member holds to the last bit.

One float32 vector: weights, then outer momentum (if the swarm has any), then second moments of the
averaged gradient (if gradients are scaled), then averaged inner moments (if it averages them). Its
little-endian bytes are cut into chunks of CHUNK_BYTES; the digest of the state binds swarm id, round number
and all chunks. Whoever has a digest that a quorum signed can fetch the leaves from one peer and chunks
from many, and check each of them on its own (dhtnode/net/chunks.py).

# P = floating-point elements of the model, S = elements of the state
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dhtnode.digest import leaf_digests, root_digest
from training.codec import Vector

CHUNK_BYTES = 256 * 1024
"""A model of 0.9 M parameters has 27 chunks with momentum, one of 100 M has 3,052 and 98 KB of
leaves. Smaller chunks spread better over peers, larger ones need fewer leaves. A guess."""


@dataclass(frozen=True)
class Shape:
    """What a state consists of. It follows from the manifest, so no peer has to be believed."""

    params: int
    """P."""
    momentum: bool
    """Whether the outer optimizer keeps momentum."""
    moments: int = 0
    """Averaged moments of the inner optimizer, for each parameter (Adam has 2)."""
    scaling: bool = False
    """Whether gradients are scaled by shared second moments."""

    @property
    def elems(self) -> int:
        """S."""
        return self.params * (1 + self.momentum + self.scaling + self.moments)

    @property
    def update_elems(self) -> int:
        """Elements of what a member sends: pseudo-gradient and moments."""
        return self.params * (1 + self.moments)

    @property
    def chunk_count(self) -> int:
        return -(-4 * self.elems // CHUNK_BYTES)

    def chunk_length(self, index: int) -> int:
        """Bytes of one chunk."""
        return min(CHUNK_BYTES, 4 * self.elems - index * CHUNK_BYTES)


@dataclass(frozen=True, eq=False)
class State:
    """The shared state from which round `round_no` starts. The vector is read-only."""

    swarm_id: bytes
    round_no: int
    shape: Shape
    values_S: Vector

    def __post_init__(self) -> None:
        if self.values_S.shape != (self.shape.elems,) or self.values_S.dtype != np.float32:
            raise ValueError(f"a state of {self.shape.elems} elements can't hold {self.values_S.shape}")
        self.values_S.setflags(write=False)

    @property
    def weights(self) -> Vector:
        """theta_P."""
        return self.values_S[: self.shape.params]

    @property
    def momentum(self) -> Vector:
        """The outer optimizer's, P elements, or empty if it keeps none."""
        return self.values_S[self.shape.params : self.shape.params * (1 + self.shape.momentum)]

    @property
    def squares(self) -> Vector:
        """Second moments of the averaged gradient, P elements, or empty; see `training.scaling`."""
        start = self.shape.params * (1 + self.shape.momentum)
        return self.values_S[start : start + self.shape.params * self.shape.scaling]

    @property
    def moments(self) -> Vector:
        """The averaged inner moments, one after the other. Empty if they are reset each round."""
        return self.values_S[self.shape.params * (1 + self.shape.momentum + self.shape.scaling) :]

    @cached_property
    def chunks(self) -> list[memoryview]:
        """The canonical bytes; views of `values_S` on a little-endian machine."""
        flat = self.values_S.astype("<f4", copy=False).data.cast("B")
        return [flat[start : start + CHUNK_BYTES] for start in range(0, len(flat), CHUNK_BYTES)]

    @property
    def label(self) -> str:
        """What the digests of the chunks are bound to."""
        return state_label(self.swarm_id, self.round_no)

    @cached_property
    def leaves(self) -> list[bytes]:
        """The digest of each chunk."""
        return leaf_digests(self.label, self.chunks)

    @cached_property
    def digest(self) -> bytes:
        """32 bytes that name this state: the root over its leaves."""
        return root_digest(self.label, self.leaves)


def state_label(swarm_id: bytes, round_no: int) -> str:
    """Digest label of a swarm's state at one round: no other swarm's or round's chunk fits."""
    return f"state {swarm_id.hex()} {round_no}"


def from_chunks(
    swarm_id: bytes, round_no: int, shape: Shape, chunks: Mapping[int, bytes], expected: bytes
) -> State:
    """Rebuild a state from all its chunks, in whatever order they came.

    Raises:
        ValueError: a chunk is missing, or the whole does not have the expected digest.
    """
    missing = [index for index in range(shape.chunk_count) if index not in chunks]
    if missing:
        raise ValueError(f"{len(missing)} chunks are missing, the first is {missing[0]}")
    content = b"".join(chunks[index] for index in range(shape.chunk_count))
    if len(content) != 4 * shape.elems:
        raise ValueError(f"chunks have {len(content)} bytes, not {4 * shape.elems}")
    state = State(swarm_id, round_no, shape, np.frombuffer(content, "<f4").astype(np.float32))
    if state.digest != expected:
        raise ValueError("chunks do not give the expected digest")
    return state
