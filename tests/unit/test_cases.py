"""Cases prove themselves, or nothing: whatever is changed in one, it is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.records import Body, Signed, canonical, sign
from tests.unit.parties import SWARM, certified, commit, head_of, people, person, plan_of, result_of
from training.chain import Certificate
from training.messages import Commitment
from validation.cases import Case, equivocates, equivocation_case, open_case, open_evidence, work_case
from validation.docket import Docket, Trial
from validation.lottery import Chain
from validation.messages import Verdict

PEOPLE = people(5)
WORKER, *JUDGES = PEOPLE
BEFORE = head_of(PEOPLE)
WORK = [commit(someone, BEFORE) for someone in PEOPLE]
TARGET = WORK[0]
HEAD = head_of(PEOPLE, number=8, parent=BEFORE.id, accepted=tuple(work.id for work in WORK))
CERTIFICATE = certified(PEOPLE, HEAD)


def verdict(judge: Identity, outcome: str = "fail", **changes: Any) -> Signed[Verdict]:
    plain = Verdict(
        round=BEFORE.number,
        base=HEAD.id,
        target=TARGET.id,
        worker=WORKER.peer_id,
        outcome=outcome,  # type: ignore[arg-type]
        role="audit",
        preimage=Chain(judge, SWARM).preimage(BEFORE.number),
        replayed=digest("replayed", judge.peer_id),
        device="unit/fp32",
    )
    return sign(judge, SWARM, msgspec.structs.replace(plain, **changes))


FAILS = [verdict(judge) for judge in JUDGES]
PASSES = [verdict(judge, "pass") for judge in JUDGES]
GUILTY = work_case(CERTIFICATE, TARGET, FAILS[:3])
FALSE_ACCUSER = work_case(CERTIFICATE, TARGET, PASSES[:3], "accusation", FAILS[3])
FALSE_FRIEND = work_case(CERTIFICATE, TARGET, FAILS[:3], "acquittal", PASSES[3])
TWO_TONGUES = equivocation_case(TARGET, commit(WORKER, BEFORE, loss_micro=7))
CASES = [GUILTY, FALSE_ACCUSER, FALSE_FRIEND, TWO_TONGUES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.charge)
def test_a_case_is_checked_from_itself(case: Case) -> None:
    opened = open_case(case.wire, SWARM)
    assert (opened.charge, opened.guilty, opened.round_no) == (case.charge, case.guilty, 7)
    assert (opened.id, opened.judges, opened.text) == (case.id, case.judges, case.text)
    assert open_evidence(case.wire, SWARM, "teller") == opened
    assert case.guilty in case.text


def test_who_is_guilty() -> None:
    assert GUILTY.guilty == TWO_TONGUES.guilty == WORKER.peer_id
    assert FALSE_ACCUSER.guilty == FALSE_FRIEND.guilty == JUDGES[3].peer_id
    assert JUDGES[3].peer_id not in FALSE_ACCUSER.judges


@given(st.sampled_from(CASES), st.data())
def test_a_damaged_case_proves_nothing(case: Case, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(case.wire) - 1))
    flip = data.draw(st.integers(1, 255))
    damaged = bytearray(case.wire)
    damaged[place] ^= flip
    with pytest.raises(RemoteProtocolError):
        open_case(bytes(damaged), SWARM, "teller")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.charge)
def test_a_case_of_another_swarm_proves_nothing(case: Case) -> None:
    with pytest.raises(RemoteProtocolError):
        open_case(case.wire, digest("swarm", "another"), "teller")


STRANGER = person(50)


@pytest.mark.parametrize(
    ("case", "why"),
    [
        (work_case(CERTIFICATE, TARGET, FAILS[:2]), "no majority"),
        (work_case(CERTIFICATE, TARGET, [*FAILS[:2], FAILS[0]]), "no majority"),
        (work_case(CERTIFICATE, TARGET, [*FAILS[:2], PASSES[2]]), "says something else"),
        (work_case(CERTIFICATE, TARGET, [*FAILS[:2], verdict(STRANGER)]), "stranger"),
        (work_case(CERTIFICATE, TARGET, [*FAILS[:2], verdict(WORKER)]), "stranger"),
        (
            work_case(CERTIFICATE, TARGET, [*FAILS[:2], verdict(JUDGES[2], target=WORK[1].id)]),
            "something else",
        ),
        (work_case(CERTIFICATE, TARGET, [*FAILS[:2], verdict(JUDGES[2], base=BEFORE.id)]), "on something"),
        (
            work_case(CERTIFICATE, commit(WORKER, BEFORE, loss_micro=7), FAILS[:3]),
            "did not take this work in",
        ),
        (work_case(CERTIFICATE, TARGET, PASSES[:3], "accusation", FAILS[0]), "among its judges"),
        (work_case(CERTIFICATE, TARGET, PASSES[:3], "accusation", PASSES[3]), "says something else"),
        (work_case(CERTIFICATE, TARGET, FAILS[:3], "accusation", FAILS[3]), "says something else"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_case(case: Case, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why) as caught:
        open_case(case.wire, SWARM, "teller")
    assert (caught.value.peer, caught.value.reason) == ("teller", "bad-case")


def test_a_certificate_without_a_majority_carries_no_case() -> None:
    thin = Certificate(HEAD, CERTIFICATE.votes[:2])
    with pytest.raises(RemoteProtocolError, match="no majority"):
        open_case(work_case(thin, TARGET, FAILS[:3]).wire, SWARM)


@pytest.mark.parametrize(
    "junk", [b"", b"\x93", canonical([]), canonical(["work", None, []]), canonical([1, 2, 3])]
)
def test_junk(junk: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        open_case(junk, SWARM, "teller")


# Equivocation

PLAN = plan_of(PEOPLE, BEFORE)


@pytest.mark.parametrize(
    ("one", "other", "guilty"),
    [
        (TARGET, commit(WORKER, BEFORE, steps=9), True),
        (result_of(WORKER, PLAN, 0), result_of(WORKER, PLAN, 0, root=digest("root")), True),
        (TARGET, TARGET, False),
        (TARGET, WORK[1], False),
        (TARGET, commit(WORKER, BEFORE, base=bytes(32)), False),
        (TARGET, sign(WORKER, digest("other"), commit(WORKER, BEFORE, steps=9).body), False),
        (result_of(WORKER, PLAN, 0), result_of(WORKER, PLAN, 1), False),
        (TARGET, result_of(WORKER, PLAN, 0), False),
        (FAILS[0], PASSES[0], False),
    ],
)
def test_what_no_honest_key_signs_both_of(one: Signed[Body], other: Signed[Body], guilty: bool) -> None:
    assert equivocates(one, other) == equivocates(other, one) == guilty
    if guilty:
        assert equivocation_case(one, other).wire == equivocation_case(other, one).wire


def test_two_records_that_agree_are_no_case() -> None:
    for pair in ((TARGET, WORK[1]), (TARGET, TARGET)):
        with pytest.raises(RemoteProtocolError, match="contradict each other in nothing"):
            open_case(equivocation_case(*pair).wire, SWARM)


# The docket


def docket() -> Docket:
    opened = Docket()
    opened.open(CERTIFICATE, WORK)
    return opened


def trial_after(*verdicts: Signed[Verdict]) -> Trial:
    held = docket()
    for one in verdicts:
        held.add(one)
    found = held.trial(TARGET.id)
    assert found is not None
    return found


def test_a_majority_decides_and_who_said_the_opposite_is_out() -> None:
    assert trial_after(*FAILS[:2]).cases() == []
    assert {case.guilty for case in trial_after(*FAILS[:3]).cases()} == {WORKER.peer_id}
    both = trial_after(*FAILS[:3], PASSES[3]).cases()
    assert {(case.charge, case.guilty) for case in both} == {
        ("work", WORKER.peer_id),
        ("acquittal", JUDGES[3].peer_id),
    }
    refuted = trial_after(FAILS[0], *PASSES[1:]).cases()
    assert {(case.charge, case.guilty) for case in refuted} == {("accusation", JUDGES[0].peer_id)}
    assert trial_after(*PASSES).cases() == []
    for case in [*both, *refuted]:
        open_case(case.wire, SWARM)


@pytest.mark.parametrize(
    "bad",
    [
        verdict(WORKER),
        verdict(STRANGER),
        verdict(JUDGES[0], preimage=digest("guess")),
        verdict(JUDGES[0], preimage=Chain(JUDGES[1], SWARM).preimage(BEFORE.number)),
        verdict(JUDGES[0], worker=JUDGES[1].peer_id),
        verdict(JUDGES[0], target=digest("no such commitment")),
        verdict(JUDGES[0], device="other/fp32"),
        verdict(JUDGES[0], round=6),
    ],
)
def test_a_verdict_of_the_wrong_kind_is_blamed_on_its_signer(bad: Signed[Verdict]) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        docket().add(bad)
    assert (caught.value.peer, caught.value.reason) == (bad.signer, "bad-verdict")


def test_two_verdicts_of_one_judge() -> None:
    held = docket()
    assert held.add(FAILS[0]) is not None
    assert held.add(FAILS[0]) is None, "known"
    with pytest.raises(RemoteProtocolError, match="two verdicts"):
        held.add(PASSES[0])


def test_a_verdict_that_comes_before_its_round_waits() -> None:
    held = Docket()
    assert held.add(FAILS[0]) is None
    held.open(CERTIFICATE, WORK)
    assert held.take_waiting(CERTIFICATE) == [FAILS[0]]
    assert held.take_waiting(CERTIFICATE) == []


def test_old_rounds_are_forgotten() -> None:
    held = docket()
    held.add(FAILS[0])
    for number in range(8):
        later = msgspec.structs.replace(HEAD, number=20 + number)
        later_work: list[Signed[Commitment]] = [commit(JUDGES[0], BEFORE, round=20 + number)]
        held.open(certified(PEOPLE, later), later_work)
    assert held.trial(TARGET.id) is None
    assert held.verdicts() == []
    assert not held.may_judge(HEAD.id, JUDGES[0].peer_id)
