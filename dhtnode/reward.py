"""The manifest's section on rewards: every constant that `rewards/` computes with.

Amounts are in micro-credits, factors in parts per million (ppm): integers, so that all members get the
same sums. `reward_fault` holds the constants against each other, above all the bond against what a
cheat could gain.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from dhtnode.identity import is_peer_id
from dhtnode.section import Section

PPM = 1_000_000

Price = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
Factor = Annotated[int, msgspec.Meta(ge=0, le=100 * PPM)]
Rounds = Annotated[int, msgspec.Meta(ge=1, le=65_536)]


class RewardSection(Section, frozen=True, kw_only=True):
    """What work is worth."""

    compute_micro: Price = PPM
    """Micro-credits for a TFLOP of accepted training. Follows from the unit: that is what a credit is."""
    data_micro: Price = PPM
    """For 1,000 tokens of a registered shard that accepted work has used. A guess."""
    audit_micro: Price = PPM
    """For a TFLOP of replay. Follows from `compute_micro`: it is the same arithmetic as the work."""
    reduce_micro: Price = PPM
    """For a GB (10^9 bytes) that was reduced. A guess."""
    rarity_least_ppm: Factor = 250_000
    """Least rarity of a domain. A guess: data that everybody has is still worth a quarter."""
    rarity_most_ppm: Factor = 4_000_000
    """Greatest rarity of a domain. A guess: a domain of one's own must not be a gold mine."""
    data_cap_ppm: Factor = PPM
    """All data of a round together earn at most this share of what its training earns. A guess: a
    registration costs nothing."""
    uptime_rounds: Rounds = 256
    """Rounds that the uptime bonus looks back. A guess: some hours to a day."""
    uptime_bonus_ppm: Factor = 500_000
    """Bonus on validation for a member that was in all of these rounds. A guess."""
    audit_cap_ppm: Factor = 2_000_000
    """Audits of an epoch are paid up to this share of those that the lottery lets expect. Follows from the
    Poisson distribution: of 4 expected tickets (64 rounds at 1/16) an honest member draws more than 8 in one
    epoch of 47. That this is rare enough is a guess."""
    standing_cap: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 20
    """Audits that count for the reputation factor: 20 give 93 %. A guess."""
    epoch_rounds: Rounds = 64
    """Rounds of an epoch: of early factor, audit cap, snapshots, votes and exports. A guess."""
    early_epochs: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50
    """Epochs in which the early contributors' bonus halves; it starts at 100 %. A guess."""
    vesting_rounds: Rounds = 40
    """Rounds until a credit is its owner's for good; before, it is stake. Follows from `least_vesting`: 2.5
    times what deters a cheat at an audit rate of 1/16; the 2.5 are a guess."""
    vote_cap_ppm: Annotated[int, msgspec.Meta(ge=1, le=PPM)] = 100_000
    """Largest vote of one key, as a share of all vested credits. A guess."""
    export_keys: Annotated[tuple[str, ...], msgspec.Meta(max_length=32)] = ()
    """Peer ids of those who may sign an export. The creator's choice: nobody, unless it names them."""
    export_quorum: Annotated[int, msgspec.Meta(ge=1, le=32)] = 1
    """How many of them must have signed it. The creator's choice, too."""


def least_vesting(rate: float) -> int:
    """Rounds of income at stake from which on a cheat loses on average, whatever it has in mind.

    Each of the others draws an audit of a round's work by itself, `rate` altogether on average, so
    nobody comes with probability q <= e^-rate. Who makes up one round's work wins at most one round's
    income with probability q, and loses V rounds' income otherwise: it does not pay while
    (1 - q) V >= q. As q / (1 - q) <= 1 / (e^rate - 1) < 1 / rate, V >= 1 / rate is enough. That the fine
    times the probability of detection has to exceed the gain is Becker, "Crime and punishment" (1968).
    """
    numerator, denominator = rate.as_integer_ratio()
    return -(-denominator // numerator)


def reward_fault(section: RewardSection, audit_rate: float) -> str | None:
    """What is wrong with the constants together, or None."""
    if section.rarity_least_ppm > section.rarity_most_ppm:
        return "reward.rarity_least_ppm is above reward.rarity_most_ppm"
    if audit_rate > 0 and section.vesting_rounds < least_vesting(audit_rate):
        return (
            f"reward.vesting_rounds = {section.vesting_rounds} does not deter cheats at "
            f"audit.rate = {audit_rate:g}, at least {least_vesting(audit_rate)} would"
        )
    if not all(map(is_peer_id, section.export_keys)):
        return "reward.export_keys holds something that is no peer id"
    if len(set(section.export_keys)) != len(section.export_keys):
        return "reward.export_keys names a key twice"
    if section.export_keys and section.export_quorum > len(section.export_keys):
        return "reward.export_quorum is above the number of reward.export_keys"
    return None
