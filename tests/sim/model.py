"""What the simulated swarm trains: vectors of a few chunks, and work that follows from a seed."""

from __future__ import annotations

import numpy as np

from dhtnode.digest import digest
from dhtnode.manifest import WireSection
from training import codec
from training.codec import Vector
from training.state import Shape

SWARM = digest("swarm", "simulated")
WIRE = WireSection(codec="int8", block_elems=32, chunk_elems=256)
SHAPE = Shape(params=256 * 6 - 56, momentum=True)
SIZES = codec.chunk_sizes(SHAPE.update_elems, WIRE)


def step(state: bytes, peer: str, number: int, *instead: bytes) -> bytes:
    """A local state after one more inner step: a digest stands for weights and inner optimizer.

    Args:
        state: before it.
        peer: whose batch; with the number it names the batch.
        number: of the step, from 0.
        instead: what is taken instead of that batch.
    """
    return digest("step", state, peer, number, *instead)


def walk(state: bytes, peer: str, steps: range, detour: int | None = None) -> list[bytes]:
    """The local states after each of some steps, the one that they begin in first.

    Args:
        state: before them.
        peer: whose batches.
        steps: their numbers, from 0.
        detour: a step that is done in another way.
    """
    states = [state]
    for number in steps:
        states.append(step(states[-1], peer if number != detour else "another's batches", number))
    return states


def update_of(state: bytes) -> Vector:
    """What a run sends that has ended in this local state."""
    seed = int.from_bytes(state[:8], "big")
    return np.random.default_rng(seed).normal(0, 0.01, SHAPE.update_elems).astype(np.float32)


def boundary_digest(state: bytes) -> bytes:
    """Names a local state, as `Boundary.digest` does."""
    return digest("simulated boundary", state)
