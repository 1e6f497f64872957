"""Quarrels are about one segment: whoever is false is out, and the honest replay less than they would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import msgspec
import pytest

from dhtnode.digest import digest
from dhtnode.manifest import AuditSection
from dhtnode.records import sign
from tests.adversary.attacks import SignFlip
from tests.adversary.judges import corrupt
from tests.sim.crooked import work_falsely
from tests.sim.judging import Opened
from tests.sim.model import SWARM
from tests.sim.seeds import seeds
from tests.sim.shell import Node
from tests.sim.world import World
from training.messages import Commitment
from training.segments import boundaries_of
from validation.cases import Case
from validation.messages import UNSEALED, Verdict

SEEDS = seeds(2)
MEMBERS, ROUNDS, STEPS, SEGMENT = 5, 12, 10, 3
"""Segments of 3, 3, 3 and 1 inner steps."""


def quarrel(
    seed: int, *, judge: str = "", detour: int | None = None, friend: str = ""
) -> tuple[World, Node, list[Node]]:
    """A swarm with a liar in it that does one step falsely, or judges falsely; perhaps with a friend."""
    world = World(seed, MEMBERS + 2 * bool(friend), ROUNDS)
    world.terms = msgspec.structs.replace(world.terms, audit=AuditSection(segment=SEGMENT))
    world.start()
    world.run_until(lambda: world.all_at(1), 60)
    liar = world.lie(1)
    liar.detour = detour
    if judge:
        corrupt(liar.validator, judge)
    if friend:
        corrupt(world.lie(2).validator, friend)
    return world, liar, [node for node in world.nodes if node.peer_id not in world.dishonest]


def verdict_on(world: World, liar: Node, honest: list[Node], charge: str) -> Case:
    """The case against the liar, which every honest node has in the end."""
    world.run_until(lambda: world.all_at(ROUNDS, honest), 900)
    for node in honest:
        assert node.validator is not None
        assert node.validator.cases[liar.peer_id].charge == charge
    return world.witness.cases[liar.peer_id]


def named(case: Case) -> list[int | None]:
    """The segment that each of the judges names."""
    return [record.body.segment for record in case.records if isinstance(record.body, Verdict)]


def again(nodes: list[Node], case: Case) -> list[int]:
    """Inner steps that each node has done again of the work in a case."""
    return [node.judging.steps[case.records[0].id] for node in nodes]


@pytest.mark.parametrize("seed", SEEDS)
def test_an_honest_swarm_passes_its_audits(seed: int) -> None:
    world = World(seed, MEMBERS, ROUNDS)
    world.terms = msgspec.structs.replace(world.terms, audit=AuditSection(segment=SEGMENT))
    world.start()
    world.run_until(world.done, 900)
    assert set(world.witness.verdicts) == {("pass", "audit")}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("step", "segment"), [(0, 0), (4, 1), (8, 2), (9, 3)])
def test_one_false_step_is_found_in_its_segment(step: int, segment: int, seed: int) -> None:
    world, liar, honest = quarrel(seed, detour=step)
    case = verdict_on(world, liar, honest, "work")
    assert named(case) == [segment] * len(named(case))
    assert sum(steps < STEPS for steps in again(honest, case)) >= 1, "a juror replays less than the run"


@pytest.mark.parametrize("seed", SEEDS)
def test_an_update_that_does_not_follow_from_the_run_is_false_in_the_last_segment(seed: int) -> None:
    world, liar, honest = quarrel(seed)
    liar.cheat = SignFlip()
    case = verdict_on(world, liar, honest, "work")
    work = cast("Commitment", case.records[0].body)
    assert set(named(case)) == {len(boundaries_of(world.terms, work.round, work.steps))}, (
        "3, if it did all steps"
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("attack", "segment"), [("label-flip", 0), ("dropped-samples", 0), ("copycat", 0), ("fewer-steps", None)]
)
def test_other_batches_are_found_in_the_first_segment(attack: str, segment: int | None, seed: int) -> None:
    """Who has done fewer steps than it says has come by fewer boundaries: its list is none of such a run."""
    world, liar, honest = quarrel(seed)
    work_falsely(liar, attack)
    assert set(named(verdict_on(world, liar, honest, "work"))) == {segment}


def _other_list(opened: Opened) -> Opened:
    return replace(opened, seals=tuple(digest("made up", seal) for seal in opened.seals))


def _short_list(opened: Opened) -> Opened:
    return replace(opened, seals=opened.seals[:-1])


def _other_state(opened: Opened) -> Opened:
    return replace(opened, state=digest("made up"))


def _no_state(opened: Opened) -> Opened:
    return replace(opened, state=None)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("opened", [_other_list, _short_list], ids=["other-list", "short-list"])
def test_who_opens_another_list_is_replayed_as_a_whole(opened: Callable[[Opened], Opened], seed: int) -> None:
    world, liar, honest = quarrel(seed, detour=4)
    liar.opened = opened
    assert set(named(verdict_on(world, liar, honest, "work"))) == {None}
    assert world.witness.blames[liar.peer_id, "bad-opening"] > 0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("opened", [_other_state, _no_state], ids=["other-state", "no-state"])
def test_who_opens_another_state_gains_nothing(opened: Callable[[Opened], Opened], seed: int) -> None:
    """The list is the true one, so all can name the segment: those who can't begin there begin at 0."""
    world, liar, honest = quarrel(seed, detour=4)
    liar.opened = opened
    case = verdict_on(world, liar, honest, "work")
    assert set(named(case)) == {1}
    assert min(again([world.by_id(judge) for judge in case.judges], case)) >= STEPS


@pytest.mark.parametrize("seed", SEEDS)
def test_who_opens_nothing_gains_nothing(seed: int) -> None:
    world, liar, honest = quarrel(seed, detour=4)
    liar.opens = False
    case = verdict_on(world, liar, honest, "work")
    assert set(named(case)) == {None}


@pytest.mark.parametrize("seed", SEEDS)
def test_who_lets_auditors_wait_is_out_all_the_same(seed: int) -> None:
    """It is called false while the others can still look for themselves: states are kept for three rounds."""
    world, liar, honest = quarrel(seed, detour=4)
    liar.answers = False
    assert set(named(verdict_on(world, liar, honest, "work"))) == {None}


def test_a_state_is_opened_once_to_each_member_and_only_where_a_segment_is_named() -> None:
    world, liar, honest = quarrel(0, detour=4)
    world.run_until(lambda: liar.peer_id in world.witness.cases, 900)
    work = world.witness.cases[liar.peer_id].records[0]
    assert liar.validator is not None
    trial = liar.validator.docket.trial(work.id)
    assert trial is not None
    [named, *_] = trial.saying("fail")
    trial.shown.clear()
    juror = honest[0].validator
    assert juror is not None
    asked = juror._auditor._opening(trial, UNSEALED)
    other = sign(honest[0].identity, SWARM, msgspec.structs.replace(named.body, segment=3))
    assert liar.validator.on_dispute(asked, None)[0] == work, "the list, as often as one likes"
    assert liar.validator.on_dispute(asked, other)[0] is None, "nobody else's word counts for it"
    assert liar.validator.on_dispute(asked, named)[0] == work
    assert liar.validator.on_dispute(asked, named)[0] is None


@pytest.mark.parametrize("seed", SEEDS)
def test_who_names_a_sound_segment_is_out(seed: int) -> None:
    world, liar, honest = quarrel(seed, judge="segment-accuser")
    verdict_on(world, liar, honest, "accusation")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_friend_that_names_a_sound_segment_first_saves_nobody(seed: int) -> None:
    world, liar, honest = quarrel(seed, detour=8, friend="segment-accuser")
    verdict_on(world, liar, honest, "work")


@pytest.mark.parametrize("seed", SEEDS)
def test_who_says_that_a_false_segment_is_sound_is_out_as_well(seed: int) -> None:
    world, liar, honest = quarrel(seed, detour=4, friend="false-acquitter")
    verdict_on(world, liar, honest, "work")
    assert world.witness.cases[world.nodes[2].peer_id].charge in ("acquittal", "audit")


@pytest.mark.parametrize("seed", SEEDS)
def test_who_repeats_an_accusation_without_looking_is_out(seed: int) -> None:
    world, liar, honest = quarrel(seed, detour=4, friend="echo")
    verdict_on(world, liar, honest, "work")
    verdict_on(world, world.nodes[2], honest, "audit")
