"""A receipt proves that work is part of a certified state, to anybody; none can be made up."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.records import Signed, canonical, sign
from rewards.receipts import MAX_RECEIPT_BYTES, Receipt, open_receipt, receipts_of
from tests.unit.parties import SWARM, certified, commit, head_of, people
from training.chain import Certificate
from training.messages import Commitment

PEOPLE = people(4)
BEFORE = head_of(PEOPLE)
COMMITMENTS = tuple(commit(identity, BEFORE) for identity in PEOPLE)


def round_over(accepted: tuple[Signed[Commitment], ...], **changes: Any) -> Certificate:
    """The round after BEFORE, which took in these commitments."""
    names = tuple(commitment.id for commitment in accepted)
    head = head_of(PEOPLE, number=8, parent=BEFORE.id, accepted=names)
    return certified(PEOPLE, msgspec.structs.replace(head, **changes))


CERTIFICATE = round_over(COMMITMENTS[:3])
RECEIPT = Receipt(COMMITMENTS[0], CERTIFICATE)


def refused(receipt: Receipt | bytes) -> str:
    wire = receipt if isinstance(receipt, bytes) else receipt.wire
    with pytest.raises(RemoteProtocolError) as caught:
        open_receipt(wire, SWARM, "sender")
    return caught.value.reason


def test_anybody_can_check_a_receipt_with_nothing_but_the_swarm_id() -> None:
    receipt = open_receipt(RECEIPT.wire, SWARM)
    assert receipt.worker == PEOPLE[0].peer_id
    assert receipt.tokens == 80
    assert receipt.certificate.id == CERTIFICATE.id
    assert receipt.wire == RECEIPT.wire


def test_a_receipt_says_by_itself_that_nobody_could_verify_the_data() -> None:
    assert open_receipt(RECEIPT.wire, SWARM).unverified_data
    shared = commit(PEOPLE[0], BEFORE, private=False)
    assert not open_receipt(Receipt(shared, round_over((shared,))).wire, SWARM).unverified_data


def test_the_mark_can_not_be_taken_off_afterwards() -> None:
    assert refused(raised(RECEIPT, PEOPLE[0], private=False)) == "bad-receipt"


def test_a_round_gives_a_receipt_for_each_accepted_commitment() -> None:
    receipts = receipts_of(CERTIFICATE, COMMITMENTS)
    assert [receipt.worker for receipt in receipts] == [identity.peer_id for identity in PEOPLE[:3]]
    for receipt in receipts:
        open_receipt(receipt.wire, SWARM)


def test_work_that_the_round_did_not_take_in() -> None:
    assert refused(Receipt(COMMITMENTS[3], CERTIFICATE)) == "bad-receipt"


def test_work_for_another_round() -> None:
    """Named as accepted by a roster of friends, but done for another head."""
    stray = commit(PEOPLE[0], BEFORE, base=bytes(32))
    assert refused(Receipt(stray, round_over((stray,)))) == "bad-receipt"


def raised(receipt: Receipt, identity: Identity, **changes: Any) -> Receipt:
    """The commitment says something else, and is signed anew."""
    body = msgspec.structs.replace(receipt.commitment.body, **changes)
    return Receipt(sign(identity, SWARM, body), receipt.certificate)


def test_more_tokens_than_were_committed_to() -> None:
    assert refused(raised(RECEIPT, PEOPLE[0], tokens=81)) == "bad-receipt"


def test_anothers_work() -> None:
    assert refused(raised(RECEIPT, PEOPLE[3])) == "bad-receipt"


def test_a_certificate_without_a_majority() -> None:
    few = Certificate(CERTIFICATE.head, CERTIFICATE.votes[:2])
    assert refused(Receipt(COMMITMENTS[0], few)) == "bad-certificate"


def test_a_head_that_was_changed_to_name_the_work() -> None:
    head = msgspec.structs.replace(CERTIFICATE.head, accepted=(COMMITMENTS[3].id,))
    assert refused(Receipt(COMMITMENTS[3], Certificate(head, CERTIFICATE.votes))) == "bad-certificate"


def test_a_receipt_of_another_swarm() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        open_receipt(RECEIPT.wire, digest("other"))
    assert caught.value.reason == "bad-signature"


def test_a_vote_is_no_commitment() -> None:
    assert refused(canonical([CERTIFICATE.votes[0].wire, CERTIFICATE.wire])) == "unknown-kind"


def test_an_endless_receipt_is_not_parsed() -> None:
    assert refused(bytes(MAX_RECEIPT_BYTES + 1)) == "bad-receipt"


@settings(max_examples=150)
@given(place=st.integers(0, len(RECEIPT.wire) - 1), flip=st.integers(1, 255))
def test_no_byte_can_be_changed(place: int, flip: int) -> None:
    wire = bytearray(RECEIPT.wire)
    wire[place] ^= flip
    refused(bytes(wire))


@settings(max_examples=100)
@given(st.binary(max_size=200) | st.lists(st.binary(max_size=20), max_size=4).map(canonical))
def test_garbage(wire: bytes) -> None:
    refused(wire)
