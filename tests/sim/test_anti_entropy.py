"""Evidence and ledgers of a simulated swarm come to be equal, whatever got lost and whoever was away."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from rewards.accounts import Balance
from tests.adversary.attacks import RightNorm, SignFlip
from tests.sim.chatter import Chatterbox
from tests.sim.ledgers import Ledgers, book
from tests.sim.seeds import seeds
from tests.sim.shell import Node
from tests.sim.withholding import Withholder
from tests.sim.world import World
from validation import docket

SEEDS = seeds(2)


def evidence(nodes: Iterable[Node]) -> set[bytes]:
    """Roots of what nodes hold about others."""
    return {node.validator.holdings.held.root for node in nodes if node.validator is not None}


def root(node: Node) -> bytes:
    """Of all entries on a node's disk."""
    assert node.disk.store is not None
    return book(node.disk.store, node.world.terms)[0].root()


def balances(node: Node) -> list[Balance]:
    """Folded anew from them."""
    assert node.disk.store is not None
    entries, heads = book(node.disk.store, node.world.terms)
    return entries.ledger(heads.followed).balances(node.number)


def agree(nodes: Iterable[Node]) -> bool:
    """Whether the nodes hold the same evidence, and have the same ledger."""
    every = list(nodes)
    if len(evidence(every)) > 1 or len({node.number for node in every}) > 1:
        return False
    if len({root(node) for node in every}) > 1:
        return False
    first, *others = map(balances, every)
    assert all(other == first for other in others), "one root, and not one ledger"
    return True


def swarm(seed: int, folder: Path, nodes: int = 5, min_peers: int = 5) -> World:
    world = World(seed, nodes, 200, min_peers, ledgers=Ledgers(folder))
    world.start()
    return world


def misses(world: World, away: Node, rounds: int) -> None:
    """A node is down while the others do so many rounds; then all have one set of evidence."""
    others = [node for node in world.nodes if node is not away]
    away.crash()
    there = max(world.numbers()) + rounds
    world.run_until(lambda: world.all_at(there, others), 5_000)
    away.start()
    world.run_until(lambda: world.all_at(there + 2), 600)
    world.run_until(lambda: agree(world.nodes), 600)


@pytest.mark.parametrize("seed", SEEDS)
def test_gossip_that_loses_a_third_still_gives_one_set_and_one_ledger(seed: int, tmp_path: Path) -> None:
    world = swarm(seed, tmp_path)
    world.weather.loss = 0.3
    world.run_until(lambda: world.all_at(12), 2_000)
    world.run_until(lambda: agree(world.nodes), 600)
    assert len(world.nodes[0].validator.holdings.tree) > 12  # type: ignore[union-attr]
    assert sum(node.filling.bytes for node in world.nodes) > 0, "nothing was lost"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cheat_is_found_under_loss_and_everybody_burns_the_same_stake(seed: int, tmp_path: Path) -> None:
    world = swarm(seed, tmp_path)
    world.weather.loss = 0.3
    world.run_until(lambda: world.all_at(4), 600)
    cheat = world.lie(1)
    cheat.cheat = RightNorm()
    honest = [node for node in world.nodes if node is not cheat]
    world.run_until(lambda: cheat.peer_id in world.witness.cases, 2_000)
    there = max(world.numbers(honest)) + 4
    world.run_until(lambda: world.all_at(there, honest), 2_000)
    world.run_until(lambda: len(evidence(honest)) == 1, 600)
    assert all(cheat.peer_id in node.validator.cases for node in honest if node.validator)


@pytest.mark.parametrize("seed", SEEDS)
def test_who_says_more_than_is_kept_of_it_makes_no_two_nodes_differ(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each node hears a part of it, in its own order; one is away, and hears of it late."""
    monkeypatch.setattr(docket, "SAID_FOR_EACH", 0)
    monkeypatch.setattr(docket, "SAID_BESIDES", 8)
    world = swarm(seed, tmp_path)
    world.weather.loss = 0.3
    world.run_until(lambda: world.all_at(4), 600)
    chatterboxes = [Chatterbox(world.lie(index)) for index in (0, 1)]
    misses(world, world.nodes[4], docket.ROUNDS_KEPT + 2)
    world.run_until(lambda: agree(world.nodes), 600)
    assert not any(node.validator.cases for node in world.nodes if node.validator)
    assert all(len(one.said) > 20 for one in chatterboxes)
    assert sum(node.dropped for node in world.nodes) > 10, "it came in other orders"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("denies", [True, False], ids=["denies", "boasts"])
def test_a_cheat_that_withholds_what_names_it_is_out_everywhere(
    denies: bool, seed: int, tmp_path: Path
) -> None:
    """A node that was down meanwhile asks the cheat before all others, then the others, and has the case."""
    world = swarm(seed, tmp_path)
    world.weather.loss = 0.3
    world.run_until(lambda: world.all_at(4), 600)
    cheat = world.lie(1)
    honest = [node for node in world.nodes if node is not cheat]
    away, others = honest[-1], honest[:-1]
    away.crash()
    withholder = Withholder(cheat, denies)
    cheat.cheat = SignFlip()
    world.run_until(lambda: all(cheat.peer_id in n.validator.cases for n in others if n.validator), 3_000)
    there = max(world.numbers(others)) + 2
    world.run_until(lambda: world.all_at(there, others), 2_000)
    world.split({away.index, cheat.index}, {node.index for node in world.nodes if node is not away})
    away.start()
    world.run_until(lambda: away.peer_id in withholder.asked_by, 600)
    world.run_for(10)
    assert away.validator is not None
    assert not away.validator.cases, "it was shown"
    world.heal()
    world.run_until(lambda: world.all_at(max(world.numbers(others)), honest), 600)
    world.run_until(lambda: len(evidence(honest)) == 1, 600)
    for node in honest:
        assert node.validator is not None
        assert set(node.validator.cases) == {cheat.peer_id}
        assert node.head is not None
        assert cheat.peer_id not in node.head.head.members


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_that_is_killed_and_comes_back_has_the_others_ledger(seed: int, tmp_path: Path) -> None:
    world = swarm(seed, tmp_path)
    world.run_until(lambda: world.all_at(6), 600)
    misses(world, world.nodes[3], 3)


def test_a_node_that_was_away_for_fifty_rounds_gets_all_of_them(tmp_path: Path) -> None:
    world = swarm(5, tmp_path)
    world.run_until(lambda: world.all_at(4), 600)
    away = world.nodes[2]
    misses(world, away, 52)
    assert away.standing is not None
    assert away.standing.rewards().missing_rounds == 0


def test_a_newcomer_books_what_was_before_it_came(tmp_path: Path) -> None:
    world = swarm(6, tmp_path, nodes=4, min_peers=3)
    late, others = world.nodes[3], world.nodes[:3]
    late.crash()
    world.run_until(lambda: world.all_at(8, others), 600)
    late.start()
    world.run_until(lambda: world.all_at(12), 600)
    world.run_until(lambda: agree(world.nodes), 600)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_partition_that_heals_leaves_one_set_and_one_ledger(seed: int, tmp_path: Path) -> None:
    """The few go on alone for want of a quorum; what they did there is in nobody's set afterwards."""
    world = World(seed, 5, 200, stall_s=60.0, ledgers=Ledgers(tmp_path))
    world.start()
    world.run_until(lambda: world.all_at(4), 600)
    few, many = world.nodes[3:], world.nodes[:3]
    world.split({3, 4}, {0, 1, 2})
    world.run_until(lambda: any(node.head.head.marks for node in few if node.head), 2_000)
    world.run_for(60)
    world.heal()
    there = max(world.numbers(many)) + 3
    world.run_until(lambda: world.all_at(there) and len(world.heads()) == 1, 2_000)
    world.run_until(lambda: agree(world.nodes), 600)
