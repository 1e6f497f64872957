"""Attackers' own training: it claims what honest work claims, and commits to something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dhtnode.identity import Identity
from dhtnode.manifest import FORMAT, InnerSection, Manifest, TaskSection, Terms
from tests.adversary.attacks import ATTACKS, WORK_ATTACKS, FewerSteps, LabelFlip
from tests.adversary.crooked import CrookedTrainer
from training.data import builtin_text, describe
from training.inner import LocalWork, Trainer
from training.tasks import Shard, Task, load_task

torch.set_num_threads(1)  # the model is tiny, and tests run side by side

CREATOR = Identity.from_seed(bytes(32))
TEXT = builtin_text()[:20_000]
OPTIONS: dict[str, int | float | str | bool | list[float]] = {
    "dim": 16, "layers": 1, "heads": 2, "context": 16, "eval_windows": 8
}  # fmt: skip


def swarm() -> tuple[Manifest, Task, Shard]:
    terms = Terms(
        format=FORMAT,
        name="test",
        creator=CREATOR.peer_id,
        task=TaskSection(kind="text", options=OPTIONS),
        data=describe(TEXT, 0.1),
        inner=InnerSection(steps=((0, 4),)),
    )
    task = load_task(terms.task, Path())
    return Manifest.create(terms, CREATOR), task, task.shard(TEXT, 0.1)


def work_of(attack: str) -> tuple[LocalWork, LocalWork]:
    """Honest work, and what an attacker reports in the same place."""
    manifest, task, shard = swarm()
    honest = Trainer(manifest, task)
    crooked = CrookedTrainer(manifest, task, (ATTACKS | WORK_ATTACKS)[attack](), others=["b", "c"])
    start = honest.genesis()
    assert crooked.genesis().digest == start.digest
    return honest.run(start, shard, "a"), crooked.run(start, shard, "a")


@pytest.mark.parametrize("attack", sorted((ATTACKS | WORK_ATTACKS).keys() - {"stale"}))
def test_it_claims_honest_work_and_commits_to_other(attack: str) -> None:
    done, claimed = work_of(attack)
    assert (claimed.steps, claimed.units, claimed.weight) == (done.steps, done.units, done.weight)
    assert claimed.update_U.shape == done.update_U.shape
    assert claimed.update_U.dtype == np.float32
    assert claimed.update_U.tobytes() != done.update_U.tobytes()


def test_stale_work_is_the_work_of_the_round_before() -> None:
    stale = ATTACKS["stale"]()
    first, second = np.ones(3, np.float32), np.zeros(3, np.float32)
    assert [stale(first).tolist(), stale(second).tolist()] == [[1, 1, 1], [1, 1, 1]]


def test_a_copycat_commits_to_the_work_of_another() -> None:
    manifest, task, shard = swarm()
    honest = Trainer(manifest, task)
    crooked = CrookedTrainer(manifest, task, WORK_ATTACKS["copycat"](), others=["b", "c"])
    start = honest.genesis()
    copied, original = crooked.run(start, shard, "a"), honest.run(start, shard, "b")
    assert copied.update_U.tobytes() == original.update_U.tobytes()


def test_who_stops_for_lack_of_time_claims_no_more_than_it_did() -> None:
    manifest, task, shard = swarm()
    crooked = CrookedTrainer(manifest, task, FewerSteps())
    seen: list[int] = []
    done = crooked.run(
        crooked.genesis(),
        shard,
        "a",
        should_stop=lambda: len(seen) == 1,
        on_step=lambda step, loss: seen.append(step),
    )
    assert (seen, done.steps) == ([1], 1)


def test_the_twin_that_replays_others_is_honest() -> None:
    manifest, task, shard = swarm()
    honest, crooked = Trainer(manifest, task), CrookedTrainer(manifest, task, LabelFlip())
    start = honest.genesis()
    replayed, original = crooked.twin().run(start, shard, "b"), honest.run(start, shard, "b")
    assert replayed.update_U.tobytes() == original.update_U.tobytes()
    assert crooked.run(start, shard, "b").update_U.tobytes() != original.update_U.tobytes(), "the control"
