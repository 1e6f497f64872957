"""A member that does not keep the rules is found out, and the others' rounds go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from dhtnode.digest import digest
from dhtnode.records import Body, Signed, sign
from tests.sim.crooked import attack
from tests.sim.model import SHAPE, SWARM, WIRE
from tests.sim.seeds import seeds
from tests.sim.shell import Node
from tests.sim.world import NEVER_S, World
from training.chain import Certificate
from training.contribution import Contribution
from training.events import HeadOffered, Publish
from training.messages import (
    Commitment,
    Head,
    Promise,
    Proposal,
    Result,
    Roster,
    Vote,
    decode_value,
    encode_value,
    value_digest,
)
from training.round import Phase
from training.state import State
from validation.events import NodeEffect

SEEDS = seeds(2)
ROUNDS = 8


def swarm(seed: int, nodes: int = 5, stall_s: float = NEVER_S) -> tuple[World, Node, list[Node]]:
    """A swarm with one liar in it: the node that leads the first round which all play."""
    world = World(seed, nodes, ROUNDS, stall_s=stall_s)
    world.start()
    world.run_until(lambda: world.all_at(1), 60)
    head = world.nodes[0].head
    assert head is not None
    liar = world.lie(world.leader(head.head).index)
    return world, liar, [node for node in world.nodes if node is not liar]


def forged(liar: Node, record: Signed[Any], **changes: Any) -> Signed[Body]:
    """The record that the liar would rather have signed."""
    return sign(liar.identity, SWARM, msgspec.structs.replace(record.body, **changes))


def says(liar: Node, kind: type[Body], instead: Callable[[Signed[Any]], list[Signed[Body]]]) -> None:
    """From now on the liar publishes something else: the first to one half, the last to the other."""

    def twist(effect: NodeEffect) -> list[NodeEffect]:
        if not (isinstance(effect, Publish) and isinstance(effect.record.body, kind)):
            return [effect]
        records = instead(effect.record)
        halves = liar.world.nodes[::2], liar.world.nodes[1::2]
        for record, half in zip((records[0], records[-1]), halves, strict=True):
            liar.world.witness.said(record)
            liar.world.broadcast(liar, record.wire, half)
        return []

    liar.twist = twist


def finish(world: World, honest: list[Node]) -> None:
    """The honest come to the last round, all with one state."""
    world.run_until(lambda: world.all_at(ROUNDS, honest), 400)
    assert len({node.head.id for node in honest if node.head}) == 1


def is_out(liar: Node, honest: list[Node]) -> bool:
    """Whether all others hold the two records that contradict each other, and play without it."""
    found = [node.validator.cases.get(liar.peer_id) for node in honest if node.validator]
    members = [node.head.head.members for node in honest if node.head]
    return {case and case.charge for case in found} == {"equivocation"} and all(
        liar.peer_id not in each for each in members
    )


def reasons(world: World) -> set[str]:
    return {reason for _, reason in world.witness.blames}


@pytest.mark.parametrize("seed", SEEDS)
def test_two_commitments(seed: int) -> None:
    world, liar, honest = swarm(seed)
    says(liar, Commitment, lambda record: [record, forged(liar, record, loss_micro=1)])
    finish(world, honest)
    assert reasons(world) == {"equivocation"}
    assert is_out(liar, honest)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_votes(seed: int) -> None:
    world, liar, honest = swarm(seed)
    says(liar, Vote, lambda record: [record, forged(liar, record, value=bytes(32))])
    finish(world, honest)
    assert reasons(world) == {"equivocation"}
    assert is_out(liar, honest)


@pytest.mark.parametrize("seed", SEEDS)
def test_votes_for_another_round_of_the_same_head(seed: int) -> None:
    """Counted, they would spoil the certificate: whoever shows it would be taken for a liar."""
    world, liar, honest = swarm(seed)
    says(liar, Vote, lambda record: [forged(liar, record, round=record.body.round + 1)])
    finish(world, honest)
    assert reasons(world) == {"wrong-round"}


@pytest.mark.parametrize("seed", SEEDS)
def test_two_proposals_in_one_view(seed: int) -> None:
    world, liar, honest = swarm(seed)

    def shorter(record: Signed[Any]) -> list[Signed[Body]]:
        if record.body.step != "roster":
            return [record]
        roster = decode_value(record.body.value, Roster)
        fewer = Roster(commitments=roster.commitments[:-1], votes=roster.votes[:-1])
        return [record, forged(liar, record, value=encode_value(fewer))]

    says(liar, Proposal, shorter)
    finish(world, honest)
    assert reasons(world) == {"equivocation"}
    assert is_out(liar, honest)


def split_the_round(world: World, liar: Node, honest: list[Node], then: Callable[[], None]) -> None:
    """The leader proposes one roster to one half and a shorter one to the other, and votes for both."""
    base = liar.head.id if liar.head else b""
    halves = honest[::2], honest[1::2]
    values: list[bytes] = []

    def tell(records: list[Signed[Body]]) -> None:
        for record, half in zip(records, halves, strict=True):
            world.witness.said(record)
            world.broadcast(liar, record.wire, half)

    def twist(effect: NodeEffect) -> list[NodeEffect]:
        said = effect.record if isinstance(effect, Publish) else None
        if not (said and isinstance(said.body, Proposal | Vote) and said.body.step == "roster"):
            return [effect]
        if said.body.base != base or said.body.view > 0:
            return [effect]
        if isinstance(said.body, Proposal):
            roster = decode_value(said.body.value, Roster)
            fewer = Roster(commitments=roster.commitments[:-1], votes=roster.votes[:-1])
            values[:] = said.body.value, encode_value(fewer)
            tell([forged(liar, said, value=value) for value in values])
        else:
            tell([forged(liar, said, value=value_digest(value)) for value in values])
            then()
        return []

    liar.twist = twist
    world.run_until(lambda: world.witness.is_split(base), 60)


@pytest.mark.parametrize("goes", [False, True], ids=["stays", "falls silent"])
@pytest.mark.parametrize("nodes", [3, 5, 7])
@pytest.mark.parametrize("seed", SEEDS)
def test_two_rosters_are_decided(seed: int, nodes: int, goes: bool) -> None:
    """Whichever half hears of the other first, both come to the same roster, and nobody else is blamed."""
    world, liar, honest = swarm(seed, nodes, stall_s=30.0)
    split_the_round(world, liar, honest, then=liar.crash if goes else lambda: None)
    start_s = world.now_s
    finish(world, honest)
    assert world.now_s - start_s < 60
    assert reasons(world) == {"equivocation"}
    assert is_out(liar, honest)


def kill_the_leader(world: World, liar: Node, honest: list[Node]) -> None:
    """Unless it is the liar, this round's leader dies once it has proposed: the view must change."""
    before = max(world.numbers(honest))
    world.run_until(lambda: world.all_at(before, honest), 60)
    leader = world.leader(honest[0].head.head) if honest[0].head else liar
    if leader is liar:
        world.run_until(lambda: world.all_at(before + 1, honest), 120)
        return
    world.run_until(lambda: max(world.numbers()) > before or leader.phase is Phase.ROSTER, 60)
    leader.crash()
    world.run_until(lambda: world.all_at(before + 1, [node for node in honest if node is not leader]), 120)
    leader.start()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("ahead", [-1, 0], ids=["before", "after"])
def test_promises_that_tell_of_votes_for_nothing(seed: int, ahead: int) -> None:
    """Believed, they would bind each new leader to a value that nobody has."""
    world, liar, honest = swarm(seed)

    def boast(record: Signed[Any]) -> list[Signed[Body]]:
        return [forged(liar, record, voted_view=record.body.view + ahead, voted=b"\xff" * 32)]

    says(liar, Promise, boast)
    for _ in range(3):
        kill_the_leader(world, liar, honest)
    finish(world, honest)
    assert reasons(world) <= {"bad-promise"}


@pytest.mark.parametrize("seed", SEEDS)
def test_two_results_for_one_part(seed: int) -> None:
    """Half of the swarm holds one, half the other, and the close must still get its votes."""
    world, liar, honest = swarm(seed)

    def fewer(record: Signed[Any]) -> list[Signed[Body]]:
        body: Result = record.body
        return [record, forged(liar, record, included=body.included[:-1])]

    says(liar, Result, fewer)
    finish(world, honest)
    assert reasons(world) == {"equivocation"}


@pytest.mark.parametrize("nodes", [3, 4, 5])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_result_that_nobody_gets(seed: int, nodes: int) -> None:
    """It alone can vote for it, and its vote must not bind those who lead after it."""
    world, liar, honest = swarm(seed, nodes)
    attack(liar, "no-result")
    finish(world, honest)
    assert not reasons(world)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_part_that_was_not_committed_to(seed: int) -> None:
    world, liar, honest = swarm(seed)
    base = liar.head.id if liar.head else b""
    world.run_until(lambda: base in liar.disk.work, 60)
    other = Contribution.of(liar.peer_id, base, np.ones(SHAPE.update_elems, np.float32), WIRE)
    liar.disk.work[base] = other
    finish(world, honest)
    assert reasons(world) == {"bad-part"}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_wrong_state_for_a_newcomer(seed: int) -> None:
    world, liar, honest = swarm(seed)
    late = honest[-1]
    late.crash()
    world.rename(late)
    world.run_until(lambda: liar.number >= 3, 60)
    for digest_, state in list(liar.states.items()):
        wrong = state.values_S.copy()
        wrong[0] += 1
        liar.states[digest_] = State(SWARM, state.round_no, SHAPE, wrong)
    liar.crash()
    liar.up = True  # it only serves
    late.start()
    finish(world, honest)
    assert reasons(world) <= {"bad-chunk"}


def made_up(liar: Node, parent: Head, **changes: Any) -> Certificate:
    """A head that only the liar stands behind."""
    head = msgspec.structs.replace(
        parent,
        number=parent.number + 1,
        parent=parent.id,
        state=digest("no state"),
        members=(liar.peer_id,),
        votes=(0,),
        tokens=parent.tokens + 1,
        results=(bytes(32),),
        **changes,
    )
    vote = Vote(round=parent.number, base=head.parent, step="close", roster=bytes(32), view=0, value=head.id)
    return Certificate(head, (sign(liar.identity, SWARM, vote),))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_made_up_end_of_the_round_stops_nobody(seed: int) -> None:
    """Anybody can sign a head of one: while it is not the certified roster's, the round goes on."""
    world, liar, honest = swarm(seed)

    def spread() -> None:
        for node in honest:
            if node.head is not None and node.number < ROUNDS:
                node.on(HeadOffered(made_up(liar, node.head.head)))
        world.schedule(0.3, spread)

    start_s = world.now_s
    spread()
    finish(world, honest)
    assert world.now_s - start_s < 60
