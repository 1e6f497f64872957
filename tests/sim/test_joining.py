"""Who comes late, is slow, goes, has a bad clock or a bad memory chip, and who is left at the end."""

from __future__ import annotations

import pytest

from tests.sim.seeds import seeds
from tests.sim.shell import Node
from tests.sim.world import World
from training.events import Applied, Publish
from training.messages import Commitment, Leave
from training.round import Phase
from validation.events import NodeEffect, NodeEvent

SEEDS = seeds(3)


def takes_part(node: Node) -> bool:
    """Whether the head that the node holds was made with it."""
    return node.head is not None and node.peer_id in node.head.head.members


def members(world: World) -> list[int]:
    """Size of each roster so far."""
    heads = sorted(world.witness.heads.values(), key=lambda head: head.number)
    return [len(head.members) for head in heads if head.results]


@pytest.mark.parametrize("seed", SEEDS)
def test_late_join_from_an_empty_disk(seed: int) -> None:
    world = World(seed, 5, rounds=12, min_peers=4)
    *early, late = world.nodes
    for node in early:
        node.start(founder=node.index == 0)
    world.run_until(lambda: world.all_at(3, early), 60)
    late.start()
    at_start = max(world.numbers())
    world.run_until(lambda: takes_part(late), 60)
    assert late.number <= at_start + 3
    world.run_until(world.done, 120)
    assert len(world.heads()) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_state_that_takes_longer_than_a_round(seed: int) -> None:
    """The newest head runs away from a slow newcomer; what it has begun to fetch leads it in."""
    world = World(seed, 5, rounds=60, min_peers=4)
    *early, late = world.nodes
    for node in early:
        node.start(founder=node.index == 0)
    world.run_until(lambda: world.all_at(4, early), 60)
    start_s, before = world.now_s, max(world.numbers())
    world.run_until(lambda: world.all_at(before + 4, early), 60)
    round_s = (world.now_s - start_s) / 4
    world.state_s = lambda: 1.2 * round_s  # type: ignore[method-assign]
    late.start()
    world.run_until(lambda: takes_part(late), 20 * round_s)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_slow_node_does_fewer_steps_and_is_in_the_rosters(seed: int) -> None:
    world = World(seed, 4, rounds=12)
    for node in world.nodes:
        node.step_s = 0.3
    slow = world.nodes[seed % 4]
    slow.step_s = 1.5
    steps: dict[int, list[int]] = {node.index: [] for node in world.nodes}
    for node in world.nodes:

        def twist(effect: NodeEffect, node: Node = node) -> list[NodeEffect]:
            if isinstance(effect, Publish) and isinstance(effect.record.body, Commitment):
                steps[node.index].append(effect.record.body.steps)
            return [effect]

        node.twist = twist
    world.start()
    world.run_until(world.done, 300)
    assert members(world) == [4] * 12
    assert steps.pop(slow.index)[2:] == pytest.approx([10 * 0.3 * 2 * 0.8 / 1.5] * 10, abs=1)
    assert all(done == [10] * 12 for done in steps.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_nobody_waits_for_a_member_that_has_said_that_it_goes(seed: int) -> None:
    world = World(seed, 4, rounds=12)
    for node in world.nodes:
        node.step_s = 0.5
    world.start()
    world.run_until(lambda: world.all_at(4), 120)
    going, *staying = world.shuffled(world.nodes)
    world.run_until(lambda: going.phase is Phase.TRAIN, 30)
    going.leave()
    assert not going.up
    assert any(isinstance(record.body, Leave) for record in going.disk.journal)
    start_s, before = world.now_s, going.number
    world.run_until(lambda: world.all_at(before + 1, staying), 60)
    assert world.now_s - start_s < 10 * 0.5 + 2, "that is the work itself, not a deadline of twice the work"
    going.start()
    world.run_until(world.done, 240)
    assert len(world.heads()) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_clocks_that_run_apart(seed: int) -> None:
    """No two clocks are ever compared: one may run half as fast again as another."""
    world = World(seed, 5, rounds=10)
    world.clock_rates = (0.8, 1.25)
    world.weather.loss = 0.1
    world.start()
    world.run_until(world.done, 240)
    assert len(world.heads()) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_that_cannot_count_takes_the_others_word_for_the_state(seed: int) -> None:
    """Its own outer step leads elsewhere: it fetches the quorum's state, and nobody is misled."""
    world = World(seed, 4, rounds=8)
    broken = world.nodes[seed % 4]
    hand_over = broken.on

    def on(event: NodeEvent) -> None:
        hand_over(Applied(event.base, event.results, bytes(32)) if isinstance(event, Applied) else event)

    broken.on = on  # type: ignore[method-assign]
    world.start()
    world.run_until(world.done, 240)
    assert len(world.heads()) == 1
    assert broken.number == 8


@pytest.mark.parametrize("seed", SEEDS)
def test_who_is_done_leaves_and_nobody_is_left_behind(seed: int) -> None:
    world = World(seed, 4, rounds=4, stall_s=30.0)
    world.leave_when_done = True
    world.weather.loss, world.weather.delay_s = 0.2, 0.1
    world.start()
    world.run_until(lambda: max(world.numbers()) == 4, 120)
    behind = [node for node in world.nodes if node.number < 4]
    if behind:
        world.split({node.index for node in world.nodes} - {behind[0].index}, {behind[0].index})
        world.run_for(10)
        world.heal()
    world.run_until(lambda: not any(node.up for node in world.nodes), 120)
    assert world.done()
    assert len(world.heads()) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_the_end_does_not_wait_for_the_dead(seed: int) -> None:
    world = World(seed, 4, rounds=4, stall_s=10.0)
    world.leave_when_done = True
    world.start()
    world.run_until(lambda: max(world.numbers()) == 4, 60)
    dead = world.nodes[seed % 4]
    dead.crash()
    rest = [node for node in world.nodes if node is not dead]
    world.run_until(lambda: not any(node.up for node in rest), 60)
    assert world.all_at(4, rest)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_end_is_quick_when_all_are_there(seed: int) -> None:
    world = World(seed, 6, rounds=4, stall_s=60.0)
    world.leave_when_done = True
    world.start()
    world.run_until(lambda: max(world.numbers()) == 4, 60)
    start_s = world.now_s
    world.run_until(lambda: not any(node.up for node in world.nodes), 60)
    assert world.now_s - start_s < 5
