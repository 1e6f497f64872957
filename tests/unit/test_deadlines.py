"""Deadlines follow what rounds took: learned, not led astray by one bad minute, patient after deaths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.manifest import RoundSection
from training.deadlines import MAX_BACKOFF, MAX_SPREAD, WINDOW, LearnedDeadline, lower_median
from training.pace import STALL_ROUNDS, TRAIN_SHARE, Pace

seconds = st.floats(0, 1e4)


def deadline(
    *samples_s: float, first_s: float = 60.0, slack: float = 2.0, floor_s: float = 1.0
) -> LearnedDeadline:
    learned = LearnedDeadline(first_s, slack, floor_s)
    for sample_s in samples_s:
        learned.learn(sample_s)
    return learned


def test_the_first_deadline_holds_until_something_was_learned() -> None:
    learned = deadline()
    assert (learned.limit_s, learned.learned) == (60.0, False)
    learned.learn(3.0)
    assert (learned.limit_s, learned.learned) == (6.0, True)


def test_a_high_quantile_times_the_slack() -> None:
    assert deadline(*[4.0] * 9, 5.0, *[4.0] * 9, 5.0, *[4.0] * 9, 5.0).limit_s == 10.0
    assert deadline(*[4.0] * 29, 5.0).limit_s == 8.0


def test_never_under_the_floor() -> None:
    assert deadline(0.001, 0.001).limit_s == 1.0
    assert deadline(-5.0).limit_s == 1.0


def test_one_round_that_a_partition_held_up_does_not_set_the_deadline() -> None:
    assert deadline(4.0, 4.0, 4.0, 3600.0).limit_s == MAX_SPREAD * 4.0 * 2


def test_old_rounds_are_forgotten() -> None:
    assert deadline(*[100.0] * 50, *[2.0] * WINDOW).limit_s == 4.0


def test_each_deadline_that_passes_doubles_the_next_up_to_a_limit() -> None:
    learned = deadline(4.0)
    limits = []
    for _ in range(6):
        learned.missed()
        limits.append(learned.limit_s)
    assert limits == [16.0, 32.0, 64.0, 64.0, 64.0, 64.0]
    assert MAX_BACKOFF == 8


def test_a_phase_that_ends_by_itself_ends_the_patience() -> None:
    learned = deadline(4.0)
    learned.missed()
    learned.learn(4.0)
    assert learned.limit_s == 8.0


def test_who_has_learned_nothing_has_nothing_to_double() -> None:
    learned = deadline()
    learned.missed()
    assert learned.limit_s == 60.0


@given(st.lists(seconds, min_size=1, max_size=80), st.integers(0, 10))
def test_a_deadline_lies_between_its_bounds(samples_s: list[float], misses: int) -> None:
    learned = deadline(*samples_s)
    for _ in range(misses):
        learned.missed()
    recent_s = samples_s[-WINDOW:]
    assert 1.0 <= learned.limit_s <= MAX_BACKOFF * max(1.0, 2.0 * max(recent_s))


@given(st.lists(seconds, min_size=1))
def test_half_are_at_least_as_slow_as_the_lower_median(durations_s: list[float]) -> None:
    middle_s = lower_median(durations_s)
    assert middle_s in durations_s
    assert 2 * sum(duration_s >= middle_s for duration_s in durations_s) > len(durations_s)
    assert 2 * sum(duration_s <= middle_s for duration_s in durations_s) >= len(durations_s)


@pytest.mark.parametrize(
    ("durations_s", "middle_s"),
    [([5.0], 5.0), ([1.0, 9.0], 1.0), ([9.0, 1.0, 5.0], 5.0), ([1.0, 2.0, 8.0, 9.0], 2.0)],
)
def test_lower_median(durations_s: list[float], middle_s: float) -> None:
    assert lower_median(durations_s) == middle_s


# Pace


def test_the_slowest_machine_does_not_set_the_pace() -> None:
    pace = Pace(RoundSection(slack=2.0))
    assert pace.budget_s is None, "nobody is hurried before anything is known"
    pace.learn_train([10.0, 11.0, 12.0, 100.0])
    assert pace.train.limit_s == 22.0
    assert pace.budget_s == pytest.approx(22.0 * TRAIN_SHARE)


def test_a_quorum_is_not_missed_before_a_few_rounds_could_have_passed() -> None:
    pace = Pace(RoundSection(stall_s=60.0, first_deadline_s=10.0))
    assert pace.stall_s == 60.0
    pace.learn_train([100.0])
    assert pace.stall_s == STALL_ROUNDS * 200.0


def test_each_phase_has_a_deadline_of_its_own() -> None:
    pace = Pace(RoundSection(first_deadline_s=60.0))
    pace.reduce.learn(20.0)
    assert pace.limits() == {"train": 60.0, "roster": 6.0, "reduce": 40.0, "close": 6.0}


def test_who_was_late_trains_less_until_it_is_in_time() -> None:
    pace = Pace(RoundSection(slack=2.0))
    pace.noted(included=False)
    assert (pace.budget_s, pace.steps(40)) == (None, 20), "no pace is known, and yet it hurries"
    pace.learn_train([10.0])
    usual_s = pace.train.limit_s * TRAIN_SHARE
    assert pace.budget_s == pytest.approx(usual_s / 2)
    pace.noted(included=False)
    assert pace.budget_s == pytest.approx(usual_s / 4)
    for _ in range(20):
        pace.noted(included=False)
    assert pace.budget_s == pytest.approx(usual_s / 16)
    assert pace.steps(40) == 2
    assert pace.steps(8) == 1, "a step at least is worth waiting for"
    for _ in range(8):
        pace.noted(included=True)
    assert pace.budget_s == usual_s
    assert pace.steps(40) == 40
