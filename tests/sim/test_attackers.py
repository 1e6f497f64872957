"""Attackers that break no single rule of a round, or none that a signature could show."""

from __future__ import annotations

from typing import Any

import pytest

from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.records import open_record, sign
from tests.adversary.clocks import CLOCKS
from tests.sim.crooked import attack, twist, work_falsely
from tests.sim.seeds import seeds
from tests.sim.shell import Node
from tests.sim.world import World
from tests.unit.parties import commit, head_of, people, person
from training.events import Adopt, Plan, Publish
from training.messages import Result
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
def test_false_work_that_some_reducers_get_is_found_like_any_other(seed: int) -> None:
    world, liar, honest = swarm(seed)
    twist(liar, "selective-sender")
    work_falsely(liar, "sign-flip")
    finish(world, honest)
    assert set(world.witness.cases) == {liar.peer_id}


@pytest.mark.parametrize("seed", SEEDS)
def test_nobody_keeps_the_work_of_another_from_being_accepted(seed: int) -> None:
    """A reducer that leaves somebody out, round after round: that has a receipt all the same, for less."""
    world, liar, honest = swarm(seed)
    begin, victim, take_part = max(world.numbers()), honest[0], liar.take_part

    def ignore(plan: Plan, part: int, source: Node, *rest: Any) -> None:
        if source is not victim:
            take_part(plan, part, source, *rest)

    liar.take_part = ignore  # type: ignore[method-assign,assignment]
    finish(world, honest)
    later = [head for head in world.witness.heads.values() if head.number > begin + 1]
    accepted = [{world.witness.author(id_) for id_ in head.accepted} for head in later]
    assert sum(victim.peer_id in peers for peers in accepted) >= len(later) - 1
    assert any(liar.peer_id in head.members for head in later)


@pytest.mark.parametrize("seed", SEEDS)
def test_who_sends_its_work_to_few_is_credited_for_little(seed: int) -> None:
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
def test_who_tells_of_votes_that_nobody_can_have_cast_is_blamed_and_stops_nobody(seed: int) -> None:
    """Nothing is proven by that, so it is not out."""
    world = World(seed, 5, 10 * ROUNDS)
    world.start()
    world.run_until(lambda: world.all_at(1), 60)
    liar = world.lie(1)
    attack(liar, "false-promiser")
    world.run_until(lambda: bool(world.witness.blames), 900)
    goal = max(world.numbers()) + 2
    world.run_until(lambda: world.all_at(goal), 60)
    assert set(world.witness.blames) == {(liar.peer_id, "bad-promise")}
    assert not world.witness.cases


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "rate"), CLOCKS.items())
def test_one_clock_at_half_or_double_speed_stops_nobody(name: str, rate: float, seed: int) -> None:
    """Nor is its owner left out: it has learned by its own clock how long rounds take."""
    world, odd, honest = swarm(seed)
    begin, begin_s, shown_s = max(world.numbers()), world.now_s, odd.now_s
    attack(odd, name)
    finish(world, honest)
    assert odd.now_s - shown_s == pytest.approx(rate * (world.now_s - begin_s))
    late = [head for head in world.witness.heads.values() if head.number > begin + 1]
    with_it = [head for head in late if odd.peer_id in map(world.witness.author, head.accepted)]
    assert len(with_it) > len(late) / 2
    assert not world.witness.cases
    assert not world.witness.blames


def said_without(seed: int, honest: bool) -> tuple[World, list[bytes]]:
    """What a reducer signs that leaves a sender out; or an honest one that this sender can't reach."""
    world = World(seed, 5, ROUNDS)
    world.start()
    world.run_until(lambda: world.all_at(1), 60)
    reducer, sender = world.nodes[1], world.nodes[2]
    base, said = reducer.head, list[bytes]()
    assert base is not None
    take_part, reachable = reducer.take_part, world.reachable

    def ignore(plan: Plan, part: int, source: Node, *rest: Any) -> None:
        if source is not sender or plan.base != base.id:
            take_part(plan, part, source, *rest)

    def cut(one: Node, other: Node) -> bool:
        return {one.index, other.index} != {1, 2} and reachable(one, other)

    def listen(effect: NodeEffect) -> list[NodeEffect]:
        body = effect.record.body if isinstance(effect, Publish) else None
        if isinstance(effect, Publish) and isinstance(body, Result) and body.base == base.id:
            said.append(effect.record.wire)
        return [effect]

    reducer.twist = listen
    if honest:
        world.reachable = cut  # type: ignore[method-assign]
    else:
        world.lie(1)
        reducer.take_part = ignore  # type: ignore[method-assign, assignment]
    world.run_until(lambda: world.all_at(4), 200)
    return world, said


@pytest.mark.parametrize("seed", SEEDS)
def test_a_reducer_that_leaves_out_a_sender_signs_what_one_signs_that_nothing_has_reached(seed: int) -> None:
    """So there is no proof of it: whoever is shown these bytes can't tell which of the two they are of."""
    (false, left_out), (true, cut_off) = said_without(seed, honest=False), said_without(seed, honest=True)
    assert left_out == cut_off
    assert left_out
    for world in (false, true):
        assert not world.witness.cases
        assert not world.witness.blames


@pytest.mark.parametrize("seed", SEEDS)
def test_records_of_older_rounds_said_again_move_nobody(seed: int) -> None:
    """Everything that was ever gossiped comes again and again, with the good signatures it always had."""
    world, liar, honest = swarm(seed)
    heard: list[bytes] = []

    def repeat(effect: NodeEffect) -> list[NodeEffect]:
        if isinstance(effect, Publish):
            heard.append(effect.record.wire)
        if isinstance(effect, Adopt):
            heard.extend(record.wire for record in effect.works)
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
