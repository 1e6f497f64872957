"""Constants change when two thirds of what members own are for it, and not a round too early."""

from __future__ import annotations

import random
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.amendments import Amendment, Setting
from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Body, Signed, open_record, sign
from dhtnode.reward import RewardSection
from rewards.entries import raw_key
from rewards.governance import GOVERNANCE, MAX_OPEN_OF_KEY, Assembly, Ballot, Tally, count, weights
from tests.unit.parties import SWARM, head_of, people, person, terms
from training.in_force import TermsInForce

HALF_THE_STEP = Setting(key="outer.lr", value="0.35")
EVEN = {raw_key(person(who).peer_id): 1_000 for who in range(6)}
SECTION = RewardSection(vote_cap_ppm=500_000, epoch_rounds=4)
TERMS = msgspec.structs.replace(terms(), reward=SECTION)
HEAD = head_of(people(6))
"""Number 7: the last whole epoch has ended with round 3."""


def proposed(change: Setting = HALF_THE_STEP, who: int = 0, effect: int = 15) -> Signed[Amendment]:
    return sign(person(who), SWARM, Amendment(round=7, effect=effect, changes=(change,), why=""))


def ballot(who: int, amendment: Signed[Amendment], yes: bool = True) -> Signed[Ballot]:
    return sign(person(who), SWARM, Ballot(amendment=amendment.id, yes=yes))


def tally(voters: list[int], vested: Mapping[bytes, int] = EVEN, section: RewardSection = SECTION) -> Tally:
    amendment = proposed()
    return count(amendment, [ballot(who, amendment) for who in voters], vested, section)


def test_two_thirds_carry() -> None:
    assert tally([1, 2, 3]) == Tally(4_000, 0, 6_000)
    assert tally([1, 2, 3]).carried
    assert not tally([1, 2]).carried


def test_nobody_decides_while_nothing_has_vested() -> None:
    assert not tally([1, 2, 3, 4, 5], vested={}).carried
    assert not tally([1, 2, 3, 4, 5], vested=dict.fromkeys(EVEN, 0)).carried


def test_a_key_votes_once_and_strangers_not_at_all() -> None:
    assert tally([1, 1, 1, 2, 2, 0, 0]).given == 3_000
    assert tally([1, 2, *range(20, 40)]).given == 3_000


def test_a_no_is_counted_for_all_to_read_and_can_not_take_a_yes_back() -> None:
    amendment = proposed()
    said = [ballot(1, amendment), ballot(1, amendment, yes=False), ballot(2, amendment, yes=False)]
    assert count(amendment, said, EVEN, SECTION) == Tally(2_000, 1_000, 6_000)


def test_a_ballot_on_another_amendment_does_not_count() -> None:
    other = proposed(Setting(key="outer.lr", value="0.9"))
    assert count(proposed(), [ballot(who, other) for who in range(6)], EVEN, SECTION).given == 1_000


def test_a_rich_key_is_capped() -> None:
    """Nine tenths of all credits: with a cap of two percent it weighs what the others do."""
    vested = {**EVEN, raw_key(person(0).peer_id): 45_000}
    tight = RewardSection(vote_cap_ppm=20_000)
    assert not tally([], vested, tight).carried
    assert tally([1, 2, 3], vested, tight).carried
    assert tally([], vested).carried, "without the cap it would decide alone"


@given(st.dictionaries(st.sampled_from(sorted(EVEN)), st.integers(0, 2**60)), st.integers(1, 10**6))
def test_no_vote_exceeds_the_cap_or_what_the_key_owns(vested: dict[bytes, int], cap_ppm: int) -> None:
    found = weights(vested, RewardSection(vote_cap_ppm=cap_ppm))
    assert found.keys() == vested.keys()
    for key, vote in found.items():
        assert 0 <= vote <= vested[key]
        assert vote * 10**6 <= sum(vested.values()) * cap_ppm


@given(
    st.lists(st.integers(0, 9), max_size=12),
    st.lists(st.integers(0, 9), max_size=12),
    st.dictionaries(st.sampled_from(sorted(EVEN)), st.integers(0, 2**60)),
    st.randoms(use_true_random=False),
)
def test_more_ballots_never_undo_a_decision(
    some: list[int], more: list[int], vested: dict[bytes, int], chance: random.Random
) -> None:
    before, after = tally(some, vested), tally(some + more, vested)
    assert not before.carried or after.carried
    mixed = some + more
    chance.shuffle(mixed)
    assert tally(mixed, vested) == after


# What a node holds


class Hall:
    """A node's assembly, and the ledger that it asks."""

    def __init__(self, vested: Mapping[bytes, int] | None = EVEN) -> None:
        self.asked: list[int] = []
        self.vested = vested
        self.in_force = TermsInForce(TERMS)
        self.assembly = Assembly(self.in_force, self._vested)

    def _vested(self, round_no: int) -> Mapping[bytes, int] | None:
        self.asked.append(round_no)
        return self.vested

    def hear(self, *records: Signed[Body]) -> list[bool]:
        return [self.assembly.add(record, HEAD) for record in records]


def test_what_is_carried_should_be_adopted_by_the_next_round() -> None:
    hall, amendment = Hall(), proposed()
    hall.hear(amendment, ballot(1, amendment), ballot(2, amendment))
    assert hall.assembly.adoptable(HEAD) == ()
    assert hall.hear(ballot(3, amendment)) == [True]
    assert hall.assembly.adoptable(HEAD) == (amendment.id,)
    assert set(hall.asked) == {HEAD.number}, "what had vested before that head's round"
    later = msgspec.structs.replace(HEAD, amendments=(amendment.id,))
    assert hall.assembly.adoptable(later) == ()
    assert hall.assembly.open(later) == []


def test_a_node_whose_ledger_lacks_rounds_has_no_opinion() -> None:
    hall, amendment = Hall(vested=None), proposed()
    assert hall.hear(amendment, *(ballot(who, amendment) for who in range(1, 6))) == [True] * 6
    assert hall.assembly.adoptable(HEAD) == ()
    assert hall.assembly.tally(amendment, HEAD) is None


def test_what_comes_too_late_for_an_epoch_of_notice_is_not_kept() -> None:
    assert Hall().hear(proposed(effect=11), proposed(effect=12)) == [False, True]
    assert Hall().hear(proposed(effect=7 + 64 * 4), proposed(effect=8 + 64 * 4)) == [True, False]


def test_what_this_version_can_not_apply_is_kept_for_others_but_not_adopted() -> None:
    hall, newer = Hall(), proposed(Setting(key="outer.size", value="1"))
    hall.hear(newer, *(ballot(who, newer) for who in range(1, 6)))
    assert hall.assembly.tally(newer, HEAD) == Tally(6_000, 0, 6_000)
    assert hall.assembly.adoptable(HEAD) == ()
    assert newer.id in hall.assembly.records(HEAD)


def test_what_no_version_could_apply_is_an_offence() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        Hall().hear(proposed(Setting(key="task.kind", value='"x"'), who=2))
    assert (caught.value.peer, caught.value.reason) == (person(2).peer_id, "bad-amendment")


def test_what_a_head_names_is_taken_in_whatever_this_version_thinks_of_it() -> None:
    hall, odd = Hall(), proposed(Setting(key="task.kind", value='"x"'), who=30, effect=8)
    assert hall.assembly.add(odd, msgspec.structs.replace(HEAD, amendments=(odd.id,)))
    assert hall.in_force.amendment(odd.id) == odd


def test_strangers_and_floods_take_up_no_room() -> None:
    hall, amendment = Hall(), proposed()
    hall.hear(amendment)
    assert hall.hear(proposed(who=30), ballot(30, amendment)) == [False, False]
    assert hall.hear(ballot(1, proposed(who=2))) == [False], "on an amendment that is not here"
    flood = [proposed(who=3, effect=effect) for effect in range(13, 23)]
    assert hall.hear(*flood).count(True) == MAX_OPEN_OF_KEY
    assert hall.hear(amendment, ballot(1, amendment), ballot(1, amendment)) == [False, True, False]
    owner = person(30).peer_id
    hall.vested = {**EVEN, raw_key(owner): 1}
    assert hall.hear(ballot(30, amendment)) == [True], "who owns something is heard from outside the round"


def test_what_was_not_adopted_in_time_is_forgotten() -> None:
    hall, amendment = Hall(), proposed(effect=12)
    hall.hear(amendment, ballot(1, amendment))
    later = msgspec.structs.replace(HEAD, number=9)
    hall.assembly.add(proposed(who=1, effect=20), later)
    assert hall.assembly.amendment(amendment.id) is hall.in_force.amendment(amendment.id) is None
    assert len(hall.assembly.records(later)) == 1


def test_neighbours_are_shown_the_ballots_of_open_votes_alone() -> None:
    hall, amendment = Hall(), proposed()
    hall.hear(amendment, ballot(1, amendment))
    assert len(hall.assembly.records(HEAD)) == 2
    later = msgspec.structs.replace(HEAD, amendments=(amendment.id,))
    assert list(hall.assembly.records(later)) == [amendment.id]


def test_the_records_travel() -> None:
    with pytest.raises(RemoteProtocolError, match="schema"):
        open_record(sign(person(0), SWARM, Ballot(amendment=b"short", yes=True)).wire, SWARM, GOVERNANCE)
    for record in (proposed(), ballot(0, proposed()), ballot(0, proposed(), yes=False)):
        assert open_record(record.wire, SWARM, GOVERNANCE).id == record.id
