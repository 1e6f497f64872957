"""A newcomer pays for its entry in a whole swarm: who has paid gets in, nobody waits for who has not."""

from __future__ import annotations

import msgspec
import pytest

from dhtnode.records import sign
from tests.sim.history import rounds, view_before, votes
from tests.sim.model import SWARM
from tests.sim.seeds import seeds
from tests.sim.storm import Storm
from tests.sim.trusting import SHORT, names, trusting
from validation.entry import Entry

PAID = msgspec.structs.replace(SHORT, entry_bits=6)


@pytest.mark.parametrize("seed", seeds(2, first=1))
def test_who_pays_for_its_entry_gets_in_though_its_first_word_is_lost(seed: int) -> None:
    world = trusting(seed, 5, PAID, min_peers=4, rounds=20)
    world.weather.loss = 0.2
    *early, late = world.nodes
    for node in early:
        node.start(founder=node.index == 0)
    world.run_until(lambda: world.all_at(3, early), 300)
    late.start()
    world.run_until(world.done, 600)
    assert any(votes(head).get(late.peer_id) for head in rounds(world))
    assert all(set(node.disk.entries) >= names(world.nodes) - {node.peer_id} for node in world.nodes)


def test_who_does_not_pay_is_in_no_round_and_nobody_waits_for_it() -> None:
    world = trusting(1, 6, PAID, min_peers=4, rounds=12)
    *early, poor, later = world.nodes
    world.lie(4).disk.entries[poor.peer_id] = sign(poor.identity, SWARM, Entry(nonce=bytes(8)))
    for node in early:
        node.start(founder=node.index == 0)
    world.run_until(lambda: world.all_at(3, early), 300)
    poor.start()
    world.run_until(lambda: world.all_at(6, [*early, poor]), 300)
    later.start()
    world.run_until(world.done, 300)
    assert not any(poor.peer_id in head.members for head in rounds(world))
    assert later.peer_id in rounds(world)[-1].members
    assert {view_before(world, head) for head in rounds(world)} == {0}
    assert set(world.witness.blames) == {(poor.peer_id, "bad-entry")}


def test_a_leader_that_lets_in_who_has_not_paid_loses_its_view_and_nothing_else() -> None:
    world = trusting(2, 5, PAID, min_peers=4, rounds=12)
    *early, poor = world.nodes
    poor.pays = False
    liar = world.lie(1)
    for node in early:
        node.start(founder=node.index == 0)
    assert liar.validator is not None
    liar.validator.gate.let_in(poor.peer_id, liar.disk.entries[liar.peer_id])
    world.run_until(lambda: world.all_at(1, early), 300)
    poor.start()
    world.run_until(world.done, 600)
    assert not any(poor.peer_id in head.members for head in rounds(world))
    assert any(view_before(world, head) for head in rounds(world)), "the liar has led a round"


@pytest.mark.parametrize("seed", seeds(4))
def test_storms_where_entry_has_to_be_paid_for(seed: int) -> None:
    storm = Storm(seed)
    storm.world.terms = msgspec.structs.replace(storm.world.terms, reputation=PAID)
    storm.run()
