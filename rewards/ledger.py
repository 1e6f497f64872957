"""The ledger: balances as a fold over entries in canonical order.

The same entries and the same followed chain give the same balances on every node, in whatever order
records arrived. An entry names the head that its round ended with, and counts only if that is the head
which the swarm's chain has for the round: work on a branch that was left is credited to nobody.

The fold goes round by round, and what it knows at the end of one is all that the next needs: it can be
saved there (`snapshot.py`) and go on later. Evidence that comes late belongs to its own round, so the
fold is then done again from the last snapshot before it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dhtnode.manifest import AuditSection, Terms
from dhtnode.reputation import ReputationSection
from dhtnode.reward import PPM, RewardSection
from rewards.accounts import TERMS, Account, Balance, Change, probation_ppm
from rewards.data import NO_DATA, Registry
from rewards.entries import ANY_HEAD, Kind, fields
from rewards.formula import (
    audit_reward,
    compute_flop,
    compute_reward,
    data_reward,
    early_ppm,
    reduce_reward,
    reputation_ppm,
    uptime_ppm,
)
from rewards.stake import Stake
from training.in_force import TermsInForce

COMPUTE, DATA, AUDIT, REDUCTION = range(len(TERMS))
_CASE, _WORK, _AUDIT, _REDUCTION, _BOND = map(
    int, (Kind.CASE, Kind.WORK, Kind.AUDIT, Kind.REDUCTION, Kind.BOND)
)
"""Plain numbers: a million comparisons with members of an enum take a second."""


@dataclass(frozen=True)
class Rules:
    """What the fold depends on beside the entries."""

    section: RewardSection
    parameters: int
    """Of the model."""
    audit_rate_ppm: int
    registry: Registry = NO_DATA
    """Who owns which data."""
    work_probation: int = AuditSection().work_probation
    """Audits until a member is audited less."""
    reputation: ReputationSection = field(default_factory=ReputationSection)
    """What standing is made of, and how many rounds of its own a newcomer is on probation."""
    later: tuple[tuple[int, Rules], ...] = ()
    """Amended ones, each with the first round that it holds for, in order."""

    def at(self, round_no: int) -> Rules:
        """Those by which a round is booked."""
        return next((rules for start, rules in reversed(self.later) if start <= round_no), self)


def rules_of(terms: Terms, parameters: int, registry: Registry = NO_DATA) -> Rules:
    """The rules of a swarm; `parameters` of its model."""
    rate_ppm = round(terms.audit.rate * PPM)
    return Rules(terms.reward, parameters, rate_ppm, registry, terms.audit.work_probation, terms.reputation)


def rules_in_force(
    in_force: TermsInForce,
    round_no: int,
    parameters: int,
    registry_of: Callable[[RewardSection], Registry] = lambda section: NO_DATA,
) -> Rules:
    """The same with what amendments have changed up to a round.

    Args:
        in_force: the swarm's terms.
        round_no: later changes are left out.
        parameters: of the model.
        registry_of: the shards, under a section's bounds of rarity.
    """

    def rules(terms: Terms) -> Rules:
        return rules_of(terms, parameters, registry_of(terms.reward))

    later = tuple((start, rules(in_force.at(start))) for start in in_force.changes(round_no))
    return dataclasses.replace(rules(in_force.manifest), later=later)


class Ledger:
    """Accounts of all members as of the last round that was booked.

    Args:
        rules: the same on all nodes.
        watched: a key whose changes are listed in `changes`.
    """

    def __init__(self, rules: Rules, watched: bytes | None = None) -> None:
        self.rules = rules
        self.accounts: dict[bytes, Account] = {}
        self.next_round = 0
        """Rounds below are booked."""
        self.changes: list[Change] = []
        self._watched = watched

    def fold(self, entries: bytes, followed: Mapping[int, bytes]) -> None:
        """Book the entries of whole rounds.

        Args:
            entries: packed, in canonical order, each once; of rounds that are not booked yet.
            followed: for each closed round, the id of the head that it ended with.

        Raises:
            ValueError: the rounds go back.
        """
        book: _Round | None = None
        for round_no, kind, record, head, key, other, amount, ppm in fields(entries):
            if book is None or round_no != book.number:
                if round_no < self.next_round:
                    raise ValueError(f"an entry of round {round_no}, but {self.next_round} is next")
                if book is not None:
                    book.close()
                book = _Round(self, round_no)
                here = followed.get(round_no)
                self.next_round = round_no + 1
            if head != here and (kind not in (_CASE, _BOND) or head != ANY_HEAD):
                continue
            if kind == _WORK:
                book.work(key, record, amount, ppm)
            elif kind == _REDUCTION:
                book.reduction(key, record, amount)
            elif kind == _AUDIT:
                book.audit(key, record, other, amount, ppm)
            elif kind == _CASE:
                book.case(key, record)
            elif kind == _BOND:
                book.bond(key, record, other, amount)
        if book is not None:
            book.close()

    def account(self, key: bytes) -> Account:
        """A member's account; a new one if it has none."""
        if key not in self.accounts:
            newcomer = reputation_ppm(0, self.rules.reputation)
            self.accounts[key] = Account(key, Stake(self.rules.section.vesting_rounds), newcomer)
        return self.accounts[key]

    def balances(self, round_no: int) -> list[Balance]:
        """All members' balances at a round that is not before the last one booked, by key."""
        return [self.accounts[key].balance(round_no) for key in sorted(self.accounts)]

    def credit(self, account: Account, term: int, round_no: int, amount: int, record: bytes) -> int:
        """Book what was earned. Returns what was credited: nothing to an outlaw."""
        credited = account.stake.earn(round_no, amount)
        account.by_term[term] += credited
        if account.key == self._watched:
            self.changes.append(Change(round_no, TERMS[term], credited, record))
        return credited

    def burn(self, account: Account, round_no: int, record: bytes) -> None:
        """Take a stake."""
        burned = account.stake.burn(round_no)
        if account.key == self._watched:
            self.changes.append(Change(round_no, "case", -burned, record))

    def burn_bond(self, account: Account, round_no: int, amount: int, record: bytes) -> None:
        """Take what a member has answered with, or what is left of its stake."""
        burned = account.stake.take(round_no, amount)
        if account.key == self._watched:
            self.changes.append(Change(round_no, "bond", -burned, record))


class _Round:
    """One round while it is booked."""

    def __init__(self, ledger: Ledger, number: int) -> None:
        self.number = number
        self._ledger = ledger
        self._rules = ledger.rules.at(number)
        section = self._rules.section
        self._epoch = number // section.epoch_rounds
        self._early = early_ppm(self._epoch, section.early_epochs)
        self._work: list[tuple[Account, int]] = []
        """Whose work is in, and how many tokens."""
        self._passed: set[bytes] = set()
        self._replayed: set[tuple[bytes, bytes]] = set()
        """Who has been paid for replaying whose work: one replay may settle several verdicts."""
        self._compute = 0
        """Micro-credits that were credited for it."""
        self._shared = False
        """Whether the expected audits have been shared out."""

    def case(self, key: bytes, record: bytes) -> None:
        self._ledger.burn(self._ledger.account(key), self.number, record)

    def work(self, key: bytes, record: bytes, tokens: int, quality: int) -> None:
        rules = self._rules
        account = self._ledger.account(key)
        account.appear(self.number, rules.section.uptime_rounds)
        self._work.append((account, tokens))
        flop = compute_flop(tokens, rules.parameters)
        amount = compute_reward(flop, quality, account.reputation * self._early, rules.section)
        self._compute += self._ledger.credit(account, COMPUTE, self.number, amount, record)

    def audit(self, key: bytes, record: bytes, worker: bytes, tokens: int, ppm: int) -> None:
        self._share_tickets()
        rules = self._rules
        account = self._ledger.account(key)
        if ppm == PPM and self.number >= account.stake.outlaw_until:
            self._passed.add(worker)
        again = (key, worker) in self._replayed
        self._replayed.add((key, worker))
        paid = 0 if again else account.payable(tokens, self._epoch, rules.section.audit_cap_ppm)
        flop = compute_flop(paid, rules.parameters)
        common = account.reputation * self._early
        amount = audit_reward(flop, self._uptime(account), common, rules.section)
        self._ledger.credit(account, AUDIT, self.number, amount, record)

    def reduction(self, key: bytes, record: bytes, byte_count: int) -> None:
        account = self._ledger.account(key)
        common = account.reputation * self._early
        amount = reduce_reward(byte_count, self._uptime(account), common, self._rules.section)
        self._ledger.credit(account, REDUCTION, self.number, amount, record)

    def bond(self, key: bytes, record: bytes, newcomer: bytes, amount: int) -> None:
        """A newcomer was found false. Its probation is over when so many of its rounds have closed."""
        account = self._ledger.account(key)
        known = self._ledger.accounts.get(newcomer)
        served = known is not None and known.rounds >= self._rules.reputation.probation_rounds
        if not served and newcomer not in account.lost:
            account.lost.add(newcomer)
            self._ledger.burn_bond(account, self.number, amount, record)

    def close(self) -> None:
        """What can be booked when all of the round's entries are in."""
        self._share_tickets()
        self._pay_data()
        cap, reputation = self._rules.section.standing_cap, self._rules.reputation
        for account, _ in self._work:
            account.gain_standing(account.key in self._passed, cap, reputation)

    def _uptime(self, account: Account) -> int:
        return uptime_ppm(account.seen.bit_count(), self._rules.section)

    def _share_tickets(self) -> None:
        """The audits that are drawn among the round's members, as the lottery lets expect them."""
        if self._shared:
            return
        self._shared = True
        if len(self._work) < 2:
            return
        least, probation = self._rules.audit_rate_ppm, self._rules.work_probation
        rates = [max(least, probation_ppm(account.passed, probation)) for account, _ in self._work]
        drawn = [tokens * rate for (_, tokens), rate in zip(self._work, rates, strict=True)]
        total, others = sum(drawn), len(drawn) - 1
        for (account, _), own in zip(self._work, drawn, strict=True):
            account.expect((total - own) // others, self._epoch)

    def _pay_data(self) -> None:
        """The tokens of sound work came from the registered shards in proportion to their sizes."""
        section = self._rules.section
        tokens = {
            account.key: tokens for account, tokens in self._work if self.number >= account.stake.outlaw_until
        }
        used = self._rules.registry.used(self.number, tokens)
        amounts = []
        for use in used:
            account = self._ledger.account(use.key)
            common = account.reputation * self._early
            amounts.append(data_reward(use.tokens, use.rarity_ppm, common, section))
        most, asked = self._compute * section.data_cap_ppm // PPM, sum(amounts)
        for use, amount in zip(used, amounts, strict=True):
            paid = amount if asked <= most else amount * most // asked
            self._ledger.credit(self._ledger.account(use.key), DATA, self.number, paid, use.record)
