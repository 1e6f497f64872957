"""A member answers for a newcomer: it comes in without a proof of work, and its fault costs the bond."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from dhtnode.records import Signed, sign
from dhtnode.reward import RewardSection
from rewards.accounts import Account
from rewards.entries import raw_key
from tests.adversary.attacks import RightNorm
from tests.sim.history import rounds, view_before, votes
from tests.sim.ledgers import Ledgers, book
from tests.sim.model import SWARM
from tests.sim.seeds import seeds
from tests.sim.shell import Node
from tests.sim.test_anti_entropy import agree, evidence
from tests.sim.trusting import SHORT, trusting
from tests.sim.world import World
from training.events import RecordArrived
from training.messages import WHOLE
from validation.voucher import Voucher

PAID = msgspec.structs.replace(SHORT, entry_bits=6)
BOND = PAID.voucher_micro
DEAR = RewardSection(compute_micro=10**12)
"""So that the work of small vectors is worth bonds."""
SEEDS = seeds(2, first=1)


def swarm(seed: int, folder: Path) -> tuple[World, list[Node], Node]:
    """Four members with whole votes, and a newcomer that finds no proof of work."""
    world = trusting(seed, 5, PAID, min_peers=4)
    world.terms = msgspec.structs.replace(world.terms, reward=DEAR)
    world.ledgers = Ledgers(folder)
    *early, late = world.nodes
    late.pays = False
    for node in early:
        node.start(founder=node.index == 0)
    world.run_until(lambda: world.all_at(10, early), 600)
    return world, early, late


def vouch(member: Node, newcomer: Node) -> Signed[Voucher]:
    """What `dhtnode vouch` does, without its questions."""
    voucher = sign(
        member.identity, SWARM, Voucher(round=member.number, newcomer=newcomer.peer_id, bond_micro=BOND)
    )
    member.on(RecordArrived(voucher, member.peer_id))
    member.world.broadcast(member, voucher.wire)
    return voucher


def play(world: World, nodes: list[Node], count: int) -> None:
    there = max(world.numbers(nodes)) + count
    world.run_until(lambda: world.all_at(there, nodes), 1_000)


def account(node: Node, of: Node) -> Account:
    """By the entries on a node's disk."""
    assert node.disk.store is not None
    entries, heads = book(node.disk.store, node.world.terms)
    return entries.ledger(heads.followed).account(raw_key(of.peer_id))


@pytest.mark.parametrize("seed", SEEDS)
def test_who_is_answered_for_comes_in_without_a_proof_of_work(seed: int, tmp_path: Path) -> None:
    world, early, late = swarm(seed, tmp_path)
    late.start()
    play(world, early, 3)
    assert not any(late.peer_id in head.members for head in rounds(world))
    world.weather.loss = 0.3
    vouch(early[0], late)
    world.run_until(lambda: votes(rounds(world)[-1]).get(late.peer_id) == WHOLE, 1_000)
    play(world, world.nodes, 3)
    world.run_until(lambda: len(evidence(world.nodes)) == 1, 1_000)
    for node in world.nodes:
        assert node.validator is not None
        assert len(node.validator.vouchers.held) == 1
        assert node.validator.vouchers.open_of(early[0].peer_id) == [], "its probation is served"
        assert not account(node, early[0]).lost
    assert not any(late.peer_id in node.disk.entries for node in world.nodes)
    late.crash()
    play(world, early, 3)
    assert late.peer_id not in rounds(world)[-1].members
    late.start()
    world.run_until(lambda: late.peer_id in rounds(world)[-1].members, 1_000)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cheats_fault_burns_the_bond_of_who_answered_for_it_on_all_nodes(seed: int, tmp_path: Path) -> None:
    world, early, late = swarm(seed, tmp_path)
    world.lie(late.index)
    late.cheat = RightNorm()
    late.start()
    member, witness, *_ = early
    vouch(member, late)
    world.run_until(lambda: late.peer_id in world.witness.cases, 1_000)
    play(world, early, 3)
    world.run_until(lambda: agree(early), 600)
    assert all(account(node, member).stake.burned == BOND for node in early)
    assert all(account(node, member).lost == {raw_key(late.peer_id)} for node in early)
    assert not any(account(node, one).stake.burned for node in early for one in early if one is not member)

    member.crash()
    play(world, early[1:], 2)
    member.start()
    other = world.nodes[-1]
    world.rename(other)
    other.cheat = lambda update: update
    other.start()
    play(world, early, 2)
    again = vouch(member, other)
    play(world, early, 3)
    for node in early:
        assert node.validator is not None
        assert "before" in str(node.validator.vouchers.why_not(again))
    assert other.peer_id not in rounds(world)[-1].members
    vouch(witness, other)
    world.run_until(lambda: other.peer_id in rounds(world)[-1].members, 1_000)


def test_votes_lost_to_a_voucher_that_some_have_not_heard_are_views_and_no_rounds(tmp_path: Path) -> None:
    world, early, late = swarm(1, tmp_path)
    late.start()
    first = world.nodes[0].number
    world.weather.loss = 1.0
    vouch(early[0], late)
    world.weather.loss = 0.0
    world.run_until(lambda: late.peer_id in rounds(world)[-1].members, 1_000)
    play(world, early, 3)
    lost = [view_before(world, head) for head in rounds(world) if head.number > first]
    assert max(lost) <= len(early)
    world.run_until(lambda: len(evidence(world.nodes)) == 1, 600)
