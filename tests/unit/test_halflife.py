"""Fading values: halves after a half-life, and the same whatever the order in which things came."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from validation.halflife import MICRO, ONE, Series, factors, faded

rounds = st.integers(1, 400)


def test_what_is_left_after_a_half_life() -> None:
    assert [faded(8 * MICRO, count, 500) for count in (0, 500, 1000, 1500)] == [
        8 * MICRO,
        4 * MICRO,
        2 * MICRO,
        MICRO,
    ]
    assert abs(faded(MICRO, 250, 500) - MICRO / 2**0.5) <= 1
    assert faded(MICRO, 10**6, 500) == 0


@given(st.integers(1, 2500))
def test_factors_fall_and_are_what_floats_say(half_life: int) -> None:
    found = factors(half_life)
    assert found[0] == ONE
    assert all(one > other for one, other in pairwise(found))
    assert abs(found[-1] / ONE - 2 ** (-(half_life - 1) / half_life)) < 1e-12


def series(**changes: Any) -> Series:
    return Series(
        **{"add": MICRO, "most": 20 * MICRO, "half_life_rounds": 100, "kept_percent": 10, **changes}
    )


@given(st.lists(st.tuples(rounds, st.booleans()), max_size=30), st.randoms(), rounds)
def test_the_order_of_arrival_does_not_matter(
    events: list[tuple[int, bool]], random: Random, at: int
) -> None:
    shuffled = list(events)
    random.shuffle(shuffled)
    one, other = series(), series()
    for target, ordered in ((one, sorted(events)), (other, shuffled)):
        for round_no, is_cut in ordered:
            target.cut(round_no) if is_cut else target.add(round_no)
    assert one.at(at) == other.at(at)
    assert one.at(500) == other.at(500)


@given(st.lists(rounds, max_size=30), st.lists(rounds, max_size=30), rounds)
def test_closing_the_books_changes_nothing(early: list[int], late: list[int], before: int) -> None:
    one, other = series(), series()
    for round_no in [*early, *late]:
        one.add(round_no)
    for round_no in [*early, *(number for number in late if number < before)]:
        other.add(round_no)
    other.settle(before)
    for round_no in late:
        if round_no >= before:
            other.add(round_no)
    assert one.at(500) == other.at(500)


def test_a_value_never_exceeds_its_cap_and_a_cut_leaves_a_tenth() -> None:
    value = series()
    for _ in range(50):
        value.add(7)
    assert value.at(7) == 20 * MICRO
    value.cut(7)
    assert value.at(7) == 2 * MICRO
    assert value.at(6) == 0


def test_a_cut_that_is_known_first_also_takes_what_comes_late() -> None:
    late = Series(MICRO, 20 * MICRO, 100, 10, cuts=[9])
    late.add(9)
    late.add(10)
    assert late.at(9) == MICRO // 10
    assert late.at(10) > MICRO
