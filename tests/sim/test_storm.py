"""Storms over swarms of 4 to 32 nodes; in all of them the witness finds nothing, and all recover.

`python -m tests.sim.storm SEED` repeats one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.seeds import seeds
from tests.sim.storm import Storm

ROOT = Path(__file__).parents[2]
SEEDS, BATCH = len(seeds(200)), 8


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_a_swarm_survives(first: int) -> None:
    for seed in range(first, first + BATCH):
        try:
            world = Storm(seed).run()
        except AssertionError as error:
            error.add_note(f"seed {seed}: python -m tests.sim.storm {seed}")
            raise
        assert world.done(), f"seed {seed}"
        assert len(world.heads()) == 1, f"seed {seed}"


def test_storms_are_storms() -> None:
    """The seeds cover what the name promises: large swarms, splits, restarts, branches and late views."""
    sizes = {len(Storm(seed).world.nodes) for seed in range(SEEDS)}
    assert (min(sizes), max(sizes)) == (4, 32)
    worlds = [Storm(seed).run() for seed in (1, 2, 3, 5, 8, 12, 32, 56)]
    assert max(node.life for world in worlds for node in world.nodes) >= 4
    assert max(head.marks for world in worlds for head in world.witness.heads.values()) >= 1


@pytest.mark.parametrize("seed", [3, 12, 56])
def test_a_seed_repeats_to_the_same_trace(seed: int) -> None:
    """In this process and in others, whatever order their hashes give to sets."""
    trace = Storm(seed).run().trace
    assert Storm(seed).run().trace == trace
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-m", "tests.sim.storm", str(seed)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.split()[0] == trace


def test_another_seed_gives_another_trace() -> None:
    assert Storm(3).run().trace != Storm(4).run().trace
