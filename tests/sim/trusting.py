"""Worlds in which nodes think what their own tables say."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from dhtnode.reputation import ReputationSection
from tests.sim.shell import Node
from tests.sim.world import CONSTANTS, World

SHORT = msgspec.structs.replace(CONSTANTS, probation_rounds=6)
"""A member has to be seen for six rounds instead of 45 before it counts; all else is as by default."""


def trusting(
    seed: int, nodes: int, section: ReputationSection, min_peers: int | None = None, rounds: int = 1_000
) -> World:
    """A world; whom its nodes think well of follows from what they have seen."""
    world = World(seed, nodes, rounds, min_peers, people=100 * seed, reputation=section)
    world.opinions = world.by_table
    return world


def names(nodes: Iterable[Node]) -> set[str]:
    return {node.peer_id for node in nodes}
