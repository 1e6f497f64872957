"""Members change the constants while they train, and none plays a round by other terms than the rest.

The amendment doubles the batch, which every signed commitment shows: tokens for each step. Ledgers are given
here; what they are made of is tested in `test_standing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from dhtnode.amendments import Amendment, Setting
from dhtnode.manifest import AuditSection, DataSection, Terms
from dhtnode.reward import PPM, RewardSection
from rewards.entries import raw_key
from rewards.governance import Ballot
from tests.sim.ledgers import Ledgers
from tests.sim.seeds import seeds
from tests.sim.shell import Node
from tests.sim.world import World

ROUNDS, EPOCH = 14, 2
EFFECT, LATER = 10, 16
LARGER_BATCH = Setting(key="inner.batch_size", value="16")
BEFORE, AFTER = 8, 16
SEEDS = seeds(2)


def short_epochs(terms: Terms, cap_ppm: int = 500_000) -> Terms:
    """A manifest that an amendment can be made to."""
    reward = RewardSection(epoch_rounds=EPOCH, vote_cap_ppm=cap_ppm)
    return msgspec.structs.replace(terms, reward=reward, data=DataSection(mode="shared", digest="0" * 64))


def swarm(seed: int, cap_ppm: int = 500_000, loss: float = 0.0) -> World:
    """A swarm of four in its third round, in which everybody owns the same."""
    world = World(seed, 4, ROUNDS)
    world.terms = short_epochs(world.terms, cap_ppm)
    own(world, [1_000] * 4)
    world.start()
    world.run_until(lambda: world.all_at(2), 60)
    world.weather.loss = loss
    return world


def own(world: World, amounts: Sequence[int]) -> None:
    """What the nodes have vested once an epoch has ended, by everybody's ledger."""
    vested = {raw_key(node.peer_id): amount for node, amount in zip(world.nodes, amounts, strict=False)}
    world.vested = lambda judge, round_no: vested if round_no else {}


def propose(world: World, by: int = 0, change: Setting = LARGER_BATCH, effect: int = EFFECT) -> bytes:
    return world.nodes[by].floor.say(Amendment(round=2, effect=effect, changes=(change,), why=""))


def vote(world: World, amendment: bytes, *who: int, yes: bool = True) -> None:
    for index in who:
        world.nodes[index].floor.say(Ballot(amendment=amendment, yes=yes))


def batches(world: World, peers: Sequence[str] | None = None) -> dict[int, set[int]]:
    """Batch sizes that commitments of these peers show, by round."""
    found: dict[int, set[int]] = {}
    for head in world.witness.heads.values():
        for peer in head.members if head.results else ():
            if peers is None or peer in peers:
                body = world.witness.commitment(head.parent, peer)
                found.setdefault(body.round, set()).add(body.tokens // body.steps)
    return found


def adopted_at(world: World, amendment: bytes) -> int:
    """Number of the first head that names an amendment."""
    return min(head.number for head in world.witness.heads.values() if amendment in head.amendments)


def moves_in(world: World, effect: int, nodes: Sequence[Node] | None = None) -> None:
    """Everybody has played by the manifest before a round, and by the amendment from it on."""
    peers = None if nodes is None else [node.peer_id for node in nodes]
    for round_no, found in batches(world, peers).items():
        assert found == {AFTER if round_no >= effect else BEFORE}, f"round {round_no}"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_all_move_together_in_the_named_round(seed: int, loss: float) -> None:
    world = swarm(seed, loss=loss)
    amendment = propose(world)
    vote(world, amendment, 1, 2)
    world.run_until(world.done, 2_000)
    assert len(world.heads()) == 1
    assert adopted_at(world, amendment) <= EFFECT - EPOCH, "there is an epoch to prepare for it"
    moves_in(world, EFFECT)


@pytest.mark.parametrize("seed", SEEDS)
def test_who_joins_later_follows(seed: int) -> None:
    world = World(seed, 4, ROUNDS, min_peers=3)
    world.terms = short_epochs(world.terms)
    own(world, [1_000] * 3)
    early, late = world.nodes[:3], world.nodes[3]
    for node in early:
        node.start(founder=node.index == 0)
    world.run_until(lambda: world.all_at(2, early), 60)
    amendment = propose(world)
    vote(world, amendment, 1)
    world.run_until(lambda: world.all_at(EFFECT + 1, early), 600)
    late.start()
    world.run_until(world.done, 600)
    assert len(world.heads()) == 1
    assert late.floor.in_force.adopted == (amendment,)
    assert batches(world, [late.peer_id]), "it has work in the state"
    moves_in(world, EFFECT, [late])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("deaf", [[3], [2, 3]])
def test_a_node_that_heard_of_no_vote_fetches_what_was_adopted_and_does_not_fork(
    seed: int, deaf: list[int]
) -> None:
    """With two of four deaf, no roster that adopts something has a majority before one is shown it."""
    world = swarm(seed)
    for index in deaf:
        world.nodes[index].deaf = True
    amendment = propose(world)
    vote(world, amendment, 1, 2)
    if len(deaf) == 2:
        own(world, [1_000, 1_000, 0, 0])
        world.run_until(lambda: world.all_at(4), 600)
        assert all(not head.amendments for head in world.witness.heads.values())
        world.nodes[2].deaf = False
    world.run_until(world.done, 2_000)
    assert len(world.heads()) == 1
    assert adopted_at(world, amendment) <= EFFECT - EPOCH
    moves_in(world, EFFECT)
    assert amendment in world.nodes[3].disk.votes


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_that_starts_again_plays_by_what_was_adopted(seed: int) -> None:
    world = swarm(seed)
    amendment = propose(world)
    vote(world, amendment, 1, 2)
    world.run_until(lambda: world.all_at(EFFECT + 1), 600)
    world.nodes[2].crash()
    world.run_for(1.0)
    world.nodes[2].start()
    world.run_until(world.done, 600)
    assert len(world.heads()) == 1
    moves_in(world, EFFECT)


@pytest.mark.parametrize("seed", SEEDS)
def test_who_was_away_while_a_price_changed_books_each_round_by_its_own(seed: int, tmp_path: Path) -> None:
    world = World(seed, 4, 100, ledgers=Ledgers(tmp_path))
    world.terms = short_epochs(world.terms)
    reward = msgspec.structs.replace(world.terms.reward, vesting_rounds=2)
    world.terms = msgspec.structs.replace(world.terms, reward=reward, audit=AuditSection(rate=0.5))
    own(world, [1_000] * 4)
    world.start()
    world.run_until(lambda: world.all_at(2), 60)
    amendment = propose(world, change=Setting(key="reward.reduce_micro", value="1000000000"))
    vote(world, amendment, 1, 2)
    away, others = world.nodes[3], world.nodes[:3]
    away.crash()
    world.run_until(lambda: world.all_at(EFFECT - 1, others), 600)
    usual = max(map(reduced, others))
    world.run_until(lambda: world.all_at(EFFECT + 4, others), 600)
    assert min(map(reduced, others)) > 100 * usual > 0
    away.start()
    world.run_until(lambda: world.all_at(EFFECT + 6), 600)
    world.run_until(lambda: len({str(shares(node)) for node in world.nodes}) == 1, 600)
    assert shares(away)
    assert away.floor.in_force.adopted == (amendment,)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("before", "after"), [(0.0, 0.5), (0.5, 0.0)], ids=["begin", "end"])
def test_audits_begin_or_end_with_the_round_that_is_named(seed: int, before: float, after: float) -> None:
    """Verdicts may come to a node that has not closed their round yet: nobody is blamed for being ahead."""
    world = World(seed, 4, 100)
    world.terms = msgspec.structs.replace(short_epochs(world.terms), audit=AuditSection(rate=before))
    own(world, [1_000] * 4)
    world.weather.delay_s = 0.2
    world.start()
    world.run_until(lambda: world.all_at(2), 600)
    amendment = propose(world, change=Setting(key="audit.rate", value=str(after)), effect=LATER)
    vote(world, amendment, 1, 2)
    world.run_until(lambda: world.all_at(LATER - 1), 2_000)
    world.weather.loss = 0.1
    away, others = world.nodes[3], world.nodes[:3]
    away.crash()
    world.run_until(lambda: any(node.number == LATER for node in others), 2_000)
    assert {rate(node) for node in others if node.number == LATER} == {before}, "of the last such round"
    world.run_until(lambda: any(node.number == LATER + 1 for node in others), 2_000)
    assert {rate(node) for node in others if node.number > LATER} == {after}
    away.start()
    world.run_until(lambda: world.all_at(LATER + 8), 2_000)
    later = range(LATER, 1_000)
    world.run_until(lambda: all(bool(after) == bool(audited(node) & set(later)) for node in others), 2_000)
    assert all(bool(before) == bool(audited(node) - set(later)) for node in others)
    assert rate(away) == after, "also who was not there"


def rate(node: Node) -> float:
    """Share of a trusted member's work of the last round that it expects to be audited."""
    assert node.validator is not None
    return node.validator.rates.least("work")


def audited(node: Node) -> set[int]:
    """Rounds on which it holds verdicts."""
    return {verdict.body.round for verdict in node.disk.verdicts.values()}


def reduced(node: Node) -> int:
    """What a node has earned by reducing, by its own ledger."""
    assert node.standing is not None
    return node.standing.rewards().by_term["reduction"]


def shares(node: Node) -> dict[str, str]:
    """The table that the node writes beside its newest state."""
    assert node.standing is not None
    assert node.head is not None
    return node.standing.notes(node.head)


# What does not change anything


@pytest.mark.parametrize("seed", SEEDS)
def test_less_than_two_thirds_change_nothing(seed: int) -> None:
    world = swarm(seed)
    amendment = propose(world)
    vote(world, amendment, 1)
    vote(world, amendment, 2, 3, yes=False)
    world.run_until(world.done, 600)
    assert all(not head.amendments for head in world.witness.heads.values())
    assert set(batches(world)) == set(range(ROUNDS))
    moves_in(world, effect=ROUNDS)


@pytest.mark.parametrize(("cap_ppm", "effect"), [(PPM, EFFECT), (100_000, ROUNDS)])
def test_who_owns_most_does_not_decide_alone(cap_ppm: int, effect: int) -> None:
    world = swarm(0, cap_ppm=cap_ppm)
    own(world, [10_000, 1_000, 1_000, 1_000])
    propose(world)
    world.run_until(world.done, 600)
    moves_in(world, effect)


def test_what_has_not_vested_does_not_vote() -> None:
    """Three want it and one owns all that has vested: the others' credits are at stake."""
    world = swarm(0, cap_ppm=PPM)
    own(world, [0, 0, 0, 1_000])
    amendment = propose(world)
    vote(world, amendment, 1, 2)
    world.run_until(world.done, 600)
    moves_in(world, effect=ROUNDS)


def test_an_amendment_that_comes_too_late_for_its_epoch_of_notice_is_not_taken() -> None:
    world = swarm(0)
    amendment = propose(world, effect=4)
    vote(world, amendment, 1, 2, 3)
    world.run_until(world.done, 600)
    assert all(not head.amendments for head in world.witness.heads.values())


def test_who_proposes_another_task_is_blamed() -> None:
    world = swarm(0)
    liar = world.lie(1)
    propose(world, by=1, change=Setting(key="task.kind", value='"another"'))
    world.run_until(world.done, 600)
    assert world.witness.blames[liar.peer_id, "bad-amendment"] == 4, "its own node says so, too"


# Ledgers that differ


@pytest.mark.parametrize("seed", SEEDS)
def test_ledgers_that_differ_stop_no_round_and_split_nobody(seed: int) -> None:
    """Two of four find the vote carried, two do not: it is adopted by all or by nobody."""
    world = swarm(seed)
    names = [node.peer_id for node in world.nodes]
    rich = {raw_key(peer): 1_000 for peer in names}
    poor = {raw_key(peer): 1_000 * (index > 1) for index, peer in enumerate(names)}
    world.vested = lambda judge, round_no: (rich if judge in names[:2] else poor) if round_no else {}
    amendment = propose(world)
    vote(world, amendment, 1, 2)
    world.run_until(world.done, 2_000)
    assert len(world.heads()) == 1
    adopted = any(head.amendments for head in world.witness.heads.values())
    moves_in(world, EFFECT if adopted else ROUNDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_whose_ledger_has_gaps_has_no_opinion_and_follows(seed: int) -> None:
    world = swarm(seed)
    gaps, whole = world.nodes[3].peer_id, world.vested
    world.vested = lambda judge, round_no: None if judge == gaps else whole(judge, round_no)
    amendment = propose(world)
    vote(world, amendment, 1, 2)
    world.run_until(world.done, 2_000)
    moves_in(world, EFFECT)


# An old node


def test_a_node_that_knows_no_such_key_is_told_why_it_is_out_and_the_others_go_on() -> None:
    world = swarm(0)
    old = world.nodes[3]

    def refuse(terms: Terms) -> None:
        if terms.inner.batch_size != BEFORE:
            raise ValueError("inner.batch_size is no key that this dhtnode can change")

    old.floor.in_force.check = refuse
    amendment = propose(world)
    vote(world, amendment, 1, 2)
    others = world.nodes[:3]
    world.run_until(lambda: world.all_at(ROUNDS, others), 2_000)
    why = "inner.batch_size is no key that this dhtnode can change"
    assert (old.up, old.finished) == (False, f"amendment {amendment.hex()[:12]}: {why}")
    assert max(batches(world, [old.peer_id])) == EFFECT - 1
    moves_in(world, EFFECT)
