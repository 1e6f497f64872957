"""A node is killed in each phase of a round: the others close it in time, and it finds its way back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sim.seeds import seeds
from tests.sim.shell import Node
from tests.sim.world import World
from training.events import Publish, SendPart
from training.messages import Result
from training.round import Phase
from validation.events import NodeEffect

PHASES = [Phase.TRAIN, Phase.COMMIT, Phase.ROSTER, Phase.REDUCE, Phase.CLOSE]


def warmed_up(seed: int = 1, nodes: int = 4, rounds: int = 10) -> World:
    """A swarm that has learned its deadlines."""
    world = World(seed, nodes, rounds)
    world.start()
    world.run_until(lambda: world.all_at(3), 60)
    return world


def patience_s(node: Node) -> float:
    """What one death may cost at most: every phase's deadline passes once, and a part is reduced by
    somebody else after two more."""
    assert node.member is not None
    limits = node.member.pace.limits()
    return sum(limits.values()) + 2 * limits["reduce"] + limits["close"] + limits["roster"]


def plays(world: World, node: Node, role: str) -> bool:
    """Whether a node has this role in the round that it is in."""
    assert node.head is not None
    leads = [
        purpose for purpose in ("leader", "close-leader") if world.leader(node.head.head, purpose) is node
    ]
    return role in leads or (role == "member" and not leads)


def check_recovery(world: World, victim: Node, before: int) -> None:
    """The others close the round; the victim comes back with its disk and is one of them again."""
    others = [node for node in world.nodes if node is not victim]
    start_s, limit_s = world.now_s, max(map(patience_s, others))
    world.run_until(lambda: world.all_at(before + 1, others), limit_s)
    assert world.now_s - start_s <= limit_s
    victim.start()
    at_start = max(world.numbers(others))

    def is_back() -> bool:
        return (
            victim.head is not None
            and victim.peer_id in victim.head.head.members
            and victim.number > before + 1
        )

    world.run_until(is_back, 120)
    assert victim.number <= at_start + 3
    world.run_until(world.done, 240)
    assert len(world.heads()) == 1


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.value)
@pytest.mark.parametrize("role", ["leader", "close-leader", "member"])
@pytest.mark.parametrize("seed", seeds(2))
def test_killed_in(phase: Phase, role: str, seed: int) -> None:
    world = warmed_up(seed, rounds=14)

    def dying() -> Node | None:
        return next((node for node in world.nodes if node.phase is phase and plays(world, node, role)), None)

    world.run_until(lambda: dying() is not None, 60)
    victim = dying()
    assert victim is not None
    before = victim.number
    victim.crash()
    check_recovery(world, victim, before)


def dies_at(node: Node, last: Callable[[NodeEffect], bool], after: bool) -> None:
    """Kill a node at its first effect of a kind, done or not."""

    def twist(effect: NodeEffect) -> list[NodeEffect]:
        if last(effect):
            node.fuse = 1 if after else 0
            node.twist = lambda effect: [effect]
        return [effect]

    node.twist = twist


def announces(effect: NodeEffect) -> bool:
    return isinstance(effect, Publish) and isinstance(effect.record.body, Result)


@pytest.mark.parametrize("seed", seeds(2))
def test_reducer_dies_after_announcing_what_nobody_has_fetched(seed: int) -> None:
    world = warmed_up(seed)
    victim = world.nodes[seed]
    before = max(world.numbers())

    def twist(effect: NodeEffect) -> list[NodeEffect]:
        if announces(effect) and victim.number >= before:
            world.broadcast(victim, effect.record.wire)  # type: ignore[union-attr]
            victim.twist = lambda effect: [effect]
            victim.fuse = 1
        return [effect]

    victim.twist = twist
    world.run_until(lambda: not victim.up, 60)
    assert victim.up is False
    check_recovery(world, victim, victim.number)


@pytest.mark.parametrize("seed", seeds(2))
def test_sender_dies_before_sending(seed: int) -> None:
    world = warmed_up(seed)
    victim = world.nodes[seed]
    dies_at(victim, lambda effect: isinstance(effect, SendPart), after=False)
    world.run_until(lambda: not victim.up, 60)
    check_recovery(world, victim, victim.number)
