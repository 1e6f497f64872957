"""Whose work a round has taken in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.parties import by_id, head_of, people, plan_of, result_of
from training.acceptance import intake

PEOPLE = people(5)
PLAN = plan_of(PEOPLE, head_of(PEOPLE))
WORKS = PLAN.commitments_N
Included = tuple[int, ...]
PLACES = st.sets(st.integers(0, 4), min_size=1).map(lambda places: tuple(sorted(places)))


def taken_in(*said: Included) -> tuple[Included, Included]:
    """Places that are accepted, and those in fewer parts, if the parts include these."""
    results = [
        result_of(by_id(PLAN.members[part]), PLAN, part, included=included)
        for part, included in enumerate(said)
    ]
    place = {work.id: number for number, work in enumerate(WORKS)}
    accepted, partial = intake(WORKS, results)
    return tuple(place[id_] for id_ in accepted), tuple(place[id_] for id_ in partial)


def test_what_most_parts_include_is_accepted_and_the_rest_is_named() -> None:
    assert taken_in((0, 1, 2), (0, 1, 3), (0, 2, 3), (0, 1, 2)) == ((0, 1, 2), (3,))


def test_half_of_the_parts_are_not_most() -> None:
    assert taken_in((0, 1), (0, 2)) == ((0,), (1, 2))


@given(st.lists(PLACES, min_size=3, max_size=5), st.data())
def test_one_reducer_changes_nothing_for_who_is_in_all_other_parts(
    said: list[Included], data: st.DataObject
) -> None:
    liar = data.draw(st.integers(0, len(said) - 1))
    everywhere = set.intersection(*(set(places) for part, places in enumerate(said) if part != liar))
    said[liar] = data.draw(PLACES)
    assert everywhere <= set(taken_in(*said)[0])


@given(st.lists(PLACES, min_size=1, max_size=5))
def test_nobody_is_in_the_state_without_being_named(said: list[Included]) -> None:
    accepted, partial = taken_in(*said)
    assert set(accepted) | set(partial) == {place for places in said for place in places}
    assert not set(accepted) & set(partial)
