"""Attacks on reputation: what each comes to, beside a control that suffers. Fast and pure.

The runs are shorter here than in `scripts/bench-reputation`.
"""

from __future__ import annotations

from tests.adversary.feuds import (
    FORGIVING,
    badmouthing,
    ballot_stuffing,
    consent,
    on_off_cheat,
    peace,
    self_audit_ring,
    sybil_flood,
    voucher_abuse,
    whitewasher,
)
from tests.adversary.standing import CAREFUL, GULLIBLE

MOST_INFLUENCE = 2.3
LEAST_COST = 40
"""Rounds of income that a new name costs."""


def test_honest_members_have_whole_votes_and_are_audited_ever_less() -> None:
    early, late = peace(12, rounds=60), peace(12, rounds=200)
    assert early.honest_out == late.honest_out == 0
    assert late.votes > 0.95
    assert late.audit_rate < early.audit_rate < 0.5
    assert late.audit_rate < 0.1


def test_members_come_to_one_vote_for_all_and_seldom_change_it() -> None:
    agreed = consent(12, rounds=80)
    assert (agreed.lost, agreed.without) == (0, 0)
    assert agreed.changed <= 20


def test_a_clique_that_says_nothing_good_of_anybody_puts_nobody_out() -> None:
    defended, gullible = badmouthing(rounds=70), badmouthing(GULLIBLE, rounds=70)
    assert defended.honest_out == 0
    assert defended.honest_vote > 0.6
    assert defended.honest_rate < 0.25, "nor is all of their work audited because of it"
    assert gullible.honest_out == 12
    assert gullible.honest_vote == 0


def test_a_clique_that_praises_itself_is_found_out_as_soon_as_others() -> None:
    defended, gullible = ballot_stuffing(rounds=110), ballot_stuffing(GULLIBLE, rounds=110)
    assert defended.honest_out == 0
    assert defended.attackers_out >= 6
    assert defended.false_taken < gullible.false_taken / 2


def test_a_clique_that_audits_truly_while_it_is_good_gets_in_about_half_of_what_it_could() -> None:
    defended, gullible = (
        [ballot_stuffing(care, rounds=110, seed=seed, looks=True) for seed in (1, 2, 3)]
        for care in (CAREFUL, GULLIBLE)
    )
    assert [one.honest_out for one in defended] == [0, 0, 0]
    assert sum(one.false_taken for one in defended) < 0.6 * sum(one.false_taken for one in gullible)


def test_members_that_only_their_friends_can_audit_have_no_vote() -> None:
    defended, gullible = self_audit_ring(rounds=80), self_audit_ring(GULLIBLE, rounds=80)
    assert defended.honest_out == 0
    assert (defended.attackers_vote, defended.false_taken) == (0, 0)
    assert gullible.attackers_vote == 1
    assert gullible.false_taken > 20


def test_ten_made_up_keys_for_each_member_gain_no_more_than_those_who_praise_them_have_earned() -> None:
    defended, gullible = sybil_flood(rounds=80), sybil_flood(GULLIBLE, rounds=80)
    assert defended.honest_out == 0
    assert 1 < defended.influence <= MOST_INFLUENCE
    assert defended.sybils_vote == 0
    assert gullible.sybils_vote == 1
    assert gullible.gained > 100 * defended.gained


def test_a_new_name_costs_forty_rounds_of_income() -> None:
    for seed in range(1, 5):
        assert whitewasher(seed=seed).rounds_lost >= LEAST_COST
        assert whitewasher(probation_rounds=1, seed=seed).rounds_lost < LEAST_COST


def test_being_good_for_long_buys_few_false_rounds() -> None:
    defended, forgiving = on_off_cheat(rounds=120), on_off_cheat(FORGIVING, rounds=120)
    assert defended.honest_out == 0
    assert defended.bans >= 1
    assert defended.false_taken < forgiving.false_taken / 2
    assert defended.income < forgiving.income / 2


def test_who_answers_for_cheats_gets_one_in_and_pays_for_it() -> None:
    heard, deaf = voucher_abuse(), voucher_abuse(tells=False)
    assert (heard.entered, heard.bond_lost_micro) == (1, 1_000_000)
    assert (deaf.entered, deaf.bond_lost_micro) == (50, 0)
