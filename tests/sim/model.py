"""What the simulated swarm trains: vectors of a few chunks, and work that follows from a seed."""

from __future__ import annotations

import numpy as np

from dhtnode.digest import derive, digest
from dhtnode.manifest import WireSection
from training import codec
from training.codec import Vector
from training.state import Shape

SWARM = digest("swarm", "simulated")
WIRE = WireSection(codec="int8", block_elems=32, chunk_elems=256)
SHAPE = Shape(params=256 * 6 - 56, momentum=True)
SIZES = codec.chunk_sizes(SHAPE.update_elems, WIRE)


def honest_update(start: bytes, peer: str, steps: int) -> Vector:
    """What training gives: it follows from the state, the worker and the number of steps."""
    seed = derive("work", start, peer, steps)
    return np.random.default_rng(seed).normal(0, 0.01, SHAPE.update_elems).astype(np.float32)
