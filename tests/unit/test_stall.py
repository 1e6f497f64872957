"""Who goes on alone, and when: only without a living quorum, each in turn, or out of a deadlock."""

from __future__ import annotations

import pytest

from dhtnode.manifest import RoundSection
from tests.unit.parties import head_of, ids, people
from training.pace import Pace
from training.pool import MAX_SIGNERS
from training.roster import ordered
from training.stall import DEADLOCK_STALLS, Stall

PEOPLE = people(5)
HEAD = head_of(PEOPLE)
STALL_S = 60.0
TRAIN_S = 10.0
ORDER = ordered(HEAD.members, HEAD.state, HEAD.number, "leader")


def pace() -> Pace:
    learned = Pace(RoundSection(stall_s=STALL_S, slack=2.0))
    learned.learn_train([TRAIN_S / 2])
    return learned


def stall(me: str, *heard: str, at_s: float = 0.0) -> Stall:
    begun = Stall(me, 0.0)
    begun.begin(0.0)
    for peer in heard:
        begun.hear(peer, at_s)
    return begun


def is_over(of: Stall, now_s: float, ripe: bool = False, others: tuple[str, ...] = ()) -> bool:
    return of.is_over(HEAD, HEAD.members, others, ripe, now_s, pace())


def test_with_nobody_left_the_stall_time_is_waited_for() -> None:
    alone = stall(ORDER[0])
    assert not is_over(alone, STALL_S - 0.1)
    assert not alone.is_long(STALL_S - 0.1, pace())
    assert is_over(alone, STALL_S)
    assert alone.is_long(STALL_S, pace())


def test_each_adopted_head_begins_the_wait_anew() -> None:
    alone = stall(ORDER[0])
    alone.begin(50.0)
    assert not is_over(alone, STALL_S)
    assert is_over(alone, 50.0 + STALL_S)


def test_never_while_a_quorum_is_heard_of() -> None:
    one = stall(ORDER[0], ORDER[1], ORDER[2], at_s=1000.0)
    assert not is_over(one, 1000.0 + STALL_S - 0.1)
    assert is_over(one, 1000.0 + STALL_S), "they have fallen silent"


def test_others_than_electors_make_no_quorum() -> None:
    assert is_over(stall(ORDER[0], *ids(people(20)[5:]), at_s=STALL_S), STALL_S)


def test_those_left_go_in_turn_the_best_placed_first() -> None:
    second = stall(ORDER[3], ORDER[1], at_s=STALL_S)
    assert not is_over(second, STALL_S)
    assert not is_over(second, STALL_S + TRAIN_S - 0.1)
    assert is_over(second, STALL_S + TRAIN_S)


def test_who_is_no_elector_goes_after_those_who_are() -> None:
    newcomer = people(6)[5].peer_id
    waiting = stall(newcomer, ORDER[0], ORDER[1], at_s=STALL_S)
    others = (newcomer,)
    assert not is_over(waiting, STALL_S + 2 * TRAIN_S - 0.1, others=others)
    assert is_over(waiting, STALL_S + 2 * TRAIN_S, others=others)
    assert is_over(stall(newcomer), STALL_S, others=others), "nobody else is left"


def test_who_does_not_play_does_not_go() -> None:
    assert not is_over(stall(people(6)[5].peer_id), 10 * STALL_S)


def test_a_quorum_that_gets_nowhere_is_left_after_several_stall_times() -> None:
    def at(now_s: float) -> bool:
        stuck = stall(ORDER[0])
        assert not is_over(stuck, 10.0, ripe=True)
        for peer in ORDER[1:]:
            stuck.hear(peer, now_s)
        return is_over(stuck, now_s, ripe=True)

    assert not at(10.0 + DEADLOCK_STALLS * STALL_S - 0.1)
    assert at(10.0 + DEADLOCK_STALLS * STALL_S)


def test_a_quorum_that_still_works_is_never_left() -> None:
    """Work may take as long as it likes: only an agreement that is due counts as stuck."""
    patient = stall(ORDER[0], *ORDER[1:], at_s=1e6)
    assert not is_over(patient, 1e6)


def test_those_not_heard_of_are_forgotten() -> None:
    one = stall(ORDER[0], ORDER[1])
    one.hear(ORDER[2], 50.0)
    one.forget(STALL_S + 1, pace())
    assert one.alive(ORDER, STALL_S + 1, pace()) == {ORDER[0], ORDER[2]}


def test_names_without_end_take_no_room() -> None:
    crowd = [str(number) for number in range(10 * MAX_SIGNERS)]
    one = stall(ORDER[0], *crowd, at_s=1.0)
    assert len(one.alive(crowd, 1.0, pace())) == MAX_SIGNERS


@pytest.mark.parametrize(("heard", "quorum"), [(1, False), (2, True)])
def test_a_majority_is_a_quorum_and_we_count(heard: int, quorum: bool) -> None:
    assert stall(ORDER[0], *ORDER[1 : 1 + heard]).has_quorum(ORDER, 1.0, pace()) is quorum
