"""Beginning has a price: a proof of work for one key in one swarm, or a member's bond."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.records import Body, Signed, open_record, sign
from dhtnode.reputation import ReputationSection
from tests.unit.parties import SWARM, ids, people, person
from validation import entry
from validation.entry import Entry, Gate, entry_name, find_nonce, is_paid, zero_bits
from validation.voucher import Voucher, Vouchers

BITS = 8
SECTION = ReputationSection(entry_bits=BITS)
MEMBER, POOR, UNKNOWN, *NEWCOMERS = people(12)
BONDS = {MEMBER.peer_id: 10 * SECTION.voucher_micro, POOR.peer_id: SECTION.voucher_micro}


ENTRIES: dict[str, type[Body]] = {Entry.KIND: Entry, Voucher.KIND: Voucher}


def vouchers(opened: Gate) -> Vouchers:
    return Vouchers(opened, SECTION, lambda peer: peer in BONDS, lambda peer: BONDS.get(peer, 0))


def paid(identity: Identity, bits: int = BITS) -> Signed[Entry]:
    nonce = find_nonce(SWARM, identity.peer_id, bits, 0, 2**16)
    assert nonce is not None
    return sign(identity, SWARM, Entry(nonce=nonce))


def voucher(newcomer: Identity, by: Identity = MEMBER, **changes: Any) -> Signed[Voucher]:
    plain = Voucher(round=7, newcomer=newcomer.peer_id, bond_micro=SECTION.voucher_micro)
    return sign(by, SWARM, msgspec.structs.replace(plain, **changes))


def test_work_opens_the_gate_and_less_work_does_not() -> None:
    opened = Gate(BITS)
    assert opened.find_fault(paid(NEWCOMERS[0])) is None
    assert not opened.may_enter(NEWCOMERS[0].peer_id)
    opened.let_in(NEWCOMERS[0].peer_id, paid(NEWCOMERS[0]))
    assert opened.may_enter(NEWCOMERS[0].peer_id)
    lazy = next(
        Entry(nonce=bytes([number] * 8))
        for number in range(256)
        if zero_bits(SWARM, NEWCOMERS[1].peer_id, bytes([number] * 8)) < BITS
    )
    assert "of 8 bits" in str(opened.find_fault(sign(NEWCOMERS[1], SWARM, lazy)))
    assert not opened.may_enter(NEWCOMERS[1].peer_id)


def test_work_can_not_be_lent_nor_carried_into_another_swarm() -> None:
    nonce = paid(NEWCOMERS[0], bits=12).body.nonce
    assert not is_paid(sign(NEWCOMERS[1], SWARM, Entry(nonce=nonce)), 12)
    assert not is_paid(sign(NEWCOMERS[0], digest("swarm", "another"), Entry(nonce=nonce)), 12)


def test_looking_for_a_nonce_goes_on_where_it_stopped() -> None:
    at_once = find_nonce(SWARM, "peer", 10, 0, 2**16)
    pieces = (find_nonce(SWARM, "peer", 10, start, 64) for start in range(0, 2**16, 64))
    assert at_once is not None
    assert next(found for found in pieces if found) == at_once


def test_without_a_price_everybody_may_come() -> None:
    assert Gate(0).may_enter(NEWCOMERS[0].peer_id)


def test_neighbours_are_shown_what_a_key_has_shown_first() -> None:
    opened = Gate(BITS)
    first, again = paid(NEWCOMERS[0]), paid(NEWCOMERS[0], bits=12)
    for one in (first, again):
        opened.let_in(one.signer, one)
    assert opened.shown(entry_name(first.signer)) == first
    assert opened.shown(entry_name(NEWCOMERS[1].peer_id)) is None


def test_a_member_answers_for_a_newcomer() -> None:
    opened = Gate(BITS)
    answered = vouchers(opened)
    assert answered.on_voucher(voucher(NEWCOMERS[0])) is None
    assert opened.may_enter(NEWCOMERS[0].peer_id)


@pytest.mark.parametrize(
    ("given_", "why"),
    [
        (voucher(NEWCOMERS[0], UNKNOWN), "no whole vote"),
        (voucher(NEWCOMERS[0], bond_micro=1), "puts up 1 of"),
        (voucher(NEWCOMERS[0], POOR, bond_micro=2 * SECTION.voucher_micro), "bond does not cover"),
    ],
)
def test_vouchers_that_open_nothing(given_: Signed[Voucher], why: str) -> None:
    opened = Gate(BITS)
    answered = vouchers(opened)
    assert why in str(answered.on_voucher(given_))
    assert not opened.may_enter(NEWCOMERS[0].peer_id)


def test_a_member_answers_for_few_at_a_time_and_for_more_when_they_are_through() -> None:
    answered = vouchers(Gate(BITS))
    faults = [answered.on_voucher(voucher(newcomer)) for newcomer in NEWCOMERS[:3]]
    assert faults == [None, None, "its signer already answers for 2 newcomers"]
    answered.on_probation_served(NEWCOMERS[0].peer_id)
    assert answered.on_voucher(voucher(NEWCOMERS[2])) is None


def test_who_answered_for_a_cheat_loses_the_bond_and_answers_for_nobody_any_more() -> None:
    opened = Gate(BITS)
    answered = vouchers(opened)
    answered.on_voucher(voucher(NEWCOMERS[0]))
    assert answered.on_convicted(NEWCOMERS[0].peer_id) == voucher(NEWCOMERS[0])
    assert not opened.may_enter(NEWCOMERS[0].peer_id)
    assert "before" in str(answered.on_voucher(voucher(NEWCOMERS[1])))


def test_after_probation_nobody_answers_for_a_newcomer() -> None:
    answered = vouchers(Gate(BITS))
    answered.on_voucher(voucher(NEWCOMERS[0]))
    answered.on_probation_served(NEWCOMERS[0].peer_id)
    assert answered.on_convicted(NEWCOMERS[0].peer_id) is None


def test_the_gate_remembers_a_bounded_crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "MAX_PAID", 3)
    opened = Gate(BITS)
    gone = [opened.let_in(newcomer.peer_id, paid(newcomer)) for newcomer in NEWCOMERS[:4]]
    assert gone == [None, None, None, NEWCOMERS[0].peer_id]
    assert [opened.may_enter(peer) for peer in ids(NEWCOMERS[:4])] == [False, True, True, True]


@given(st.binary(max_size=300))
def test_garbage_is_no_entry(wire: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        open_record(wire, SWARM, ENTRIES, "sender")


def test_the_largest_records_keep_their_bounds() -> None:
    largest = voucher(person(3), round=2**62, bond_micro=2**53)
    assert len(largest.wire) <= Voucher.MAX_BYTES
    assert len(paid(MEMBER).wire) <= Entry.MAX_BYTES
    assert open_record(largest.wire, SWARM, ENTRIES, "sender") == largest
