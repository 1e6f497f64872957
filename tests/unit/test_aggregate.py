"""Reduction that no minority carries away: the same bits everywhere, close to the mean without attackers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.adversary.attacks import (
    InnerProduct,
    LittleIsEnough,
    RightNorm,
    ScaledNoise,
    SignFlip,
    Zero,
)
from training.aggregate import capped, clipped, mean, median
from training.codec import Vector, halving_sum

ELEMS = 2_000
SIGNAL = np.random.default_rng(99).standard_normal(ELEMS).astype(np.float32)


def honest(count: int, seed: int = 0, noise: float = 0.5) -> list[Vector]:
    """Updates of members that pull in one direction, each with noise of its own."""
    rng = np.random.default_rng(seed)
    return [(SIGNAL + noise * rng.standard_normal(ELEMS)).astype(np.float32) for _ in range(count)]


def error(result: Vector) -> float:
    """Distance from the direction that the honest pull in, 1 is as far as doing nothing."""
    return float(np.linalg.norm(result - SIGNAL) / np.linalg.norm(SIGNAL))


def trimmed(vectors: Sequence[Vector], cut: int) -> Vector:
    """The mean of what is left without the `cut` largest and smallest of each coordinate: for comparison."""
    ordered = np.sort(np.stack(vectors), axis=0)
    return ordered[cut : len(vectors) - cut].mean(axis=0, dtype=np.float32)  # type: ignore[no-any-return]


OVERT = [SignFlip, ScaledNoise, RightNorm, Zero]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 64])
def test_without_attackers_it_is_close_to_the_mean(count: int) -> None:
    vectors = honest(count)
    plain, robust = mean(vectors, [1] * count), clipped(vectors, [1] * count)
    assert np.linalg.norm(robust - plain) <= 0.12 * np.linalg.norm(plain)
    assert error(robust) <= error(plain) + 0.03


def test_one_sender_and_equal_senders_are_left_as_they_are() -> None:
    [alone] = honest(1)
    np.testing.assert_array_equal(clipped([alone], [7]), alone)
    np.testing.assert_allclose(clipped([alone] * 5, [7] * 5), alone, rtol=1e-6)


@pytest.mark.parametrize("attack", OVERT)
@pytest.mark.parametrize(("count", "false"), [(5, 2), (10, 4), (16, 6)])
def test_a_minority_does_not_carry_it_away(attack: type, count: int, false: int) -> None:
    vectors = honest(count - false)
    twist = attack()
    vectors += [twist(vector) for vector in honest(false, seed=1)]
    # what does harm to the mean does little here
    assert error(clipped(vectors, [1] * count)) <= 0.55
    if attack is not Zero:
        assert error(mean(vectors, [1] * count)) >= 0.55 or attack is RightNorm


def test_the_mean_is_carried_away_by_one() -> None:
    """The control: the attack is one."""
    vectors = [*honest(9), ScaledNoise()(SIGNAL)]
    assert error(mean(vectors, [1] * 10)) > 5
    assert error(clipped(vectors, [1] * 10)) < 0.3
    assert error(trimmed(vectors, 1)) < 0.3
    assert error(median(np.stack(vectors))) < 0.3


@pytest.mark.parametrize("size", [0.1, 1.0, 10.0])
def test_inner_product_manipulation(size: float) -> None:
    """6 of 16; above 10 / 6 it turns the mean round, never the clipped one."""
    vectors = honest(10)
    vectors += [InnerProduct(size)(vectors)] * 6
    forward = float(np.dot(clipped(vectors, [1] * 16), SIGNAL))
    assert forward > 0
    assert (float(np.dot(mean(vectors, [1] * 16), SIGNAL)) < 0) == (size > 10 / 6)


@pytest.mark.parametrize("z", [0.3, 0.5, 1.0, 1.5])
def test_a_little_is_not_enough(z: float) -> None:
    vectors = honest(10)
    vectors += [LittleIsEnough(z)(vectors)] * 6
    assert error(clipped(vectors, [1] * 16)) <= 0.5


def test_a_claimed_weight_does_not_outvote_the_others() -> None:
    vectors = [*honest(4), -SIGNAL]
    claims = [100, 100, 100, 100, 2**40]
    assert error(mean(vectors, claims)) > 1.9
    assert error(clipped(vectors, claims)) < 0.5
    assert capped(claims) == [100, 100, 100, 100, 200]


def test_weight_zero_is_not_heard() -> None:
    vectors = honest(5)
    assert (
        clipped([*vectors, ScaledNoise()(SIGNAL)], [1] * 5 + [0]).tobytes()
        == clipped(vectors, [1] * 5).tobytes()
    )


def test_the_order_of_the_roster_fixes_the_bits() -> None:
    vectors, weights = honest(7), [3, 1, 4, 1, 5, 9, 2]
    assert clipped(vectors, weights).tobytes() == clipped(vectors, weights).tobytes()
    backwards = clipped(vectors[::-1], weights[::-1])
    assert backwards.tobytes() != clipped(vectors, weights).tobytes(), "the control: order does matter"
    np.testing.assert_allclose(backwards, clipped(vectors, weights), atol=1e-5)


@settings(max_examples=50)
@given(st.integers(1, 9), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_it_equals_a_reference_that_takes_no_care_of_bits(count: int, elems: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = [rng.standard_normal(elems).astype(np.float32) for _ in range(count)]
    weights = [int(weight) for weight in rng.integers(1, 9, count)]
    stack, share = np.stack(vectors).astype(float), np.array(capped(weights)) / sum(capped(weights))
    center = np.median(stack, axis=0)
    for _ in range(4):
        offsets = stack - center
        distances = np.linalg.norm(offsets, axis=1)
        radius = np.sort(distances)[(count - 1) // 2]
        pulled = np.minimum(1, radius / np.maximum(distances, 1e-300)) ** 2
        center = center + ((share * pulled)[:, None] * offsets).sum(axis=0)
    np.testing.assert_allclose(clipped(vectors, weights), center, atol=2e-5)


@given(st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_halving_sum(elems: int, seed: int) -> None:
    grid = np.random.default_rng(seed).standard_normal((3, elems)).astype(np.float32)
    np.testing.assert_allclose(halving_sum(grid), grid.astype(float).sum(axis=1), atol=1e-4)


def test_the_longest_values_of_the_wire_stay_finite() -> None:
    longest = [np.full(16_384, sign * 2.0**20, np.float32) for sign in (1, -1, 1, -1, 1)]
    assert np.isfinite(clipped(longest, [1] * 5)).all()
