"""Who reduces, who sends to whom, and who steps in: each way in which a part can come to its result."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.records import Signed
from tests.unit.parties import by_id, head_of, people, plan_of, result_of
from training.butterfly import FETCH_RETRY_S, Butterfly
from training.events import Effect, FetchResult, Plan, Publish, Reduce, SendPart
from training.messages import Result

LIMIT_S = 1.0
PEOPLE = people(4)
HEAD = head_of(PEOPLE)
PLAN = plan_of(PEOPLE, HEAD)
ALL = (0, 1, 2, 3)


def at(place: int, plan: Plan = PLAN, now_s: float = 0.0) -> Butterfly:
    """The butterfly of the member at a place of the roster."""
    return Butterfly(plan, plan.members[place], LIMIT_S, now_s)


def reducer(place: int, plan: Plan = PLAN) -> Identity:
    return by_id(plan.members[place])


def result(place: int, part: int, plan: Plan = PLAN, **changes: Any) -> Signed[Result]:
    """A result for a part, announced by the member at a place."""
    return result_of(reducer(place, plan), plan, part, **changes)


def sent(effects: list[Effect]) -> list[tuple[int, int]]:
    """Part and place of the reducer of each part that is sent."""
    return [
        (effect.part, effect.plan.members.index(effect.to))
        for effect in effects
        if isinstance(effect, SendPart)
    ]


def reductions(effects: list[Effect]) -> list[tuple[int, tuple[int, ...]]]:
    return [(effect.part, effect.included) for effect in effects if isinstance(effect, Reduce)]


def fetches(effects: list[Effect]) -> list[bytes]:
    return [effect.result.id for effect in effects if isinstance(effect, FetchResult)]


def parts_from(butterfly: Butterfly, part: int, *places: int) -> None:
    for place in places:
        butterfly.on_part(part, PLAN.members[place])


# Everything goes well


def test_each_member_sends_every_part_but_its_own() -> None:
    assert sent(at(1).start()) == [(0, 0), (2, 2), (3, 3)]


def test_a_part_is_reduced_as_soon_as_all_are_in() -> None:
    one = at(1)
    parts_from(one, 1, 0, 2)
    assert reductions(one.advance(0.1)) == []
    parts_from(one, 1, 3)
    assert reductions(one.advance(0.1)) == [(1, ALL)]
    assert reductions(one.advance(0.2)) == [], "once"


def test_own_result_is_announced_and_held() -> None:
    one = at(1)
    assert one.on_reduced(1, result(1, 1)) == [Publish(result(1, 1))]
    assert one.progress() == "1 of 4 parts"


def test_an_announced_result_is_fetched_from_its_reducer_or_whoever_has_it() -> None:
    one = at(1)
    one.on_result(result(2, 2))
    (fetch,) = one.advance(0.1)
    assert isinstance(fetch, FetchResult)
    assert fetch.sources[0] == PLAN.members[2]
    assert set(fetch.sources) == set(PLAN.members) - {PLAN.members[1]}
    assert one.advance(0.2) == [], "once"


def test_complete_with_one_held_result_for_each_part() -> None:
    one = at(1)
    chosen = tuple(result(part, part) for part in ALL)
    for record in chosen:
        assert one.complete() is None
        one.on_result(record)
        one.on_fetched(record.id)
    assert one.complete() == chosen
    assert one.select(tuple(record.id for record in chosen)) == chosen
    assert one.undisturbed


def test_a_node_outside_the_roster_only_collects() -> None:
    follower = Butterfly(PLAN, people(9)[8].peer_id, LIMIT_S, 0.0)
    assert follower.start() == []
    assert follower.advance(100.0) == []
    follower.on_result(result(0, 0))
    assert fetches(follower.advance(100.0)) == [result(0, 0).id]


# A sender is dead


def test_without_a_dead_sender_when_time_is_up() -> None:
    one = at(1)
    parts_from(one, 1, 0, 3)
    assert reductions(one.advance(LIMIT_S - 0.01)) == []
    assert reductions(one.advance(LIMIT_S)) == [(1, (0, 1, 3))]


def test_alone_if_nobody_sends() -> None:
    assert reductions(at(1).advance(LIMIT_S)) == [(1, (1,))]


def test_parts_of_strangers_and_of_no_part_are_nothing() -> None:
    one = at(1)
    one.on_part(1, people(9)[8].peer_id)
    one.on_part(77, PLAN.members[0])
    assert reductions(one.advance(LIMIT_S)) == [(1, (1,))]


# A reducer is dead


def test_the_next_in_roster_order_is_sent_the_part() -> None:
    one = at(1)
    one.start()
    assert sent(one.advance(2 * LIMIT_S - 0.01)) == []
    assert sent(one.advance(2 * LIMIT_S)) == [(1, 2), (2, 3), (3, 0)], "part 0 is now ours, part 1 no more"


def test_who_steps_in_waits_for_the_others_and_then_reduces() -> None:
    one = at(1)
    parts_from(one, 0, 2, 3)
    assert reductions(one.advance(2 * LIMIT_S)) == [(1, (1,))], "own part; part 0 has time yet"
    assert (0, (1, 2, 3)) in reductions(one.advance(3 * LIMIT_S))


def test_who_was_not_asked_does_not_step_in_early() -> None:
    assert reductions(at(1).advance(1.5 * LIMIT_S)) == [(1, (1,))]


def test_a_reducer_that_can_not_be_reached_is_passed_over_at_once() -> None:
    one = at(1)
    assert sent(one.on_send_failed(2, PLAN.members[2])) == [(2, 3)]
    assert sent(one.on_send_failed(2, PLAN.members[2])) == [], "an old failure of one that was given up"


def test_nobody_is_tried_in_a_hurry_twice() -> None:
    """All are unreachable: the next round of trying waits for its time, and comes."""
    one = at(1)
    assert sent(one.on_send_failed(2, PLAN.members[2])) == [(2, 3)]
    assert sent(one.on_send_failed(2, PLAN.members[3])) == [(2, 0)]
    assert sent(one.on_send_failed(2, PLAN.members[0])) == [], "our own turn"
    assert one.on_send_failed(2, PLAN.members[1]) == []
    later = [part for now in range(1, 20) for part in sent(one.advance(now * LIMIT_S))]
    assert (2, 2) in later


def test_a_failure_after_the_result_is_here_matters_to_nobody() -> None:
    one = at(1)
    one.on_result(result(2, 2))
    one.on_fetched(result(2, 2).id)
    assert one.on_send_failed(2, PLAN.members[2]) == []
    assert sent(one.advance(100.0)) == [(1, 2), (3, 0)], "nor does time"


def test_the_dead_reducers_part_disturbs_the_round() -> None:
    one = at(1)
    one.advance(2 * LIMIT_S)
    assert not one.undisturbed


def test_all_can_step_in_but_those_that_can_not_be_dialled() -> None:
    plan = plan_of(PEOPLE, HEAD, [1, 0, 1, 0])
    able = [place for place, owned in enumerate(plan.ranges_N) if owned]
    assert len(able) == 2
    one = at(able[0], plan)
    assert {place for _, place in sent(one.start())} == {able[1]}
    two_rounds = [place for now in range(30) for _, place in sent(one.advance(now * LIMIT_S))]
    assert set(two_rounds) == {able[1]}


# Bytes that nobody has


def test_missing_bytes_are_asked_for_again_after_a_pause() -> None:
    one = at(1)
    one.on_result(result(2, 2))
    one.advance(0.0)
    one.on_missing(result(2, 2).id, 0.1)
    assert fetches(one.advance(0.1 + FETCH_RETRY_S / 2)) == []
    assert fetches(one.advance(0.1 + FETCH_RETRY_S)) == [result(2, 2).id]


def test_another_result_of_the_part_is_tried_in_turn() -> None:
    one = at(1)
    first, second = result(2, 2), result(3, 2, included=(0, 1, 3))
    one.on_result(first)
    one.on_result(second)
    asked = []
    for turn in range(4):
        asked += fetches(one.advance(float(turn)))
        one.on_missing(asked[-1], float(turn))
    assert asked == [first.id, second.id, first.id, second.id]


def test_one_result_is_enough_until_the_close_names_another() -> None:
    one = at(1)
    first, second = result(2, 2), result(3, 2, included=(0, 1, 3))
    one.on_result(first)
    one.on_fetched(first.id)
    one.on_result(second)
    assert fetches(one.advance(0.1)) == []
    wanted = (bytes(32), bytes(32), second.id, bytes(32))
    assert fetches(one.advance(0.1, wanted)) == [second.id]


def test_a_reducer_back_from_a_crash_makes_its_announced_bytes_again() -> None:
    """And only those: from the very senders that it had named."""
    one = at(1)
    one.on_result(result(1, 1, included=(0, 1, 3)))
    assert 1 not in dict(reductions(one.advance(10 * LIMIT_S))), "the parts are not here yet"
    parts_from(one, 1, 0, 2, 3)
    assert dict(reductions(one.advance(11 * LIMIT_S)))[1] == (0, 1, 3)
    assert 1 not in dict(reductions(one.advance(12 * LIMIT_S)))


# What a result record proves


@pytest.mark.parametrize(
    "changes",
    [
        {"included": (0, 4)},
        {"included": (1, 0)},
        {"included": (1, 1)},
    ],
    ids=["nobody", "unsorted", "twice"],
)
def test_a_result_that_can_not_be(changes: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        at(1).on_result(result(2, 2, **changes))
    assert (caught.value.peer, caught.value.reason) == (PLAN.members[2], "bad-result")


def test_a_result_for_another_roster_is_passed_over() -> None:
    one = at(1)
    one.on_result(result(2, 2, roster=bytes(32)))
    assert fetches(one.advance(0.0)) == []
    one.on_result(result(2, 2))
    assert fetches(one.advance(0.0)) != []


def test_a_result_of_work_that_has_no_vote_is_none() -> None:
    plan = replace(PLAN, votes_N=(0, 0, 2, 1))
    butterfly = at(1, plan)
    butterfly.on_result(result(2, 2, plan, included=(0, 1, 2)))
    with pytest.raises(RemoteProtocolError, match="has a vote"):
        butterfly.on_result(result(3, 3, plan, included=(0, 1)))


def test_a_result_by_somebody_who_reduces_nothing() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        at(1).on_result(result_of(people(9)[8], PLAN, 2))
    assert caught.value.reason == "bad-result"


def test_a_result_for_no_part() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        at(1).on_result(result(2, 9))
    assert caught.value.reason == "bad-result"


def test_two_results_of_one_reducer_are_held_against_it_and_both_kept() -> None:
    one = at(1)
    first, second, third = (result(2, 2, included=names) for names in (ALL, (0, 1, 2), (1, 2)))
    one.on_result(first)
    one.on_result(first)
    for other in (second, third):
        with pytest.raises(RemoteProtocolError) as caught:
            one.on_result(other)
        assert (caught.value.peer, caught.value.reason) == (PLAN.members[2], "equivocation")
    wanted = (bytes(32), bytes(32), second.id, bytes(32))
    assert fetches(one.advance(0.1, wanted)) == [second.id]


def test_select_refuses_what_is_not_one_held_result_for_each_part() -> None:
    one = at(1)
    chosen = tuple(result(part, part) for part in ALL)
    for record in chosen:
        one.on_result(record)
        one.on_fetched(record.id)
    names = tuple(record.id for record in chosen)
    assert one.select(names[::-1]) is None
    assert one.select(names[:3]) is None
    assert one.select((*names, names[0])) is None
    assert one.select(()) is None
    other = result(3, 2, included=(0, 1, 3))
    one.on_result(other)
    assert one.select((names[0], names[1], other.id, names[3])) is None, "announced, not held"
