"""Rounds for who was not there: named by the chain, checked from themselves, others are blamed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhtnode.errors import RemoteProtocolError
from dhtnode.records import canonical
from rewards.evidence import close_round
from rewards.rounds import (
    MAX_ANSWER_BYTES,
    MAX_STEP_BYTES,
    MAX_STEPS,
    answer_question,
    open_answer,
    open_step,
    pack_step,
    question_for,
)
from tests.unit.parties import CHUNKS, SWARM, people
from tests.unit.rounds import history
from training.events import Adopt

PEOPLE = people(4)
HISTORY = history(6, PEOPLE)
IDS = [adopted.certificate.id for adopted in HISTORY]


def packed(adopted: Adopt) -> bytes:
    work = adopted.plan.commitments_N if adopted.plan else ()
    return pack_step(
        adopted.certificate.wire, [one.wire for one in work], [one.wire for one in adopted.results]
    )


HELD = {one.certificate.id: (packed(one), one.certificate.head.parent) for one in HISTORY}


def answered(head: bytes, held: dict[bytes, tuple[bytes, bytes]] = HELD) -> bytes:
    return answer_question(question_for(head), "asker", held.get)


def refusal(wire: bytes, head: bytes = IDS[6]) -> tuple[str, str]:
    with pytest.raises(RemoteProtocolError) as caught:
        open_answer(wire, head, SWARM, "teller")
    return caught.value.peer, caught.value.reason


def test_a_whole_chain_is_shown_backwards_to_its_founding() -> None:
    steps = open_answer(answered(IDS[6]), IDS[6], SWARM, "teller")
    assert [step.certificate.id for step in steps] == IDS[::-1]
    assert steps[-1].closed is None
    for step, adopted in zip(steps, HISTORY[::-1], strict=True):
        assert step.closed is None or step.closed.commitments_N == adopted.plan.commitments_N  # type: ignore[union-attr]


def test_a_closed_round_tells_how_it_was_reduced() -> None:
    for adopted in HISTORY[1:]:
        assert adopted.plan is not None
        closed = close_round(adopted.certificate, adopted.plan.commitments_N, adopted.results)
        assert closed.plan(CHUNKS) == adopted.plan


def test_who_lacks_a_round_shows_those_after_it() -> None:
    held = {id_: step for id_, step in HELD.items() if id_ != IDS[3]}
    assert len(open_answer(answered(IDS[6], held), IDS[6], SWARM, "teller")) == 3
    assert open_answer(answered(IDS[3], held), IDS[3], SWARM, "teller") == []


def test_an_answer_is_bounded() -> None:
    endless = answer_question(question_for(b"\1" * 32), "asker", lambda _: (b"x" * 1000, b"\1" * 32))
    assert endless == canonical([b"x" * 1000] * MAX_STEPS)
    large = answer_question(question_for(b"\1" * 32), "asker", lambda _: (b"x" * 100_000, b"\1" * 32))
    assert len(large) <= MAX_ANSWER_BYTES
    assert MAX_STEP_BYTES + 16 <= MAX_ANSWER_BYTES, "the largest round fits"


def test_a_round_of_another_name_is_refused() -> None:
    assert refusal(answered(IDS[5])) == ("teller", "bad-round")
    skipping = canonical([HELD[IDS[6]][0], HELD[IDS[4]][0]])
    assert refusal(skipping) == ("teller", "bad-round")


def thinned(adopted: Adopt, **changes: Any) -> bytes:
    assert adopted.plan is not None
    work = changes.get("work", adopted.plan.commitments_N)
    results = changes.get("results", adopted.results)
    return pack_step(adopted.certificate.wire, [one.wire for one in work], [one.wire for one in results])


NEWEST = HISTORY[6]
assert NEWEST.plan is not None


@pytest.mark.parametrize(
    "wire",
    [
        thinned(NEWEST, work=NEWEST.plan.commitments_N[1:]),
        thinned(NEWEST, work=NEWEST.plan.commitments_N[::-1]),
        thinned(NEWEST, results=NEWEST.results[1:]),
        thinned(NEWEST, results=HISTORY[5].results),
        thinned(NEWEST, work=NEWEST.plan.commitments_N * 20),
        pack_step(HISTORY[0].certificate.wire, [NEWEST.plan.commitments_N[0].wire], []),
        canonical([NEWEST.certificate.wire, []]),
        canonical("no step"),
        b"garbage",
    ],
    ids=["thinned", "turned", "unreduced", "others", "many", "founding", "short", "text", "garbage"],
)
def test_records_that_did_not_make_the_round_are_refused(wire: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        open_step(wire, SWARM, "teller")
    assert (caught.value.peer, caught.value.reason) == ("teller", "bad-round")


@pytest.mark.parametrize("wire", [b"", b"\xff", canonical([]), canonical([1]), canonical([bytes(32)] * 2)])
def test_a_malformed_question(wire: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        answer_question(wire, "asker", HELD.get)
    assert (caught.value.peer, caught.value.reason) == ("asker", "bad-round")


def test_too_many_steps_are_not_opened() -> None:
    assert refusal(canonical([b"step"] * (MAX_STEPS + 1))) == ("teller", "bad-round")
    assert refusal(bytes(MAX_ANSWER_BYTES + 1)) == ("teller", "bad-round")


@settings(max_examples=100)
@given(place=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_a_damaged_answer_is_refused_with_the_tellers_name(place: int, flip: int) -> None:
    wire = bytearray(answered(IDS[2]))
    wire[place % len(wire)] ^= flip
    assert refusal(bytes(wire), IDS[2])[0] in {"teller", *(person.peer_id for person in PEOPLE)}
