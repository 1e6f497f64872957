"""Reduction that no minority carries away: the same bits everywhere, close to the mean without attackers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.adversary.attacks import InnerProduct, LittleIsEnough, RightNorm, ScaledNoise, SignFlip, Zero
from tests.unit.references import coordinate_median, trimmed_mean
from training.aggregate import capped, centered, clipped, mean, mixed
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


OVERT = [SignFlip, ScaledNoise, RightNorm, Zero]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 64])
def test_without_attackers_it_costs_little(count: int) -> None:
    """A majority is heard in full, the others less: at worst, of three, one is not heard."""
    vectors = honest(count)
    plain, robust = mean(vectors, [1] * count), clipped(vectors, [1] * count)
    assert error(robust) <= 1.25 * error(plain)
    if count <= 2:
        assert np.linalg.norm(robust - plain) <= 0.02 * np.linalg.norm(plain)


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
    assert error(trimmed_mean(vectors, 1)) < 0.3
    assert error(coordinate_median(vectors)) < 0.3


@pytest.mark.parametrize("size", [0.1, 1.0, 10.0])
def test_inner_product_manipulation(size: float) -> None:
    """6 of 16; above 10 / 6 it turns the mean round, never the clipped one."""
    vectors = honest(10)
    vectors += [InnerProduct(size)(SIGNAL, vectors)] * 6
    forward = float(np.dot(clipped(vectors, [1] * 16), SIGNAL))
    assert forward > 0
    assert (float(np.dot(mean(vectors, [1] * 16), SIGNAL)) < 0) == (size > 10 / 6)


def test_noise_does_not_hide_who_pulls_backwards() -> None:
    """Late in training: each update is mostly noise, and minus the mean lies in the middle of all."""
    vectors = honest(10, noise=3.0)
    vectors += [InnerProduct(1.0)(SIGNAL, vectors)] * 6
    stack, weights = np.stack(vectors), [1] * 16
    best = mean(vectors[:10], [1] * 10)

    def forward(result: Vector) -> float:
        return float(np.dot(result, best) / np.dot(best, best))

    assert forward(clipped(vectors, weights)) > 0.8
    assert forward(centered(stack, weights)) < 0.4, "the control: clipping alone"
    assert forward(trimmed_mean(vectors, 6)) < 0.4
    assert forward(coordinate_median(vectors)) < 0.4


@pytest.mark.parametrize("z", [0.3, 0.5, 1.0, 1.5])
def test_a_little_is_not_enough(z: float) -> None:
    vectors = honest(10)
    vectors += [LittleIsEnough(z)(SIGNAL, vectors)] * 6
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


@pytest.mark.parametrize("seed", range(5))
def test_the_roster_fixes_the_bits_whatever_the_order_of_arrival(seed: int) -> None:
    vectors, weights = dict(enumerate(honest(7))), [3, 1, 4, 1, 5, 9, 2]
    arrived = {sender: vectors[sender] for sender in np.random.default_rng(seed).permutation(7).tolist()}
    sent = [arrived[sender] for sender in sorted(arrived)]
    for rule in (mean, clipped):
        assert rule(sent, weights).tobytes() == rule(list(vectors.values()), weights).tobytes()
    in_order, by_arrival = list(vectors.values()), list(arrived.values())
    assert coordinate_median(by_arrival).tobytes() == coordinate_median(in_order).tobytes()
    assert trimmed_mean(by_arrival, 2).tobytes() == trimmed_mean(in_order, 2).tobytes()


def test_another_order_of_the_roster_gives_other_bits() -> None:
    """The control: order does matter, to the sums and to nothing else."""
    vectors, weights = honest(7), [3, 1, 4, 1, 5, 9, 2]
    backwards = clipped(vectors[::-1], weights[::-1])
    assert backwards.tobytes() != clipped(vectors, weights).tobytes()
    np.testing.assert_allclose(backwards, clipped(vectors, weights), atol=1e-5)


@settings(max_examples=50)
@given(st.integers(1, 9), st.integers(16, 300), st.integers(0, 2**32 - 1))
def test_mixing_equals_a_reference_that_takes_no_care_of_bits(count: int, elems: int, seed: int) -> None:
    stack, weights = drawn(count, elems, seed)
    lengths = np.linalg.norm(stack, axis=1)
    bounded = stack * np.minimum(1, np.sort(lengths)[(count - 1) // 2] / lengths)[:, None]
    cosines = stack @ stack.T / np.outer(lengths, lengths)
    for index, result in enumerate(mixed(stack.astype(np.float32), weights)):
        company = np.argsort(-cosines[index])[: count // 2 + 1]
        expected = np.average(bounded[company], axis=0, weights=np.array(weights)[company])
        np.testing.assert_allclose(result, expected, atol=2e-5)


@settings(max_examples=50)
@given(st.integers(1, 9), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_clipping_equals_a_reference_that_takes_no_care_of_bits(count: int, elems: int, seed: int) -> None:
    stack, weights = drawn(count, elems, seed)
    share, center = np.array(weights) / sum(weights), np.median(stack, axis=0)
    for _ in range(4):
        offsets = stack - center
        distances = np.linalg.norm(offsets, axis=1)
        radius = np.sort(distances)[(count - 1) // 2]
        pulled = np.minimum(1, radius / np.maximum(distances, 1e-300)) ** 2
        center = center + ((share * pulled)[:, None] * offsets).sum(axis=0)
    np.testing.assert_allclose(centered(stack.astype(np.float32), weights), center, atol=2e-5)


def drawn(count: int, elems: int, seed: int) -> tuple[npt.NDArray[np.float64], list[int]]:
    rng = np.random.default_rng(seed)
    stack = rng.standard_normal((count, elems)).astype(np.float32).astype(float)
    return stack, [int(weight) for weight in rng.integers(1, 9, count)]


@given(st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_halving_sum(elems: int, seed: int) -> None:
    grid = np.random.default_rng(seed).standard_normal((3, elems)).astype(np.float32)
    np.testing.assert_allclose(halving_sum(grid), grid.astype(float).sum(axis=1), atol=1e-4)


def test_the_longest_values_of_the_wire_stay_finite() -> None:
    longest = [np.full(16_384, sign * 2.0**20, np.float32) for sign in (1, -1, 1, -1, 1)]
    assert np.isfinite(clipped(longest, [1] * 5)).all()
