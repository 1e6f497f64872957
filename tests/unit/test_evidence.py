"""Entries follow from signed records that fit together, and from nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.records import Signed, sign
from dhtnode.reward import PPM, RewardSection
from rewards.data import SKETCH_BYTES, Registration
from rewards.entries import ANY_HEAD, NOBODY, Entry, EntrySet, Kind, raw_key
from rewards.evidence import (
    ClosedRound,
    bond_entry,
    case_entry,
    close_round,
    followed_chain,
    is_dated,
    round_entries,
    shard_entry,
    verdict_entry,
)
from rewards.ledger import Ledger, Rules
from tests.unit.parties import (
    CHUNKS,
    SWARM,
    by_id,
    certified,
    commit,
    head_of,
    people,
    plan_of,
    result_of,
    roster_of,
)
from training.acceptance import intake
from training.chain import Certificate, found
from training.messages import Commitment, Head, Result, encode_value, value_digest
from validation.cases import SUBJECTS, equivocation_case, majority_case
from validation.lottery import Chain, obliged
from validation.messages import Verdict
from validation.voucher import Voucher

PEOPLE = people(4)
BEFORE = head_of(PEOPLE)
_PLAN = plan_of(PEOPLE, BEFORE, bandwidths=[1, 1, 2, 0])
ROSTER = roster_of(*_PLAN.commitments_N)
PLAN = replace(_PLAN, roster=value_digest(encode_value(ROSTER)))
SECTION = RewardSection()
BYTES_K = [100 + index for index in range(CHUNKS)]


def closed_by(*included_by_part: tuple[int, ...]) -> tuple[Certificate, tuple[Signed[Result], ...]]:
    """The round after BEFORE: who is in each part that has chunks."""
    parts = [part for part, chunks in enumerate(PLAN.ranges_N) if chunks]
    results = tuple(
        result_of(by_id(PLAN.members[part]), PLAN, part, included=included)
        for part, included in zip(parts, included_by_part, strict=True)
    )
    accepted, partial = intake(PLAN.commitments_N, results)
    head = head_of(
        PEOPLE,
        number=8,
        parent=BEFORE.id,
        members=PLAN.members,
        votes=PLAN.votes_N,
        accepted=accepted,
        partial=partial,
        results=tuple(result.id for result in results),
    )
    return certified([by_id(peer) for peer in PLAN.members], head), results


ALL = (0, 1, 2, 3)
CERTIFICATE, RESULTS = closed_by(ALL, ALL, ALL)
ROUND = close_round(CERTIFICATE, PLAN.commitments_N, RESULTS)


def entries(closed: ClosedRound, kind: Kind) -> list[Entry]:
    return [entry for entry in round_entries(closed, BYTES_K) if entry.kind == kind]


# Rounds


def test_every_member_has_an_entry_for_its_work() -> None:
    assert entries(ROUND, Kind.WORK) == [
        Entry(7, Kind.WORK, one.id, CERTIFICATE.id, raw_key(one.signer), NOBODY, 80, PPM)
        for one in PLAN.commitments_N
    ]


def test_reducers_are_credited_with_the_bytes_of_all_senders() -> None:
    found_ = entries(ROUND, Kind.REDUCTION)
    assert sum(entry.amount for entry in found_) == 4 * sum(BYTES_K)
    for entry, result in zip(found_, RESULTS, strict=True):
        chunks = PLAN.ranges_N[result.body.part]
        assert entry.amount == 4 * sum(BYTES_K[chunk] for chunk in chunks)
        assert (entry.record, entry.key) == (result.id, raw_key(result.signer))


def test_work_counts_as_much_as_there_is_of_it_in_the_state() -> None:
    late = close_round(*_with(closed_by((0, 1), (0, 1), (0, 1, 2))))
    quality = {entry.key: entry.ppm for entry in entries(late, Kind.WORK)}
    first, second, third, absent = (raw_key(peer) for peer in PLAN.members)
    assert quality == {first: PPM, second: PPM, third: PPM // 3}
    assert absent not in quality


def test_what_a_round_has_adopted_is_part_of_how_it_was_reduced() -> None:
    adopted = (digest("an amendment"),)
    name = value_digest(encode_value(msgspec.structs.replace(ROSTER, amendments=adopted)))
    results = tuple(
        result_of(by_id(result.signer), PLAN, result.body.part, included=ALL, roster=name)
        for result in RESULTS
    )
    certificate = altered(results=tuple(result.id for result in results), amendments=adopted)
    plan = close_round(certificate, PLAN.commitments_N, results).plan(CHUNKS)
    assert (plan.roster, plan.amendments) == (name, adopted)
    assert ROUND.plan(CHUNKS) == PLAN


def _with(
    closed: tuple[Certificate, tuple[Signed[Result], ...]],
) -> tuple[Certificate, tuple[Signed[Commitment], ...], tuple[Signed[Result], ...]]:
    return closed[0], PLAN.commitments_N, closed[1]


def altered(**changes: Any) -> Certificate:
    return certified(PEOPLE, msgspec.structs.replace(CERTIFICATE.head, **changes))


STRAY = result_of(PEOPLE[0], PLAN, RESULTS[0].body.part, roster=digest("another roster"))
FAR = result_of(PEOPLE[0], PLAN, RESULTS[0].body.part, included=(0, 1, 2, 3, 60))
BEYOND = result_of(PEOPLE[0], PLAN, 60)


def naming(result: Signed[Result]) -> tuple[Certificate, Any, Any]:
    """A head that names another first result."""
    results = (result, *RESULTS[1:])
    return altered(results=tuple(one.id for one in results)), PLAN.commitments_N, results


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ((CERTIFICATE, PLAN.commitments_N[:3], RESULTS), "members"),
        ((CERTIFICATE, PLAN.commitments_N[::-1], RESULTS), "members"),
        ((CERTIFICATE, PLAN.commitments_N, RESULTS[1:]), "results"),
        ((altered(results=()), PLAN.commitments_N, ()), "results"),
        ((altered(parent=digest("x")), PLAN.commitments_N, RESULTS), "another round"),
        ((altered(accepted=CERTIFICATE.head.accepted[1:]), PLAN.commitments_N, RESULTS), "took in"),
        (naming(STRAY), "roster"),
        (naming(FAR), "somebody who is not there"),
        (naming(BEYOND), "a part that is not there"),
    ],
)
def test_records_that_did_not_make_the_round(records: tuple[Any, Any, Any], why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why) as caught:
        close_round(*records)
    assert caught.value.reason == "bad-round"


def test_who_commits_twice_is_paid_for_what_the_roster_holds() -> None:
    other = commit(by_id(PLAN.members[0]), BEFORE, tokens=10**6)
    with pytest.raises(RemoteProtocolError, match="roster"):
        close_round(CERTIFICATE, (other, *PLAN.commitments_N[1:]), RESULTS)


# Verdicts


def auditor_of(target: Signed[Any], drawn: bool = True) -> Identity:
    """A member that has drawn a ticket for this target, or one that has not."""
    for person in PEOPLE:
        preimage = Chain(person, SWARM).preimage(7)
        if person.peer_id != target.signer and obliged(preimage, CERTIFICATE.id, target.id, 1 / 3) == drawn:
            return person
    raise LookupError


def judged_by(drawn: bool) -> tuple[Identity, Signed[Commitment]]:
    """An auditor and work for which it has (not) drawn a ticket."""
    for target in PLAN.commitments_N:
        try:
            return auditor_of(target, drawn), target
        except LookupError:
            continue
    raise LookupError


def verdict(auditor: Identity, of: Signed[Any], **changes: Any) -> Signed[Verdict]:
    body = Verdict(
        round=7,
        base=CERTIFICATE.id,
        about=SUBJECTS[of.body.KIND],
        target=of.id,
        worker=of.signer,
        outcome="pass",
        distance=None,
        role="audit",
        preimage=Chain(auditor, SWARM).preimage(7),
        replayed=digest("replayed", auditor.peer_id),
        device="unit/fp32",
    )
    return sign(auditor, SWARM, msgspec.structs.replace(body, **changes))


AUDITOR, TARGET = judged_by(drawn=True)


def test_an_audit_is_worth_the_work_that_was_replayed() -> None:
    passed, failed = verdict(AUDITOR, TARGET), verdict(AUDITOR, TARGET, outcome="fail")
    line = (CERTIFICATE.id, raw_key(AUDITOR.peer_id), raw_key(TARGET.signer), 80)
    assert verdict_entry(ROUND, passed, TARGET) == Entry(7, Kind.AUDIT, passed.id, *line, PPM)
    assert verdict_entry(ROUND, failed, TARGET) == Entry(7, Kind.AUDIT, failed.id, *line, 0)


def test_an_auditor_is_checked_by_doing_the_work_once_more() -> None:
    """It earns the same and says nothing of whose work it was."""
    first = verdict(AUDITOR, TARGET)
    others = [person for person in PEOPLE if person.peer_id not in (AUDITOR.peer_id, TARGET.signer)]
    second = verdict(others[0], first, role="jury")
    entry = verdict_entry(ROUND, second, first)
    assert (entry.amount, entry.other, entry.ppm) == (80, raw_key(TARGET.signer), 0)


def test_a_jury_needs_no_ticket() -> None:
    auditor, target = judged_by(drawn=False)
    assert verdict_entry(ROUND, verdict(auditor, target, role="jury"), target).amount == 80
    with pytest.raises(RemoteProtocolError, match="had drawn no ticket"):
        verdict_entry(ROUND, verdict(auditor, target), target)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"round": 8}, "another round"),
        ({"base": digest("x")}, "another round"),
        ({"target": digest("x")}, "another round or record"),
        ({"worker": people(6)[5].peer_id}, "another round or record"),
        ({"about": "audit"}, "another round or record"),
        ({"preimage": digest("x")}, "does not open"),
    ],
)
def test_a_verdict_that_does_not_fit_earns_nothing(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why) as caught:
        verdict_entry(ROUND, verdict(AUDITOR, TARGET, **changes), TARGET)
    assert caught.value.reason == "bad-verdict"


def test_nobody_judges_itself_and_no_stranger_judges() -> None:
    for judge in (by_id(TARGET.signer), people(6)[5]):
        with pytest.raises(RemoteProtocolError, match="may not judge"):
            verdict_entry(ROUND, verdict(judge, TARGET), TARGET)


def test_work_that_was_not_taken_in_is_not_audited_for_pay() -> None:
    late = close_round(*_with(closed_by((0, 1), (0, 1), (0, 1, 2))))
    judge, (partial, absent) = by_id(PLAN.members[0]), late.commitments_N[2:]

    def said(target: Signed[Commitment]) -> Signed[Verdict]:
        return verdict(judge, target, base=late.certificate.id, role="jury")

    assert verdict_entry(late, said(partial), partial).ppm == PPM, "what is in one part is"
    with pytest.raises(RemoteProtocolError, match="did not take this work in"):
        verdict_entry(late, said(absent), absent)


# Cases, shards, chains


def test_two_contradicting_records_are_a_fault_on_every_chain() -> None:
    liar = PEOPLE[1]
    case = equivocation_case(commit(liar, BEFORE), commit(liar, BEFORE, tokens=81))
    fault = case.records[0].id
    assert case_entry(case) == Entry(7, Kind.CASE, fault, ANY_HEAD, raw_key(liar.peer_id), NOBODY, 0, 0)


def test_a_fault_is_one_entry_whichever_majority_has_shown_it() -> None:
    worker, *judges = PEOPLE
    work = ROUND.by_signer[worker.peer_id]
    said = [verdict(judge, work, outcome="fail") for judge in judges]
    cases = [majority_case(CERTIFICATE, work, some) for some in (said, said[::-1], said[1:])]
    assert len({case.id for case in cases}) == 3
    assert {case_entry(case).record for case in cases} == {work.id}


def test_a_false_judge_is_booked_by_its_own_verdict() -> None:
    accuser, *judges = PEOPLE
    work = ROUND.by_signer[judges[0].peer_id]
    false = verdict(accuser, work, outcome="fail")
    case = majority_case(CERTIFICATE, work, [verdict(one, work) for one in judges[1:]], "accusation", false)
    entry = case_entry(case)
    assert (entry.record, entry.key) == (false.id, raw_key(accuser.peer_id))


NEWCOMER, ANSWERING = PEOPLE[0], PEOPLE[1]
FOUND_FALSE = majority_case(
    CERTIFICATE,
    ROUND.by_signer[NEWCOMER.peer_id],
    [verdict(judge, ROUND.by_signer[NEWCOMER.peer_id], outcome="fail") for judge in PEOPLE[1:]],
)


def answered(round_no: int, newcomer: Identity = NEWCOMER) -> Signed[Voucher]:
    body = Voucher(round=round_no, newcomer=newcomer.peer_id, bond_micro=5)
    return sign(ANSWERING, SWARM, body)


def test_a_lost_bond_is_made_of_a_voucher_and_a_case() -> None:
    voucher = answered(3)
    keys = raw_key(ANSWERING.peer_id), raw_key(NEWCOMER.peer_id)
    expected = Entry(7, Kind.BOND, voucher.id, CERTIFICATE.id, *keys, 5, 0)
    assert bond_entry(voucher, FOUND_FALSE, open_rounds=512) == expected
    others = replace(FOUND_FALSE, records=(FOUND_FALSE.records[0], *FOUND_FALSE.records[:0:-1]))
    assert others.id != FOUND_FALSE.id
    assert bond_entry(voucher, others, open_rounds=512) == expected, "whichever majority has shown it"


@pytest.mark.parametrize(
    ("voucher", "is_lost"),
    [
        (answered(7), True),
        (answered(8), False),
        (answered(0), False),
        (answered(1), True),
        (answered(3, PEOPLE[2]), False),
    ],
    ids=["in the round of the fault", "after it", "long before it", "just not too long", "for somebody else"],
)
def test_a_voucher_answers_for_what_its_newcomer_does_while_it_holds(
    voucher: Signed[Voucher], is_lost: bool
) -> None:
    assert (bond_entry(voucher, FOUND_FALSE, open_rounds=7) is not None) == is_lost


def test_who_contradicts_itself_in_a_round_of_before_costs_its_bond_all_the_same() -> None:
    pair = (commit(NEWCOMER, BEFORE), commit(NEWCOMER, BEFORE, tokens=81))
    entry = bond_entry(answered(9), equivocation_case(*pair), open_rounds=512)
    assert entry is not None
    assert (entry.round, entry.head) == (9, ANY_HEAD)
    earlier = bond_entry(answered(3), equivocation_case(*pair), open_rounds=512)
    assert earlier is not None
    assert earlier.round == 7


SHARD = Registration(
    round=0, domain="law", first=2, chunks=5, tokens=100, sketch=bytes(SKETCH_BYTES), salt=bytes(16)
)


def test_a_registered_shard_is_in_the_set() -> None:
    body = Registration(
        round=3, domain="law", first=2, chunks=5, tokens=100, sketch=bytes(SKETCH_BYTES), salt=bytes(16)
    )
    record = sign(PEOPLE[0], SWARM, body)
    owner = raw_key(PEOPLE[0].peer_id)
    head = digest("the head of round 3")
    assert shard_entry(record, head) == Entry(3, Kind.SHARD, record.id, head, owner, NOBODY, 5, 0)


def test_a_registration_is_as_old_as_the_commitment_that_names_it() -> None:
    body = Registration(
        round=7, domain="law", first=2, chunks=5, tokens=100, sketch=bytes(SKETCH_BYTES), salt=bytes(16)
    )
    record, same_by_other = sign(PEOPLE[0], SWARM, body), sign(PEOPLE[1], SWARM, body)
    earlier = sign(PEOPLE[0], SWARM, msgspec.structs.replace(body, round=6))
    work = commit(PEOPLE[0], BEFORE, dated=record.id)
    assert BEFORE.number == 7
    assert is_dated(work, record)
    assert not is_dated(work, same_by_other)
    assert not is_dated(commit(PEOPLE[0], BEFORE, dated=earlier.id), earlier), "of another round"
    assert not is_dated(commit(PEOPLE[1], BEFORE, dated=record.id), record), "by somebody else"
    assert not is_dated(commit(PEOPLE[0], BEFORE), record)


def chain(*steps: Head) -> dict[bytes, Head]:
    return {head.id: head for head in steps}


def test_the_followed_chain_goes_back_to_its_founding() -> None:
    first = found(PEOPLE[0], SWARM, None, digest("state", 0)).head
    one = msgspec.structs.replace(first, number=1, parent=first.id)
    two = msgspec.structs.replace(first, number=2, parent=one.id)
    alone = found(PEOPLE[1], SWARM, two, b"").head
    three = msgspec.structs.replace(alone, number=3, parent=alone.id)
    left = msgspec.structs.replace(first, number=3, parent=two.id)
    heads = chain(first, one, two, alone, three, left)
    assert followed_chain(heads, three.id) == {0: one.id, 1: two.id, 2: three.id}
    assert followed_chain(heads, left.id) == {0: one.id, 1: two.id, 2: left.id}
    assert followed_chain(heads, alone.id) == {0: one.id, 1: two.id}
    del heads[one.id]
    assert followed_chain(heads, three.id) == {1: two.id, 2: three.id}
    assert followed_chain(heads, digest("unknown")) == {}


def test_records_become_balances() -> None:
    """The whole way: a round, an audit, and what its members have then."""
    lines = [*round_entries(ROUND, BYTES_K), verdict_entry(ROUND, verdict(AUDITOR, TARGET), TARGET)]
    ledger = Ledger(Rules(SECTION, parameters=10**9, audit_rate_ppm=PPM // 16))
    packed = EntrySet(SECTION.epoch_rounds, [line.packed for line in lines]).packed
    ledger.fold(packed, {7: CERTIFICATE.id})
    work = 80 * 6 * 10**9 * PPM // 10**12 * 2 // 5  # newcomers' reputation 0.2, early factor 2
    assert {balance.by_term[0] for balance in ledger.balances(8)} == {work}
    assert ledger.account(raw_key(AUDITOR.peer_id)).by_term[2] > work
    elsewhere = Ledger(ledger.rules)
    elsewhere.fold(packed, {7: digest("another head")})
    assert elsewhere.balances(8) == []
