"""Cheating costs more than it brings: the bond against the gain, on simulated cheats.

A cheat makes up its work from some round on, in every round, until an auditor draws its work. The
auditors draw as in a swarm, the ledger books as in a swarm. Its twin leaves instead of cheating: the
difference is what cheating brought, if doing the work honestly were worth nothing at all.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from statistics import mean

import msgspec
import pytest

from dhtnode.digest import digest
from dhtnode.manifest import AuditSection
from dhtnode.reward import PPM, RewardSection, least_vesting
from rewards.entries import NOBODY, Entry, Kind
from rewards.formula import reputation_ppm
from rewards.ledger import Ledger, Rules
from validation.lottery import obliged

RATE = AuditSection().rate
AUDITORS = 15
HONEST = 60
"""Rounds before it cheats: longer than anything takes to vest."""
END = 600
CHEATS = 400
SECTION = RewardSection(epoch_rounds=65_536, standing_cap=1)
"""A steady state: factors that do not change, so that a round's income is the same in all later rounds."""


@lru_cache
def caught(cheat: int, rate: float) -> int:
    """The round in which an auditor draws the work of a cheat, all of whose work is made up."""
    round_no = HONEST
    while True:
        head, target = digest("head", round_no), digest("work", cheat, round_no)
        for auditor in range(AUDITORS):
            preimage = digest("preimage", auditor, cheat, round_no)
            if obliged(preimage, head, target, rate / AUDITORS):
                return round_no
        round_no += 1


def history(cheat: int, last: int, fault: int | None) -> bytes:
    """One key that takes part up to a round, and perhaps a case against it."""
    key = digest("cheat", cheat)
    lines = [
        Entry(r, Kind.WORK, digest("work", cheat, r), digest("head", r), key, NOBODY, 10_000, PPM)
        for r in range(last)
    ]
    if fault is not None:
        lines.append(Entry(fault, Kind.CASE, digest("case"), digest("head", fault), key, NOBODY, 0, 0))
    return b"".join(sorted(line.packed for line in lines))


HEADS = {round_no: digest("head", round_no) for round_no in range(END)}


def kept(cheat: int, vesting: int, last: int, fault: int | None) -> int:
    """Micro-credits that are its own in the end."""
    section = msgspec.structs.replace(SECTION, vesting_rounds=vesting)
    ledger = Ledger(Rules(section, 10**9, PPM // 16))
    ledger.fold(history(cheat, last, fault), HEADS)
    return ledger.account(digest("cheat", cheat)).balance(END).vested


def income() -> int:
    """Micro-credits of one round in the steady state."""
    return kept(0, 1, HONEST + 1, None) - kept(0, 1, HONEST, None)


def gained(vesting: int, rate: float) -> float:
    """What cheating until it is found out brings on average, in rounds of income."""
    left = kept(0, vesting, HONEST, None)
    stayed = [caught(cheat, rate) for cheat in range(CHEATS)]
    return (
        mean(kept(cheat, vesting, found + 1, found) - left for cheat, found in enumerate(stayed)) / income()
    )


def test_the_bond_times_detection_exceeds_the_gain() -> None:
    """The inequality, with the manifest's own numbers: p V y >= (1 - p) y."""
    unseen = Fraction(1 - Fraction(RATE) / AUDITORS) ** AUDITORS
    bond = RewardSection().vesting_rounds
    assert (1 - unseen) * bond >= 2 * unseen, "with a margin of two"


def test_cheats_are_caught_as_often_as_the_rate_says() -> None:
    rounds = mean(caught(cheat, RATE) - HONEST + 1 for cheat in range(CHEATS))
    unseen = (1 - RATE / AUDITORS) ** AUDITORS
    assert rounds == pytest.approx(1 / (1 - unseen), rel=0.15)


def test_who_cheats_until_it_is_found_out_loses_most_of_its_bond() -> None:
    """Some 15 rounds go unseen, and let 15 of its 40 rounds at stake vest; the other 25 are burned."""
    assert gained(RewardSection().vesting_rounds, RATE) == pytest.approx(15 - 40, abs=1.6)


def test_at_the_least_bond_it_wins_nothing_and_below_it_wins() -> None:
    """A control: without enough at stake, the same cheats would profit."""
    assert gained(least_vesting(RATE), RATE) == pytest.approx(15 - 16, abs=1.6)
    assert gained(4, RATE) == pytest.approx(15 - 4, abs=1.6)


@pytest.mark.parametrize("rate", [1 / 32, 1 / 8, 1.0])
def test_for_every_rate_the_least_bond_deters(rate: float) -> None:
    assert gained(2 * least_vesting(rate), rate) < 0


def test_a_new_name_costs_forty_rounds_of_income() -> None:
    """A whitewasher: out in round 60, back under another key that has everything to prove again."""
    section = RewardSection()
    rules = Rules(section, 10**9, PPM // 16)
    old = Ledger(rules)
    old.fold(history(1, HONEST + 1, HONEST), HEADS)
    balance = old.account(digest("cheat", 1)).balance(END)
    stayed = Ledger(rules, watched=digest("cheat", 1))
    stayed.fold(history(1, HONEST + 1, None), HEADS)
    last_forty = [change.amount for change in stayed.changes][HONEST - 39 : HONEST]
    assert balance.burned == sum(last_forty)
    forfeited = stayed.changes[HONEST].amount
    assert balance.burned + forfeited == sum(change.amount for change in stayed.changes[-40:])
    best, new = (reputation_ppm(r * PPM, rules.reputation) for r in (section.standing_cap, 0))
    assert best > 4 * new


def test_a_newcomer_that_cheats_at_once_leaves_with_nothing() -> None:
    ledger = Ledger(Rules(RewardSection(), 10**9, PPM // 16))
    ledger.fold(history(2, 10, 0), HEADS)
    balance = ledger.account(digest("cheat", 2)).balance(END)
    assert (balance.vested, balance.stake, balance.burned) == (0, 0, 0)
    assert balance.forfeited > 0
