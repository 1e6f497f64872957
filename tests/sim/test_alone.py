"""When a quorum is gone for good: going on alone, marked, and coming together again."""

from __future__ import annotations

import pytest

from tests.sim.seeds import seeds
from tests.sim.shell import Node
from tests.sim.test_kill import announces
from tests.sim.world import Weather, World
from training.round import Phase
from validation.events import NodeEffect

STALL_S = 10.0
SEEDS = seeds(4)


def swarm(seed: int, nodes: int = 4, rounds: int = 200, stall_s: float = STALL_S) -> World:
    """A swarm in its third round that will go on for long."""
    world = World(seed, nodes, rounds, stall_s=stall_s)
    world.start()
    world.run_until(lambda: world.all_at(3), 120)
    return world


def marks(nodes: list[Node]) -> list[int]:
    return [node.head.head.marks for node in nodes if node.head is not None]


def one_head(world: World) -> bool:
    """Whether all nodes hold one head and are its electors."""
    heads = {node.head.id: node.head.head for node in world.nodes if node.head is not None}
    return len(heads) == 1 and set(next(iter(heads.values())).members) == set(world.peers)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_last_node_goes_on_alone_and_the_others_follow_when_they_return(seed: int) -> None:
    world = swarm(seed)
    last, *others = world.shuffled(world.nodes)
    for node in others:
        node.crash()
    before, start_s = last.number, world.now_s
    world.run_until(lambda: last.number >= before + 3, 150)
    assert world.now_s - start_s > STALL_S
    assert marks([last]) == [1]
    for node in others:
        node.start()
    world.run_until(lambda: one_head(world), 60)
    assert marks(world.nodes) == [1, 1, 1, 1]
    assert last.number >= before + 3


@pytest.mark.parametrize("seed", SEEDS)
def test_two_of_four_go_on_together(seed: int) -> None:
    """Neither may talk the other back to the head that both had to leave."""
    world = swarm(seed)
    pair, dead = world.nodes[:2], world.nodes[2:]
    for node in dead:
        node.crash()
    before = max(world.numbers())
    world.run_until(lambda: world.all_at(before + 5, pair), 200)
    first = pair[0].head
    assert first is not None
    assert set(first.head.members) == {node.peer_id for node in pair}
    assert first.head.marks >= 1
    for node in dead:
        node.start()
    world.run_until(lambda: one_head(world), 60)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_certified_roster_whose_members_die_does_not_hold_the_rest(seed: int) -> None:
    """A majority of the members lives, but none of the roster: who comes from it must not be talked back."""
    world = World(seed, 3, 200, stall_s=STALL_S)
    world.start()
    world.run_until(lambda: world.all_at(3), 120)
    late, *pair = world.shuffled(world.nodes)
    world.split({node.index for node in pair})
    world.run_until(lambda: all(node.phase is Phase.REDUCE for node in pair), 60)
    pair[0].crash()
    world.heal()
    before = max(world.numbers())
    world.run_until(lambda: world.all_at(before + 3, [late, pair[1]]), 200)
    assert marks([late, pair[1]]) == [1, 1]


@pytest.mark.parametrize("seed", SEEDS)
def test_both_halves_of_a_long_partition_go_on_and_become_one_again(seed: int) -> None:
    world = swarm(seed)
    world.split({0, 1}, {2, 3})
    before = max(world.numbers())
    world.run_until(lambda: world.all_at(before + 5), 300)
    assert min(marks(world.nodes)) >= 1
    tokens = max(node.head.head.tokens for node in world.nodes if node.head)
    world.heal()
    world.run_until(lambda: one_head(world), 60)
    assert all(node.head is not None and node.head.head.tokens >= tokens for node in world.nodes)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_short_partition_leaves_no_mark(seed: int) -> None:
    world = swarm(seed, stall_s=60.0)
    world.split({0, 1}, {2, 3})
    world.run_for(40)
    world.heal()
    before = max(world.numbers())
    world.run_until(lambda: world.all_at(before + 3), 60)
    assert set(marks(world.nodes)) == {0}


@pytest.mark.parametrize("seed", SEEDS)
def test_those_who_came_too_late_to_be_electors_go_on_as_well(seed: int) -> None:
    """The one who was alone dies when the others have its head, and before they have a say."""
    world = swarm(seed)
    last, *others = world.nodes
    for node in others:
        node.crash()
    before = last.number
    world.run_until(lambda: marks([last]) == [1] and last.number > before, 100)
    for node in others:
        node.start()
    branch = last.head.head.branch if last.head else b""
    world.run_until(
        lambda: all(node.head is not None and node.head.head.branch == branch for node in others), 60
    )
    last.crash()
    if any(node.peer_id in node.head.head.members for node in others if node.head):
        pytest.fail("they are electors already: nothing is tested")
    before = max(world.numbers(others))
    world.run_until(lambda: world.all_at(before + 3, others), 300)


@pytest.mark.parametrize("seed", SEEDS)
def test_nobody_goes_on_alone_while_a_quorum_is_alive(seed: int) -> None:
    """However bad the network, however slow the node: rounds take longer than the stall time here."""
    world = World(seed, 5, rounds=200, stall_s=1.0)
    for node in world.nodes:
        node.step_s = world.rng.uniform(0.2, 2)
    world.start()
    world.run_until(lambda: world.all_at(2) and one_head(world), 600)
    world.nodes[3].crash()
    world.nodes[4].crash()
    world.weather = Weather(loss=0.5, delay_s=0.4)
    before = max(world.numbers())
    world.run_until(lambda: world.all_at(before + 5, world.nodes[:3]), 900)
    assert set(marks(world.nodes)) == {0}


@pytest.mark.parametrize("seed", SEEDS)
def test_two_founders_that_meet_become_one_swarm(seed: int) -> None:
    world = World(seed, 5, rounds=200, min_peers=1)
    world.split({0, 1, 2}, {3, 4})
    for node in world.nodes:
        node.start(founder=node.index in (0, 3))
    world.run_until(lambda: world.all_at(3), 120)
    assert len({node.head.head.branch for node in world.nodes if node.head}) == 2
    world.heal()
    world.run_until(lambda: one_head(world), 60)
    assert set(marks(world.nodes)) == {0}


@pytest.mark.parametrize("seed", SEEDS)
def test_alone_and_killed_between_announcing_and_using_a_result(seed: int) -> None:
    """Nobody else has those bytes: the node makes them again instead of asking for ever."""
    world = World(seed, 1, rounds=6)
    node = world.nodes[0]

    def twist(effect: NodeEffect) -> list[NodeEffect]:
        if announces(effect) and node.number >= 2:
            node.fuse = 1
            node.twist = lambda effect: [effect]
        return [effect]

    node.twist = twist
    world.start()
    world.run_until(lambda: not node.up, 60)
    node.start()
    world.run_until(world.done, 60)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_only_reducer_comes_back_without_the_bytes_it_announced(seed: int) -> None:
    """Only one node can be dialled; the others send it their parts once more."""
    world = World(seed, 4, rounds=6)
    for node in world.nodes[1:]:
        node.bandwidth = 0
    reducer = world.nodes[0]

    def twist(effect: NodeEffect) -> list[NodeEffect]:
        if announces(effect) and reducer.number >= 2:
            reducer.fuse = 1
            reducer.twist = lambda effect: [effect]
        return [effect]

    reducer.twist = twist
    world.start()
    world.run_until(lambda: not reducer.up, 60)
    world.run_for(3)
    reducer.start()
    world.run_until(world.done, 200)
    assert {len(head.results) for head in world.witness.heads.values() if head.results} == {1}


@pytest.mark.parametrize("seed", SEEDS)
def test_stopping_does_not_wait_for_a_quorum_that_is_gone(seed: int) -> None:
    world = swarm(seed, stall_s=86_400.0)
    node, *others = world.nodes
    world.run_until(lambda: node.phase is Phase.COMMIT, 60)
    for other in others:
        other.crash()
    node.leave()
    world.run_until(lambda: not node.up, 30)
