"""What the ledger knows of one member, beside its credits: presence, standing, and audits done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from dhtnode.reputation import ReputationSection
from dhtnode.reward import PPM
from rewards.formula import raised, reputation_ppm
from rewards.stake import Stake

Term = Literal["compute", "data", "audit", "reduction"]
TERMS: tuple[Term, ...] = ("compute", "data", "audit", "reduction")
Cause = Term | Literal["case", "bond"]


@dataclass(frozen=True)
class Change:
    """Why a member's credits changed."""

    round: int
    cause: Cause
    amount: int
    """Micro-credits; below zero for what was burned, zero for what an outlaw would have earned."""
    record: bytes
    """Id of the record that it rests on."""

    @property
    def text(self) -> str:
        """In plain words, with the amount."""
        credits_ = f"{abs(self.amount) / PPM:,.6f} credits"
        if self.cause in ("case", "bond"):
            return f"{credits_} of stake burned: {self.reason}"
        return f"{credits_} for {self.reason}" if self.amount else f"nothing for {self.reason}"

    @property
    def reason(self) -> str:
        """In plain words, without the amount."""
        match self.cause:
            case "case":
                return f"proven guilty of a fault in round {self.round}"
            case "bond":
                return f"it answered for a newcomer that was found false in round {self.round}"
            case "compute":
                return "its work in the round's state"
            case "data":
                return "work that used data it has registered"
            case "audit":
                return "an audit"
            case "reduction":
                return "reducing a part"


@dataclass(frozen=True)
class Balance:
    """A member's credits at some round, in micro-credits."""

    key: bytes
    vested: int
    stake: int
    burned: int
    forfeited: int
    by_term: tuple[int, ...]
    """Everything ever credited, in the order of `TERMS`."""

    @property
    def earned(self) -> int:
        return sum(self.by_term)


@dataclass(slots=True)
class Account:
    """One member, as of the last round that was booked."""

    key: bytes
    stake: Stake
    reputation: int
    """The factor in ppm; follows from `standing`."""
    by_term: list[int] = field(default_factory=lambda: [0] * len(TERMS))
    seen: int = 0
    """One bit for each of the last rounds in which it took part; the lowest is `last`."""
    last: int = 0
    standing: int = 0
    """In millionths, see `formula.raised`."""
    rounds: int = 0
    """In which its work was there, those that are not closed left out."""
    passed: int = 0
    """The same, where somebody's audit passed it."""
    epoch: int = 0
    """Of the two figures below."""
    tickets: int = 0
    """Millionths of tokens in the audits that the lottery let expect."""
    audited: int = 0
    """Tokens of audits that were paid."""
    lost: set[bytes] = field(default_factory=set)
    """Newcomers on probation that were found false while it answered for them."""

    def appear(self, round_no: int, window: int) -> None:
        """It took part in a round."""
        gap = round_no - self.last
        self.seen = (self.seen << gap | 1) & ((1 << window) - 1) if gap < window else 1
        self.last = round_no

    def gain_standing(self, audited: bool, cap: int, reputation: ReputationSection) -> None:
        """One more of its rounds has closed; `cap`: audits that count."""
        self.rounds += 1
        if audited:
            self.passed += 1
        standing = raised(self.standing, audited, cap, reputation)
        if standing != self.standing:
            self.standing = standing
            self.reputation = reputation_ppm(standing, reputation)

    def payable(self, tokens: int, epoch: int, cap_ppm: int) -> int:
        """Tokens of one more audit that are paid for: within the cap, but the epoch's first always."""
        self._enter(epoch)
        cap = max(tokens, self.tickets * cap_ppm // (PPM * PPM))
        paid = min(tokens, max(0, cap - self.audited))
        self.audited += paid
        return paid

    def expect(self, micro_tokens: int, epoch: int) -> None:
        """The lottery lets expect audits of this size from it."""
        self._enter(epoch)
        self.tickets += micro_tokens

    def _enter(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.epoch, self.tickets, self.audited = epoch, 0, 0

    def balance(self, round_no: int) -> Balance:
        """As of a round that is not before the last one booked."""
        vested, at_stake = self.stake.at(round_no)
        lost = self.stake.burned, self.stake.forfeited
        return Balance(self.key, vested, at_stake, *lost, tuple(self.by_term))


def probation_ppm(passed: int, probation: int) -> int:
    """Share of its rounds in which a member is audited that has come through so many audits.

    As `validation.rates` has it for a node that has done all of them itself: the same for everybody.
    """
    return min(PPM, probation * PPM // (1 + passed))
