"""Any segment of a local run can be done again from its opened start, with the bits of the whole run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from torch import nn

from dhtnode.manifest import AuditSection, InnerSection, Manifest
from tests.unit.test_inner import CREATOR, OPTIONS, TEXT, Dropping, manifest
from training.boundary import BadBoundaryError, Boundary, UnfitBoundaryError, capture, restore
from training.inner import LocalWork, Trainer
from training.segments import MAX_BOUNDARIES, boundaries, first_difference, seal_all, segments_root
from training.tasks.text import Text
from training.worker import Worker

torch.set_num_threads(1)

SHARD = Text(OPTIONS).shard(TEXT, 0.1)
STEPS, SEGMENT = 7, 3
SGD: dict[str, Any] = {"optimizer": "SGD", "options": {"lr": 0.1, "momentum": 0.9}}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "AdamW": {},
    "AdamW averaged": {"moments": "averaged"},
    "SGD with momentum": SGD,
    "SGD with momentum averaged": {**SGD, "moments": "averaged"},
    "SGD without state": {"optimizer": "SGD", "options": {"lr": 0.1}},
    "Adagrad": {"optimizer": "Adagrad", "options": {"lr": 0.1}},
    "Adafactor": {"optimizer": "Adafactor", "options": {"lr": 0.1}},
    "NAdam": {"optimizer": "NAdam", "options": {"lr": 0.01}},
}


def swarm(inner: dict[str, Any] | None = None, segment: int = SEGMENT, **audit: Any) -> Manifest:
    terms = manifest(InnerSection(steps=((0, STEPS),), **(inner or {}))).terms
    return Manifest.create(replace(terms, audit=AuditSection(segment=segment, **audit)), CREATOR)


def walk(trainer: Trainer, peer: str = "a") -> tuple[list[Boundary], LocalWork]:
    """A whole run, and the state at each of its boundaries."""
    local = trainer.begin(trainer.genesis(), SHARD, peer)
    found = []
    for _ in range(STEPS):
        trainer.step(local)
        if local.steps in local.places:
            found.append(trainer.boundary(local))
    return found, trainer.finish(local)


# Where boundaries are


@given(most=st.integers(1, 100_000), segment=st.integers(0, 2**20), data=st.data())
def test_boundaries_are_few_even_and_the_same_for_slow_nodes(
    most: int, segment: int, data: st.DataObject
) -> None:
    steps = data.draw(st.integers(1, most))
    every, some = boundaries(most, most, segment), boundaries(steps, most, segment)
    assert len(every) <= MAX_BOUNDARIES
    assert some == tuple(step for step in every if step < steps)
    ends = (0, *every, most)
    lengths = {later - earlier for earlier, later in pairwise(ends[:-1])}
    assert len(lengths) <= 1
    assert max(lengths, default=most) >= min(segment, most)
    assert ends[-1] - ends[-2] <= max(lengths, default=most)


def test_boundaries_of_a_few_runs() -> None:
    assert boundaries(25, 25, 8) == (8, 16, 24)
    assert boundaries(24, 25, 8) == (8, 16)
    assert boundaries(8, 8, 8) == boundaries(25, 25, 0) == boundaries(1, 25, 1) == ()
    assert boundaries(200, 200, 1)[:3] == (4, 8, 12), "longer, so that they stay few"


# A segment from its start


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_segment_leads_to_the_next_boundary_and_the_last_to_the_work(name: str) -> None:
    trainer = Trainer(swarm(OPTIMIZERS[name]), Text(OPTIONS))
    opened, work = walk(trainer)
    assert work.boundaries == tuple(boundary.digest for boundary in opened)
    assert len(set(work.boundaries)) == 2
    other = trainer.twin()
    other.run(other.genesis(), SHARD, "somebody else")
    for index, start in enumerate(opened):
        arrived = Boundary.parse(start.wire)
        local = other.begin_at(arrived, other.genesis(), SHARD, "a")
        while local.steps < STEPS:
            other.step(local)
        done = other.finish(local)
        assert done.boundaries == work.boundaries[index + 1 :]
        assert done.update_U.tobytes() == work.update_U.tobytes()
        assert (done.loss, done.units, done.steps) == (work.loss, work.units, work.steps)


def test_dropout_draws_the_same_in_a_segment_as_in_the_whole_run() -> None:
    trainer = Trainer(swarm(), Dropping(OPTIONS))
    (first, second), _ = walk(trainer)
    local = trainer.begin_at(first, trainer.genesis(), SHARD, "a")
    while local.steps < second.step:
        trainer.step(local)
    assert trainer.boundary(local).digest == second.digest


def test_a_parameter_that_no_gradient_reaches_stays_without_state() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.idle, self.used = nn.Linear(2, 2), nn.Linear(2, 2)
            self.norm = nn.BatchNorm1d(2).to(torch.bfloat16)

    def make() -> tuple[Idle, torch.optim.Optimizer]:
        model = Idle()
        return model, torch.optim.AdamW([p for p in model.parameters() if p.dtype == torch.float32])

    model, optimizer = make()
    model.used(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    model.norm.get_buffer("num_batches_tracked").add_(3)
    other, others = make()
    restore(capture(model, optimizer), other, others)
    assert capture(other, others) == capture(model, optimizer)
    assert len(others.state) == 2
    assert int(other.norm.get_buffer("num_batches_tracked")) == 3


def test_a_run_that_stops_at_a_boundary_does_not_count_it() -> None:
    trainer = Trainer(swarm(), Text(OPTIONS))
    whole = trainer.run(trainer.genesis(), SHARD, "a")
    part = trainer.run(trainer.genesis(), SHARD, "a", max_steps=6)
    assert part.boundaries == whole.boundaries[:1]


def test_nothing_is_hashed_where_nobody_replays() -> None:
    private = Trainer(manifest(InnerSection(steps=((0, STEPS),)), mode="private"), Text(OPTIONS))
    unaudited = Trainer(swarm(rate=0), Text(OPTIONS))
    whole = Trainer(swarm(segment=0), Text(OPTIONS))
    for trainer in (private, unaudited, whole):
        assert trainer.run(trainer.genesis(), SHARD, "a").boundaries == ()


# What is refused


@given(data=st.data())
def test_a_changed_byte_changes_the_digest(data: st.DataObject) -> None:
    boundary = Boundary(3, 1.5, b"weights and moments")
    damaged = bytearray(boundary.wire)
    place = data.draw(st.integers(0, len(damaged) - 1))
    damaged[place] ^= data.draw(st.integers(1, 255))
    assert Boundary.parse(bytes(damaged)).digest != boundary.digest


def test_what_is_no_boundary_of_the_run_is_refused() -> None:
    trainer = Trainer(swarm(), Text(OPTIONS))
    (start, _), _ = walk(trainer)
    content = start.content
    flag = trainer.shape.params * 4  # the first byte behind the weights
    for bad in (
        Boundary(start.step + 1, 0.0, content),
        Boundary(0, 0.0, content),
        Boundary(STEPS, 0.0, content),
        Boundary(start.step, float("nan"), content),
        Boundary(start.step, 0.0, content[:-1]),
        Boundary(start.step, 0.0, content + b"\0"),
        Boundary(start.step, 0.0, content[:flag] + b"\2" + content[flag + 1 :]),
        Boundary(start.step, 0.0, content[:flag] + b"\0" + content[flag + 1 :]),
        Boundary(start.step, 0.0, b""),
    ):
        with pytest.raises(BadBoundaryError):
            trainer.begin_at(bad, trainer.genesis(), SHARD, "a")
    with pytest.raises(BadBoundaryError, match="a boundary of 11 bytes"):
        Boundary.parse(bytes(11))
    again = trainer.begin_at(start, trainer.genesis(), SHARD, "a")
    assert trainer.boundary(again).digest == start.digest, "and the trainer still works"


# What is committed to


def test_sealed_digests_belong_to_one_signer_head_and_place() -> None:
    digests = [bytes([n]) * 32 for n in (1, 1, 2)]
    mine = seal_all("me", bytes(32), digests)
    assert len({*mine, *seal_all("you", bytes(32), digests), *seal_all("me", b"\1" * 32, digests)}) == 9
    assert segments_root(mine) != segments_root(mine[:2])
    assert segments_root(()) == segments_root(seal_all("you", bytes(32), ()))


def test_the_first_bad_segment_is_found_from_one_replay() -> None:
    mine = [b"a", b"b", b"c"]
    assert first_difference([b"x", b"b", b"y"], mine) == 0
    assert first_difference([b"a", b"x", b"c"], mine) == 1
    assert first_difference(mine, mine) == 3, "the update itself is what differs"
    with pytest.raises(ValueError, match="argument 2 is longer"):
        first_difference(mine[:2], mine)


# The worker


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    terms = swarm()
    task = Text(OPTIONS)
    worker = Worker(terms, task, SHARD, Trainer(terms, task), "a")
    yield worker
    worker.close()


async def test_a_worker_opens_what_it_has_committed_to_and_a_juror_checks_one_segment(worker: Worker) -> None:
    terms, task = swarm(), Text(OPTIONS)
    juror = Worker(terms, task, SHARD, Trainer(terms, task), "juror")
    genesis = Trainer(terms, task).genesis()
    trained = await worker.train(genesis, b"base", STEPS, None)
    assert trained is not None
    work = trained[0]
    whole = await juror.replay(genesis, "a", STEPS, urgent=False)
    assert whole is not None
    assert whole.boundaries == work.boundaries
    first, second = work.boundaries
    assert await juror.replay_segment(genesis, "a", STEPS, 0, None) == first
    opened = await worker.reopen(genesis, STEPS, 0)
    assert opened.digest == first
    assert len(opened.wire) == Trainer(terms, task).boundary_bytes
    assert await juror.replay_segment(genesis, "a", STEPS, 1, opened) == second
    before_last = await worker.reopen(genesis, STEPS, 1)
    last = await juror.replay_segment(genesis, "a", STEPS, 2, before_last)
    assert isinstance(last, LocalWork)
    assert (last.update_U.tobytes(), last.loss) == (work.update_U.tobytes(), work.loss)
    with pytest.raises(BadBoundaryError, match="does not begin there"):
        await juror.replay_segment(genesis, "a", STEPS, 2, opened)
    longer = Boundary(opened.step, 0.0, opened.content + b"x")
    with pytest.raises(BadBoundaryError, match="too many"):
        await juror.replay_segment(genesis, "a", STEPS, 1, longer)
    assert await juror.replay_segment(genesis, "a", STEPS, 0, None) == first, "the juror goes on"
    juror.close()


async def test_a_state_that_breaks_arithmetic_breaks_no_juror(worker: Worker) -> None:
    """Adam divides by one minus beta to the step: a state that says that -1 steps were done divides by 0."""
    genesis = Trainer(swarm(), Text(OPTIONS)).genesis()
    opened = await worker.reopen(genesis, STEPS, 0)
    poisoned = opened.content[:-4] + np.float32(-1).tobytes()
    with pytest.raises(UnfitBoundaryError):
        await worker.replay_segment(genesis, "a", STEPS, 1, Boundary(opened.step, 0.0, poisoned))
    trained = await worker.train(genesis, b"base", STEPS, None)
    assert trained is not None, "its own work goes on"


async def test_a_cheat_inside_a_segment_shows_at_its_end(worker: Worker) -> None:
    """Other batches in the second segment: the first boundary agrees, the second does not."""
    trainer = Trainer(swarm(), Text(OPTIONS))
    honest, _ = walk(trainer)
    local = trainer.begin_at(honest[0], trainer.genesis(), SHARD, "another peer's batches")
    while local.steps < honest[1].step:
        trainer.step(local)
    false = [honest[0].digest, trainer.boundary(local).digest]
    replayed = await worker.replay(trainer.genesis(), "a", STEPS, urgent=False)
    assert replayed is not None
    sealed = (seal_all("a", b"base", false), seal_all("a", b"base", replayed.boundaries))
    assert first_difference(*sealed) == 1
    assert await worker.replay_segment(trainer.genesis(), "a", STEPS, 1, honest[0]) != false[1]
