"""The outer step against torch's own, against plain averaging, and bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from dhtnode.manifest import OuterSection, Terms
from tests.unit.test_inner import manifest
from training.codec import Vector
from training.outer import DivergedError, advance
from training.state import Shape, State

P = 50
SWARM = bytes(32)


def vector_of(seed: int, elems: int = P) -> Vector:
    return np.random.default_rng(seed).standard_normal(elems).astype(np.float32)


def playing(**outer: float) -> Terms:
    return replace(manifest().terms, outer=OuterSection(**outer))


def start(shape: Shape) -> State:
    values = np.zeros(shape.elems, np.float32)
    values[: shape.params] = vector_of(0, shape.params)
    return State(SWARM, 7, shape, values)


def test_is_nesterov_as_torch_has_it() -> None:
    terms = playing(lr=0.7, momentum=0.9)
    state = start(Shape(P, momentum=True))
    theta = torch.from_numpy(np.array(state.weights)).requires_grad_()
    optimizer = torch.optim.SGD([theta], lr=0.7, momentum=0.9, nesterov=True)
    for seed in range(1, 6):
        state = advance(state, vector_of(seed), terms)
        theta.grad = torch.from_numpy(vector_of(seed))
        optimizer.step()
    np.testing.assert_allclose(state.weights, theta.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert state.round_no == 12


def test_every_operation_is_rounded_by_itself() -> None:
    """Scalar float32 in Python can't be fused; the vector code must give the same bits."""
    terms = playing(lr=0.7, momentum=0.9)
    shape = Shape(P, momentum=True)
    state = State(SWARM, 0, shape, vector_of(3, 2 * P))
    after = advance(state, vector_of(4), terms)
    mu, lr = np.float32(0.9), np.float32(0.7)
    for i, g in enumerate(vector_of(4)):
        v = np.float32(np.float32(state.momentum[i] * mu) + g)
        step = np.float32(g + np.float32(v * mu))
        assert after.momentum[i] == v
        assert after.weights[i] == np.float32(state.weights[i] - np.float32(step * lr))


def test_without_momentum_it_is_plain_averaging() -> None:
    state = start(Shape(P, momentum=False))
    after = advance(state, vector_of(1), playing(lr=1.0, momentum=0.0))
    np.testing.assert_array_equal(after.weights, state.weights - vector_of(1))
    assert after.momentum.size == 0


def test_moments_are_taken_over() -> None:
    state = start(Shape(P, momentum=True, moments=2))
    mean = vector_of(1, 3 * P)
    after = advance(state, mean, playing())
    np.testing.assert_array_equal(after.moments, mean[P:])


def test_refuses_another_length_and_divergence() -> None:
    state = start(Shape(P, momentum=True))
    with pytest.raises(ValueError, match="not 50 float32"):
        advance(state, vector_of(1, P + 1), playing())
    with pytest.raises(DivergedError, match="after round 7 is not finite"):
        advance(state, np.full(P, np.nan, np.float32), playing())
