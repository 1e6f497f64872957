"""One vote for all: what a leader may propose, what electors let pass, and that a round never hangs on it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.reputation import ReputationSection
from training.messages import WHOLE
from training.roster import weighed
from validation.halflife import MICRO
from validation.reputation import Opinion
from validation.voting import acceptable, acceptable_votes, proposed, proposed_votes, vote_of

SECTION = ReputationSection()
votes = st.integers(0, WHOLE)
opinions = st.none() | st.builds(
    Opinion, st.integers(0, MICRO), st.booleans(), st.sampled_from([0, 0, 0, 500, -1])
)


def opinion(percent: int, on_probation: bool = False, banned_until: int = 0) -> Opinion:
    return Opinion(percent * 10_000, on_probation, banned_until)


def test_what_trust_is_worth() -> None:
    assert [vote_of(percent * 10_000, SECTION) for percent in (0, 20, 49, 50, 74, 75, 100)] == [
        0, 0, 0, 1, 1, 2, 2,
    ]  # fmt: skip


def test_a_leader_proposes_what_it_thinks_and_leaves_the_rest_as_it_was() -> None:
    assert proposed(1, opinion(90), SECTION) == 2
    assert proposed(1, None, SECTION) == 1
    assert proposed(2, opinion(90, banned_until=900), SECTION) == 0


@given(votes, opinions)
def test_an_elector_lets_its_own_proposal_pass(before: int, mine: Opinion | None) -> None:
    assert acceptable(proposed(before, mine, SECTION), before, mine, SECTION)


@given(st.lists(st.tuples(votes, votes, opinions), min_size=1, max_size=5))
def test_a_roster_passes_if_each_of_its_votes_does(rows: list[tuple[int, int, Opinion | None]]) -> None:
    peers = [str(number) for number in range(len(rows))]
    votes_N, before_N, mine = zip(*rows, strict=True)
    opinion_of = dict(zip(peers, mine, strict=True)).get
    assert proposed_votes(peers, before_N, opinion_of, SECTION) == tuple(
        proposed(before, one, SECTION) for _, before, one in rows
    )
    each = [acceptable(vote, before, one, SECTION) for vote, before, one in rows]
    assert acceptable_votes(peers, votes_N, before_N, opinion_of, SECTION) == all(each)


@given(votes, votes, opinions)
def test_a_false_leader_moves_no_vote_beyond_an_electors_margin(
    vote: int, before: int, mine: Opinion | None
) -> None:
    if not acceptable(vote, before, mine, SECTION) or vote == before:
        return
    assert mine is not None
    margin = 10_000 * SECTION.margin_percent
    if vote > before:
        assert not mine.on_probation
        assert vote <= vote_of(mine.trust_micro + margin, SECTION)
    elif not mine.banned_until:
        assert not mine.on_probation
        assert vote >= vote_of(mine.trust_micro - margin, SECTION)


def test_who_has_seen_little_of_a_peer_changes_nothing() -> None:
    """A leader that has just come would else take everybody's vote; a newcomer has none to keep."""
    for little in (None, opinion(20, on_probation=True), opinion(90, on_probation=True)):
        assert [proposed(before, little, SECTION) for before in (0, 1, 2)] == [0, 1, 2]
        assert acceptable(2, 2, little, SECTION)
        assert not acceptable(0, 2, little, SECTION)


def test_trust_near_a_limit_changes_nothing() -> None:
    assert [proposed(WHOLE, opinion(percent), SECTION) for percent in (74, 61, 59, 36, 34)] == [2, 2, 1, 1, 0]
    assert [proposed(0, opinion(percent), SECTION) for percent in (51, 54, 56, 75)] == [0, 0, 1, 2]
    assert proposed(1, opinion(51), SECTION) == 1


def test_rounds_that_nobody_has_audited_are_not_near_enough_to_a_vote() -> None:
    most = SECTION.trust_micro(1000 * SECTION.accepted.most_milli, 0)
    assert vote_of(most + 10_000 * SECTION.margin_percent, SECTION) == 1
    assert not acceptable(1, 0, Opinion(most, on_probation=False, banned_until=0), SECTION)


def test_nobody_is_lifted_by_electors_that_know_nothing_of_it() -> None:
    assert not acceptable(1, 0, None, SECTION)
    assert acceptable(0, 0, None, SECTION)


@pytest.mark.parametrize(
    ("votes_N", "expected"),
    [((2, 1, 0), [20, 20, 0]), ((0, 0, 0), [10, 20, 30]), ((2, 2, 2), [20, 40, 60])],
)
def test_weights_with_votes(votes_N: tuple[int, ...], expected: list[int]) -> None:
    assert weighed([10, 20, 30], votes_N) == tuple(expected)
