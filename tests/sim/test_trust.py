"""Votes that follow from the tables which nodes keep themselves: nothing here is told what to think.

A crash takes a simulated node's table with it: it knows nobody for a whole probation, and leaves
votes as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import msgspec
import numpy as np
import pytest

from dhtnode.reputation import ReputationSection
from tests.adversary.attacks import SignFlip
from tests.adversary.standing import Gullible
from tests.sim.history import rounds, view_before, votes
from tests.sim.seeds import seeds
from tests.sim.shell import Node
from tests.sim.storm import Storm
from tests.sim.test_dishonest import forged, says
from tests.sim.trusting import SHORT, names, trusting
from tests.sim.world import CONSTANTS, World
from training.codec import Vector
from training.events import Train
from training.messages import WHOLE, Commitment
from validation.account import JUDGED
from validation.compare import MAX_PPM
from validation.events import NodeEffect
from validation.reputation import Reputation

MOST_INFLUENCE = 2.3
LEAST_COST = 40
"""Rounds that a new name costs."""
MADE_UP = "cpu/made-up"


def table(node: Node) -> Reputation:
    assert node.validator is not None
    return node.validator.witness.table


def halves(world: World, nodes: Iterable[Node]) -> list[int]:
    """How many halves of a vote these nodes have together, after each round."""
    peers = names(nodes)
    return [sum(vote for peer, vote in votes(head).items() if peer in peers) for head in rounds(world)]


def banned(world: World) -> set[str]:
    """Whom anybody who is up and no cheat has banned, ever."""
    judges = [node for node in world.nodes if node.up and node.peer_id not in world.dishonest]
    return {peer for judge in judges for peer in world.peers if table(judge).bans(peer) != (0, 0)}


@pytest.mark.parametrize("section", [SHORT, CONSTANTS], ids=["short", "default"])
def test_everybody_gets_a_vote_when_its_probation_is_over_and_keeps_it(section: ReputationSection) -> None:
    world = trusting(1, 4, section, rounds=150)
    world.start()
    world.run_until(world.done, 5_000)
    for head in rounds(world):
        assert set(head.votes) == {WHOLE if head.number > section.probation_rounds else 0}
    assert {view_before(world, head) for head in rounds(world)} == {0}
    assert not banned(world)


@pytest.mark.parametrize("seed", seeds(1, first=1))
def test_members_come_and_crash_and_no_round_waits_for_an_opinion(seed: int) -> None:
    """Tables differ: some come late, and some lose theirs. A few views are lost to that, and nothing else."""
    world = trusting(seed, 6, SHORT, min_peers=4, rounds=100)
    *early, late, later = world.nodes
    for node in early:
        node.start(founder=node.index == 0)
    world.run_until(lambda: world.all_at(20, early), 1_000)
    late.start()

    def reached(number: int) -> bool:
        return max(world.numbers()) >= number

    for number in range(30, 90, 20):
        world.run_until(partial(reached, number), 1_000)
        victim = early[number // 20 % len(early)]
        victim.crash(lose_newest=True)
        world.run_until(partial(reached, number + 3), 1_000)
        victim.start()
        if number == 70:
            later.start()
    world.run_until(world.done, 2_000)
    assert len(world.heads()) == 1
    assert rounds(world)[-1].votes == (WHOLE,) * 6
    assert sum(view_before(world, head) > 0 for head in rounds(world)) <= 10
    assert not banned(world)


def noise(update: Vector) -> Vector:
    """What a made-up device makes of any work whatever: those that have it find each other's work right."""
    return np.random.default_rng(1).normal(0, 0.01, len(update)).astype(update.dtype)


class Flood:
    """Ten keys for each of two honest members come at once, with work that only they can replay, as they say.

    Args:
        seed: everything follows from it.
        friends: more members, that work honestly and find the keys' work right.
        kind: of table that everybody keeps.
    """

    ROUNDS = 12

    def __init__(self, seed: int, friends: int, kind: type[Reputation] = Reputation) -> None:
        members = 2 + friends
        self.world = world = trusting(seed, members + 20, SHORT, min_peers=members)
        self.honest, self.friends = world.nodes[:2], world.nodes[2:members]
        self.sybils = world.nodes[members:]
        self.clique = self.friends + self.sybils
        for node in self.clique:
            world.lie(node.index)
        for node in self.friends:
            node.tolerance = {MADE_UP: MAX_PPM}.get
        for node in self.sybils:
            node.device, node.drift = MADE_UP, noise
        self._kind = kind
        self.influence = 0.0
        """What others' word has given to all keys, over what those who give it have earned; the most ever."""

    def run(self) -> World:
        world, members = self.world, self.honest + self.friends
        first = SHORT.probation_rounds + 2
        self._start(members)
        world.run_until(lambda: world.all_at(first, members), 500)
        assert halves(world, members)[-1] == WHOLE * len(members)
        self._start(self.sybils)
        for number in range(first + 1, first + 1 + self.ROUNDS):
            world.run_until(partial(world.all_at, number, self.honest), 500)
            self.influence = max(self.influence, *map(self._gained, self.honest))
        return world

    def _start(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            node.start(founder=node.index == 0)
            assert node.validator is not None
            node.validator.witness.table = self._kind(SHORT)

    def _gained(self, judge: Node) -> float:
        kept = table(judge)
        told = sum(kept.told(node.peer_id, context, "passed") for node in self.sybils for context in JUDGED)
        earned = sum(kept.earned(node.peer_id) for node in self.clique)
        return told / earned if earned else 0.0


@pytest.mark.parametrize("seed", seeds(1, first=1))
def test_ten_made_up_keys_to_each_member_have_no_vote_if_nobody_else_finds_them_right(seed: int) -> None:
    flood = Flood(seed, friends=0)
    world = flood.run()
    assert names(flood.sybils) <= set(rounds(world)[-1].members), "they are in, and that is all"
    assert not any(halves(world, flood.sybils))
    assert halves(world, flood.honest)[-Flood.ROUNDS :] == [2 * WHOLE] * Flood.ROUNDS
    assert flood.influence <= MOST_INFLUENCE
    assert not banned(world)


@pytest.mark.parametrize("seed", seeds(1, first=1))
def test_a_friend_among_the_members_lends_made_up_keys_no_more_than_it_has_earned(seed: int) -> None:
    flood = Flood(seed, friends=1)
    world = flood.run()
    assert 0 < flood.influence <= MOST_INFLUENCE
    pairs = zip(halves(world, flood.sybils), halves(world, flood.friends), strict=True)
    assert all(lent <= MOST_INFLUENCE * own for lent, own in pairs)
    assert min(halves(world, flood.honest)[-Flood.ROUNDS :]) == 2 * WHOLE
    assert not banned(world)


def test_without_that_care_they_outvote_the_members() -> None:
    """The control: everybody's word counts like one's own."""
    flood = Flood(1, friends=1, kind=Gullible)
    world = flood.run()
    assert halves(world, flood.sybils)[-1] > 2 * halves(world, flood.honest + flood.friends)[-1]
    assert flood.influence > 10 * MOST_INFLUENCE


@pytest.mark.parametrize("seed", seeds(1, first=1))
def test_a_new_name_costs_forty_rounds(seed: int) -> None:
    """A member with a vote cheats, is out, and comes back as somebody else who works well."""
    world = trusting(seed, 5, CONSTANTS)
    cheat, honest = world.lie(4), world.nodes[:4]
    old = cheat.peer_id
    world.start()
    world.run_until(lambda: world.all_at(50), 1_000)
    assert set(rounds(world)[-1].votes) == {WHOLE}
    cheat.cheat = SignFlip()
    world.run_until(lambda: old in world.witness.cases, 1_000)
    cheat.crash()
    cheat.cheat = lambda update: update
    world.rename(cheat)
    cheat.start()
    world.run_until(lambda: bool(votes(rounds(world)[-1]).get(cheat.peer_id)), 2_000)
    accepted = [head for head in rounds(world) if cheat.peer_id in head.members]
    assert len(accepted) >= LEAST_COST
    assert not any(votes(head)[cheat.peer_id] for head in accepted[:LEAST_COST])
    assert banned(world) == {old}
    assert len(names(honest) & set(rounds(world)[-1].electors)) == 4


@pytest.mark.parametrize("seed", seeds(1, first=1))
def test_a_ban_ends_and_the_next_one_is_twice_as_long(seed: int) -> None:
    section = msgspec.structs.replace(SHORT, ban_rounds=10)
    world = trusting(seed, 5, section)
    cheat, honest = world.lie(4), world.nodes[:4]
    worked: list[int] = []

    def watched(effect: NodeEffect) -> list[NodeEffect]:
        if isinstance(effect, Train):
            worked.append(effect.head.number)
        return [effect]

    cheat.twist = watched
    world.start()
    lengths = []

    def banned_by_all(times: int) -> bool:
        return all(table(node).bans(cheat.peer_id)[0] == times for node in honest)

    for number in (1, 2):
        cheat.cheat = SignFlip()
        world.run_until(partial(banned_by_all, number), 2_000)
        cheat.cheat = lambda update: update
        out = len(rounds(world))
        world.run_until(lambda: cheat.peer_id not in rounds(world)[-1].members, 500)
        world.run_until(lambda: cheat.peer_id in rounds(world)[-1].members, 2_000)
        absent = [head for head in rounds(world)[out:] if cheat.peer_id not in head.members]
        lengths.append(len(absent))
        in_vain = {head.number - 1 for head in absent} & set(worked)
        assert len(in_vain) <= 2, "as it is banned, and where the others' ban begins or ends before its own"
        assert not rounds(world)[-1].vote_of(cheat.peer_id)
    assert section.ban_rounds // 2 <= lengths[0] <= section.ban_rounds < lengths[1] <= 2 * section.ban_rounds
    assert banned(world) == {cheat.peer_id}


@pytest.mark.parametrize("seed", seeds(1, first=1))
def test_who_contradicts_itself_does_not_come_back(seed: int) -> None:
    section = msgspec.structs.replace(SHORT, ban_rounds=2)
    world = trusting(seed, 5, section)
    liar, honest = world.lie(4), world.nodes[:4]
    world.start()
    world.run_until(lambda: world.all_at(3), 300)
    says(liar, Commitment, lambda record: [record, forged(liar, record, loss_micro=1)])
    world.run_until(lambda: liar.peer_id in world.witness.cases, 300)
    liar.twist = lambda effect: [effect]
    out = max(world.numbers(honest)) + 1
    world.run_until(lambda: world.all_at(out + 12, honest), 1_000)
    late = [head for head in rounds(world) if head.number > out]
    assert late
    assert not any(liar.peer_id in head.members for head in late)
    assert all(node.validator and liar.peer_id in node.validator.out() for node in honest)


@pytest.mark.parametrize("seed", seeds(2, first=1))
def test_who_cheats_now_and_then_is_out_soon_and_its_vote_is_gone(seed: int) -> None:
    """Good until everybody trusts it, then false in every third round."""
    world = trusting(seed, 6, SHORT)
    cheat = world.lie(5)
    world.start()
    world.run_until(lambda: world.all_at(30), 1_000)

    def sometimes(update: Vector) -> Vector:
        return -update if cheat.number % 3 == 0 else update

    cheat.cheat = sometimes
    began = cheat.number
    world.run_until(lambda: cheat.peer_id in world.witness.cases, 2_000)
    out = rounds(world)[-1].number
    world.run_until(lambda: world.all_at(out + 3, world.nodes[:5]), 500)
    counted = [head for head in rounds(world) if votes(head).get(cheat.peer_id) and head.number > began]
    assert sum((head.number - 1) % 3 == 0 for head in counted) <= 16
    assert cheat.peer_id not in rounds(world)[-1].members
    assert banned(world) == {cheat.peer_id}


@pytest.mark.parametrize("seed", seeds(6))
def test_storms_over_tables(seed: int) -> None:
    """Everybody's table comes and goes, votes are given early, and the swarm gets through."""
    storm = Storm(seed)
    storm.world.terms = msgspec.structs.replace(
        storm.world.terms, reputation=msgspec.structs.replace(CONSTANTS, probation_rounds=1)
    )
    storm.world.opinions = storm.world.by_table
    storm.run()
