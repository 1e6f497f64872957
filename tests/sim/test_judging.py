"""Cheats are found out by replay, put out by a majority, and stay out; the honest never are."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dhtnode.manifest import AuditSection, DataSection
from dhtnode.records import sign
from tests.adversary.attacks import ATTACKS, RightNorm, SignFlip, Zero
from tests.sim.shell import SWARM, Node
from tests.sim.world import World
from training.events import Adopt
from training.messages import Commitment
from training.roster import quorum
from validation.lottery import Chain
from validation.messages import Verdict
from validation.validator import Declare, NodeEffect

SEEDS = range(6)
ROUNDS = 20


def swarm(seed: int, nodes: int = 5, liars: int = 1) -> tuple[World, list[Node], list[Node]]:
    """Liars that are none yet, and the others; all are members."""
    world = World(seed, nodes, ROUNDS)
    world.start()
    world.run_until(lambda: world.all_at(1), 60)
    false = [world.lie(index) for index in range(1, 1 + liars)]
    return world, false, [node for node in world.nodes if node not in false]


def finish(world: World, honest: list[Node]) -> None:
    world.run_until(lambda: world.all_at(ROUNDS, honest), 900)
    assert len({node.head.id for node in honest if node.head}) == 1


def assert_out(honest: list[Node], liar: Node, charge: str) -> None:
    """Every honest node has a case against the liar, and plays without it."""
    for node in honest:
        assert node.validator is not None
        assert node.validator.cases[liar.peer_id].charge == charge
        assert node.head is not None
        assert liar.peer_id not in node.head.head.members


def says(liar: Node, outcome: str) -> None:
    """From now on the liar's verdicts all say the same."""

    def twist(effect: NodeEffect) -> list[NodeEffect]:
        if not isinstance(effect, Declare):
            return [effect]
        body = msgspec.structs.replace(effect.verdict.body, outcome=outcome)
        return [Declare(sign(liar.identity, SWARM, body))]

    liar.twist = twist


@pytest.mark.parametrize("seed", SEEDS)
def test_an_honest_swarm_passes_its_audits(seed: int) -> None:
    world = World(seed, 6, ROUNDS)
    world.start()
    world.run_until(world.done, 900)
    assert world.witness.verdicts["pass", "audit"] > 0
    assert set(world.witness.verdicts) == {("pass", "audit")}
    assert not world.witness.cases


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_who_commits_to_other_work_is_out(attack: str, seed: int) -> None:
    world, [liar], honest = swarm(seed)
    liar.cheat = ATTACKS[attack]()
    finish(world, honest)
    assert_out(honest, liar, "work")


@pytest.mark.parametrize("seed", SEEDS)
def test_who_calls_sound_work_false_is_out(seed: int) -> None:
    world, [liar], honest = swarm(seed)
    says(liar, "fail")
    finish(world, honest)
    assert_out(honest, liar, "accusation")


@pytest.mark.parametrize("seed", SEEDS)
def test_who_calls_false_work_sound_is_out_as_well(seed: int) -> None:
    world, [liar, friend], honest = swarm(seed, nodes=7, liars=2)
    liar.cheat = SignFlip()
    says(friend, "pass")
    finish(world, honest)
    assert_out(honest, liar, "work")
    assert_out(honest, friend, "acquittal")


@pytest.mark.parametrize("seed", SEEDS)
def test_two_commitments_prove_themselves(seed: int) -> None:
    world, [liar], honest = swarm(seed)

    def twist(effect: NodeEffect) -> list[NodeEffect]:
        record = getattr(effect, "record", None)
        if record is not None and isinstance(record.body, Commitment):
            second = sign(liar.identity, SWARM, msgspec.structs.replace(record.body, loss_micro=7))
            world.witness.said(second)
            world.broadcast(liar, second.wire)
        return [effect]

    liar.twist = twist
    finish(world, honest)
    assert_out(honest, liar, "equivocation")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_minority_of_false_judges_puts_nobody_out(seed: int) -> None:
    """Three of seven say `fail` of everybody: a majority of the round would have to."""
    world, liars, honest = swarm(seed, nodes=7, liars=3)
    for liar in liars:
        says(liar, "fail")
    finish(world, honest)
    assert {case.guilty for case in world.witness.cases.values()} <= world.dishonest
    assert all(len(case.judges) >= quorum(range(4)) for case in world.witness.cases.values())  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", SEEDS)
def test_who_was_down_learns_who_is_out_and_forgets_it_in_no_crash(seed: int) -> None:
    world, [liar], honest = swarm(seed)
    absent = honest[-1]
    absent.crash()
    liar.cheat = Zero()
    others = honest[:-1]
    world.run_until(
        lambda: all(liar.peer_id in node.validator.cases for node in others if node.validator), 900
    )
    absent.start()
    world.run_until(lambda: bool(absent.validator and absent.validator.cases), 300)
    absent.crash()
    absent.start()
    assert absent.validator is not None
    assert set(absent.validator.cases) == {liar.peer_id}
    finish(world, honest)
    assert_out(honest, liar, "work")


@pytest.mark.parametrize("seed", SEEDS)
def test_messages_that_are_lost_delay_a_judgement_and_change_none(seed: int) -> None:
    world, [liar], honest = swarm(seed)
    world.weather.loss, world.weather.repeat = 0.3, 0.2
    liar.cheat = RightNorm()
    world.run_until(lambda: all(liar.peer_id in n.validator.cases for n in honest if n.validator), 3_000)
    finish(world, honest)
    assert_out(honest, liar, "work")


@pytest.mark.parametrize(
    "changes", [{"data": DataSection(mode="private")}, {"audit": AuditSection(rate=0.0)}], ids=str
)
def test_where_nothing_is_replayed_nobody_is_judged(changes: dict[str, Any]) -> None:
    """A member says `fail` of everybody, and nobody believes that it has their data."""
    world = World(3, 5, ROUNDS)
    world.terms = msgspec.structs.replace(world.terms, **changes)
    liar = world.lie(2)
    honest = [node for node in world.nodes if node is not liar]

    def twist(effect: NodeEffect) -> list[NodeEffect]:
        if isinstance(effect, Adopt):
            for work in effect.accepted:
                body = Verdict(
                    round=work.body.round,
                    base=effect.certificate.id,
                    target=work.id,
                    worker=work.signer,
                    outcome="fail",
                    role="audit",
                    preimage=Chain(liar.identity, SWARM).preimage(work.body.round),
                    replayed=bytes(32),
                    device=work.body.device,
                )
                world.broadcast(liar, sign(liar.identity, SWARM, body).wire)
        return [effect]

    liar.twist = twist
    world.start()
    finish(world, honest)
    assert not world.witness.verdicts
    assert not world.witness.cases
    assert world.witness.blames[liar.peer_id, "bad-verdict"] > 0
