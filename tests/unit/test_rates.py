"""How often whom: newcomers always, the trusted seldom, and no friend can change that."""

from __future__ import annotations

from dhtnode.manifest import AuditSection
from validation.rates import Rates

BASE = 1 / 16
SECTION = AuditSection(rate=BASE)


def test_a_newcomer_is_always_checked() -> None:
    rates = Rates(SECTION, "me")
    assert rates.of("work", "new") == rates.of("reduction", "new") == rates.of("audit", "new") == 1.0


def test_checks_that_are_passed_lower_the_rate_to_the_base() -> None:
    rates = Rates(SECTION, "me")
    seen = [rates.of("work", "w")]
    for _ in range(100):
        rates.passed("work", "w", "me")
        seen.append(rates.of("work", "w"))
    assert seen == sorted(seen, reverse=True)
    probation = SECTION.work_probation
    assert seen[probation] == probation / (1 + probation)
    assert seen[-1] == rates.least("work") == BASE
    assert rates.of("audit", "w") == 1.0, "each kind by itself"
    assert rates.least("reduction") == SECTION.part_factor * BASE


def test_a_friend_that_passes_everything_counts_for_one_more_than_i_have_seen() -> None:
    rates = Rates(SECTION, "me")
    for _ in range(1000):
        rates.passed("work", "w", "friend")
    assert rates.of("work", "w") == 1.0
    rates.passed("work", "w", "me")
    assert rates.of("work", "w") == SECTION.work_probation / (1 + 1 + 2)


def test_the_word_of_who_was_false_counts_for_nothing_any_more() -> None:
    rates = Rates(SECTION, "me")
    for teller in ("me", "friend", "other"):
        rates.passed("audit", "w", teller)
    assert rates.of("audit", "w") == 1 / 4
    rates.discredited("friend")
    assert rates.of("audit", "w") == 1 / 3
    rates.discredited("stranger")
    assert rates.of("audit", "w") == 1 / 3


def test_doubt_that_was_groundless_takes_nothing() -> None:
    rates = Rates(SECTION, "me")
    for _ in range(100):
        rates.passed("work", "w", "me")
    rates.doubted("work", "w")
    rates.passed("work", "w", "me")
    rates.doubted("work", "w")
    assert rates.of("work", "w") == 1.0
    rates.cleared("work", "w")
    assert rates.of("work", "w") == BASE
    rates.doubted("work", "w")
    rates.discredited("w")
    rates.cleared("work", "w")
    assert rates.of("work", "w") == 1.0, "it was false, and begins anew"


def test_judges_are_soon_checked_less_than_workers() -> None:
    """They judge seldom, so that it would take hundreds of rounds otherwise."""
    rates = Rates(SECTION, "me")
    assert rates.of("audit", "w") == 1.0
    for about in ("work", "audit"):
        rates.passed(about, "w", "me")
    assert (rates.of("work", "w"), rates.of("audit", "w")) == (1.0, 0.5)


def test_doubt_makes_a_newcomer_again_and_of_nobody_else() -> None:
    rates = Rates(SECTION, "me")
    for peer in ("w", "v"):
        for _ in range(100):
            rates.passed("work", peer, "me")
    rates.doubted("work", "w")
    assert rates.of("work", "w") == 1.0
    assert rates.of("work", "v") == BASE
