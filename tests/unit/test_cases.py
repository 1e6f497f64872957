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
from tests.unit.parties import (
    CHUNKS,
    SWARM,
    by_id,
    certified,
    commit,
    head_of,
    people,
    person,
    plan_of,
    result_of,
)
from training.chain import Certificate
from training.events import Adopt
from training.messages import Commitment, Proposal, Vote
from validation.cases import Case, equivocates, equivocation_case, majority_case, open_case
from validation.docket import ContradictionError, Docket, Trial, most_said
from validation.holdings import open_piece
from validation.lottery import Chain, sample
from validation.messages import NOT_SHOWN, UNSEALED, Opening, Verdict
from validation.showing import LOOKED_AT, looked_at, open_proof, proof, shows, shows_stranger

PEOPLE = people(5)
WORKER, *JUDGES = PEOPLE
BEFORE = head_of(PEOPLE)
WORK = [commit(someone, BEFORE) for someone in PEOPLE]
TARGET = WORK[0]
PLAN = plan_of(PEOPLE, BEFORE)
RESULTS = [
    result_of(by_id(PLAN.members[part]), PLAN, part) for part in range(len(PEOPLE)) if PLAN.ranges_N[part]
]
HEAD = head_of(
    PEOPLE,
    number=8,
    parent=BEFORE.id,
    accepted=tuple(work.id for work in WORK),
    results=tuple(result.id for result in RESULTS),
)
CERTIFICATE = certified(PEOPLE, HEAD)


def verdict(judge: Identity, outcome: str = "fail", **changes: Any) -> Signed[Verdict]:
    plain = Verdict(
        round=BEFORE.number,
        base=HEAD.id,
        about="work",
        target=TARGET.id,
        worker=WORKER.peer_id,
        outcome=outcome,  # type: ignore[arg-type]
        distance=None,
        role="audit",
        preimage=Chain(judge, SWARM).preimage(BEFORE.number),
        replayed=digest("replayed", judge.peer_id),
        device="cpu/unit",
    )
    return sign(judge, SWARM, msgspec.structs.replace(plain, **changes))


def said(kind: type[Vote] | type[Proposal], **changes: Any) -> Signed[Body]:
    """A worker's vote or proposal in view 3 of the roster."""
    value = b"value" if kind is Proposal else digest("value")
    plain = {"round": 7, "base": BEFORE.id, "step": "roster", "view": 3, "value": value}
    return sign(WORKER, SWARM, kind(**{**plain, **changes}))


def opening(judge: Identity, replayed: bytes, **changes: Any) -> Signed[Opening]:
    plain = Opening(
        round=BEFORE.number,
        base=HEAD.id,
        target=TARGET.id,
        replayed=replayed,
        preimage=Chain(judge, SWARM).preimage(BEFORE.number),
    )
    return sign(judge, SWARM, msgspec.structs.replace(plain, **changes))


FAILS = [verdict(judge) for judge in JUDGES]
PASSES = [verdict(judge, "pass") for judge in JUDGES]
GUILTY = majority_case(CERTIFICATE, TARGET, FAILS[:3])
FALSE_ACCUSER = majority_case(CERTIFICATE, TARGET, PASSES[:3], "accusation", FAILS[3])
FALSE_FRIEND = majority_case(CERTIFICATE, TARGET, FAILS[:3], "acquittal", PASSES[3])
TWO_TONGUES = equivocation_case(TARGET, commit(WORKER, BEFORE, loss_micro=7))
PART = RESULTS[0]
REDUCER = by_id(PART.signer)
OTHERS = [someone for someone in PEOPLE if someone is not REDUCER]


def on_part(judge: Identity, outcome: str = "fail", **changes: Any) -> Signed[Verdict]:
    about = {"about": "reduction", "target": PART.id, "worker": PART.signer, "replayed": UNSEALED}
    return verdict(judge, outcome, **{**about, **changes})


def on_audit(judge: Identity, audit: Signed[Verdict], outcome: str = "fail") -> Signed[Verdict]:
    return verdict(judge, outcome, about="audit", target=audit.id, worker=audit.signer)


FALSE_REDUCER = majority_case(CERTIFICATE, PART, [on_part(judge) for judge in OTHERS[:3]])
IN_VAIN = [on_part(judge, "unsure", distance=NOT_SHOWN) for judge in OTHERS]
WITHHOLDER = majority_case(CERTIFICATE, PART, IN_VAIN[:3], "withholding")
LAZY = majority_case(CERTIFICATE, PASSES[0], [on_audit(judge, PASSES[0]) for judge in [WORKER, *JUDGES[1:3]]])
CASES = [GUILTY, FALSE_ACCUSER, FALSE_FRIEND, TWO_TONGUES, FALSE_REDUCER, WITHHOLDER, LAZY]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.charge)
def test_a_case_is_checked_from_itself(case: Case) -> None:
    opened = open_case(case.wire, SWARM)
    assert (opened.charge, opened.guilty, opened.round_no) == (case.charge, case.guilty, 7)
    assert (opened.id, opened.judges, opened.text) == (case.id, case.judges, case.text)
    assert open_piece(case.wire, SWARM, "teller") == opened
    assert case.guilty in case.text


def test_who_is_guilty() -> None:
    assert FALSE_REDUCER.guilty == WITHHOLDER.guilty == REDUCER.peer_id
    assert LAZY.guilty == JUDGES[0].peer_id
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
        (majority_case(CERTIFICATE, TARGET, FAILS[:2]), "no majority"),
        (majority_case(CERTIFICATE, TARGET, [*FAILS[:2], FAILS[0]]), "no majority"),
        (majority_case(CERTIFICATE, TARGET, [*FAILS[:2], PASSES[2]]), "says something else"),
        (majority_case(CERTIFICATE, TARGET, [*FAILS[:2], verdict(STRANGER)]), "stranger"),
        (majority_case(CERTIFICATE, TARGET, [*FAILS[:2], verdict(WORKER)]), "stranger"),
        (
            majority_case(CERTIFICATE, TARGET, [*FAILS[:2], verdict(JUDGES[2], target=WORK[1].id)]),
            "something else",
        ),
        (
            majority_case(CERTIFICATE, TARGET, [*FAILS[:2], verdict(JUDGES[2], base=BEFORE.id)]),
            "on something",
        ),
        (
            majority_case(CERTIFICATE, commit(WORKER, BEFORE, loss_micro=7), FAILS[:3]),
            "did not take this commitment in",
        ),
        (majority_case(CERTIFICATE, TARGET, PASSES[:3], "accusation", FAILS[0]), "among its judges"),
        (majority_case(CERTIFICATE, TARGET, PASSES[:3], "accusation", PASSES[3]), "says something else"),
        (majority_case(CERTIFICATE, TARGET, FAILS[:3], "accusation", FAILS[3]), "says something else"),
        (majority_case(CERTIFICATE, TARGET, FAILS[:3], "reduction"), "is no such thing"),
        (majority_case(CERTIFICATE, TARGET, FAILS[:3], "withholding"), "says something else"),
        (
            majority_case(
                CERTIFICATE, PART, [*IN_VAIN[:2], on_part(OTHERS[2], "unsure", distance=7)], "withholding"
            ),
            "shown something",
        ),
        (
            majority_case(CERTIFICATE, result_of(REDUCER, PLAN, 0, root=digest("?")), IN_VAIN),
            "this result in",
        ),
        (
            majority_case(
                CERTIFICATE,
                TARGET,
                [verdict(judge, "pass", device="cpu/other", distance=3) for judge in JUDGES[:3]],
                "accusation",
                FAILS[3],
            ),
            "rests on a distance",
        ),
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
        open_case(majority_case(thin, TARGET, FAILS[:3]).wire, SWARM)


@pytest.mark.parametrize(
    "junk", [b"", b"\x93", canonical([]), canonical(["work", None, []]), canonical([1, 2, 3])]
)
def test_junk(junk: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        open_case(junk, SWARM, "teller")


# Equivocation


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
        (said(Vote), said(Vote, value=digest("other")), True),
        (said(Vote), said(Vote, value=digest("other"), view=4), False),
        (said(Vote), said(Vote, value=digest("other"), step="close"), False),
        (said(Vote), said(Vote), False),
        (said(Proposal, promises=()), said(Proposal, promises=(), value=b"other"), True),
        (said(Proposal, promises=()), said(Proposal, promises=(b"one",)), False),
        (said(Vote), said(Proposal, promises=()), False),
        (FAILS[0], PASSES[0], True),
        (FAILS[0], FAILS[0], False),
        (FAILS[0], verdict(JUDGES[0], role="jury"), False),
        (FAILS[0], verdict(JUDGES[0], "unsure", distance=9), False),
        (FAILS[0], verdict(JUDGES[0], replayed=digest("another result")), True),
        (FAILS[0], opening(JUDGES[0], digest("replayed", JUDGES[0].peer_id)), False),
        (FAILS[0], opening(JUDGES[0], digest("another result")), True),
        (FAILS[0], FAILS[1], False),
    ],
)
def test_what_no_honest_key_signs_both_of(one: Signed[Body], other: Signed[Body], guilty: bool) -> None:
    assert equivocates(one, other) == equivocates(other, one) == guilty
    if guilty:
        assert equivocation_case(one, other).wire == equivocation_case(other, one).wire
        assert open_case(equivocation_case(one, other).wire, SWARM).guilty == one.signer


def test_two_records_that_agree_are_no_case() -> None:
    for pair in ((TARGET, WORK[1]), (TARGET, TARGET)):
        with pytest.raises(RemoteProtocolError, match="contradict each other in nothing"):
            open_case(equivocation_case(*pair).wire, SWARM)


# Whose word makes a majority


VOTED = msgspec.structs.replace(HEAD, votes=(2, 1, 2, 0, 0))
"""The worker and two judges have a vote; two judges have none."""
VOTED_BY = certified(PEOPLE[:3], VOTED)
FALSE = [verdict(judge, base=VOTED.id) for judge in JUDGES]


def test_a_jury_is_a_majority_of_electors() -> None:
    opened = open_case(majority_case(VOTED_BY, TARGET, FALSE[:2]).wire, SWARM)
    assert opened.text.endswith("2 of that round's 3 electors did it again")
    for few in (FALSE[:1], FALSE[1:3], FALSE[:3]):
        with pytest.raises(RemoteProtocolError):
            open_case(majority_case(VOTED_BY, TARGET, few).wire, SWARM)


def test_who_has_no_vote_may_doubt_and_no_more() -> None:
    opened = Docket()
    opened.open(Adopt(VOTED_BY, tuple(WORK), PLAN, tuple(RESULTS)), CHUNKS)
    for one in FALSE[1:]:
        opened.add(one)
    trial = opened.trial(TARGET.id)
    assert trial is not None
    assert trial.is_doubted
    assert trial.cases() == []
    opened.add(FALSE[0])
    assert [case.guilty for case in trial.cases()] == [WORKER.peer_id]
    open_case(trial.cases()[0].wire, SWARM)


# The docket


CLOSED = Adopt(CERTIFICATE, tuple(WORK), PLAN, tuple(RESULTS))


def docket() -> Docket:
    opened = Docket()
    opened.open(CLOSED, CHUNKS)
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
        verdict(JUDGES[0], device="cpu/other"),
        verdict(JUDGES[0], distance=5),
        verdict(JUDGES[0], "unsure", distance=NOT_SHOWN),
        verdict(JUDGES[0], replayed=UNSEALED),
        verdict(JUDGES[0], about="reduction"),
        on_part(REDUCER),
        on_part(OTHERS[0], distance=5),
        on_part(OTHERS[0], "unsure", distance=5),
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
    assert held.add(verdict(JUDGES[0], role="jury")) is None, "says the same"
    with pytest.raises(ContradictionError) as caught:
        held.add(PASSES[0])
    assert open_case(equivocation_case(*caught.value.pair).wire, SWARM).guilty == JUDGES[0].peer_id


def test_a_verdict_that_comes_before_its_round_waits() -> None:
    held = Docket()
    assert held.add(FAILS[0]) is None
    held.open(CLOSED, CHUNKS)
    assert held.take_waiting(CERTIFICATE) == [FAILS[0]]
    assert held.take_waiting(CERTIFICATE) == []


def test_old_rounds_are_forgotten() -> None:
    held = docket()
    held.add(FAILS[0])
    for number in range(8):
        later = msgspec.structs.replace(HEAD, number=20 + number)
        later_work: list[Signed[Commitment]] = [commit(JUDGES[0], BEFORE, round=20 + number)]
        held.open(Adopt(certified(PEOPLE, later), tuple(later_work)), CHUNKS)
    assert held.trial(TARGET.id) is None
    assert not held.may_judge(HEAD.id, JUDGES[0].peer_id)


def test_rounds_of_a_branch_that_was_left_are_judged_no_more() -> None:
    held = docket()
    held.add(FAILS[0])
    held.follow(HEAD)
    assert held.knows(HEAD.id)
    held.follow(msgspec.structs.replace(HEAD, branch=digest("founded later"), since=HEAD.number))
    assert held.knows(HEAD.id), "what the founder stood on"
    held.follow(msgspec.structs.replace(HEAD, branch=digest("founded before"), since=HEAD.number - 1))
    assert not held.knows(HEAD.id)


def test_a_reduction_is_judged_as_work_is() -> None:
    held = docket()
    for judge in OTHERS[:3]:
        held.add(on_part(judge))
    trial = held.trial(PART.id)
    assert trial is not None
    assert [(case.charge, case.guilty) for case in trial.cases()] == [("reduction", REDUCER.peer_id)]


def test_what_nobody_is_shown_is_a_case_of_withholding() -> None:
    held = docket()
    for one in IN_VAIN[:3]:
        held.add(one)
    trial = held.trial(PART.id)
    assert trial is not None
    assert [(case.charge, case.guilty) for case in trial.cases()] == [("withholding", REDUCER.peer_id)]


def test_who_was_shown_nothing_is_no_accuser() -> None:
    """It may have been refused in order to make it look like one."""
    held = docket()
    for one in [IN_VAIN[0], *(on_part(judge, "pass") for judge in OTHERS[1:4])]:
        held.add(one)
    trial = held.trial(PART.id)
    assert trial is not None
    assert trial.is_doubted
    assert trial.cases() == []


def on_whole(judge: Identity, outcome: str = "fail") -> Signed[Verdict]:
    return on_part(judge, outcome, role="jury")


def test_who_has_looked_at_some_of_a_part_has_acquitted_nobody() -> None:
    held = docket()
    for one in [on_part(OTHERS[0], "pass"), *(on_whole(judge) for judge in OTHERS[1:4])]:
        held.add(one)
    trial = held.trial(PART.id)
    assert trial is not None
    assert [case.charge for case in trial.cases()] == ["reduction"]
    held.add(on_whole(OTHERS[0]))
    assert trial.verdicts[OTHERS[0].peer_id].body.outcome == "fail", "then it has looked at all of it"
    framed = majority_case(
        CERTIFICATE,
        PART,
        [on_whole(judge) for judge in OTHERS[1:4]],
        "acquittal",
        on_part(OTHERS[0], "pass"),
    )
    with pytest.raises(RemoteProtocolError, match="a few chunks"):
        open_case(framed.wire, SWARM)


def test_a_look_and_the_whole_are_both_taken_in_whichever_comes_first() -> None:
    """Or two nodes that have heard the same would hold different sets."""
    look, whole = on_part(OTHERS[0], "pass"), on_whole(OTHERS[0], "pass")
    for first, second in ((look, whole), (whole, look)):
        held = docket()
        trial = held.add(first)
        assert trial is not None
        assert held.add(second) is trial
        assert (trial.verdicts, trial.looks) == ({look.signer: whole}, {look.signer: look})
        assert held.add(first) is held.add(second) is None, "each counts once"


def test_who_has_looked_at_some_of_a_part_refutes_no_accuser() -> None:
    held = docket()
    for one in [on_part(OTHERS[0]), *(on_part(judge, "pass") for judge in OTHERS[1:4])]:
        held.add(one)
    trial = held.trial(PART.id)
    assert trial is not None
    assert trial.cases() == []
    for judge in OTHERS[1:4]:
        held.add(on_whole(judge, "pass"))
    assert [(case.charge, case.guilty) for case in trial.cases()] == [("accusation", OTHERS[0].peer_id)]


def test_an_audit_is_judged_by_those_who_have_the_same_device() -> None:
    held = docket()
    held.add(PASSES[0])
    for judge in [WORKER, *JUDGES[1:3]]:
        held.add(on_audit(judge, PASSES[0]))
    trial = held.trial(PASSES[0].id)
    assert trial is not None
    assert [(case.charge, case.guilty) for case in trial.cases()] == [("audit", JUDGES[0].peer_id)]
    other = msgspec.structs.replace(on_audit(JUDGES[3], PASSES[0]).body, device="cpu/other")
    with pytest.raises(RemoteProtocolError, match="another device"):
        held.add(sign(JUDGES[3], SWARM, other))


def test_who_says_ever_more_about_one_round_is_not_heard_any_more() -> None:
    """Who is in league could judge each other's verdicts without end; what is held of it is bounded."""
    crowd = people(24)
    before = head_of(crowd)
    plan = plan_of(crowd, before)
    work = [commit(someone, before) for someone in crowd]
    head = head_of(crowd, number=8, parent=before.id, accepted=tuple(one.id for one in work))
    flooder = crowd[0]
    said = [
        verdict(judge, "pass", base=head.id, target=one.id, worker=one.signer)
        for judge in crowd
        for one in work
        if judge.peer_id != one.signer
    ]
    on_verdicts = [
        sign(flooder, SWARM, msgspec.structs.replace(on_audit(flooder, one, "pass").body, base=head.id))
        for one in said
        if one.signer != flooder.peer_id
    ]
    twice = [sign(flooder, SWARM, msgspec.structs.replace(one.body, role="jury")) for one in said[:20]]
    kept, refused = [], 0
    for order in (1, -1):
        held = Docket()
        held.open(Adopt(certified(crowd, head), tuple(work), plan), CHUNKS)
        for one in [*(*said, *twice)[::order], *on_verdicts[::order]]:
            try:
                held.add(one)
            except RemoteProtocolError as error:
                assert (error.peer, error.reason) == (flooder.peer_id, "flood")  # noqa: PT017
                refused += 1
        kept.append(held.kept(head.id))
        shown = {one.id for change in held.changes() for one in change.taken}
        assert shown >= {one.id for one in kept[-1]}
        assert not held.may_say_more(certified(crowd, head), flooder.peer_id)
        assert held.may_say_more(certified(crowd, head), crowd[1].peer_id)
    assert kept[0] == kept[1], "whatever came first"
    assert [one.id for one in kept[0] if one.body.about == "audit"] == sorted(one.id for one in on_verdicts)[
        : most_said(len(crowd))
    ]
    assert len([one for one in kept[0] if one.body.about == "work"]) == len(said), "one each on each work"
    assert refused > len(on_verdicts)


def test_a_verdict_on_an_audit_that_is_not_known_is_left_to_the_neighbours() -> None:
    assert docket().add(on_audit(JUDGES[1], PASSES[0])) is None


def test_who_asks_to_be_shown_something_is_bound() -> None:
    held = docket()
    asked = opening(JUDGES[0], digest("my result"))
    trial = held.bind(asked)
    assert trial is not None
    assert trial.target == TARGET
    assert held.bind(asked) is trial, "once more"
    with pytest.raises(ContradictionError):
        held.bind(opening(JUDGES[0], digest("another result")))
    with pytest.raises(ContradictionError):
        held.add(FAILS[0])


def test_who_is_shown_what() -> None:
    held = docket()
    asked = opening(JUDGES[0], digest("mine"))
    trial = held.bind(asked)
    assert trial is not None
    drawn = looked_at(trial, asked.body.preimage)
    undrawn = [index for index in range(CHUNKS) if index not in drawn]
    assert shows(trial, asked, WORKER.peer_id, drawn)
    assert not shows(trial, asked, JUDGES[1].peer_id, drawn), "another's update"
    assert not shows(trial, asked, WORKER.peer_id, undrawn[:1]), "a chunk of its choice"
    part = held.bind(opening(OTHERS[0], UNSEALED, target=PART.id))
    assert part is not None
    whole, asked = tuple(part.chunks), part.openings[OTHERS[0].peer_id]
    assert shows(part, asked, WORKER.peer_id, sample(asked.body.preimage, PART.id, whole, LOOKED_AT))
    outside = [index for index in range(CHUNKS) if index not in whole]
    assert not shows(part, asked, WORKER.peer_id, outside[:1])
    held.add(on_part(OTHERS[1]))
    assert shows(part, asked, WORKER.peer_id, whole), "somebody doubts it"
    assert not shows(part, asked, WORKER.peer_id, outside[:1])


@pytest.mark.parametrize(
    "bad",
    [
        opening(JUDGES[0], digest("mine"), preimage=digest("guess")),
        opening(JUDGES[0], digest("mine"), base=BEFORE.id),
        opening(JUDGES[0], UNSEALED),
        opening(OTHERS[0], digest("mine"), target=PART.id),
        opening(STRANGER, digest("mine")),
    ],
)
def test_a_bad_opening_is_blamed_on_its_signer(bad: Signed[Opening]) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        docket().bind(bad)
    assert (caught.value.peer, caught.value.reason) == (bad.signer, "bad-opening")


def test_an_opening_of_a_round_that_has_not_closed_here_is_nobodys_fault() -> None:
    assert Docket().bind(opening(JUDGES[0], digest("mine"))) is None


def test_a_short_last_chunk_is_looked_at_beside_the_others_never_in_place_of_one() -> None:
    work, part = Trial(CERTIFICATE, TARGET, range(CHUNKS)), Trial(CERTIFICATE, PART, range(CHUNKS), PLAN)
    preimages = [digest("preimage", number) for number in range(100)]
    for preimage in preimages:
        assert len(set(looked_at(work, preimage)) - {CHUNKS - 1}) == LOOKED_AT
        assert len(looked_at(part, preimage)) == LOOKED_AT
    assert any(CHUNKS - 1 in looked_at(work, preimage) for preimage in preimages)


# Proof for who does not know the record


def place_of(someone: Identity) -> Signed[Commitment]:
    return next(work for work in WORK if work.signer == someone.peer_id)


@pytest.mark.parametrize("target", [TARGET, PART], ids=["work", "part"])
def test_a_member_of_the_round_proves_that_there_is_such_a_record(target: Any) -> None:
    asked = opening(JUDGES[0], digest("mine"), target=target.id)
    assert open_proof(proof(CERTIFICATE, target, place_of(JUDGES[0])), asked, "peer") == target


@pytest.mark.parametrize(
    "shown",
    [
        proof(CERTIFICATE, TARGET, place_of(JUDGES[1])),
        proof(CERTIFICATE, WORK[1], place_of(JUDGES[0])),
        proof(CERTIFICATE, TARGET, commit(JUDGES[0], BEFORE, loss_micro=7)),
        proof(certified(PEOPLE, BEFORE), TARGET, place_of(JUDGES[0])),
        proof(Certificate(HEAD, CERTIFICATE.votes[:2]), TARGET, place_of(JUDGES[0])),
        canonical([]),
        b"junk",
    ],
)
def test_what_proves_no_such_record(shown: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        open_proof(shown, opening(JUDGES[0], digest("mine")), "peer")
    assert caught.value.peer == "peer"


def test_what_is_shown_of_an_unknown_record() -> None:
    assert shows_stranger(TARGET, WORKER.peer_id, (1, 2), JUDGES[0].peer_id)
    assert not shows_stranger(TARGET, JUDGES[1].peer_id, (1, 2), JUDGES[0].peer_id), "another's update"
    assert not shows_stranger(TARGET, WORKER.peer_id, (1, 2, 3, 4), WORKER.peer_id), "too much of it"
    assert shows_stranger(PART, WORKER.peer_id, (1, 2, 3), REDUCER.peer_id), "its own part"
    assert not shows_stranger(PART, WORKER.peer_id, (1, 2, 3), WORKER.peer_id)
