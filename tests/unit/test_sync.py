"""Neighbours' frames: bounded, canonical, and blamed on who sent them when they are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.records import canonical, sign
from tests.unit.parties import SWARM, certified, commit, head_of, people
from training.chain import MAX_CERTIFICATE_BYTES, NOTHING
from training.messages import Proposal, Vote
from training.pool import MAX_RECORDS, PREFIX_BYTES, RecordPool
from training.sync import (
    MAX_SYNC_BYTES,
    Held,
    open_sync_reply,
    open_sync_request,
    sync_reply,
    sync_request,
)

PEOPLE = people(4)
HEAD = head_of(PEOPLE)
CERTIFICATE = certified(PEOPLE, HEAD)


def pool_of(*records: Any) -> RecordPool:
    pool = RecordPool(HEAD.id)
    for record in records:
        pool.add(record)
    return pool


COMMITMENTS = [commit(identity, HEAD) for identity in PEOPLE]


def test_a_question_and_its_answer() -> None:
    question = open_sync_request(sync_request(HEAD, pool_of(*COMMITMENTS[:1])), "asker")
    assert (question.head, question.number, question.tokens) == (HEAD.id, 7, 7_000)
    answer = open_sync_reply(sync_reply(question, CERTIFICATE.wire, [pool_of(*COMMITMENTS)]), "teller")
    assert answer.certificate == CERTIFICATE.wire
    assert answer.records == tuple(record.wire for record in COMMITMENTS[1:])


def test_who_holds_nothing_asks_too() -> None:
    question = open_sync_request(sync_request(None, None), "asker")
    assert (question.head, question.number, question.have) == (NOTHING, 0, ())


def test_records_of_another_head_are_not_told() -> None:
    question = open_sync_request(sync_request(head_of(PEOPLE, tokens=1), None), "asker")
    answer = open_sync_reply(sync_reply(question, None, [pool_of(*COMMITMENTS)]), "teller")
    assert (answer.certificate, answer.records) == (None, ())


def test_the_fullest_pool_fits_into_a_question() -> None:
    have = [number.to_bytes(PREFIX_BYTES, "big") for number in range(MAX_RECORDS)]
    frame = canonical({"head": bytes(32), "number": 2**62, "tokens": 2**62, "have": have})
    assert len(frame) <= MAX_SYNC_BYTES
    assert len(open_sync_request(frame, "asker").have) == MAX_RECORDS


def test_an_answer_takes_as_many_records_as_fit() -> None:
    proposals = [
        sign(
            identity,
            SWARM,
            Proposal(round=7, base=HEAD.id, step="roster", view=view, value=bytes(16_000), promises=()),
        )
        for identity in PEOPLE
        for view in range(10)
    ]
    question = open_sync_request(sync_request(HEAD, None), "asker")
    wire = sync_reply(question, bytes(MAX_CERTIFICATE_BYTES), [pool_of(*proposals)])
    assert len(wire) <= MAX_SYNC_BYTES
    answer = open_sync_reply(wire, "teller")
    assert 0 < len(answer.records) < len(proposals)
    have = pool_of(*proposals[: len(answer.records)])
    rest = open_sync_reply(
        sync_reply(open_sync_request(sync_request(HEAD, have), ""), None, [pool_of(*proposals)]), ""
    )
    assert rest.records
    assert not set(rest.records) & set(answer.records)


def test_an_answer_of_very_many_small_records_can_be_opened() -> None:
    votes = [
        sign(identity, SWARM, Vote(round=7, base=HEAD.id, step="roster", view=view % 64, value=bytes(32)))
        for identity in people(40)
        for view in range(60)
    ]
    question = open_sync_request(sync_request(HEAD, None), "asker")
    wire = sync_reply(question, None, [pool_of(*votes)])
    assert len(wire) <= MAX_SYNC_BYTES
    assert len(open_sync_reply(wire, "teller").records) > 500


GOOD: dict[str, Any] = {
    "head": bytes(32),
    "number": 7,
    "tokens": 7,
    "have": [bytes(PREFIX_BYTES)],
}


@pytest.mark.parametrize(
    "changes",
    [
        {"head": bytes(31)},
        {"head": None},
        {"number": -1},
        {"number": 2**63},
        {"tokens": "7"},
        {"have": [bytes(PREFIX_BYTES - 1)]},
        {"have": [bytes(PREFIX_BYTES + 1)]},
        {"have": [7]},
        {"have": [bytes(PREFIX_BYTES)] * (MAX_RECORDS + 1)},
        {"more": 1},
    ],
    ids=lambda changes: str(next(iter(changes.items())))[:24],
)
def test_a_malformed_question(changes: dict[str, Any]) -> None:
    assert open_sync_request(canonical(GOOD), "asker")
    with pytest.raises(RemoteProtocolError) as caught:
        open_sync_request(canonical({**GOOD, **changes}), "asker")
    assert (caught.value.peer, caught.value.reason) == ("asker", "bad-sync")


HELD: dict[str, Any] = {"certificate": None, "records": [], "since": 512, "root": bytes(32)}


@pytest.mark.parametrize(
    "reply",
    [
        {"certificate": None},
        {**HELD, "certificate": 7},
        {**HELD, "certificate": bytes(MAX_CERTIFICATE_BYTES + 1)},
        {**HELD, "records": ["text"]},
        {**HELD, "records": [b""] * 5000},
        {**HELD, "since": -1},
        {**HELD, "root": bytes(31)},
        {**HELD, "more": 1},
        [None, [], 0, bytes(32)],
    ],
    ids=["lacks", "number", "long", "text", "many", "before", "short", "more", "list"],
)
def test_a_malformed_answer(reply: Any) -> None:
    assert open_sync_reply(canonical(HELD), "teller").since == 512
    with pytest.raises(RemoteProtocolError) as caught:
        open_sync_reply(canonical(reply), "teller")
    assert (caught.value.peer, caught.value.reason) == ("teller", "bad-sync")


def test_an_answer_names_all_else_that_is_held() -> None:
    question = open_sync_request(sync_request(HEAD, None), "asker")
    held = Held(512, digest("root"))
    answer = open_sync_reply(sync_reply(question, None, [], held), "teller")
    assert (answer.since, answer.root) == held


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_garbage(frame: bytes) -> None:
    for opener in (open_sync_request, open_sync_reply):
        with pytest.raises(RemoteProtocolError) as caught:
            opener(frame, "somebody")
        assert (caught.value.peer, caught.value.reason) == ("somebody", "bad-sync")


@settings(max_examples=200)
@given(place=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_damaged_frame_is_refused_or_means_what_it_says(place: int, flip: int) -> None:
    """Frames are not signed; whatever still has the form is taken at its word, and moves nobody."""
    for opener, frame in (
        (open_sync_request, sync_request(HEAD, pool_of(*COMMITMENTS))),
        (
            open_sync_reply,
            sync_reply(open_sync_request(sync_request(HEAD, None), ""), None, [pool_of(*COMMITMENTS)]),
        ),
    ):
        damaged = bytearray(frame)
        damaged[place % len(frame)] ^= flip
        assert blamed(opener, bytes(damaged)) in {None, ("somebody", "bad-sync")}


def blamed(opener: Callable[[bytes, str], object], frame: bytes) -> tuple[str, str] | None:
    try:
        opener(frame, "somebody")
    except RemoteProtocolError as error:
        return error.peer, error.reason
    return None


def test_an_endless_frame_is_not_parsed() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        open_sync_reply(bytes(MAX_SYNC_BYTES + 1), "teller")
    assert caught.value.reason == "bad-sync"
