"""The ledger gives everybody the same balances, and a reason for each change."""

from __future__ import annotations

import dataclasses
import random
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhtnode.amendments import Amendment, Setting
from dhtnode.manifest import AuditSection
from dhtnode.records import sign
from dhtnode.reputation import ReputationSection, TermSection
from dhtnode.reward import PPM
from rewards.accounts import probation_ppm
from rewards.entries import ANY_HEAD, Entry, EntrySet, unpacked
from rewards.formula import early_ppm, reputation_ppm
from rewards.ledger import Ledger, rules_in_force, rules_of
from rewards.snapshot import balances_digest, decode_ledger, encode_ledger
from tests.unit.bookings import (
    FOLLOWED,
    KEYS,
    OTHER_BRANCH,
    PARAMETERS,
    REPUTATION,
    ROUNDS,
    RULES,
    SECTION,
    TOKENS,
    audit,
    before,
    bond,
    booked,
    case,
    fold,
    histories,
    reduction,
    work,
)
from tests.unit.naive_ledger import NaiveLedger
from tests.unit.parties import SWARM, person, terms
from training.in_force import TermsInForce
from validation.rates import Rates

EPOCH = SECTION.epoch_rounds
FULL = 6 * TOKENS * PARAMETERS * PPM // 10**12
"""Micro-credits for usual work with all factors at 1."""
NEW = Fraction(reputation_ppm(0, REPUTATION), PPM) * Fraction(early_ppm(0, 50), PPM)
"""What a newcomer's reward is multiplied by in the first epoch."""


def worth(*terms: int | Fraction) -> int:
    """Micro-credits of one reward: the product, rounded down."""
    product = Fraction(1)
    for term in terms:
        product *= term
    return int(product)


# The same for everybody


@given(histories, st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_no_balance(packed: list[bytes], chance: random.Random) -> None:
    mixed = list(packed)
    chance.shuffle(mixed)
    one, other = (fold(EntrySet(EPOCH, some).packed) for some in (packed, mixed))
    assert one.balances(ROUNDS) == other.balances(ROUNDS)
    assert balances_digest(one) == balances_digest(other)


@given(histories, histories)
def test_two_nodes_that_merge_agree(mine: list[bytes], others: list[bytes]) -> None:
    here, there = EntrySet(EPOCH, mine), EntrySet(EPOCH, others)
    assert balances_digest(fold(here.merged(there).packed)) == balances_digest(
        fold(there.merged(here).packed)
    )


@given(histories, st.lists(st.integers(0, ROUNDS), max_size=3))
def test_a_fold_goes_on_from_a_snapshot(packed: list[bytes], cuts: list[int]) -> None:
    entries = EntrySet(EPOCH, packed).packed
    ledger, done = fold(b""), 0
    for cut in [*sorted(cuts), ROUNDS]:
        part = EntrySet(EPOCH, before(packed, cut)).packed
        ledger.fold(part[done:], FOLLOWED)
        ledger.balances(cut)
        ledger, done = decode_ledger(encode_ledger(ledger), RULES), len(part)
    at_once = fold(entries)
    assert encode_ledger(ledger) == encode_ledger(at_once)
    assert ledger.balances(ROUNDS) == at_once.balances(ROUNDS)


@given(histories)
def test_every_credit_is_vested_at_stake_or_burned(packed: list[bytes]) -> None:
    for balance in fold(EntrySet(EPOCH, packed).packed).balances(ROUNDS):
        assert balance.earned == balance.vested + balance.stake + balance.burned
        assert min(balance.vested, balance.stake, balance.burned, balance.forfeited, *balance.by_term) >= 0


@given(histories)
def test_the_changes_of_a_key_add_up_to_its_balance(packed: list[bytes]) -> None:
    entries = EntrySet(EPOCH, packed).packed
    for key in KEYS:
        ledger = fold(entries, watched=key)
        balance = ledger.account(key).balance(ROUNDS)
        assert sum(change.amount for change in ledger.changes) == balance.vested + balance.stake
        burned = -sum(change.amount for change in ledger.changes if change.cause in ("case", "bond"))
        assert burned == balance.burned


@given(histories)
def test_a_branch_that_was_left_is_credited_to_nobody(packed: list[bytes]) -> None:
    here = [one for one in packed if OTHER_BRANCH not in one]
    assert balances_digest(fold(EntrySet(EPOCH, packed).packed)) == balances_digest(
        _with_next_round(here, packed)
    )


def _with_next_round(here: list[bytes], packed: list[bytes]) -> Ledger:
    """The ledger of some entries, at the round where that of all of them stands."""
    ledger = fold(EntrySet(EPOCH, here).packed)
    ledger.next_round = fold(EntrySet(EPOCH, packed).packed).next_round
    return ledger


@settings(max_examples=60)
@given(histories)
def test_the_fold_agrees_with_a_ledger_that_counts_everything_again(packed: list[bytes]) -> None:
    naive = NaiveLedger([Entry(*line) for one in packed for line in unpacked(one)], FOLLOWED, RULES)
    ledger = fold(EntrySet(EPOCH, packed).packed)
    for key in KEYS:
        balance = ledger.account(key).balance(ROUNDS)
        assert naive.balance(key, ROUNDS) == {
            "vested": balance.vested,
            "stake": balance.stake,
            "burned": balance.burned,
            "forfeited": balance.forfeited,
        }


def test_rounds_do_not_go_back() -> None:
    ledger = booked(work(5, 0))
    with pytest.raises(ValueError, match="an entry of round 5, but 6 is next"):
        ledger.fold(work(5, 1).packed, FOLLOWED)


# Terms


def test_work_is_paid_by_its_size_and_quality() -> None:
    ledger = booked(work(0, 0), work(0, 1, tokens=2 * TOKENS), work(0, 2, quality=PPM // 2))
    terms = [ledger.account(key).by_term[0] for key in KEYS[:3]]
    assert terms == [worth(FULL, NEW), worth(2 * FULL, NEW), worth(FULL, NEW, Fraction(1, 2))]


def test_the_early_bonus_falls_from_epoch_to_epoch() -> None:
    earned = [booked(work(epoch * EPOCH, 0)).account(KEYS[0]).by_term[0] for epoch in range(5)]
    assert earned == [
        worth(FULL, Fraction(reputation_ppm(0, REPUTATION), PPM), Fraction(early_ppm(epoch, 50), PPM))
        for epoch in range(5)
    ]
    assert earned == sorted(set(earned), reverse=True)


def test_who_passes_audits_earns_more_for_the_same_work() -> None:
    passed = booked(work(0, 0), work(0, 1), audit(0, 1, worker=0), work(1, 0)).account(KEYS[0])
    failed = booked(work(0, 0), work(0, 1), audit(0, 1, worker=0, passed=False), work(1, 0)).account(KEYS[0])
    early = Fraction(early_ppm(0, 50), PPM)
    first = worth(FULL, NEW)
    audited, accepted = (Fraction(reputation_ppm(r, REPUTATION), PPM) for r in (PPM, PPM // 20))
    assert passed.by_term[0] == first + worth(FULL, audited, early)
    assert failed.by_term[0] == first + worth(FULL, accepted, early)


@pytest.mark.parametrize(
    "change",
    [
        {"passed": TermSection(add_milli=2000, most_milli=100_000, half_life_rounds=500, sign=1)},
        {"accepted": TermSection(add_milli=500, most_milli=1000, half_life_rounds=500, sign=1)},
        {"good_prior_milli": 450},
        {"all_prior_milli": 1900},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_reputation_factor_is_made_of_the_constants_of_trust(change: dict[str, Any]) -> None:
    """Each that is in it moves it, and the slow ledger says by how much."""
    rules = dataclasses.replace(RULES, reputation=msgspec.structs.replace(REPUTATION, **change))
    history = [work(0, 0), work(0, 1), audit(0, 1, worker=0), work(1, 0), work(1, 1), work(2, 0)]
    ledger = Ledger(rules)
    ledger.fold(EntrySet(EPOCH, [one.packed for one in history]).packed, FOLLOWED)
    found = [ledger.account(key).balance(ROUNDS) for key in KEYS[:2]]
    naive = NaiveLedger(history, FOLLOWED, rules)
    for balance in found:
        assert balance.vested + balance.stake == sum(
            naive.balance(balance.key, ROUNDS)[place] for place in ("vested", "stake")
        )
    assert found != [booked(*history).account(key).balance(ROUNDS) for key in KEYS[:2]]
    again = decode_ledger(encode_ledger(ledger), rules)
    assert [account.reputation for account in again.accounts.values()] == [
        ledger.accounts[key].reputation for key in again.accounts
    ]


def test_a_swarms_rules_have_its_own_constants_of_trust() -> None:
    changed = msgspec.structs.replace(terms(), reputation=ReputationSection(all_prior_milli=1900))
    assert rules_of(changed, PARAMETERS).reputation == changed.reputation


def test_many_auditors_of_one_commitment_vouch_for_it_once() -> None:
    crowd = [audit(0, who, worker=0) for who in (1, 2, 3)]
    ledger = booked(*(work(0, who) for who in range(4)), *crowd)
    assert ledger.account(KEYS[0]).passed == 1


def test_audits_are_paid_with_the_bonus_for_presence() -> None:
    presence = [work(round_no, who) for round_no in range(EPOCH) for who in (0, 1)]
    account = booked(*presence, audit(3, 0, worker=1)).account(KEYS[0])
    standing = Fraction(reputation_ppm(3 * PPM // 20, REPUTATION), PPM)
    early = Fraction(early_ppm(0, 50), PPM)
    uptime = 1 + Fraction(1, 2) * Fraction(4, SECTION.uptime_rounds)
    assert account.by_term[2] == worth(FULL, standing, early, uptime)


def test_an_absence_takes_bonus_away() -> None:
    steady = booked(*(work(round_no, 0) for round_no in range(9)))
    gaps = booked(*(work(round_no, 0) for round_no in (0, 1, 7, 8)))
    back = booked(work(0, 0), work(20, 0))
    seen = [ledger.account(KEYS[0]).seen.bit_count() for ledger in (steady, gaps, back)]
    assert seen == [8, 3, 1]


def test_reducing_a_gigabyte_is_a_credit_times_the_factors() -> None:
    account = booked(work(0, 0), reduction(0, 0)).account(KEYS[0])
    uptime = 1 + Fraction(1, 2) * Fraction(1, SECTION.uptime_rounds)
    assert account.by_term[3] == worth(PPM, NEW, uptime)


def test_audits_are_expected_at_the_rate_at_which_nodes_draw_them() -> None:
    rates = Rates(AuditSection(rate=0.0), "me")
    for passed in range(60):
        assert abs(probation_ppm(passed, 3) / PPM - rates.of("work", "worker")) < 1 / PPM
        rates.passed("work", "worker", "me")
    assert [probation_ppm(passed, 3) for passed in (0, 2, 3, 59)] == [PPM, PPM, 750_000, 50_000]


def test_audits_beyond_twice_the_draw_are_not_paid() -> None:
    """Two members without a passed audit: each is drawn to replay the other every round."""
    always = [work(round_no, who) for round_no in range(EPOCH) for who in (0, 1, 2, 3)]
    eager = [audit(round_no, 0, worker=who) for round_no in range(EPOCH) for who in (1, 2, 3)]
    account = booked(*always, *eager).account(KEYS[0])
    expected = account.tickets / PPM
    assert account.audited == pytest.approx(2 * expected, rel=1e-6)
    assert account.audited < TOKENS * len(eager)


def test_a_single_audit_is_always_paid() -> None:
    """One draw may be far more than what could be expected so far."""
    ledger = booked(*(work(0, who, tokens=1) for who in range(3)), audit(0, 0, worker=1))
    assert ledger.account(KEYS[0]).audited == TOKENS


def test_one_replay_that_settles_two_verdicts_is_paid_once() -> None:
    """The work itself, and another auditor's word on it."""
    first = audit(0, 0, worker=1)
    second = first._replace(record=KEYS[4], ppm=0)
    ledger = booked(*(work(0, who) for who in range(3)), first, second)
    assert ledger.account(KEYS[0]).audited == TOKENS


def test_the_next_epoch_counts_audits_anew() -> None:
    lines = [work(round_no, who) for round_no in (0, EPOCH) for who in (0, 1)]
    lines += [audit(round_no, 0, worker=1) for round_no in (0, EPOCH)]
    assert booked(*lines).account(KEYS[0]).audited == TOKENS


# Guilt


def test_a_fault_burns_what_had_not_vested_and_the_pay_of_its_round() -> None:
    vesting = SECTION.vesting_rounds
    ledger = booked(*(work(round_no, 0) for round_no in range(20)), case(18, 0), watched=KEYS[0])
    balance = ledger.account(KEYS[0]).balance(ROUNDS)
    paid = [change.amount for change in ledger.changes if change.cause == "compute"]
    assert balance.vested == sum(paid[: 18 - vesting + 1])
    assert balance.burned == sum(paid[18 - vesting + 1 : 18])
    assert balance.stake == 0
    assert paid[18:] == [0, 0]
    assert balance.forfeited > 0


def test_a_case_that_comes_late_counts_for_its_own_round() -> None:
    early = EntrySet(EPOCH, [work(round_no, 0).packed for round_no in range(20)])
    before = fold(early.packed).balances(ROUNDS)
    early.add([case(4, 0).packed])
    after = fold(early.packed).balances(ROUNDS)
    assert before[0].burned == 0 < after[0].burned
    assert after[0].earned < before[0].earned


def test_two_contradicting_records_count_on_every_chain() -> None:
    lines = [work(round_no, who) for round_no in range(5) for who in (0, 1)]
    ledger = booked(*lines, case(4, 0, head=ANY_HEAD), case(4, 1, head=OTHER_BRANCH))
    burned = [balance.burned for balance in ledger.balances(ROUNDS)]
    assert sorted(amount > 0 for amount in burned) == [False, True]
    assert ledger.account(KEYS[0]).stake.burned > 0


def test_only_what_a_key_has_signed_against_itself_counts_on_every_chain() -> None:
    ledger = booked(
        work(3, 0, head=ANY_HEAD), audit(3, 0, worker=1, head=ANY_HEAD), reduction(3, 0, head=ANY_HEAD)
    )
    assert ledger.accounts == {}
    assert booked(work(1, 0), bond(3, 0, newcomer=1, head=ANY_HEAD)).account(KEYS[0]).lost == {KEYS[1]}
    assert booked(work(1, 0), bond(3, 0, newcomer=1, head=OTHER_BRANCH)).account(KEYS[0]).lost == set()


# Bonds


EARNED = booked(work(1, 0)).account(KEYS[0]).stake.at_stake
assert EARNED > 1000


def test_who_answered_for_a_newcomer_loses_the_bond_and_no_more() -> None:
    account = booked(work(1, 0), case(3, 1), bond(3, 0, newcomer=1, amount=1000)).account(KEYS[0])
    assert (account.stake.burned, account.stake.at_stake) == (1000, EARNED - 1000)
    assert account.stake.outlaw_until == 0, "it has done nothing false itself"
    assert account.lost == {KEYS[1]}


def test_no_bond_takes_more_than_the_stake() -> None:
    account = booked(work(1, 0), bond(3, 0, newcomer=1, amount=EARNED + 1)).account(KEYS[0])
    assert (account.stake.burned, account.stake.at_stake) == (EARNED, 0)
    vested = booked(work(1, 0), bond(1 + SECTION.vesting_rounds, 0, newcomer=1)).account(KEYS[0])
    assert (vested.stake.burned, vested.stake.vested) == (0, EARNED), "what is vested can't be burned"
    assert vested.lost, "it may answer for nobody any more, though there was nothing to burn"


def test_one_newcomer_costs_its_bond_once() -> None:
    again = [bond(round_no, 0, newcomer=1, amount=1000) for round_no in (3, 4)]
    assert booked(work(1, 0), *again).account(KEYS[0]).stake.burned == 1000
    two = [bond(3, 0, newcomer=newcomer, amount=1000) for newcomer in (1, 2)]
    assert booked(work(1, 0), *two).account(KEYS[0]).stake.burned == 2000


def test_after_its_probation_a_newcomers_fault_costs_nobody_else() -> None:
    served = [work(round_no, 1) for round_no in range(RULES.reputation.probation_rounds)]
    late = bond(RULES.reputation.probation_rounds, 0, newcomer=1)
    assert booked(work(1, 0), *served, late).account(KEYS[0]).lost == set()
    assert booked(work(1, 0), *served[1:], late).account(KEYS[0]).lost == {KEYS[1]}, "a round was missed"


def test_a_lost_bond_has_a_cause_in_plain_words() -> None:
    (change,) = booked(bond(3, 0, newcomer=1), watched=KEYS[0]).changes
    assert (change.cause, change.amount, change.record) == ("bond", 0, bond(3, 0, newcomer=1).record)
    assert change.text.endswith("burned: it answered for a newcomer that was found false in round 3")


def test_an_outlaws_word_lifts_nobody() -> None:
    lines = [work(0, 0), work(0, 1), audit(0, 0, worker=1), case(0, 0)]
    assert booked(*lines).account(KEYS[1]).passed == 0


def test_each_change_has_a_cause_in_plain_words_and_a_record() -> None:
    lines = [work(0, 0), work(0, 1), audit(0, 0, worker=1), reduction(0, 0), case(3, 0)]
    ledger = booked(*lines, work(4, 0), watched=KEYS[0])
    assert [(change.round, change.cause, change.record) for change in ledger.changes] == [
        (0, "compute", lines[0].record),
        (0, "audit", lines[2].record),
        (0, "reduction", lines[3].record),
        (3, "case", lines[4].record),
        (4, "compute", work(4, 0).record),
    ]
    texts = [change.text for change in ledger.changes]
    assert texts[0] == "0.240000 credits for its work in the round's state"
    assert texts[3].endswith("of stake burned: proven guilty of a fault in round 3")
    assert texts[4] == "nothing for its work in the round's state"


# Constants that members have changed


def test_an_amended_price_holds_from_its_round_on() -> None:
    double = msgspec.structs.replace(SECTION, compute_micro=2 * SECTION.compute_micro)
    amended = dataclasses.replace(RULES, later=((2, dataclasses.replace(RULES, section=double)),))
    lines = [work(round_no, 0) for round_no in range(4)]
    plain, dear = booked(*lines, watched=KEYS[0]), booked(*lines, watched=KEYS[0], rules=amended)
    before, after = [change.amount for change in plain.changes], [change.amount for change in dear.changes]
    assert after[:2] == before[:2]
    assert [abs(paid - 2 * usual) <= 1 for paid, usual in zip(after[2:], before[2:], strict=True)] == [
        True
    ] * 2


def test_the_rules_in_force_follow_the_chain() -> None:
    terms_ = msgspec.structs.replace(terms(), reward=SECTION)
    change = Setting(key="reward.compute_micro", value="7")
    amendment = sign(person(0), SWARM, Amendment(round=0, effect=9, changes=(change,), why=""))
    in_force = TermsInForce(terms_)
    in_force.learn(amendment)
    in_force.stand_on([amendment.id], 9)
    assert rules_in_force(in_force, 8, PARAMETERS).later == ()
    found = rules_in_force(in_force, 9, PARAMETERS)
    assert [found.at(round_no).section.compute_micro for round_no in (0, 8, 9, 99)] == [PPM, PPM, 7, 7]
