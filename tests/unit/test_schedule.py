"""Where a step stands in the run, against counting one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.manifest import InnerSection
from training.schedule import lr_factor, nominal_steps, round_factor


@given(st.dictionaries(st.integers(1, 50), st.integers(1, 100), max_size=4), st.integers(0, 80))
def test_nominal_steps_equal_the_sum_over_rounds(changes: dict[int, int], rounds: int) -> None:
    inner = InnerSection(steps=tuple(sorted({**changes, 0: 7}.items())))
    assert nominal_steps(inner, rounds) == sum(inner.steps_at(r) for r in range(rounds))


def test_a_very_long_run_costs_nothing() -> None:
    assert nominal_steps(InnerSection(steps=((0, 5), (10, 50))), 2**40) == 50 + 50 * (2**40 - 10)


def test_warms_up_then_falls_to_what_is_left() -> None:
    inner = InnerSection(warmup_steps=10, final_lr=0.1)
    factors = [lr_factor(inner, step, 1_000) for step in range(1_001)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[4] == pytest.approx(0.5, rel=1e-3)
    assert max(factors) == factors[9] == pytest.approx(1.0, rel=1e-3)
    assert factors[500] == pytest.approx(0.55)
    assert factors[1_000] == pytest.approx(0.1)
    assert factors[9:] == sorted(factors[9:], reverse=True)


def test_constant_where_the_manifest_wants_it() -> None:
    inner = InnerSection(warmup_steps=0, final_lr=1.0)
    assert {lr_factor(inner, step, 50) for step in range(50)} == {1.0}


def test_beyond_the_last_round_nothing_rises_again() -> None:
    inner = InnerSection(final_lr=0.1)
    assert lr_factor(inner, 150, 100) == lr_factor(inner, 100, 100)


def test_each_later_round_rises_again() -> None:
    inner = InnerSection(round_warmup=3)
    assert [round_factor(inner, step, first_round=False) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert round_factor(inner, 0, first_round=True) == 1.0
    assert round_factor(InnerSection(), 0, first_round=False) == 1.0
