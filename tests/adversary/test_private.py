"""What reducers see of false members in a private swarm, without any replay, and what they do not see."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from tests.adversary.rehearsed import Seen, Split, watch
from validation.evaluation import rises
from validation.plausibility import PPM

torch.set_num_threads(1)  # the models are tiny, and tests run side by side

MEMBERS, ROUNDS = 10, 4


def false_and_honest(seen: Seen) -> tuple[set[str], set[str]]:
    """What was odd about false members, and about honest ones."""
    return set(seen.kinds(seen.false)), set(seen.kinds(seen.honest))


def share_odd(seen: Seen) -> float:
    """Of the false members' parts."""
    odd = sum(seen.odd_parts(peer) for peer in seen.false)
    return odd / sum(seen.suspicions.parts[peer] for peer in seen.false)


@pytest.mark.parametrize("split", get_args(Split))
def test_honest_members_do_not_look_odd(split: Split) -> None:
    seen = watch(MEMBERS, ROUNDS, split)
    assert seen.suspicions.odd == {}
    assert all(seen.suspicions.parts.values())


@pytest.mark.parametrize(
    ("attack", "kind"),
    [
        ("zero", "length"),
        ("scaled-noise", "length"),
        ("scaled 10", "length"),
        ("sign-flip", "direction"),
        ("right-norm", "direction"),
        ("copycat", "twin"),
        ("copycat, 1 % noise", "twin"),
        ("echo", "echo"),
        ("echo, 10 % noise", "echo"),
    ],
)
def test_what_is_seen_of_two_false_members_in_ten(attack: str, kind: str) -> None:
    false, honest = false_and_honest(watch(MEMBERS, ROUNDS, "alike", attack, attackers=2))
    assert kind in false
    assert honest == set()


@pytest.mark.parametrize("attack", ["inner-product 2", "little-is-enough 1"])
def test_who_knows_what_the_honest_do_sends_one_vector_and_is_taken_for_twins(attack: str) -> None:
    false, honest = false_and_honest(watch(MEMBERS, ROUNDS, "alike", attack, attackers=2))
    assert "twin" in false
    assert honest == set()


@pytest.mark.parametrize("attack", ["copycat, 10 % noise", "scaled 3", "stale", "echo, 50 % noise"])
def test_what_is_hardly_seen(attack: str) -> None:
    """Who takes a little trouble looks like everybody else."""
    assert share_odd(watch(MEMBERS, ROUNDS, "alike", attack, attackers=2)) <= 0.05


def test_sign_flips_hide_among_members_that_each_know_few_labels() -> None:
    """Early on, before they have done harm: hardly a group goes one way, so hardly one can be left."""
    seen = watch(MEMBERS, ROUNDS, "labels", "sign-flip", attackers=2)
    assert share_odd(seen) <= 0.05
    assert seen.kinds(seen.honest) == {}


@pytest.fixture(scope="module")
def clean() -> Seen:
    return watch(MEMBERS, 15, "alike")


def test_wrong_labels_do_harm_and_nothing_shows_it(clean: Seen) -> None:
    """The control: work done as it should be, on data that lie, passes every check there is."""
    poisoned = watch(MEMBERS, 15, "alike", "wrong labels", attackers=4)
    assert clean.accuracy - poisoned.accuracy > 0.05
    assert poisoned.suspicions.odd == {}
    changes = _changes(poisoned)
    assert not any(rises(changes[:end]) for end in range(1, len(changes) + 1))


def test_the_held_out_loss_warns_when_members_turn_late(clean: Seen) -> None:
    assert rises(_changes(watch(MEMBERS, 15, "alike", "late flip", attackers=4)))
    assert not rises(_changes(clean))


def _changes(seen: Seen) -> list[int]:
    return [
        round(PPM * (after - before)) for before, after in zip(seen.losses, seen.losses[1:], strict=False)
    ]
