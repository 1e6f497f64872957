"""The middle of what members say of the held-out loss: no minority moves it, and a lasting rise is told."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.records import Signed, open_record, sign
from tests.unit.parties import SWARM, head_of, ids, people
from training.messages import Head
from validation.evaluation import IN_A_ROW, KEPT, Change, Evaluation, Outlook, changed, evaluation_of, rises

PEOPLE = people(5)
MILLION = 1_000_000


def word(loss: int, **changes: object) -> Evaluation:
    return msgspec.structs.replace(
        Evaluation(round=7, base=bytes(32), loss_micro=loss, examples=100, public=False), **changes
    )


def says(person: Identity, head: Head, loss: int) -> Signed[Evaluation]:
    return sign(person, SWARM, word(loss, round=head.number, base=head.id))


def chain(length: int) -> list[Head]:
    heads = [head_of(PEOPLE)]
    while len(heads) < length:
        last = heads[-1]
        heads.append(msgspec.structs.replace(last, number=last.number + 1, parent=last.id))
    return heads


def told(outlook: Outlook, heads: list[Head], losses: list[int], liars: int = 0) -> list[Change]:
    """Everybody judges each state; liars say that each is far worse than the one before."""
    changes = []
    for place, (head, loss) in enumerate(zip(heads, losses, strict=True)):
        change = outlook.adopt(head)
        changes += [change] if change else []
        for number, person in enumerate(PEOPLE):
            outlook.add(says(person, head, 10**9 * place if number < liars else loss + number))
    return changes


def test_a_word_is_a_signed_record_within_its_cap() -> None:
    largest = word(2**53, round=2**62, examples=2**62, public=True)
    record = sign(PEOPLE[0], SWARM, largest)
    assert open_record(record.wire, SWARM, {Evaluation.KIND: Evaluation}) == record
    with pytest.raises(RemoteProtocolError, match="schema"):
        open_record(sign(PEOPLE[0], SWARM, word(-1)).wire, SWARM, {Evaluation.KIND: Evaluation})


@pytest.mark.parametrize(
    ("loss", "micro"),
    [(2.25, 2_250_000), (0.0, 0), (-0.1, 0), (1e300, 2**53), (math.inf, 2**53), (math.nan, 2**53)],
)
def test_any_loss_can_be_said(loss: float, micro: int) -> None:
    head = head_of(PEOPLE)
    said = evaluation_of(head, loss, examples=359, public=True)
    assert said == Evaluation(round=7, base=head.id, loss_micro=micro, examples=359, public=True)
    sign(PEOPLE[0], SWARM, said)


def test_a_round_is_judged_by_those_who_saw_the_state_before_and_after_it() -> None:
    changes = told(Outlook(), chain(4), [5 * MILLION, 4 * MILLION, 3 * MILLION, 2 * MILLION])
    assert changes == [Change(7, -MILLION, 5), Change(8, -MILLION, 5)]


def test_two_liars_of_five_change_nothing() -> None:
    honest, lied = Outlook(), Outlook()
    losses = [MILLION * (50 - number) for number in range(20)]
    assert [change.micro for change in told(lied, chain(20), losses, liars=2)] == [
        change.micro for change in told(honest, chain(20), losses)
    ]
    assert not lied.is_rising


@given(
    st.lists(st.integers(-1000, 1000), min_size=2, max_size=9),
    st.lists(st.integers(-(10**9), 10**9), max_size=8),
)
def test_the_middle_lies_among_honest_changes(honest: list[int], lies: list[int]) -> None:
    lies = lies[: len(honest) - 1]
    steps = {f"p{number}": step for number, step in enumerate([*honest, *lies])}
    before = {peer: word(2 * 10**9) for peer in steps}
    after = {peer: word(2 * 10**9 + step) for peer, step in steps.items()}
    found = changed(before, after)
    if len(steps) < 3:
        assert found is None, "one of two could say what it likes"
    else:
        assert found is not None
        assert min(honest) <= found[0] <= max(honest)


def test_only_like_is_compared_with_like() -> None:
    before = {peer: word(MILLION) for peer in "abcd"}
    after = {"a": word(1), "b": word(1, examples=99), "c": word(1, public=True)}
    assert changed(before, after) is None
    assert changed(before, before | {"a": word(1)}) == (0, 4)


def test_strangers_and_second_thoughts_are_not_heard() -> None:
    heads = chain(3)
    outlook = Outlook()
    outlook.adopt(heads[0])
    stranger = people(9)[8]
    for person in (*PEOPLE[:2], stranger):
        outlook.add(says(person, heads[0], MILLION))
        outlook.add(says(person, heads[0], 9 * MILLION))
        outlook.add(says(person, heads[1], MILLION))
    outlook.adopt(heads[1])
    assert outlook.adopt(heads[2]) is None, "two members are too few"
    outlook = Outlook()
    told(outlook, heads[:1], [MILLION])
    outlook.add(says(PEOPLE[0], heads[0], 9 * MILLION))
    for number, person in enumerate(PEOPLE):
        outlook.add(says(person, heads[1], MILLION + number))
    outlook.adopt(heads[1])
    assert outlook.adopt(heads[2]) == Change(7, 0, 5)


def test_who_talks_without_end_is_forgotten_first() -> None:
    outlook = Outlook()
    heads = chain(KEPT + 3)
    outlook.adopt(heads[0])
    for head in heads:
        outlook.add(says(PEOPLE[0], head, 1))
    assert [len(said) for said in outlook._said.values()] == [KEPT]


def test_nothing_is_told_across_rounds_that_were_missed() -> None:
    heads = chain(6)
    outlook = Outlook()
    told(outlook, heads[:2], [MILLION] * 2)
    assert outlook.adopt(heads[4]) is None
    assert outlook.adopt(heads[5]) is None
    assert outlook.is_rising is False


def test_who_has_left_is_not_asked_any_more() -> None:
    heads = chain(2)
    outlook = Outlook()
    told(outlook, heads, [MILLION] * 2)
    left = msgspec.structs.replace(
        heads[1], number=9, parent=heads[1].id, members=ids(PEOPLE[:2]), votes=(0, 0)
    )
    outlook.adopt(left)
    assert set(outlook._said) == set(ids(PEOPLE[:2]))


def test_a_loss_that_falls_or_wavers_is_no_warning() -> None:
    assert not rises([])
    assert not rises([-1000] * 30)
    assert not rises([400, -400] * 15)
    assert not rises([-1000] * 20 + [6000] + [0] * (IN_A_ROW - 2)), "not for long enough"


def test_a_lasting_rise_is_told() -> None:
    assert rises([-1000] * 20 + [6000] + [0] * (IN_A_ROW - 1))
    assert rises([-1000] * 5 + [1000] * 20)


def test_the_warning_ends_when_the_loss_is_down_again() -> None:
    up = [-1000] * 20 + [6000] + [0] * (IN_A_ROW - 1)
    assert not rises([*up, -7000])
