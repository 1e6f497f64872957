"""What a node sees and hears becomes its own table, and only that."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Signed, sign
from dhtnode.reputation import ReputationSection
from tests.unit.parties import SWARM, commit, ids, people
from tests.unit.rounds import fetched, history, next_round, passed
from training.events import Adopt
from training.messages import Commitment
from validation.appraisal import MICRO, Appraisal, lower_median, open_appraisal
from validation.cases import Charge, equivocation_case
from validation.evidence import Context
from validation.witness import Witness

ME, WORKER, OTHER = PEOPLE = people(3)
HISTORY = history(3, PEOPLE)
NEWCOMER = ReputationSection().newcomer_micro


def watching(*adopted: Adopt) -> Witness:
    witness = Witness(ReputationSection(), ME.peer_id)
    for one in adopted:
        witness.adopted(one, set())
    return witness


def work_of(worker: str, closed: Adopt) -> Signed[Commitment]:
    return next(one for one in closed.works if one.signer == worker)


def test_rounds_that_took_work_in_are_seen() -> None:
    table = watching(*HISTORY).table
    assert table.round_no == 3
    assert all(table.trust(peer, "work") > NEWCOMER for peer in ids(PEOPLE))
    assert {change.term for change in table.why(WORKER.peer_id)} == {"accepted"}


def test_a_state_that_was_fetched_says_nothing_of_anybody() -> None:
    table = watching(*map(fetched, HISTORY)).table
    assert (table.round_no, table.table()) == (3, [])


def test_an_own_audit_counts_and_a_strangers_word_does_not() -> None:
    closed = HISTORY[-1]
    work = work_of(WORKER.peer_id, closed)
    for judge, first_hand in ((ME, True), (OTHER, False)):
        witness = watching(*HISTORY)
        before = witness.table.trust(WORKER.peer_id, "work")
        verdict = passed(judge, closed, work)
        witness.heard(verdict, {judge.peer_id: verdict}, ids(PEOPLE))
        assert (witness.table.trust(WORKER.peer_id, "work") > before) == first_hand


def test_who_found_the_same_as_this_node_has_judged_well() -> None:
    closed = HISTORY[-1]
    work = work_of(WORKER.peer_id, closed)
    mine, theirs = (passed(judge, closed, work) for judge in (ME, OTHER))
    for order in ((mine, theirs), (theirs, mine)):
        witness, beside = watching(*HISTORY), {}
        for verdict in order:
            beside[verdict.signer] = verdict
            witness.heard(verdict, beside, ids(PEOPLE))
        assert witness.table.trust(OTHER.peer_id, "audit") > NEWCOMER


def test_a_member_that_stayed_away_was_late_unless_it_had_said_so() -> None:
    for gone, late in ((set(), True), ({OTHER.peer_id}, False), (None, False)):
        witness = watching(*HISTORY[:2])
        witness.adopted(next_round(HISTORY[1].certificate.head, PEOPLE[:2]), gone)
        terms = {change.term for change in witness.table.why(OTHER.peer_id)}
        assert ("late" in terms) == late


def test_a_case_on_a_round_to_come_waits_for_it() -> None:
    head = HISTORY[2].certificate.head
    case = equivocation_case(commit(WORKER, head), commit(WORKER, head, tokens=1))
    witness = watching(*HISTORY[:2])
    witness.convicted(case)
    assert witness.table.trust(WORKER.peer_id, "work") > 0
    witness.adopted(HISTORY[2], set())
    assert witness.table.trust(WORKER.peer_id, "work") == 0


@pytest.mark.parametrize("charge", get_args(Charge))
def test_whatever_is_proven_ends_trust(charge: Charge) -> None:
    head = HISTORY[1].certificate.head
    witness = watching(*HISTORY)
    case = equivocation_case(commit(WORKER, head), commit(WORKER, head, tokens=1))
    witness.convicted(replace(case, charge=charge))
    context: Context = "audit" if charge in ("audit", "accusation", "acquittal") else "work"
    assert witness.table.trust(WORKER.peer_id, context) < NEWCOMER


# What others sign when they are asked


def answer_on(about: str) -> bytes:
    return sign(OTHER, SWARM, Appraisal(round=3, about=about, trust=700_000)).wire


def test_a_signed_answer_is_read() -> None:
    answer = open_appraisal(answer_on(ME.peer_id), SWARM, OTHER.peer_id, ME.peer_id)
    assert (answer.signer, answer.body.trust) == (OTHER.peer_id, 700_000)


@pytest.mark.parametrize(
    ("wire", "observer", "reason"),
    [
        (answer_on(WORKER.peer_id), OTHER.peer_id, "bad-appraisal"),
        (answer_on(ME.peer_id), WORKER.peer_id, "bad-appraisal"),
        (answer_on(ME.peer_id)[:-1] + b"x", OTHER.peer_id, "bad-signature"),
        (b"\xff" * 600, OTHER.peer_id, "oversized"),
        (b"no record", OTHER.peer_id, "malformed"),
    ],
)
def test_an_answer_that_is_none_names_who_gave_it(wire: bytes, observer: str, reason: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        open_appraisal(wire, SWARM, observer, ME.peer_id)
    assert (caught.value.peer, caught.value.reason) == (observer, reason)


def test_the_middle_of_two_is_the_lower_one() -> None:
    assert [lower_median(values) for values in ([], [5], [MICRO, 1], [9, 1, 5])] == [None, 5, 1, 5]
