"""Old verdicts in few bytes: a summary is what its signer has said, and nobody gets it shorter."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.digest import digest
from dhtnode.errors import LocalProtocolError, RemoteProtocolError
from dhtnode.records import Signed, open_record, sign
from tests.unit.parties import SWARM, people, person
from training.messages import MAX_MEMBERS
from validation.epochs import MAX_ROWS, Row, Summary, droppable, find_fault, fold, is_closed
from validation.messages import Verdict

OPEN = 512
AUDITOR, OTHER, *WORKERS = people(8)


def verdict(number: int, outcome: str = "pass", by: Any = AUDITOR) -> Signed[Verdict]:
    plain = Verdict(
        round=number,
        base=digest("head", number),
        about="work",
        target=digest("work", number),
        worker=WORKERS[number % len(WORKERS)].peer_id,
        outcome=outcome,  # type: ignore[arg-type]
        distance=None,
        role="audit",
        preimage=bytes(32),
        replayed=bytes(32),
        device="unit/fp32",
    )
    return sign(by, SWARM, plain)


VERDICTS = [verdict(number, outcome) for number, outcome in enumerate(["pass"] * 20 + ["unsure", "fail"])]


def summary(**changes: Any) -> Signed[Summary]:
    return sign(AUDITOR, SWARM, msgspec.structs.replace(fold(0, VERDICTS, OPEN), **changes))


@given(st.permutations(VERDICTS))
def test_a_summary_is_the_same_in_whatever_order_verdicts_came(verdicts: list[Signed[Verdict]]) -> None:
    assert fold(0, [*verdicts, verdicts[0]], OPEN) == summary().body


def test_a_summary_counts_what_was_said_about_each_peer() -> None:
    body = summary().body
    assert body.verdicts == 22
    assert [row.peer for row in body.rows] == sorted(worker.peer_id for worker in WORKERS)
    assert sum(row.passed for row in body.rows) == 20
    assert sum(row.unsure for row in body.rows) == sum(row.failed for row in body.rows) == 1


def test_nobody_folds_what_does_not_belong_together() -> None:
    with pytest.raises(LocalProtocolError, match="one member's"):
        fold(0, [VERDICTS[0], verdict(1, by=OTHER)], OPEN)
    with pytest.raises(LocalProtocolError, match="another epoch"):
        fold(0, [verdict(OPEN)], OPEN)


@given(st.sets(st.sampled_from(range(len(VERDICTS)))))
def test_an_honest_summary_stands_against_any_part_of_the_verdicts(held: set[int]) -> None:
    shown = [VERDICTS[number] for number in held]
    assert find_fault(summary(), [*shown, verdict(3, by=OTHER), verdict(OPEN)], OPEN) is None


@pytest.mark.parametrize("left_out", range(len(VERDICTS)))
def test_a_summary_that_leaves_out_a_verdict_is_refused_by_who_holds_it(left_out: int) -> None:
    thinned = [one for number, one in enumerate(VERDICTS) if number != left_out]
    false = sign(AUDITOR, SWARM, fold(0, thinned, OPEN))
    assert find_fault(false, VERDICTS, OPEN) is not None


def test_one_verdict_is_enough_to_refuse_a_summary_that_denies_it() -> None:
    false = sign(AUDITOR, SWARM, fold(0, VERDICTS[:-1], OPEN))
    assert "leaves out what its signer has said" in str(find_fault(false, [VERDICTS[-1]], OPEN))


ROWS = summary().body.rows


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rows": (*ROWS, ROWS[0])}, "twice"),
        ({"rows": ROWS[::-1]}, "out of order"),
        ({"rows": tuple(sorted([*ROWS, Row(AUDITOR.peer_id, 1, 0, 0)]))}, "own signer"),
        ({"rows": ROWS[1:]}, "rows are not its verdicts"),
        ({"verdicts": 23}, "rows are not its verdicts"),
        ({"folded": bytes(32)}, "not the sum"),
    ],
)
def test_summaries_that_are_wrong(changes: dict[str, Any], why: str) -> None:
    assert why in str(find_fault(summary(**changes), VERDICTS, OPEN))


def test_verdicts_go_when_their_books_are_closed_and_somebody_has_signed_for_them() -> None:
    every = {one.id for one in VERDICTS}
    assert not is_closed(0, 2 * OPEN - 1, OPEN)
    assert droppable(VERDICTS, [summary()], 2 * OPEN - 1, OPEN) == set()
    assert droppable(VERDICTS, [summary()], 2 * OPEN, OPEN) == every
    assert droppable(VERDICTS, [], 2 * OPEN, OPEN) == set()


def test_a_false_summary_lets_nothing_go_but_nobody_is_waited_for_for_ever() -> None:
    false = summary(folded=bytes(32))
    assert droppable(VERDICTS, [false], 2 * OPEN, OPEN) == set()
    assert len(droppable(VERDICTS, [false], 3 * OPEN, OPEN)) == len(VERDICTS)


def test_the_largest_summary_keeps_its_bound() -> None:
    rows = tuple(Row(person(number % 300).peer_id, 2**20, 2**20, 2**20) for number in range(MAX_ROWS))
    largest = summary(rows=rows, epoch=2**62, verdicts=2**62)
    assert len(largest.wire) <= Summary.MAX_BYTES
    assert open_record(largest.wire, SWARM, {Summary.KIND: Summary}) == largest
    assert MAX_ROWS > MAX_MEMBERS


@given(st.binary(max_size=300))
def test_garbage_is_no_summary(wire: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        open_record(wire, SWARM, {Summary.KIND: Summary}, "sender")
