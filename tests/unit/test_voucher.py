"""A member answers for a newcomer with part of its stake: what is held, and whom it lets in."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.records import Body, Signed, open_record, sign
from dhtnode.reputation import ReputationSection
from tests.unit.parties import SWARM, people, person
from validation import voucher as rules
from validation.entry import Gate
from validation.voucher import Backing, NoBacking, Voucher, Vouchers

SECTION = ReputationSection(entry_bits=8, open_rounds=16)
LEAST = SECTION.voucher_micro
MEMBER, POOR, UNKNOWN, OUT, *NEWCOMERS = people(12)
NOW = 7
KINDS: dict[str, type[Body]] = {Voucher.KIND: Voucher}


class Known(Backing):
    """A ledger of which the test says what is in it."""

    def __init__(self) -> None:
        self.stakes: dict[str, int | None] = {
            MEMBER.peer_id: 10 * LEAST,
            POOR.peer_id: LEAST,
            OUT.peer_id: 10 * LEAST,
        }
        self.lost: set[str] = set()
        self.served: set[str] = set()

    def had_full_vote(self, member: str, round_no: int) -> bool:
        return member in self.stakes

    def stake_micro(self, member: str) -> int | None:
        return self.stakes[member]

    def has_lost(self, member: str) -> bool:
        return member in self.lost

    def has_served(self, newcomer: str) -> bool:
        return newcomer in self.served


class Door:
    """A gate with vouchers, in one round."""

    def __init__(self, backing: Backing | None = None) -> None:
        self.ledger = Known()
        self.gate = Gate(SECTION.entry_bits)
        self.vouchers = Vouchers(self.gate, SECTION, backing or self.ledger, lambda peer: peer == OUT.peer_id)
        self.vouchers.begin(NOW, 0)

    def take(self, *given_: Signed[Voucher]) -> list[bool]:
        return [self.vouchers.take(one, 0) for one in given_]

    def entered(self, *newcomers: Identity) -> list[bool]:
        return [self.gate.may_enter(one.peer_id) for one in newcomers]


def voucher(newcomer: Identity, /, by: Identity = MEMBER, **changes: Any) -> Signed[Voucher]:
    plain = Voucher(round=NOW, newcomer=newcomer.peer_id, bond_micro=LEAST)
    return sign(by, SWARM, msgspec.structs.replace(plain, **changes))


def test_a_member_answers_for_a_newcomer() -> None:
    door = Door()
    assert door.entered(NEWCOMERS[0]) == [False]
    assert door.take(voucher(NEWCOMERS[0]), voucher(NEWCOMERS[0])) == [True, False], "news once"
    assert door.entered(*NEWCOMERS[:2]) == [True, False]
    assert door.vouchers.by(NEWCOMERS[0].peer_id) == voucher(NEWCOMERS[0])


@pytest.mark.parametrize(
    ("given_", "why"),
    [
        (voucher(MEMBER), "answers for itself"),
        (voucher(NEWCOMERS[0], newcomer="1" * 52), "no key"),
        (voucher(NEWCOMERS[0], bond_micro=1), "puts up 1 of 1000000"),
    ],
)
def test_what_no_honest_member_signs(given_: Signed[Voucher], why: str) -> None:
    assert why in str(Door().vouchers.find_fault(given_))


def test_an_honest_voucher_has_no_fault() -> None:
    assert Door().vouchers.find_fault(voucher(NEWCOMERS[0])) is None


@pytest.mark.parametrize(
    "given_",
    [voucher(NEWCOMERS[0], UNKNOWN), voucher(NEWCOMERS[0], round=NOW + 1)],
    ids=["by a stranger", "of a round to come"],
)
def test_what_is_not_held_lets_nobody_in(given_: Signed[Voucher]) -> None:
    door = Door()
    assert door.take(given_) == [False]
    assert door.vouchers.held == []
    assert door.entered(NEWCOMERS[0]) == [False]


def test_where_no_ledger_is_kept_nobody_answers() -> None:
    door = Door(NoBacking())
    assert door.take(voucher(NEWCOMERS[0])) == [False]


@pytest.mark.parametrize(
    ("given_", "why"),
    [
        (voucher(NEWCOMERS[0], POOR, bond_micro=2 * LEAST), "has 1000000 micro-credits at stake"),
        (voucher(NEWCOMERS[0], OUT), "its signer is out"),
    ],
)
def test_what_is_held_and_lets_nobody_in(given_: Signed[Voucher], why: str) -> None:
    door = Door()
    assert why in str(door.vouchers.why_not(given_))
    assert door.take(given_) == [True]
    assert door.vouchers.held == [given_], "neighbours hold the same, whatever their ledgers say"
    assert door.entered(NEWCOMERS[0]) == [False]


def test_a_refused_voucher_lets_in_once_its_signer_has_earned_enough() -> None:
    door = Door()
    door.take(voucher(NEWCOMERS[0], POOR, bond_micro=2 * LEAST))
    door.ledger.stakes[POOR.peer_id] = 2 * LEAST
    door.vouchers.begin(NOW + 1, 0)
    assert door.entered(NEWCOMERS[0]) == [True]


def test_who_lacks_rounds_leaves_it_to_others_whether_a_stake_is_enough() -> None:
    door = Door()
    door.ledger.stakes[POOR.peer_id] = None
    door.take(voucher(NEWCOMERS[0], POOR, bond_micro=2 * LEAST))
    assert door.entered(NEWCOMERS[0]) == [True]


def test_all_bonds_of_a_member_together_are_covered() -> None:
    door = Door()
    door.take(voucher(NEWCOMERS[0], bond_micro=6 * LEAST), voucher(NEWCOMERS[1], bond_micro=5 * LEAST))
    assert door.entered(*NEWCOMERS[:2]) == [True, False]


def test_a_member_answers_for_few_at_a_time_and_for_more_when_they_are_through() -> None:
    door = Door()
    door.take(*map(voucher, NEWCOMERS[:3]))
    assert door.entered(*NEWCOMERS[:3]) == [True, True, False]
    door.ledger.served.add(NEWCOMERS[0].peer_id)
    door.vouchers.begin(NOW + 1, 0)
    assert door.entered(*NEWCOMERS[:3]) == [True, True, True], "who has served needs nobody's word"
    assert len(door.vouchers.open_of(MEMBER.peer_id)) == 2


def test_who_signs_more_in_an_earlier_round_pushes_nobody_out() -> None:
    door = Door()
    door.take(voucher(NEWCOMERS[0]), voucher(NEWCOMERS[1]), voucher(NEWCOMERS[2], round=NOW - 1))
    door.vouchers.begin(NOW + 1, 0)
    assert door.entered(*NEWCOMERS[:3]) == [True, True, False]


def test_who_answered_for_a_cheat_answers_for_nobody_any_more() -> None:
    door = Door()
    door.take(voucher(NEWCOMERS[0]))
    door.vouchers.convicted(NEWCOMERS[0].peer_id)
    door.ledger.lost.add(MEMBER.peer_id)
    assert "before" in str(door.vouchers.why_not(voucher(NEWCOMERS[1])))
    door.take(voucher(NEWCOMERS[1]))
    assert door.entered(*NEWCOMERS[:2]) == [False, False]


def test_nobody_answers_for_a_cheat_again() -> None:
    door = Door()
    door.vouchers.convicted(NEWCOMERS[0].peer_id)
    door.ledger.served.add(NEWCOMERS[0].peer_id)
    door.take(voucher(NEWCOMERS[0]))
    assert door.entered(NEWCOMERS[0]) == [False]


def test_a_voucher_holds_for_as_long_as_evidence_counts() -> None:
    door = Door()
    door.take(voucher(NEWCOMERS[0]))
    last = NOW + SECTION.open_rounds - 1
    door.vouchers.begin(last, 0)
    assert door.entered(NEWCOMERS[0]) == [True]
    door.vouchers.begin(last + 1, 0)
    assert door.entered(NEWCOMERS[0]) == [False]
    assert door.vouchers.held, "neighbours may still lack it"
    door.vouchers.begin(32, NOW + 1)
    assert door.vouchers.held == []


def test_of_one_member_a_bounded_number_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_OF_ONE", 2)
    door = Door()
    assert door.take(*map(voucher, NEWCOMERS[:3])) == [True, True, False]
    door.vouchers.begin(32, NOW + 1)
    assert door.vouchers.take(voucher(NEWCOMERS[3], round=32), NOW + 1), "old ones make room"


@given(st.permutations([voucher(one, by) for one in NEWCOMERS[:3] for by in (MEMBER, POOR)]))
def test_all_hold_the_same_whatever_came_first(order: list[Signed[Voucher]]) -> None:
    door, again = Door(), Door()
    door.take(*order)
    again.vouchers.again(door.vouchers.held, NOW, 0)
    assert door.vouchers.held == again.vouchers.held
    assert len(door.vouchers.held) == 6


def test_after_a_restart_the_first_in_canonical_order_are_in() -> None:
    door = Door()
    given_ = [voucher(one, round=NOW - place) for place, one in enumerate(NEWCOMERS[:3])]
    door.vouchers.again(given_, NOW, 0)
    assert door.entered(*NEWCOMERS[:3]) == [False, True, True]


@given(st.binary(max_size=300))
def test_garbage_is_no_voucher(wire: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        open_record(wire, SWARM, KINDS, "sender")


def test_the_largest_record_keeps_its_bounds() -> None:
    largest = voucher(person(3), round=2**62, bond_micro=2**53)
    assert len(largest.wire) <= Voucher.MAX_BYTES
    assert open_record(largest.wire, SWARM, KINDS, "sender") == largest
