"""Whole rounds in one process: members learn together, and whoever repeats a round gets its bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from dhtnode.identity import Identity
from dhtnode.manifest import (
    FORMAT,
    DataSection,
    InnerSection,
    Manifest,
    OuterSection,
    ReduceSection,
    RoundSection,
    TaskSection,
    Terms,
    WireSection,
)
from training.codec import chunk_sizes, decode_all, encode
from training.data import builtin_text, describe, pack_arrays, split_by_label
from training.inner import Trainer
from training.outer import advance
from training.reduce import reduce_part
from training.rehearsal import Rehearsed, rehearse
from training.tasks import Shard, Task, load_task
from training.tasks.digits import public_split

torch.set_num_threads(1)  # the models are tiny, and tests run side by side

CREATOR = Identity.from_seed(bytes(32))
TEXT = builtin_text()[:50_000]
TINY = TaskSection(
    kind="text", options={"dim": 32, "layers": 1, "heads": 2, "context": 16, "eval_windows": 32}
)


def swarm(task: TaskSection, data: DataSection, **sections: Any) -> tuple[Manifest, Task, Trainer]:
    terms = Terms(format=FORMAT, name="test", creator=CREATOR.peer_id, task=task, data=data, **sections)
    manifest = Manifest.create(terms, CREATOR)
    loaded = load_task(task, Path())
    return manifest, loaded, Trainer(manifest, loaded)


def text_swarm(**sections: Any) -> tuple[Manifest, Trainer, Shard]:
    manifest, task, trainer = swarm(TINY, describe(TEXT, 0.1), **sections)
    return manifest, trainer, task.shard(TEXT, 0.1)


def run(manifest: Manifest, trainer: Trainer, shard: Shard, **how: Any) -> list[Rehearsed]:
    return list(rehearse(manifest, trainer, dict.fromkeys("abcd", shard), **how))


@pytest.mark.parametrize("codec", ["int8", "int4", "fp32"])
@pytest.mark.parametrize("moments", ["reset", "averaged"])
def test_four_members_learn(
    codec: Literal["int8", "int4", "fp32"], moments: Literal["reset", "averaged"]
) -> None:
    manifest, trainer, shard = text_swarm(
        inner=InnerSection(steps=((0, 5),), moments=moments, options={"lr": 0.01}),
        outer=OuterSection(lr=1.0, momentum=0.0),
        wire=WireSection(codec=codec),
        round=RoundSection(rounds=8),
    )
    before = trainer.evaluate(trainer.genesis(), shard).loss
    rounds = run(manifest, trainer, shard)
    assert [done.state.round_no for done in rounds] == list(range(1, 9))
    assert trainer.evaluate(rounds[-1].state, shard).loss < before - 1.5
    per_element = {"int8": 1 + 4 / 64, "int4": 0.5 + 4 / 64, "fp32": 4.0}[codec]
    assert rounds[-1].sent_bytes == pytest.approx(trainer.shape.update_elems * per_element, rel=0.01)


def test_the_same_swarm_gives_the_same_digests() -> None:
    runs = []
    for _ in range(2):
        manifest, trainer, shard = text_swarm(round=RoundSection(rounds=2))
        runs.append([done.state.digest for done in run(manifest, trainer, shard, paces={"b": 3})])
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 2


def test_a_bystander_computes_the_same_state_from_what_was_sent() -> None:
    """No partition, no shortcut: all parts at once, from the members' encoded updates."""
    manifest, trainer, shard = text_swarm(round=RoundSection(rounds=2))
    first, second = run(manifest, trainer, shard)
    wire, elems = manifest.terms.wire, trainer.shape.update_elems
    sent = [(work.weight, encode(work.update_U, wire)) for work in second.work.values()]
    mean = decode_all(reduce_part(sent, chunk_sizes(elems, wire), wire, manifest.terms.reduce), elems, wire)
    assert advance(first.state, mean, manifest.terms).digest == second.state.digest


def test_a_slow_member_counts_for_what_it_did() -> None:
    manifest, trainer, shard = text_swarm(round=RoundSection(rounds=1))
    (done,) = run(manifest, trainer, shard, paces={"b": 3, "c": 0})
    assert [done.work[peer].steps for peer in "abcd"] == [25, 3, 0, 25]
    assert [done.work[peer].weight for peer in "abcd"] == [25 * 128, 3 * 128, 0, 25 * 128]


def test_members_come_and_go_between_rounds() -> None:
    manifest, trainer, shard = text_swarm(round=RoundSection(rounds=3))
    shards, seen = dict.fromkeys("abc", shard), []
    for done in rehearse(manifest, trainer, shards):
        seen.append(set(done.work))
        shards.pop("c", None)
        shards["d"] = shard
    assert seen == [set("abc"), set("abd"), set("abd")]


def test_one_member_with_plain_averaging_is_local_training() -> None:
    manifest, trainer, shard = text_swarm(
        outer=OuterSection(lr=1.0, momentum=0.0), wire=WireSection(codec="fp32"), round=RoundSection(rounds=1)
    )
    (done,) = rehearse(manifest, trainer, {"a": shard})
    theta_P = trainer.genesis().weights - trainer.run(trainer.genesis(), shard, "a").update_U
    np.testing.assert_array_equal(done.state.weights, theta_P)


def test_members_who_each_know_few_digits_learn_all_ten() -> None:
    """Private data that never meets: alone nobody gets past the labels that it has seen."""
    manifest, task, trainer = swarm(
        TaskSection(kind="digits"),
        DataSection(mode="private"),
        inner=InnerSection(
            steps=((0, 10),), batch_size=32, optimizer="SGD", options={"lr": 0.2, "momentum": 0.9}
        ),
        outer=OuterSection(lr=1.0, momentum=0.0),
        reduce=ReduceSection(rule="mean"),
        round=RoundSection(rounds=40),
    )
    train, _ = public_split()
    parts = split_by_label(*train, 4)
    shards = {f"p{n}": task.shard(pack_arrays(*part), 0.0) for n, part in enumerate(parts)}
    *_, together = rehearse(manifest, trainer, shards)
    *_, alone = rehearse(manifest, trainer, {"p0": shards["p0"]})
    scores = trainer.evaluate(together.state, shards["p0"])
    assert scores.accuracy is not None
    assert scores.accuracy > 0.9
    assert (trainer.evaluate(alone.state, shards["p0"]).accuracy or 1) < 0.5
    assert [together.work[f"p{n}"].weight for n in range(4)] == [len(labels) for _, labels in parts]
