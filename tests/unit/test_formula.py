"""Each term of the reward against the same formula in exact fractions and floats."""

from __future__ import annotations

from fractions import Fraction
from math import floor, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.reputation import ReputationSection
from dhtnode.reward import PPM, RewardSection
from rewards.formula import (
    COMMON,
    audit_reward,
    compute_flop,
    compute_reward,
    data_reward,
    early_ppm,
    quality_ppm,
    raised,
    rarity_ppm,
    reduce_reward,
    reputation_ppm,
    root,
    uptime_ppm,
)

PLAIN = RewardSection()
TRUST = ReputationSection()
factors = st.integers(0, 4 * PPM)
commons = st.integers(0, 2 * COMMON)
counts = st.integers(0, 2**62)
prices = st.integers(0, 10**12)


def exact(amount: int, unit: int, price: int, factor: int, shared: int) -> Fraction:
    """Price x contribution in its unit x factors, as numbers and not as parts per million."""
    return Fraction(amount, unit) * price * Fraction(factor, PPM) * Fraction(shared, COMMON)


@given(counts, factors, commons, prices)
def test_each_term_is_price_times_units_times_factors(
    amount: int, factor: int, shared: int, price: int
) -> None:
    section = RewardSection(compute_micro=price, data_micro=price, audit_micro=price, reduce_micro=price)
    for reward, unit in (
        (compute_reward, 10**12),
        (data_reward, 1000),
        (audit_reward, 10**12),
        (reduce_reward, 10**9),
    ):
        assert reward(amount, factor, shared, section) == floor(exact(amount, unit, price, factor, shared))


def test_a_teraflop_of_sound_work_is_one_credit() -> None:
    assert compute_reward(10**12, PPM, COMMON, PLAIN) == PPM
    assert data_reward(1000, PPM, COMMON, PLAIN) == PPM
    assert audit_reward(10**12, PPM, COMMON, PLAIN) == PPM
    assert reduce_reward(10**9, PPM, COMMON, PLAIN) == PPM


def test_training_takes_six_operations_for_each_parameter_and_token() -> None:
    assert compute_flop(tokens=1000, parameters=10**9) == 6 * 10**12


@given(st.integers(0, PPM), st.integers(0, 64), st.integers(1, 64))
def test_quality_is_the_kept_share_of_the_parts_that_it_is_in(kept: int, inside: int, parts: int) -> None:
    inside = min(inside, parts)
    assert quality_ppm(kept, inside, parts) == floor(kept * Fraction(inside, parts))


@given(st.integers(1, 10**15), st.integers(1, 500), st.integers(0, PPM), st.data())
def test_rarity_is_the_clipped_root_without_what_others_had(
    total: int, domains: int, duplicate: int, data: st.DataObject
) -> None:
    own = data.draw(st.integers(1, total))
    found = rarity_ppm(total, domains, own, duplicate, PLAIN)
    reference = min(max(sqrt(total / (domains * own)), 0.25), 4.0) * (1 - duplicate / PPM)
    assert found / PPM == pytest.approx(reference, abs=3e-6)


def test_a_domain_of_average_size_has_rarity_one() -> None:
    assert rarity_ppm(total=12_000, domains=4, own=3_000, duplicate_ppm=0, section=PLAIN) == PPM
    assert rarity_ppm(total=10**9, domains=4, own=1, duplicate_ppm=0, section=PLAIN) == 4 * PPM
    assert rarity_ppm(total=10**9, domains=100, own=10**9, duplicate_ppm=0, section=PLAIN) == PPM // 4


@given(st.integers(0, 256))
def test_uptime_is_one_and_a_half_after_256_rounds_without_a_gap(present: int) -> None:
    assert uptime_ppm(present, PLAIN) == floor((1 + Fraction(present, 512)) * PPM)


@given(st.integers(0, 1000 * PPM))
def test_reputation_rises_from_a_fifth_towards_one(standing: int) -> None:
    r = Fraction(standing, PPM)
    assert reputation_ppm(standing, TRUST) == floor((r + Fraction(2, 5)) / (r + 2) * PPM)


def test_standing_counts_audits_and_stops_at_its_cap() -> None:
    accepted, passed = (raised(0, audited, cap=20, reputation=TRUST) for audited in (False, True))
    assert (accepted, passed) == (PPM // 20, PPM)
    standing = 0
    for _ in range(100):
        standing = raised(standing, audited=True, cap=20, reputation=TRUST)
    assert standing == 20 * PPM


@given(st.integers(0, 5000), st.integers(1, 200))
def test_the_early_factor_is_the_power_of_two_rounded_down(epoch: int, half_life: int) -> None:
    bonus = early_ppm(epoch, half_life) - PPM
    below, above = Fraction(bonus, PPM) ** half_life, Fraction(bonus + 1, PPM) ** half_life
    assert below <= Fraction(1, 2**epoch) < above


def test_the_early_factor_halves_every_fifty_epochs() -> None:
    assert [early_ppm(epoch, 50) for epoch in (0, 50, 100, 2000)] == [2 * PPM, 1_500_000, 1_250_000, PPM]
    assert early_ppm(1, 50) == 1_986_232


@given(st.integers(0, 2**200), st.integers(1, 60))
def test_roots_are_rounded_down(value: int, degree: int) -> None:
    assert root(value, degree) ** degree <= value < (root(value, degree) + 1) ** degree
