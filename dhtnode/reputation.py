"""What trust is computed with: every constant of a swarm's reputation, checked against each other.

Trust is T = (r + 0.4) / (r + s + 2), where r is a sum of good terms and s one of bad terms. Each term
has what one piece of evidence adds, the most that all of it may add up to, a half-life, and the
sign that it must have. A single constant says little; what matters is how they stand to each other
(what is no proof can't ban, a newcomer is not banned and has no vote), and that is checked
together. Integers only: thousandths, percent, rounds. Two nodes get the same table to the bit.

The numbers are starting values. `scripts/bench-reputation` runs the attacks that would tune them.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Milli = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
Rounds = Annotated[int, msgspec.Meta(ge=1, le=100_000)]
Percent = Annotated[int, msgspec.Meta(ge=1, le=100)]
Sign = Literal[1, -1]


class TermSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One named term of trust."""

    add_milli: Milli
    """What one piece of evidence adds, in thousandths."""
    most_milli: Milli
    """What the term never exceeds."""
    half_life_rounds: Rounds
    """Rounds in which half of it fades."""
    sign: Sign
    """1 counts in r, -1 in s."""


class ReputationSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How evidence becomes trust, and what trust decides."""

    passed: TermSection = TermSection(add_milli=1000, most_milli=100_000, half_life_rounds=500, sign=1)
    """An audit that found nothing: the unit of r and s. With a half-life of 500 rounds even an audit in every
    second round adds up to 360 only in theory: 100 is out of reach of the usual rate (45). A guess."""
    accepted: TermSection = TermSection(add_milli=50, most_milli=1000, half_life_rounds=500, sign=1)
    """A round that took the member's work in, audited or not. It adds a twentieth of an audit, and fades as
    one does: guesses. The cap follows from `half_vote_percent`: who is never audited has no vote. With 4,
    `bench-reputation`'s Sybils that nobody could replay got half a vote each."""
    late: TermSection = TermSection(add_milli=250, most_milli=100_000, half_life_rounds=2000, sign=-1)
    """A member whose work a round did not wait for. Counts for punctuality alone: slow is not false. It
    decides nothing but an order, so no bound ties its numbers: guesses."""
    unsure: TermSection = TermSection(add_milli=500, most_milli=2000, half_life_rounds=2000, sign=-1)
    """An audit that could not tell. The cap follows from `ban_percent`: it is the largest that never bans
    anybody (0.4 / (2 + 2) = 0.1). What one adds and how long it stays are guesses."""
    refuted: TermSection = TermSection(add_milli=4000, most_milli=400_000, half_life_rounds=500, sign=-1)
    """A doubt that a majority of the round found groundless; of verdicts alone. Follows from `passed` and the
    two priors: trust is a newcomer's again when as many verdicts were found right."""
    upheld: TermSection = TermSection(add_milli=20_000, most_milli=80_000, half_life_rounds=2000, sign=-1)
    """A `fail` that a majority of the round upholds. A guess: 20 passed audits do not make up for one, a
    fourth adds the last, and what was false is remembered four times as long as what was good."""
    kept_percent: Percent = 10
    """What an upheld `fail` leaves of all that was good in the same context. A guess: at the cap of `passed`,
    trust falls to 0.32, so no record is long enough to keep a vote (with 22 it would be)."""

    good_prior_milli: Milli = 400
    """What r starts from: 0.2 of `all_prior_milli`. That somebody of whom nothing is known is good one time
    in five is a guess; it lies between a ban and half a vote."""
    all_prior_milli: Milli = 2000
    """How much evidence the prior stands for. Source: Jøsang and Ismail, "The Beta Reputation System" (2002),
    where it is 2, one observation of either kind."""

    told_most_milli: Milli = 10_000
    """What others' word may add to r, or as much as this node has seen itself if that is more. A guess: ten
    audits, a whole vote if nothing speaks against it."""
    told_share_percent: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 200
    """What one teller may give to all others together, as a share of what this node has found good of it by
    audits of its own. This bounds what a crowd of made-up keys can gain; a guess, see `bench-reputation`."""

    half_vote_percent: Percent = 50
    """Trust from which a member has half a vote. A guess: 2 passed audits."""
    full_vote_percent: Percent = 75
    """Trust from which it has a whole one. A guess: 5 passed audits."""
    margin_percent: Percent = 15
    """How far an elector's trust may lie from what a proposed vote stands for. Honest tables differ by what
    each has replayed itself; a guess."""
    probation_rounds: Rounds = 45
    """Accepted rounds without a vote that a newcomer starts with. Follows from `reward.vesting_rounds`: a new
    name has to cost 40 rounds of whole weight in the state, as many as credits vest over; members with an old
    one may lack a little of it, too, so the 5 more are a guess. `bench-reputation` finds a cost of 45."""

    ban_percent: Percent = 10
    """An upheld `fail` that brings trust below this bans. A guess, half of a newcomer's trust: with it a
    member of more than about 20 passed audits is banned by its second fault, all others by their first."""
    ban_rounds: Rounds = 200
    """Length of the first ban; every further one is twice as long. A guess."""
    most_doublings: Annotated[int, msgspec.Meta(ge=0, le=16)] = 10
    """Bans of 200,000 rounds are as good as for ever. A guess."""

    entry_bits: Annotated[int, msgspec.Meta(ge=0, le=48)] = 18
    """Leading zero bits of a newcomer's proof of work: 0.15 s on one core, nobody waits for that. A swarm of
    strangers may ask for more: 26 bits are half a minute. 0: none is asked for. A guess."""
    voucher_micro: Annotated[int, msgspec.Meta(ge=1, le=2**53)] = 1_000_000
    """Least bond behind a voucher, in micro-credits. A guess: what a bond is worth is the ledger's matter."""
    open_vouchers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    """Newcomers on probation that one member may answer for at a time. A guess."""
    open_rounds: Rounds = 512
    """For so long evidence on a round still counts; then the books of that round are closed, here and in
    the summaries of `validation.epochs`. A guess: about the half-life of what is good. It is one horizon for
    all kinds of evidence, whatever their half-lives."""

    @property
    def newcomer_micro(self) -> int:
        """Trust in somebody of whom nothing is known, in millionths."""
        return self.trust_micro(0, 0)

    def trust_micro(self, good_micro: int, bad_micro: int) -> int:
        """T for r and s, all in millionths; rounded down."""
        above = good_micro + self.good_prior_milli * 1000
        return above * 1_000_000 // (good_micro + bad_micro + self.all_prior_milli * 1000)

    def __post_init__(self) -> None:
        """What a type can't say.

        Raises:
            ValueError: names the option to change; a manifest with it is refused.
        """
        for name, sign in SIGNS.items():
            if getattr(self, name).sign != sign:
                raise ValueError(f"{name}.sign must be {sign}")
            if getattr(self, name).add_milli > getattr(self, name).most_milli:
                raise ValueError(f"{name}.add_milli is above {name}.most_milli")
        if self.good_prior_milli >= self.all_prior_milli:
            raise ValueError("good_prior_milli must be below all_prior_milli")
        ban, half, full = (
            10_000 * percent for percent in (self.ban_percent, self.half_vote_percent, self.full_vote_percent)
        )
        if not ban <= self.newcomer_micro < half < full:
            raise ValueError(
                "ban_percent, a newcomer's trust, half_vote_percent, full_vote_percent must rise"
            )
        if self.trust_micro(0, 1000 * self.unsure.most_milli) < ban:
            raise ValueError("unsure.most_milli must not be enough for a ban: it proves nothing")
        if self.trust_micro(0, 1000 * self.upheld.add_milli) >= ban:
            raise ValueError("upheld.add_milli must be enough to ban a newcomer")
        if self.trust_micro(1000 * self.accepted.most_milli, 0) >= half:
            raise ValueError("accepted.most_milli must not be enough for a vote without audits")


SIGNS: dict[str, Sign] = {
    "passed": 1,
    "accepted": 1,
    "late": -1,
    "unsure": -1,
    "refuted": -1,
    "upheld": -1,
}
"""All terms, and the sign that each must have."""
