"""Cheats are found out by replay, put out by a majority, and stay out; the honest never are."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dhtnode.manifest import AuditSection, DataSection
from dhtnode.records import sign
from tests.adversary.attacks import ATTACKS, WORK_ATTACKS, RightNorm, SignFlip, Zero
from tests.adversary.judges import corrupt
from tests.adversary.reducers import miscounted
from tests.sim.crooked import twist, work_falsely
from tests.sim.model import SWARM
from tests.sim.seeds import seeds
from tests.sim.shell import Node
from tests.sim.world import World
from training.events import Adopt
from training.roster import quorum
from validation import doubts, showing
from validation.events import NodeEffect
from validation.lottery import Chain
from validation.messages import Verdict
from validation.witness import Witness

SEEDS = seeds(2)
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


def assert_out(honest: list[Node], liar: Node, *charges: str) -> None:
    """Every honest node has a case against the liar, and plays without it."""
    for node in honest:
        assert node.validator is not None
        assert node.validator.cases[liar.peer_id].charge in charges
        assert node.head is not None
        assert liar.peer_id not in node.head.head.members


@pytest.mark.parametrize("seed", SEEDS)
def test_an_honest_swarm_passes_its_audits(seed: int) -> None:
    world = World(seed, 6, ROUNDS)
    world.start()
    world.run_until(world.done, 900)
    assert world.witness.verdicts["pass", "audit"] > 0
    assert set(world.witness.verdicts) == {("pass", "audit")}
    assert not world.witness.cases


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("attack", ATTACKS | WORK_ATTACKS)
def test_who_commits_to_other_work_is_out(attack: str, seed: int) -> None:
    world, [liar], honest = swarm(seed)
    work_falsely(liar, attack)
    finish(world, honest)
    assert_out(honest, liar, "work")


@pytest.mark.parametrize("seed", SEEDS)
def test_who_calls_sound_work_false_is_out(seed: int) -> None:
    world, [liar], honest = swarm(seed)
    corrupt(liar.validator, "false-accuser")
    finish(world, honest)
    assert_out(honest, liar, "accusation")


@pytest.mark.parametrize("seed", [5, 33, 39, 43, 47, 59])
def test_a_proof_that_comes_between_a_roster_and_its_votes_costs_seconds(seed: int) -> None:
    """The leader knew nothing yet, the others never vote for it: that must not take as long as work may."""
    world = World(seed, 5, rounds=6, first_deadline_s=600, people=5 * seed)
    world.weather.delay_s = 0.6
    world.start()
    liar = world.lie(1)
    corrupt(liar.validator, "false-accuser")
    world.run_until(lambda: world.all_at(6, [node for node in world.nodes if node is not liar]), 100)


@pytest.mark.parametrize("seed", SEEDS)
def test_who_calls_false_work_sound_is_out_as_well(seed: int) -> None:
    world, [liar, friend], honest = swarm(seed, nodes=7, liars=2)
    liar.cheat = SignFlip()
    corrupt(friend.validator, "false-acquitter")
    finish(world, honest)
    assert_out(honest, liar, "work")
    assert_out(honest, friend, "acquittal")


@pytest.mark.parametrize("seed", SEEDS)
def test_who_doubts_everything_costs_the_others_little(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An `unsure` can't be proven false, and has everybody look: as often as its signer was found right."""

    def looks() -> int:
        world, [liar], honest = swarm(seed)
        corrupt(liar.validator, "doubter")
        finish(world, honest)
        assert world.witness.verdicts["unsure", "audit"] > ROUNDS * len(world.nodes) * len(honest) / 2
        assert not world.witness.cases
        return world.witness.verdicts["pass", "jury"]

    defended = looks()
    monkeypatch.setattr(Witness, "judges_well", lambda self, peer: True)
    monkeypatch.setattr(doubts, "MOST_HEEDED", 1000)
    assert 0 < defended < looks() / 2


@pytest.mark.parametrize("seed", SEEDS)
def test_two_commitments_prove_themselves(seed: int) -> None:
    world, [liar], honest = swarm(seed)
    twist(liar, "equivocator")
    finish(world, honest)
    assert_out(honest, liar, "equivocation")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_minority_of_false_judges_puts_nobody_out(seed: int) -> None:
    """Three of seven say `fail` of everybody: a majority of the round would have to."""
    world, liars, honest = swarm(seed, nodes=7, liars=3)
    for liar in liars:
        corrupt(liar.validator, "false-accuser")
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

    def accuse(effect: NodeEffect) -> list[NodeEffect]:
        if isinstance(effect, Adopt):
            for work in effect.works:
                body = Verdict(
                    round=work.body.round,
                    base=effect.certificate.id,
                    target=work.id,
                    worker=work.signer,
                    about="work",
                    outcome="fail",
                    distance=None,
                    role="audit",
                    preimage=Chain(liar.identity, SWARM).preimage(work.body.round),
                    replayed=bytes([1]) * 32,
                    device=work.body.device,
                )
                world.broadcast(liar, sign(liar.identity, SWARM, body).wire)
        return [effect]

    liar.twist = accuse
    world.start()
    finish(world, honest)
    assert not world.witness.verdicts
    assert not world.witness.cases
    assert world.witness.blames[liar.peer_id, "bad-verdict"] > 0


# Reducers


@pytest.mark.parametrize("seed", SEEDS)
def test_a_reducer_that_alters_its_part_is_out(seed: int) -> None:
    world, [liar], honest = swarm(seed)
    liar.miscount = miscounted
    finish(world, honest)
    assert_out(honest, liar, "reduction")


@pytest.mark.parametrize("seed", seeds(10))
def test_who_has_looked_at_other_chunks_of_a_false_part_is_no_friend_of_the_reducer(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three chunks, one of them false; an auditor looks at one. The witness fails if it is put out."""
    monkeypatch.setattr(showing, "LOOKED_AT", 1)
    world, [liar], honest = swarm(seed)
    liar.bandwidth = 10_000
    liar.miscount = miscounted
    finish(world, honest)
    assert_out(honest, liar, "reduction")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_reducer_that_shows_nothing_together_with_a_sender_is_out(seed: int) -> None:
    """Nobody can tell what it reduced: neither it nor the sender whose work it replaced shows anything."""
    world, [liar, friend], honest = swarm(seed, nodes=7, liars=2)
    liar.miscount = miscounted
    liar.opens = friend.opens = False
    finish(world, honest)
    assert_out(honest, liar, "withholding")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sender_that_is_gone_is_shown_by_the_reducer(seed: int) -> None:
    """Nobody is to blame for a crash, and a part can be reduced again without the one who crashed."""
    world = World(seed, 6, ROUNDS)
    world.start()
    world.run_until(lambda: world.all_at(4), 200)
    gone, others = world.nodes[5], world.nodes[:5]
    gone.crash()
    world.run_until(lambda: world.all_at(ROUNDS, others), 1200)
    assert not world.witness.cases
    assert set(world.witness.verdicts) == {("pass", "audit")}


# Auditors


@pytest.mark.parametrize("seed", SEEDS)
def test_an_auditor_that_does_not_look_is_out(seed: int) -> None:
    world, [liar], honest = swarm(seed)
    corrupt(liar.validator, "lazy-auditor")
    finish(world, honest)
    assert_out(honest, liar, "audit")


@pytest.mark.parametrize("seed", SEEDS)
def test_who_skips_the_audits_it_has_drawn_is_seen(seed: int) -> None:
    world = World(seed, 5, 40)
    world.terms = msgspec.structs.replace(world.terms, audit=AuditSection(rate=0.5))
    world.start()
    world.run_until(lambda: world.all_at(1), 60)
    idle = world.nodes[2]
    corrupt(idle.validator, "idle-auditor")
    world.run_until(world.done, 3000)
    for node in world.nodes:
        assert node.validator is not None
        duties = node.validator.duties
        assert duties.skipped[idle.peer_id] > 10
        assert duties.skipped.total() - duties.skipped[idle.peer_id] <= duties.kept.total() / 10
    assert not world.witness.cases


# Devices that do not give the same bits


def mixed(seed: int, rounds: int = ROUNDS) -> World:
    """Three nodes of one device and three of another, whose results lie a little apart."""
    world = World(seed, 6, rounds)
    for node in world.nodes[3:]:
        node.device = "cpu/other"
        node.drift = lambda update: update * (1 + 1e-3)
    world.tolerances.update({"cpu/simulated": 5_000, "cpu/other": 5_000})
    return world


@pytest.mark.parametrize("seed", SEEDS)
def test_honest_devices_that_differ_a_little_pass(seed: int) -> None:
    world = mixed(seed)
    world.start()
    world.run_until(world.done, 900)
    assert set(world.witness.verdicts) == {("pass", "audit")}
    assert not world.witness.cases


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("index", [1, 4])
def test_a_cheat_among_mixed_devices_is_out(seed: int, index: int) -> None:
    world = mixed(seed)
    world.start()
    world.run_until(lambda: world.all_at(1), 60)
    liar = world.lie(index)
    liar.cheat = RightNorm()
    honest = [node for node in world.nodes if node is not liar]
    finish(world, honest)
    assert_out(honest, liar, "work")


@pytest.mark.parametrize("seed", SEEDS)
def test_doubtful_work_is_judged_by_its_own_device(seed: int) -> None:
    """Too far for another device, equal to the bit on its own: nobody is out, and nobody is an accuser."""
    world = mixed(seed)
    for node in world.nodes[3:]:
        node.drift = lambda update: update * (1 + 1e-2)
    world.dishonest |= {node.peer_id for node in world.nodes}  # what is doubted is no fault of the witness
    world.start()
    world.run_until(world.done, 900)
    assert world.witness.verdicts["unsure", "audit"] > 0
    assert world.witness.verdicts["pass", "jury"] > 0
    assert not world.witness.verdicts["fail", "audit"]
    assert not world.witness.cases
