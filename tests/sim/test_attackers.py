"""Attackers that break no single rule of a round, or none that a signature could show."""

from __future__ import annotations

import pytest

from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.records import open_record, sign
from tests.sim.crooked import twist
from tests.sim.seeds import seeds
from tests.sim.shell import Node
from tests.sim.world import World
from tests.unit.parties import commit, head_of, people, person
from training.events import Adopt, Publish
from validation.events import NodeEffect
from validation.messages import SPOKEN

SEEDS = seeds(3)
ROUNDS = 10


def swarm(seed: int, nodes: int = 6) -> tuple[World, Node, list[Node]]:
    world = World(seed, nodes, ROUNDS)
    world.start()
    world.run_until(lambda: world.all_at(1), 60)
    liar = world.lie(1)
    return world, liar, [node for node in world.nodes if node is not liar]


def finish(world: World, honest: list[Node]) -> None:
    world.run_until(lambda: world.all_at(ROUNDS, honest), 900)
    assert len({node.head.id for node in honest if node.head}) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_who_sends_its_work_to_some_only_is_credited_for_none(seed: int) -> None:
    """Selective drop-out: the round goes on without the missing parts, and no receipt names its work."""
    world, liar, honest = swarm(seed)
    begin = max(world.numbers())
    twist(liar, "selective-sender")
    finish(world, honest)
    for head in world.witness.heads.values():
        if head.number > begin + 1:
            accepted = {world.witness.author(id_) for id_ in head.accepted}
            assert liar.peer_id not in accepted
            assert len(accepted) >= len(honest) - 1
    assert not world.witness.cases, "a bad line looks just like that"


@pytest.mark.parametrize("seed", SEEDS)
def test_records_of_older_rounds_said_again_move_nobody(seed: int) -> None:
    """Everything that was ever gossiped comes again and again, with the good signatures it always had."""
    world, liar, honest = swarm(seed)
    heard: list[bytes] = []

    def repeat(effect: NodeEffect) -> list[NodeEffect]:
        if isinstance(effect, Publish):
            heard.append(effect.record.wire)
        if isinstance(effect, Adopt):
            heard.extend(record.wire for record in effect.accepted)
            for wire in heard[-60:]:
                world.broadcast(liar, wire)
        return [effect]

    liar.twist = repeat
    finish(world, honest)
    assert len(heard) > 60
    assert not world.witness.cases
    assert not world.witness.blames


def test_a_record_of_another_swarm_is_no_record_here() -> None:
    liar = person(1)
    body = commit(liar, head_of(people(3))).body
    elsewhere = sign(liar, digest("swarm", "another"), body)
    with pytest.raises(RemoteProtocolError) as caught:
        open_record(elsewhere.wire, digest("swarm", "simulated"), SPOKEN, liar.peer_id)
    assert (caught.value.peer, caught.value.reason) == (liar.peer_id, "bad-signature")


@pytest.mark.parametrize("seed", SEEDS)
def test_clocks_that_run_at_half_or_double_speed_stop_nobody(seed: int) -> None:
    world = World(seed, 6, ROUNDS)
    world.clock_rates = (0.5, 2.0)
    world.start()
    world.run_until(world.done, 2000)
    assert len(world.heads()) == 1
    assert not world.witness.cases
