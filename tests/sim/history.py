"""What a world's rounds have come to, read from the heads that its witness has seen."""

from __future__ import annotations

from tests.sim.world import World
from training.messages import Head


def rounds(world: World) -> list[Head]:
    """Heads of the rounds that have closed, in order."""
    return sorted((head for head in world.witness.heads.values() if head.results), key=lambda h: h.number)


def votes(head: Head) -> dict[str, int]:
    return dict(zip(head.members, head.votes, strict=True))


def view_before(world: World, head: Head) -> int:
    """View in which the roster of the round that led to a head was decided."""
    return world.witness.views[head.parent, "roster", None]
