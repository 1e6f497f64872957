"""Bytes that no node makes: they are dropped where they come in, their sender is blamed, the others go on."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest

from dhtnode.manifest import AuditSection
from dhtnode.reputation import ReputationSection
from tests.adversary.offences import HONEST_ROUNDS, OFFENCES
from tests.adversary.rubbish import QUESTION, REFUSED, Rubbish
from tests.sim.crooked import attack
from tests.sim.model import SWARM
from tests.sim.seeds import seeds
from tests.sim.shell import Node
from tests.sim.world import World

SEEDS = seeds(2)
MEMBERS = 4
PAUSE_S, FLOODED_S = 0.5, 2.0
REASONS = {
    "too-much-weight": {"bad-commitment"},
    "nan-result": {"bad-result"},
    "no-result": set[str](),  # a bad line looks just like that
}
"""What else but `bad-part` an offence is blamed for."""


def reasons(world: World, liar: Node) -> set[str]:
    return {reason for peer, reason in world.witness.blames if peer == liar.peer_id}


def finish(world: World, honest: list[Node], rounds: int) -> None:
    world.run_until(lambda: world.all_at(rounds, honest), 900)
    assert len({node.head.id for node in honest if node.head}) == 1


def with_a_mole(seed: int, name: str, rounds: int) -> tuple[World, Node]:
    """A world that has come to its end with an offender in it. Nobody audits: a mole has to stay."""
    world = World(seed, MEMBERS, rounds)
    world.terms = msgspec.structs.replace(world.terms, audit=AuditSection(rate=0.0))
    liar = world.lie(1)
    attack(liar, name)
    world.start()
    finish(world, [node for node in world.nodes if node is not liar], rounds)
    assert not world.witness.cases
    return world, liar


def with_its_work(world: World, liar: Node) -> set[int]:
    """Rounds that have accepted the offender's work."""
    heads = world.witness.heads.values()
    return {head.number - 1 for head in heads if liar.peer_id in map(world.witness.author, head.accepted)}


def with_its_result(world: World, liar: Node) -> set[int]:
    """Rounds that a part was taken into which the offender has reduced."""
    heads = world.witness.heads.values()
    return {head.number - 1 for head in heads if liar.peer_id in map(world.witness.reducer, head.results)}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", OFFENCES)
def test_who_sends_what_no_honest_member_sends_works_in_vain(name: str, seed: int) -> None:
    """No round accepts its work from then on, or none takes in what it has reduced: others do that again."""
    world, liar = with_a_mole(seed, name, HONEST_ROUNDS + 4)
    assert reasons(world, liar) == REASONS.get(name, {"bad-part"})
    rounds = with_its_result if name.endswith("result") else with_its_work
    assert HONEST_ROUNDS - 2 < max(rounds(world, liar)) < HONEST_ROUNDS


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mole_that_commits_each_offence_once(seed: int) -> None:
    """And is honest in the round after: what it had sent before is not held against that work."""
    rounds = HONEST_ROUNDS + 2 * len(OFFENCES)
    world, liar = with_a_mole(seed, "mole", rounds)
    assert reasons(world, liar) == {"bad-part", "bad-result", "bad-commitment"}
    assert max(with_its_work(world, liar)) >= len(OFFENCES)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stranger_that_sends_rubbish_everywhere(seed: int) -> None:
    """It has a key and has not paid for it: on the topic, in its questions and in its answers."""
    rounds = 12
    world = World(seed, MEMBERS + 1, rounds, MEMBERS, reputation=ReputationSection(entry_bits=4))
    *honest, stranger = world.nodes
    world.lie(stranger.index)
    rubbish = Rubbish(stranger.identity, SWARM, world.terms, seed)
    for node in honest:
        node.start(founder=node.index == 0)
    stranger.up = True  # it has no core

    def answer(request: bytes, asker: Node) -> None:
        del request
        world.send(stranger, asker, lambda: asker.take_reply(rubbish.reply(), stranger))

    def send() -> None:
        head = honest[0].head
        if head is not None:
            rubbish.newest = head
            for wire in rubbish.records(head.head):
                world.broadcast(stranger, wire)
        for node in honest:
            world.send(stranger, node, partial(node.answer, QUESTION, stranger))
            node.show_evidence(QUESTION, stranger)
        world.schedule(PAUSE_S, send)

    def flood() -> None:
        for _ in range(1000):
            world.broadcast(stranger, rubbish.garbage())

    stranger.answer = answer  # type: ignore[method-assign]
    stranger.show_evidence = lambda question, asker: rubbish.garbage()  # type: ignore[method-assign]
    stranger.hear = lambda wire, source: rubbish.heard.append(wire)  # type: ignore[method-assign]
    send()
    world.schedule(FLOODED_S, flood)
    finish(world, honest, rounds)
    assert reasons(world, stranger) == REFUSED
    assert {case.guilty for case in world.witness.cases.values()} <= {stranger.peer_id}
