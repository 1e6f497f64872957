"""The pool keeps each record once, within bounds for each signer, and finds what a neighbour lacks."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.records import Signed, sign
from tests.unit.parties import SWARM, commit, head_of, people, person
from training.messages import MAX_VALUE_BYTES, Commitment, Proposal, Ready, Vote
from training.pool import MAX_BYTES_PER_SIGNER, MAX_RECORDS_PER_SIGNER, MAX_SIGNERS, PREFIX_BYTES, RecordPool

PEOPLE = people(4)
HEAD = head_of(PEOPLE)
BASE = HEAD.id


def ready(identity: Identity) -> Signed[Ready]:
    return sign(identity, SWARM, Ready(round=7, base=BASE))


def vote(identity: Identity, number: int) -> Signed[Vote]:
    body = Vote(round=7, base=BASE, step="roster", view=0, value=number.to_bytes(32, "big"))
    return sign(identity, SWARM, body)


def reason(
    pool: RecordPool, record: Signed[Ready] | Signed[Vote] | Signed[Commitment] | Signed[Proposal]
) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        pool.add(record)
    assert caught.value.peer == record.signer
    return caught.value.reason


def test_each_record_once() -> None:
    pool = RecordPool(BASE)
    assert pool.add(ready(PEOPLE[0]))
    assert not pool.add(ready(PEOPLE[0]))
    assert ready(PEOPLE[0]) in pool
    assert ready(PEOPLE[1]) not in pool
    assert pool.knows(PEOPLE[0].peer_id)
    assert not pool.knows(PEOPLE[1].peer_id)


def test_records_are_found_by_id_and_kind() -> None:
    pool = RecordPool(BASE)
    commitment = commit(PEOPLE[0], HEAD)
    pool.add(commitment)
    pool.add(ready(PEOPLE[1]))
    assert pool.get(commitment.id, Commitment) is commitment
    assert pool.get(commitment.id, Ready) is None
    assert pool.get(bytes(32), Ready) is None
    assert pool.of(Ready) == [ready(PEOPLE[1])]
    assert len(list(pool.all())) == 2


# Two commitments


def test_who_signs_two_commitments_has_none_and_both_are_kept_as_proof() -> None:
    pool = RecordPool(BASE)
    one, other = commit(PEOPLE[0], HEAD), commit(PEOPLE[0], HEAD, steps=9)
    pool.add(one)
    pool.add(commit(PEOPLE[1], HEAD))
    assert reason(pool, other) == "equivocation"
    assert set(pool.commitments) == {PEOPLE[1].peer_id}
    assert pool.equivocators == {PEOPLE[0].peer_id}
    assert pool.get(one.id, Commitment) is one
    assert pool.get(other.id, Commitment) is other


def test_a_third_commitment_is_not_kept() -> None:
    pool = RecordPool(BASE)
    pool.add(commit(PEOPLE[0], HEAD))
    reason(pool, commit(PEOPLE[0], HEAD, steps=9))
    third = commit(PEOPLE[0], HEAD, steps=8)
    assert reason(pool, third) == "equivocation"
    assert third not in pool


# Bounds


def test_a_signer_has_room_for_so_many_records() -> None:
    pool = RecordPool(BASE)
    for number in range(MAX_RECORDS_PER_SIGNER):
        assert pool.add(vote(PEOPLE[0], number))
    assert reason(pool, vote(PEOPLE[0], 1000)) == "flood"
    assert pool.add(vote(PEOPLE[1], 0)), "the others have theirs"


def test_a_signer_has_room_for_so_many_bytes() -> None:
    pool = RecordPool(BASE)

    def proposal(number: int) -> Signed[Proposal]:
        value = bytes([number]) * MAX_VALUE_BYTES
        body = Proposal(round=7, base=BASE, step="roster", view=number, value=value, promises=())
        return sign(PEOPLE[0], SWARM, body)

    fit = MAX_BYTES_PER_SIGNER // len(proposal(0).wire)
    for number in range(fit):
        assert pool.add(proposal(number))
    assert reason(pool, proposal(fit)) == "flood"


def test_strangers_do_not_take_the_members_room() -> None:
    members = people(MAX_SIGNERS + 10)[-4:]
    pool = RecordPool(BASE, [member.peer_id for member in members])
    for stranger in people(MAX_SIGNERS - 4):
        assert pool.add(ready(stranger))
    assert reason(pool, ready(person(MAX_SIGNERS))) == "flood"
    for member in members:
        assert pool.add(ready(member))


# What a neighbour lacks


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_two_pools_that_tell_each_other_what_they_have_become_equal(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311  repeatable
    everything = [vote(identity, number) for identity in PEOPLE for number in range(5)]
    one, other = RecordPool(BASE), RecordPool(BASE)
    for pool in (one, other):
        for record in rng.sample(everything, rng.randrange(len(everything))):
            pool.add(record)
    lacking = other.missing_from(one.have())
    assert len(lacking) == len({record.id for record in other.all()} - {record.id for record in one.all()})
    assert all(other.add(record) for record in one.missing_from(other.have()))
    assert all(one.add(record) for record in lacking)
    assert {record.id for record in one.all()} == {record.id for record in other.all()}


def test_names_are_short() -> None:
    pool = RecordPool(BASE)
    pool.add(ready(PEOPLE[0]))
    assert pool.have() == [ready(PEOPLE[0]).id[:PREFIX_BYTES]]


def test_a_name_that_fits_nothing_hides_nothing() -> None:
    pool = RecordPool(BASE)
    pool.add(ready(PEOPLE[0]))
    assert pool.missing_from([bytes(PREFIX_BYTES), b""]) == [ready(PEOPLE[0])]


def test_another_body_is_another_record() -> None:
    one = vote(PEOPLE[0], 0)
    other = sign(PEOPLE[0], SWARM, msgspec.structs.replace(one.body, view=1))
    pool = RecordPool(BASE)
    assert pool.add(one)
    assert pool.add(other)
