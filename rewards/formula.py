"""What is earned, term by term, in integers.

    Reward = (Compute_Contribution x Quality_Score)
           + (Data_Contribution x Rarity_Factor)
           + (Validation_Service x Uptime_Bonus)

times the reputation factor and the early contributors' factor. Contributions are counted in FLOP, tokens
and bytes, factors in parts per million, rewards in micro-credits. A reward is one product and one
division at its end, so it is less than one micro-credit below the exact value, and the same everywhere.
"""

from __future__ import annotations

from functools import lru_cache
from math import isqrt

from dhtnode.reputation import ReputationSection
from dhtnode.reward import PPM, RewardSection

TERA = 10**12
GIGA = 10**9
KILO = 10**3
COMMON = PPM * PPM
"""What the two factors that all terms share make when both are 1."""


def compute_flop(tokens: int, parameters: int) -> int:
    """Compute_Contribution: 6 FLOP for each parameter and token, 2 forwards and 4 backwards.

    Source: Kaplan et al., arXiv:2001.08361, section 2.1.
    """
    return 6 * tokens * parameters


def quality_ppm(kept_ppm: int, parts_in: int, parts: int) -> int:
    """Quality_Score: how much of an update the reduction kept, and how much of it came in time.

    By the number of parts, not by their size: one reducer, however much it carries, takes from somebody that
    it leaves out no more than its share of the parts.

    Args:
        kept_ppm: share of the update that clipping left; all of it is 1,000,000.
        parts_in: parts of the round that its work is in.
        parts: parts of the round, at least 1.
    """
    return kept_ppm * parts_in // parts


def rarity_ppm(total: int, domains: int, own: int, duplicate_ppm: int, section: RewardSection) -> int:
    """Rarity_Factor: sqrt(total / (domains x own)) within bounds, times what is no near-duplicate.

    Args:
        total: size of all registered data, in whatever unit `own` has; at least 1.
        domains: how many domains there are.
        own: size of this domain, at least 1.
        duplicate_ppm: share of the shard that others had registered before.
        section: the bounds.
    """
    root = isqrt(total * PPM * PPM // (domains * own))
    clipped = min(max(root, section.rarity_least_ppm), section.rarity_most_ppm)
    return clipped * (PPM - duplicate_ppm) // PPM


def uptime_ppm(present: int, section: RewardSection) -> int:
    """Uptime_Bonus: 1, and up to the manifest's bonus for presence in all of its last rounds."""
    return PPM + section.uptime_bonus_ppm * present // section.uptime_rounds


def reputation_ppm(standing: int, reputation: ReputationSection) -> int:
    """The reputation factor (r + 0.4) / (r + 2): trust with r = standing in millionths, and without faults.

    A member with a proven fault earns nothing at all, so r alone decides: 20 % for a newcomer, 93 %
    after 20 audits.
    """
    return reputation.trust_micro(standing, 0)


def raised(standing: int, audited: bool, cap: int, reputation: ReputationSection) -> int:
    """Standing in millionths after one more accepted round; at most that of `cap` audits.

    Of the two terms of trust this takes what one piece of evidence adds. It does not fade, and has one cap.
    """
    term = reputation.passed if audited else reputation.accepted
    return min(standing + 1000 * term.add_milli, 1000 * cap * reputation.passed.add_milli)


@lru_cache(maxsize=4096)
def early_ppm(epoch: int, half_life: int) -> int:
    """1 + 2^(-epoch / half_life), rounded down.

    2^(-e/h) in ppm is the h-th root of PPM^h / 2^e, and the integer part of a root of a quotient is
    that of the root of its integer part: no float, no table.
    """
    return PPM + root(PPM**half_life >> epoch, half_life)


def root(value: int, degree: int) -> int:
    """The integer part of a root, bit by bit from the highest."""
    found = 0
    for bit in reversed(range(-(-value.bit_length() // degree))):
        if (found | 1 << bit) ** degree <= value:
            found |= 1 << bit
    return found


def compute_reward(flop: int, quality: int, common: int, section: RewardSection) -> int:
    """Micro-credits for accepted work."""
    return section.compute_micro * flop * quality * common // (TERA * PPM * COMMON)


def data_reward(tokens: int, rarity: int, common: int, section: RewardSection) -> int:
    """Micro-credits for tokens of a shard that accepted work has used."""
    return section.data_micro * tokens * rarity * common // (KILO * PPM * COMMON)


def audit_reward(flop: int, uptime: int, common: int, section: RewardSection) -> int:
    """Micro-credits for replays."""
    return section.audit_micro * flop * uptime * common // (TERA * PPM * COMMON)


def reduce_reward(byte_count: int, uptime: int, common: int, section: RewardSection) -> int:
    """Micro-credits for bytes of senders that were reduced."""
    return section.reduce_micro * byte_count * uptime * common // (GIGA * PPM * COMMON)
