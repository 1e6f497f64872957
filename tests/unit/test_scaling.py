"""Second moments that follow from averaged updates, against gradients by hand and bit by bit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dhtnode.errors import ConfigError
from dhtnode.manifest import AuditSection, InnerSection, Manifest, OuterSection, RoundSection, WireSection
from tests.unit.test_inner import CREATOR, OPTIONS, PLAIN, TEXT, gradient_of_first_step, manifest, run
from tests.unit.test_rehearsal import run as rehearsed
from tests.unit.test_rehearsal import text_swarm
from training.codec import LIMIT
from training.inner import Trainer
from training.outer import advance
from training.scaling import divisor, squares_after
from training.schedule import lr_factor, reach
from training.state import Shape, State
from training.tasks.text import Text

SCALED = replace(PLAIN, steps=((0, 1),), scaling=0.9, scaling_eps=1e-5)
P = 40


def state_of(round_no: int, seed: int = 1) -> State:
    shape = Shape(P, momentum=False, scaling=True)
    values = np.random.default_rng(seed).random(shape.elems).astype(np.float32)
    return State(bytes(32), round_no, shape, values)


def test_the_squares_are_those_of_the_gradient() -> None:
    swarm = manifest(SCALED)
    trainer = Trainer(swarm, Text(OPTIONS))
    first = advance(trainer.genesis(), run(trainer).update_U, swarm.terms)
    gradient_P = gradient_of_first_step(swarm, trainer.genesis(), "a")
    np.testing.assert_allclose(first.squares, gradient_P**2, rtol=1e-2, atol=1e-9)
    second = advance(first, run(trainer, state=first).update_U, swarm.terms)
    mean_P = (gradient_P**2 + gradient_of_first_step(swarm, first, "a") ** 2) / 2
    np.testing.assert_allclose(second.squares, mean_P, rtol=2e-2, atol=1e-9)


def test_a_step_is_the_gradient_over_their_root() -> None:
    swarm = manifest(SCALED)
    trainer = Trainer(swarm, Text(OPTIONS))
    state = advance(trainer.genesis(), run(trainer).update_U, swarm.terms)
    expected_P = 0.5 * gradient_of_first_step(swarm, state, "a") / (np.sqrt(state.squares) + 1e-5)
    np.testing.assert_allclose(run(trainer, state=state).update_U, expected_P, rtol=1e-2, atol=1e-4)


def test_every_operation_is_rounded_by_itself() -> None:
    """Scalar float32 in Python can't be fused; the vector code must give the same bits."""
    terms = manifest(replace(SCALED, steps=((0, 3),))).terms
    state = state_of(round_no=2)
    mean_P = np.random.default_rng(5).standard_normal(P).astype(np.float32)
    after_P = squares_after(state, mean_P, terms)
    per_step = np.float32(math.sqrt(3) / (0.5 * 3))
    for old, update, new in zip(state.squares, mean_P, after_P, strict=True):
        root = np.float32(np.sqrt(old) + np.float32(1e-5))
        gradient = np.float32(np.float32(update * per_step) * root)
        news = np.float32(np.float32(gradient * gradient) - old)
        assert new == np.float32(old + np.float32(news * np.float32(1 / 3)))


def test_they_forget_as_the_manifest_says() -> None:
    terms = manifest(SCALED).terms
    after_P = squares_after(state_of(round_no=500), np.zeros(P, np.float32), terms)
    np.testing.assert_allclose(after_P, 0.9 * state_of(round_no=500).squares, rtol=1e-5)


def test_a_round_without_a_step_tells_nothing() -> None:
    terms = manifest(replace(SCALED, final_lr=0.0)).terms
    past_the_end = state_of(round_no=terms.round.rounds)
    after_P = squares_after(past_the_end, np.ones(P, np.float32), terms)
    assert after_P.tobytes() == past_the_end.squares.tobytes()


@pytest.mark.parametrize("lr", [0.5, 1e-12, 1e-38])
def test_the_largest_update_that_can_be_sent_leaves_them_finite(lr: float) -> None:
    terms = manifest(replace(SCALED, options={"lr": lr})).terms
    after_P = squares_after(state_of(round_no=1), np.full(P, LIMIT, np.float32), terms)
    assert np.isfinite(after_P).all()
    assert (after_P <= LIMIT**2).all()


def test_the_first_round_has_no_divisor() -> None:
    assert (divisor(state_of(round_no=0), SCALED) == 1).all()


def test_a_replay_from_any_boundary_has_the_same_bits() -> None:
    terms = manifest(replace(SCALED, steps=((0, 7),), options={"lr": 1e-3})).terms
    swarm = Manifest.create(replace(terms, audit=AuditSection(segment=3)), CREATOR)
    trainer, shard = Trainer(swarm, Text(OPTIONS)), Text(OPTIONS).shard(TEXT, 0.1)
    state = advance(trainer.genesis(), run(trainer).update_U, swarm.terms)
    local = trainer.begin(state, shard, "a")
    kept = []
    for _ in range(7):
        trainer.step(local)
        if local.steps in local.places:
            kept.append(trainer.boundary(local))
    whole = trainer.finish(local)
    assert len(kept) == 2
    for boundary in kept:
        other = Trainer(swarm, Text(OPTIONS))
        again = other.begin_at(boundary, state, shard, "a")
        while again.steps < 7:
            other.step(again)
        assert other.finish(again).update_U.tobytes() == whole.update_U.tobytes()


@pytest.mark.parametrize("codec", ["fp32", "int2"])
def test_four_members_learn(codec: str) -> None:
    swarm, trainer, shard = text_swarm(
        inner=InnerSection(
            steps=((0, 5),), optimizer="SGD", options={"lr": 2e-3}, warmup_steps=0, scaling=0.95
        ),
        outer=OuterSection(lr=1.4, momentum=0.8),
        wire=WireSection(codec=codec),  # type: ignore[arg-type]
        round=RoundSection(rounds=12),
    )
    before = trainer.evaluate(trainer.genesis(), shard).loss
    rounds = rehearsed(swarm, trainer, shard)
    assert trainer.evaluate(rounds[-1].state, shard).loss < before - 1.5
    assert rounds[-1].state.squares.any()


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_wave_is_a_cosine(x: float, least: float) -> None:
    inner = InnerSection(warmup_steps=0, final_lr=least)
    step = int(x * 10**6)
    expected = least + (1 - least) * (1 + math.cos(math.pi * step / 10**6)) / 2
    assert lr_factor(inner, step, 10**6) == pytest.approx(expected, rel=1e-12, abs=1e-14)


def test_reach_counts_each_step_with_its_rate() -> None:
    inner = InnerSection(steps=((0, 2), (1, 3)), warmup_steps=4, round_warmup=1, final_lr=1.0)
    assert reach(inner, 0, 10) == 1 / 4 + 2 / 4
    assert reach(inner, 1, 10) == (3 / 4) / 2 + 1 + 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"optimizer": "AdamW"}, "is for optimizer `SGD` without momentum"),
        ({"options": {"lr": 0.1, "momentum": 0.9}}, "is for optimizer `SGD` without momentum"),
        ({"moments": "averaged"}, "exclude each other"),
        ({"options": {}}, r"needs a number above 0 as inner\.options\.lr"),
        ({"options": {"lr": True}}, r"needs a number above 0 as inner\.options\.lr"),
        ({"options": {"lr": 0.0}}, r"needs a number above 0 as inner\.options\.lr"),
    ],
)
def test_only_where_an_update_tells_the_gradient(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=rf"inner\.scaling .*{why}"):
        manifest(replace(SCALED, **change))
