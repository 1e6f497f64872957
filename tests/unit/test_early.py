"""Records that are too early wait in a room of limited size."""

from __future__ import annotations

from dhtnode.records import sign
from tests.unit.parties import SWARM, people
from training.early import MAX_BYTES, MAX_RECORDS, EarlyRecords
from training.events import RecordArrived
from training.messages import MAX_VALUE_BYTES, Proposal, Ready

ME = people(1)[0]
HERE, THERE = bytes(32), bytes([1]) * 32


def ready(number: int, base: bytes = HERE) -> RecordArrived:
    return RecordArrived(sign(ME, SWARM, Ready(round=number, base=base)), "sender")


def test_each_round_gets_its_own_in_their_order() -> None:
    room = EarlyRecords()
    for number in range(3):
        room.add(HERE, ready(number))
        room.add(THERE, ready(number, THERE))
    assert room.take(HERE) == [ready(number) for number in range(3)]
    assert room.take(HERE) == []
    assert len(room) == 3
    assert room.take(THERE) == [ready(number, THERE) for number in range(3)]
    assert len(room) == 0


def test_a_full_room_is_emptied() -> None:
    room = EarlyRecords()
    for number in range(MAX_RECORDS):
        room.add(number.to_bytes(32, "big"), ready(0))
    assert len(room) == MAX_RECORDS
    room.add(HERE, ready(1))
    assert len(room) == 1
    assert room.take(HERE) == [ready(1)]


def test_bytes_count_as_well() -> None:
    room = EarlyRecords()
    value = bytes(MAX_VALUE_BYTES)
    body = Proposal(round=1, base=HERE, step="roster", view=0, value=value, promises=())
    large = RecordArrived(sign(ME, SWARM, body), "sender")
    fit = MAX_BYTES // len(large.record.wire)
    for _ in range(fit):
        room.add(HERE, large)
    assert len(room) == fit
    room.add(HERE, large)
    assert len(room) == 1


def test_room_is_given_back() -> None:
    room = EarlyRecords()
    for _ in range(3):
        for number in range(MAX_RECORDS):
            room.add(HERE, ready(number))
        assert len(room.take(HERE)) == MAX_RECORDS
