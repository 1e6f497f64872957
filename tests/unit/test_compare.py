"""Two results of one piece of work are compared by sketches: small, linear, in integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.codec import LIMIT, Vector
from validation.compare import MAX_PPM, MOST, UNIT, WIDTH, distance_ppm, judge, sketch


def vector(seed: int, elems: int = 5_000, scale: float = 1e-3) -> Vector:
    return (np.random.default_rng(seed).standard_normal(elems) * scale).astype(np.float32)


def slowly(update: Vector, seed: int) -> list[float]:
    """A sketch, element by element."""
    raw = np.random.Philox(key=seed).random_raw(update.size)
    sums = [0.0] * WIDTH
    for value, drawn in zip(update.tolist(), raw.tolist(), strict=True):
        sums[drawn % WIDTH] += -value if drawn >> 63 else value
    return sums


def test_it_is_the_sum_of_signed_elements_by_bucket() -> None:
    update = vector(1)
    assert sketch(update, 7) == tuple(round(value / UNIT) for value in slowly(update, 7))


def test_large_updates_are_sketched_piece_by_piece() -> None:
    update = vector(2, 2**20 + 5_000)
    rest = update[2**20 :]
    stream = np.random.Philox(key=9)
    raw = np.asarray(stream.random_raw(update.size), np.uint64)[2**20 :]
    whole, first = (np.array(sketch(part, 9)) for part in (update, update[: 2**20]))
    signs = np.where(raw >> np.uint64(63), -1.0, 1.0)
    expected = np.bincount((raw % np.uint64(WIDTH)).astype(int), rest * signs, WIDTH) / UNIT
    np.testing.assert_allclose(whole - first, expected, atol=2)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**127), relative=st.floats(1e-5, 2.0))
def test_distances_are_told_to_a_fifth(seed: int, relative: float) -> None:
    """Standard deviation 4 % for each of two lengths: a fifth is more than three of them."""
    mine = vector(3)
    noise = vector(4)
    theirs = mine + noise * np.float32(relative * np.linalg.norm(mine) / np.linalg.norm(noise))
    true = float(np.linalg.norm(theirs - mine) / np.linalg.norm(mine))
    assert distance_ppm(sketch(theirs, seed), sketch(mine, seed)) == pytest.approx(true * 1e6, rel=0.25)


def test_what_was_prepared_for_one_seed_shows_under_another() -> None:
    """An error that cancels in every bucket: a worker that knew the seed could hide it."""
    mine = vector(5, 2_000)
    raw = np.asarray(np.random.Philox(key=1).random_raw(mine.size), np.uint64)
    buckets, signs = (raw % np.uint64(WIDTH)).astype(int), np.where(raw >> np.uint64(63), -1, 1)
    theirs = mine.copy()
    for bucket in range(WIDTH):
        one, other = np.flatnonzero(buckets == bucket)[:2]
        theirs[one] += np.float32(0.0078125)
        theirs[other] -= np.float32(0.0078125 * signs[one] * signs[other])
    assert distance_ppm(sketch(theirs, 1), sketch(mine, 1)) < 10
    assert distance_ppm(sketch(theirs, 2), sketch(mine, 2)) > 500_000


def test_bounds() -> None:
    zeros = (0,) * WIDTH
    some = (1,) + (0,) * (WIDTH - 1)
    assert distance_ppm(zeros, zeros) == distance_ppm(some, some) == 0
    assert distance_ppm(some, zeros) == MAX_PPM
    assert distance_ppm((10**9,) * WIDTH, some) == MAX_PPM
    assert distance_ppm(zeros, some) == 10**6
    with pytest.raises(ValueError, match="longer"):
        distance_ppm(zeros[1:], some)
    huge = sketch(np.full(10**5, LIMIT, np.float32), 3)
    assert all(abs(value) <= MOST for value in huge)


def test_up_to_eps_is_a_pass_and_beyond_five_a_fail() -> None:
    found = [judge(distance, 100) for distance in (0, 100, 101, 500, 501)]
    assert found == ["pass", "pass", "unsure", "unsure", "fail"]
