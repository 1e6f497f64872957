"""What members' work counts for, and who decides: one vote for all, though opinions differ.

Opinions come from simple tables here; `validation.voting` makes votes of them, as in a node.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from tests.sim.history import rounds, view_before, votes
from tests.sim.model import SHAPE, SIZES, WIRE, update_of, walk
from tests.sim.seeds import seeds
from tests.sim.shell import Node
from tests.sim.storm import Storm
from tests.sim.world import World
from training import codec, outer
from training.chain import Certificate
from training.messages import WHOLE, Head
from training.reduce import reduce_part
from training.state import State
from validation.reputation import Opinion

SEEDS = seeds(2)
ROUNDS = 6
GOOD, FAIR, POOR = (Opinion(percent * 10_000, False, 0) for percent in (80, 70, 20))
NEW = Opinion(200_000, True, 0)
BANNED = Opinion(50_000, True, 10**6)

Table = Callable[[str, str], Opinion | None]


def trusts(*known: Node) -> Table:
    """Everybody thinks well of some, and has hardly seen the others."""
    names = {node.peer_id for node in known}
    return lambda judge, peer: GOOD if peer in names else NEW


def swarm(seed: int, nodes: int, opinions: Table | None = None, rounds: int = ROUNDS) -> World:
    """A swarm whose members all have a whole vote."""
    world = World(seed, nodes, rounds)
    world.opinions = trusts(*world.nodes)
    world.start()
    world.run_until(lambda: world.all_at(1), 60)
    world.opinions = opinions or world.opinions
    return world


class Library:
    """Every state that a world's nodes have held, to do its rounds again."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.states = {world.genesis.digest: world.genesis}
        self._adopted = world.witness.adopted
        world.witness.adopted = self._keep  # type: ignore[method-assign]

    def _keep(self, peer: str, life: int, certificate: Certificate, state: State) -> None:
        self.states[state.digest] = state
        self._adopted(peer, life, certificate, state)

    def after(self, head: Head, peers: Sequence[str]) -> bytes:
        """Digest of the state that a round leads to if just these peers' work is in it, all whole."""
        start = self.states[self.world.witness.heads[head.parent].state]
        sent = []
        for peer in (peer for peer in head.members if peer in peers):
            body = self.world.witness.commitment(head.parent, peer)
            update = update_of(walk(start.digest, peer, range(body.steps))[-1])
            chunks = codec.encode(update, WIRE)
            sent.append((body.weight * WHOLE, chunks))
        reduced = reduce_part(sent, SIZES, WIRE, self.world.terms.reduce)
        mean = codec.decode_all(reduced, SHAPE.update_elems, WIRE)
        return outer.advance(start, mean, self.world.terms).digest


@pytest.mark.parametrize("seed", SEEDS)
def test_a_newcomers_work_does_not_move_the_state_until_it_has_a_vote(seed: int) -> None:
    world = World(seed, 5, rounds=10, min_peers=4)
    library = Library(world)
    *early, late = world.nodes
    world.opinions = trusts(*early)
    for node in early:
        node.start(founder=node.index == 0)
    world.run_until(lambda: world.all_at(1, early), 60)
    late.start()
    world.run_until(lambda: world.all_at(6), 200)
    world.opinions = trusts(*world.nodes)
    world.run_until(world.done, 200)

    names = {node.peer_id for node in early}
    on_probation = [head for head in rounds(world) if votes(head).get(late.peer_id) == 0]
    assert len(on_probation) >= 2
    for head in on_probation:
        assert set(head.electors) == names
        assert len(head.accepted) == 5, "it is audited, and has a receipt"
        assert library.after(head, head.electors) == head.state
        assert library.after(head, head.members) != head.state
    last = rounds(world)[-1]
    assert votes(last)[late.peer_id] == WHOLE
    assert library.after(last, head.members) == last.state


@pytest.mark.parametrize("seed", SEEDS)
def test_opinions_within_the_margin_agree_at_once(seed: int) -> None:
    """One node would give half votes where all others would give whole ones; all can live with both, and what
    others have given it does not take."""
    world = World(seed, 4, ROUNDS)
    picky = world.nodes[3].peer_id
    world.opinions = lambda judge, peer: FAIR if judge == picky else GOOD
    world.start()
    world.run_until(world.done, 200)
    assert {view_before(world, head) for head in rounds(world)} == {0}
    given = [sum(head.votes) for head in rounds(world)]
    assert given == sorted(given)
    assert given[-1] == 4 * WHOLE
    assert len(world.heads()) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_leader_that_differs_by_more_costs_one_view_and_changes_nothing(seed: int) -> None:
    world = swarm(seed, 4)
    sour, victim = (world.leader(rounds(world)[-1]).peer_id, world.nodes[0].peer_id)
    world.opinions = lambda judge, peer: POOR if (judge, peer) == (sour, victim) else GOOD
    world.run_until(world.done, 400)
    differed = [head for head in rounds(world)[1:] if view_before(world, head) > 0]
    assert differed
    assert {view_before(world, head) for head in differed} == {1}
    assert all(set(head.votes) == {WHOLE} for head in rounds(world))


@pytest.mark.parametrize("seed", SEEDS)
def test_whom_one_member_alone_bans_stays_in_and_no_round_is_lost(seed: int) -> None:
    world = World(seed, 4, rounds=10)
    world.opinions = trusts(*world.nodes)
    world.start()
    world.run_until(lambda: world.all_at(1), 60)
    sour, victim = world.nodes[1].peer_id, world.nodes[2].peer_id
    world.opinions = lambda judge, peer: BANNED if (judge, peer) == (sour, victim) else GOOD
    world.run_until(world.done, 400)
    for head in rounds(world)[1:]:
        led = world.leader(world.witness.heads[head.parent])
        assert view_before(world, head) == 0
        assert (victim in head.members) == (led.peer_id != sour)


@pytest.mark.parametrize("seed", SEEDS)
def test_whom_all_ban_is_in_no_round(seed: int) -> None:
    world = World(seed, 4, rounds=8, min_peers=3)
    victim = world.nodes[2].peer_id
    world.opinions = lambda judge, peer: BANNED if peer == victim and judge != victim else GOOD
    world.start()
    world.run_until(world.done, 400)
    assert not any(victim in head.members for head in rounds(world))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_leader_that_lifts_itself_and_its_friend_gets_nothing(seed: int) -> None:
    world = World(seed, 5, rounds=8, min_peers=4)
    *early, friend = world.nodes
    liar, names = early[1].peer_id, {node.peer_id for node in early}
    modest = Opinion(550_000, False, 0)

    def opinions(judge: str, peer: str) -> Opinion:
        if judge == liar and peer in (liar, friend.peer_id):
            return GOOD
        return modest if peer == liar else GOOD if peer in names else NEW

    world.opinions = opinions
    for node in early:
        node.start(founder=node.index == 0)
    world.run_until(lambda: world.all_at(1, early), 60)
    friend.start()
    world.run_until(world.done, 600)
    led = [head for head in rounds(world) if view_before(world, head) > 0]
    assert led, "the liar has led a round"
    assert all(votes(head).get(liar, 1) == 1 for head in rounds(world))
    assert all(votes(head).get(friend.peer_id, 0) == 0 for head in rounds(world))


def test_where_nobody_has_a_vote_all_count_alike() -> None:
    world = World(1, 4, ROUNDS)
    library = Library(world)
    world.start()
    world.run_until(world.done, 200)
    for head in rounds(world):
        assert head.electors == head.members
        assert library.after(head, head.members) == head.state


def test_the_first_votes_are_given_once_a_majority_has_earned_them() -> None:
    """One that alone had a vote would decide alone."""
    world = World(2, 4, rounds=8)
    world.start()
    world.run_until(lambda: world.all_at(1), 60)
    world.opinions = trusts(*world.nodes[:2])
    world.run_until(lambda: world.all_at(4), 200)
    assert not any(any(head.votes) for head in rounds(world))
    world.opinions = trusts(*world.nodes[:3])
    world.run_until(world.done, 200)
    assert set(rounds(world)[-1].electors) == {node.peer_id for node in world.nodes[:3]}


@pytest.mark.parametrize("defended", [True, False], ids=["defended", "control"])
def test_ten_sybils_to_each_member_decide_nothing(defended: bool) -> None:
    """They all come at once, praise each other, and vanish. Where nobody has a vote, that ends the swarm."""
    world = World(3, 44, ROUNDS, min_peers=4)
    library = Library(world)
    members, sybils = world.nodes[:4], world.nodes[4:]
    names, crowd = ({node.peer_id for node in nodes} for nodes in (members, sybils))

    def opinions(judge: str, peer: str) -> Opinion:
        return GOOD if (judge in crowd) == (peer in crowd) else POOR if judge in crowd else NEW

    if defended:
        world.opinions = opinions
    for node in members:
        node.start(founder=node.index == 0)
    world.run_until(lambda: world.all_at(1, members), 60)
    for node in sybils:
        node.start()
    world.run_until(lambda: len(crowd & set(rounds(world)[-1].members)) > 20, 400)
    flooded = rounds(world)[-1]
    for node in sybils:
        node.crash()
    if not defended:
        assert len(crowd & set(flooded.electors)) > len(flooded.electors) // 2
        number = max(world.numbers(members))
        world.run_for(400)
        assert max(world.numbers(members)) <= number + 1
        return
    assert set(flooded.electors) == names
    assert library.after(flooded, sorted(names)) == flooded.state
    world.run_until(lambda: world.all_at(ROUNDS, members), 400)


@pytest.mark.parametrize("seed", seeds(4))
def test_storms_of_opinions(seed: int) -> None:
    """Everybody thinks something else of everybody every few seconds, and the swarm gets through."""
    storm = Storm(seed)
    world = storm.world

    def opinions(judge: str, peer: str) -> Opinion | None:
        moment = random.Random(f"{seed} {judge} {peer} {int(world.now_s / 7)}")  # noqa: S311  repeatable
        return moment.choice([None, NEW, POOR, FAIR, BANNED, GOOD, GOOD, GOOD, GOOD, GOOD])

    world.opinions = opinions
    storm.run()
