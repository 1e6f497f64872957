"""Constants change when two thirds of what members own are for it, and not a round too early."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhtnode.errors import RemoteProtocolError
from dhtnode.manifest import OuterSection, Terms
from dhtnode.records import Body, Signed, open_record, sign
from dhtnode.reward import RewardSection
from rewards.entries import raw_key
from rewards.governance import MAX_CHANGES, Amendment, Ballot, Setting, amend, decide, weights
from tests.unit.parties import SWARM, person, terms

HALF_THE_STEP = Setting(key="outer.lr", value="0.35")
EVEN = {raw_key(person(who).peer_id): 1_000 for who in range(6)}
TERMS = msgspec.structs.replace(terms(), reward=RewardSection(vote_cap_ppm=500_000))


def proposed(*changes: Setting, who: int = 0, epoch: int = 3, effect: int = 5) -> Signed[Amendment]:
    return sign(
        person(who), SWARM, Amendment(epoch=epoch, effect=effect, changes=changes or (HALF_THE_STEP,))
    )


def ballot(who: int, amendment: Signed[Amendment]) -> Signed[Ballot]:
    return sign(person(who), SWARM, Ballot(amendment=amendment.id))


def outcome(voters: list[int], vested: dict[bytes, int] = EVEN, epoch: int = 4, **more: Any) -> Any:
    amendment = proposed(**more)
    return decide(amendment, [ballot(who, amendment) for who in voters], vested, TERMS, epoch)


def test_two_thirds_adopt() -> None:
    decision = outcome([1, 2, 3])
    assert decision.state == "adopted"
    assert decision.reason == "66.6 % of the votes are for it: it holds from epoch 5"
    assert decision.terms == msgspec.structs.replace(TERMS, outer=OuterSection(lr=0.35))


def test_less_than_two_thirds_do_not() -> None:
    waiting, late = outcome([1, 2]), outcome([1, 2], epoch=5)
    assert (waiting.state, late.state) == ("open", "rejected")
    assert waiting.reason == "50.0 % of the votes are for it, two thirds are needed before epoch 5"
    assert waiting.terms is late.terms is None


def test_nobody_decides_while_nothing_has_vested() -> None:
    assert outcome([1, 2, 3, 4, 5], vested={}).state == "open"
    assert outcome([1, 2, 3, 4, 5], vested=dict.fromkeys(EVEN, 0)).state == "open"


def test_a_key_votes_once_and_strangers_not_at_all() -> None:
    assert outcome([1, 1, 1, 2, 2, 0, 0]).state == "open"
    assert outcome([1, 2, *range(20, 40)]).state == "open"


def test_a_ballot_on_another_amendment_does_not_count() -> None:
    other = proposed(Setting(key="outer.lr", value="0.9"))
    assert decide(proposed(), [ballot(who, other) for who in range(6)], EVEN, TERMS, 4).state == "open"


@pytest.mark.parametrize("effect", [0, 3, 4])
def test_there_is_an_epoch_to_think_it_over(effect: int) -> None:
    decision = outcome([1, 2, 3, 4, 5], effect=effect)
    assert (decision.state, decision.reason.split()[:4]) == ("rejected", ["there", "is", "no", "whole"])


def test_a_rich_key_is_capped() -> None:
    """Nine tenths of all credits with a cap of a tenth: the four others decide."""
    vested = {**EVEN, raw_key(person(0).peer_id): 45_000}
    tight = msgspec.structs.replace(TERMS, reward=RewardSection(vote_cap_ppm=20_000))
    amendment = proposed()
    alone = decide(amendment, [], vested, tight, 4)
    together = decide(amendment, [ballot(who, amendment) for who in (1, 2, 3)], vested, tight, 4)
    assert (alone.state, together.state) == ("open", "adopted")
    assert decide(amendment, [], vested, TERMS, 4).state == "adopted", "without the cap it would decide alone"


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(EVEN)), st.integers(0, 2**60)), st.integers(1, 10**6))
def test_no_vote_exceeds_the_cap_or_what_the_key_owns(vested: dict[bytes, int], cap_ppm: int) -> None:
    found = weights(vested, RewardSection(vote_cap_ppm=cap_ppm))
    assert found.keys() == vested.keys()
    for key, vote in found.items():
        assert 0 <= vote <= vested[key]
        assert vote * 10**6 <= sum(vested.values()) * cap_ppm


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 9), max_size=12),
    st.lists(st.integers(0, 9), max_size=12),
    st.dictionaries(st.sampled_from(sorted(EVEN)), st.integers(0, 2**60)),
    st.randoms(use_true_random=False),
)
def test_more_ballots_never_undo_a_decision(
    some: list[int], more: list[int], vested: dict[bytes, int], chance: random.Random
) -> None:
    before, after = outcome(some, vested), outcome(some + more, vested)
    assert before.state != "adopted" or after.state == "adopted"
    mixed = some + more
    chance.shuffle(mixed)
    assert outcome(mixed, vested) == after


# What may be changed


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ([("data.mode", '"shared"')], "data.mode can't be changed"),
        ([("task.options", "{}")], "task.options can't be changed"),
        ([("outer.size", "1")], "unknown key"),
        ([("nothing.at", "1")], "nothing.at is no key"),
        ([("outer.lr.deep", "1")], "outer.lr.deep is no key"),
        ([("outer.lr", "fast")], "outer.lr: "),
        ([("outer.lr", "-1")], "outer.lr"),
        ([("outer.lr", '"0.5"')], "outer.lr"),
        ([("outer.lr", "0.5"), ("outer.lr", "0.6")], "twice"),
        ([("reward.vesting_rounds", "2")], "does not deter"),
        ([("wire.chunk_elems", "257")], "no multiple"),
        ([("inner.options.lr", "1e400")], "inner.options"),
    ],
)
def test_what_makes_no_valid_manifest_is_rejected(changes: list[tuple[str, str]], why: str) -> None:
    typed = tuple(Setting(key=key, value=value) for key, value in changes)
    with pytest.raises(ValueError, match=why):
        amend(TERMS, typed)
    amendment = proposed(*typed)
    decision = decide(amendment, [ballot(who, amendment) for who in range(6)], EVEN, TERMS, 4)
    assert decision.state == "rejected"


def test_several_constants_change_together() -> None:
    wish = [("audit.rate", "0.03125"), ("reward.vesting_rounds", "80"), ("inner.options.lr", "0.01")]
    amended = amend(TERMS, [Setting(key=key, value=value) for key, value in wish])
    assert (amended.audit.rate, amended.reward.vesting_rounds) == (1 / 32, 80)
    assert amended.inner.options["lr"] == 0.01
    assert isinstance(amended, Terms)


def test_the_records_travel() -> None:
    kinds: dict[str, type[Body]] = {Amendment.KIND: Amendment, Ballot.KIND: Ballot}
    largest = tuple(
        Setting(key=f"inner.options.{'a' * n}", value="1" * 100) for n in range(1, MAX_CHANGES + 1)
    )
    with pytest.raises(RemoteProtocolError, match="schema"):
        open_record(sign(person(0), SWARM, Ballot(amendment=b"short")).wire, SWARM, kinds)
    for record in (proposed(), proposed(*largest), ballot(0, proposed())):
        assert open_record(record.wire, SWARM, kinds).id == record.id
