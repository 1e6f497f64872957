"""The network splits: at most one side goes on, and afterwards there is one state."""

from __future__ import annotations

import pytest

from tests.sim.seeds import seeds
from tests.sim.shell import Node
from tests.sim.world import World
from training.round import Phase

SEEDS = seeds(1)
SPLIT_S = 30.0


def swarm(seed: int, nodes: int) -> World:
    """A swarm whose newest head has all nodes as its electors."""
    world = World(seed, nodes, rounds=60)
    world.start()
    world.run_until(lambda: world.all_at(3) and all_are_electors(world), 120)
    return world


def all_are_electors(world: World) -> bool:
    heads = [node.head.head for node in world.nodes if node.head is not None]
    return len({head.id for head in heads}) == 1 and set(heads[0].members) == set(world.peers)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("phase", list(Phase)[:5], ids=lambda phase: phase.value)
@pytest.mark.parametrize(("nodes", "few"), [(4, 2), (4, 1), (5, 2), (8, 3)])
def test_a_split(nodes: int, few: int, phase: Phase, seed: int) -> None:
    """In whichever phase it falls: the few wait, and so do the many if they are no majority."""
    world = swarm(seed, nodes)
    shuffled = world.shuffled(world.nodes)
    minority, rest = shuffled[:few], shuffled[few:]
    world.run_until(lambda: any(node.phase is phase for node in rest), 30)
    before = max(world.numbers())
    world.split({node.index for node in minority}, {node.index for node in rest})
    world.run_for(SPLIT_S)
    # What was decided before the split may still be carried out by whoever has all it takes.
    assert max(world.numbers(minority)) <= before + 1
    if 2 * few < nodes:
        assert min(world.numbers(rest)) >= before + 2
    else:
        assert max(world.numbers(rest)) <= before + 1
    ahead = max(world.numbers())
    world.heal()
    world.run_until(lambda: world.all_at(ahead + 2) and len(world.heads()) == 1, 60)
    assert {node.head.head.marks for node in world.nodes if node.head} == {0}
    world.run_until(lambda: all_are_electors(world), 60)


@pytest.mark.parametrize("seed", SEEDS)
def test_three_islands_wait_and_join(seed: int) -> None:
    world = swarm(seed, 6)
    before = max(world.numbers())
    world.split({0, 1}, {2, 3}, {4, 5})
    world.run_for(SPLIT_S)
    assert max(world.numbers()) <= before + 1
    world.heal()
    world.run_until(lambda: world.all_at(before + 3) and len(world.heads()) == 1, 60)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_network_that_splits_another_way_each_time(seed: int) -> None:
    world = swarm(seed, 5)
    for _ in range(8):
        shuffled = [node.index for node in world.shuffled(world.nodes)]
        world.split(set(shuffled[:2]), set(shuffled[2:]))
        world.run_for(world.rng.uniform(1, 8))
    world.heal()
    world.run_until(lambda: len(world.heads()) == 1 and all_are_electors(world), 90)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_link_is_broken(seed: int) -> None:
    """Two that can't talk to each other are still in one swarm: others pass on what they say."""
    world = swarm(seed, 5)
    before = max(world.numbers())
    world.split({0, 2, 3, 4}, {1, 2, 3, 4})
    world.run_until(lambda: world.all_at(before + 5), 90)
    assert world.nodes[0].head is not None


def test_an_outage_of_hours_uses_nothing_up() -> None:
    """Neither views nor room for records: when the majority is back, the round goes on at once."""
    world = swarm(0, 4)
    before = max(world.numbers())
    world.split({0}, {1}, {2}, {3})
    world.run_for(2 * 3600)
    world.heal()
    start_s = world.now_s
    world.run_until(lambda: world.all_at(before + 2), 60)
    assert world.now_s - start_s < 30
    assert all(held(node) < 20 for node in world.nodes)


def held(node: Node) -> int:
    """Records that a node signed for the round it is in."""
    own = [record for record in node.disk.journal if node.head and record.body.base == node.head.id]  # type: ignore[attr-defined]
    return len(own)
