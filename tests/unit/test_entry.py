"""Beginning has a price: a proof of work for one key in one swarm; `test_voucher` has the other way in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.records import Body, Signed, open_record, sign
from tests.unit.parties import SWARM, ids, people
from validation import entry
from validation.entry import Entry, Gate, entry_name, find_nonce, is_paid, zero_bits

BITS = 8
MEMBER, *NEWCOMERS = people(10)
ENTRIES: dict[str, type[Body]] = {Entry.KIND: Entry}


def paid(identity: Identity, bits: int = BITS) -> Signed[Entry]:
    nonce = find_nonce(SWARM, identity.peer_id, bits, 0, 2**16)
    assert nonce is not None
    return sign(identity, SWARM, Entry(nonce=nonce))


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


def test_the_largest_record_keeps_its_bounds() -> None:
    assert len(paid(MEMBER).wire) <= Entry.MAX_BYTES
