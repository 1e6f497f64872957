"""Members that go with a word: nobody waits for them."""

from __future__ import annotations

import pytest

from tests.sim.seeds import seeds
from tests.sim.test_kill import warmed_up
from training.round import Phase


@pytest.mark.parametrize("seed", seeds(6))
@pytest.mark.parametrize("role", ["leader", "another"])
def test_who_says_that_it_goes_costs_no_deadline(seed: int, role: str) -> None:
    world = warmed_up(seed, nodes=5, rounds=30)
    number = max(world.numbers())
    world.run_until(lambda: all(n.number == number and n.phase is Phase.TRAIN for n in world.nodes), 60)
    head = world.nodes[0].head
    assert head is not None
    leader = world.leader(head.head)
    leaver = leader if role == "leader" else next(node for node in world.nodes if node is not leader)
    others = [node for node in world.nodes if node is not leaver]
    paces = [other.member.pace for other in others if other.member]
    due_s = min(pace.train.limit_s + pace.roster.limit_s for pace in paces)
    leaver.leave()
    world.run_until(lambda: world.all_at(number + 1, others), due_s)
    assert not leaver.up
