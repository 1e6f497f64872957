"""Credits vest, and are at stake until then: the running account against the rule read out loud."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from rewards.stake import Stake

VESTING = 5
NOW = 30


@dataclass
class Naive:
    """Each credit judged by itself, with all faults at hand."""

    vested: int = 0
    stake: int = 0
    burned: int = 0
    forfeited: int = 0


def naive(credits_: list[tuple[int, int]], faults: set[int]) -> Naive:
    total = Naive()
    for earned, amount in credits_:
        if any(fault <= earned < fault + VESTING for fault in faults):
            total.forfeited += amount
        elif any(earned < fault < earned + VESTING for fault in faults):
            total.burned += amount
        elif earned + VESTING <= NOW:
            total.vested += amount
        else:
            total.stake += amount
    return total


histories = st.lists(st.tuples(st.integers(0, NOW), st.integers(0, 1000)), max_size=40)
faults_ = st.sets(st.integers(0, NOW), max_size=4)


@given(histories, faults_)
def test_every_credit_ends_where_the_rule_says(credits_: list[tuple[int, int]], faults: set[int]) -> None:
    stake = Stake(VESTING)
    for round_no in range(NOW + 1):
        if round_no in faults:
            stake.burn(round_no)
        for earned, amount in credits_:
            if earned == round_no:
                stake.earn(round_no, amount)
    found = Naive(*stake.at(NOW), stake.burned, stake.forfeited)
    assert found == naive(credits_, faults)
    assert sum(amount for _, amount in credits_) == sum(vars(found).values())


@given(histories, faults_)
def test_no_fault_burns_more_than_the_stake(credits_: list[tuple[int, int]], faults: set[int]) -> None:
    stake = Stake(VESTING)
    for round_no in range(NOW + 1):
        if round_no in faults:
            vested, at_stake = stake.at(round_no)
            assert stake.burn(round_no) == at_stake >= 0
            assert stake.at(round_no) == (vested, 0), "what is vested can't be burned"
            assert stake.burn(round_no) == 0, "a second case on the same fault takes nothing more"
        for earned, amount in credits_:
            if earned == round_no:
                stake.earn(round_no, amount)


def test_a_credit_vests_as_a_whole() -> None:
    stake = Stake(VESTING)
    stake.earn(10, 70)
    stake.earn(10, 7)
    assert [stake.at(round_no) for round_no in (10, 14, 15)] == [(0, 77), (0, 77), (77, 0)]


def test_looking_changes_nothing() -> None:
    stake = Stake(VESTING)
    stake.earn(10, 70)
    assert stake.at(100) == (70, 0)
    assert (stake.vested, stake.open) == (0, ((10, 70),))
