"""The constants of rewards, held against each other."""

from __future__ import annotations

from math import exp
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.errors import ConfigError, Exit
from dhtnode.manifest import AuditSection, Manifest
from dhtnode.reward import RewardSection, least_vesting, reward_fault
from tests.unit.parties import person, terms

KEYS = tuple(person(index).peer_id for index in range(3))


def test_the_defaults_fit_together() -> None:
    assert reward_fault(RewardSection(), AuditSection().rate) is None


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rarity_least_ppm": 5_000_000}, "rarity_least_ppm"),
        ({"vesting_rounds": 15}, "at least 16"),
        ({"export_keys": ("nobody",)}, "no peer id"),
        ({"export_keys": (KEYS[0], KEYS[0])}, "twice"),
        ({"export_keys": KEYS, "export_quorum": 4}, "export_quorum"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], named: str) -> None:
    fault = reward_fault(RewardSection(**changes), 1 / 16)
    assert fault is not None
    assert named in fault


def test_a_manifest_whose_stake_deters_nobody_is_refused() -> None:
    weak = msgspec.structs.replace(terms(), reward=RewardSection(vesting_rounds=3))
    with pytest.raises(ConfigError, match=r"does not deter cheats at audit\.rate = 0\.0625") as caught:
        Manifest.create(weak, person(0))
    assert caught.value.exit_code == Exit.MANIFEST


def test_without_audits_no_stake_is_asked_for() -> None:
    assert reward_fault(RewardSection(vesting_rounds=1), 0.0) is None


@given(st.floats(min_value=1e-4, max_value=1.0), st.integers(2, 64))
def test_the_least_stake_is_enough_for_any_number_of_auditors(rate: float, auditors: int) -> None:
    unseen = (1 - rate / auditors) ** auditors
    assert (1 - unseen) * least_vesting(rate) >= unseen


@given(st.floats(min_value=1e-4, max_value=0.1))
def test_the_least_stake_is_not_far_above_what_is_needed(rate: float) -> None:
    unseen = exp(-rate)
    assert (1 - unseen) * (least_vesting(rate) - 2) < unseen
