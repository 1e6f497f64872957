"""A ledger that is slow and plain: every figure is counted again from all entries, in fractions.

It keeps no running state. What the fold of `rewards.ledger` says is held against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import floor

from dhtnode.reward import PPM
from rewards.entries import ANY_HEAD, Entry, Kind
from rewards.ledger import Rules


class NaiveLedger:
    """All that can be asked of a list of entries."""

    def __init__(self, entries: list[Entry], followed: Mapping[int, bytes], rules: Rules) -> None:
        self.rules = rules
        self.entries = [
            entry
            for entry in sorted(set(entries))
            if entry.head == followed.get(entry.round)
            or (entry.kind in (Kind.CASE, Kind.BOND) and entry.head == ANY_HEAD)
        ]

    def of(self, kind: Kind, key: bytes | None = None) -> list[Entry]:
        return [one for one in self.entries if one.kind == kind and key in (None, one.key)]

    def is_outlaw(self, key: bytes, round_no: int) -> bool:
        vesting = self.rules.section.vesting_rounds
        return any(one.round <= round_no < one.round + vesting for one in self.of(Kind.CASE, key))

    def passed(self, key: bytes, round_no: int) -> bool:
        return any(
            one.other == key and one.ppm == PPM and not self.is_outlaw(one.key, round_no)
            for one in self.of(Kind.AUDIT)
            if one.round == round_no
        )

    def standing(self, key: bytes, round_no: int) -> Fraction:
        trust = self.rules.reputation
        audit, other = (Fraction(term.add_milli, 1000) for term in (trust.passed, trust.accepted))
        points = Fraction(0)
        for one in self.of(Kind.WORK, key):
            if one.round < round_no:
                points += audit if self.passed(key, one.round) else other
                points = min(points, self.rules.section.standing_cap * audit)
        return points

    def common(self, key: bytes, round_no: int) -> Fraction:
        trust, r = self.rules.reputation, self.standing(key, round_no)
        good, everything = Fraction(trust.good_prior_milli, 1000), Fraction(trust.all_prior_milli, 1000)
        reputation = Fraction(floor((r + good) / (r + everything) * PPM), PPM)
        epoch = round_no // self.rules.section.epoch_rounds
        bonus = floor(2 ** (-epoch / self.rules.section.early_epochs) * PPM)
        return reputation * (1 + Fraction(bonus, PPM))

    def uptime(self, key: bytes, round_no: int) -> Fraction:
        section = self.rules.section
        last = max((one.round for one in self.of(Kind.WORK, key) if one.round <= round_no), default=-1)
        rounds = {one.round for one in self.of(Kind.WORK, key)}
        present = sum(last - section.uptime_rounds < number <= last for number in rounds)
        return 1 + Fraction(section.uptime_bonus_ppm * present // section.uptime_rounds, PPM)

    def tickets(self, key: bytes, round_no: int) -> int:
        """Millionths of tokens that the lottery lets expect in the epoch, up to a round."""
        first = round_no - round_no % self.rules.section.epoch_rounds
        expected = 0
        for number in range(first, round_no + 1):
            work = [one for one in self.of(Kind.WORK) if one.round == number]
            drawn = [one.amount * self.audit_rate(one.key, number) for one in work]
            for one, own in zip(work, drawn, strict=True):
                if one.key == key and len(work) > 1:
                    expected += (sum(drawn) - own) // (len(work) - 1)
        return expected

    def audit_rate(self, key: bytes, round_no: int) -> int:
        passed = sum(self.passed(key, one.round) for one in self.of(Kind.WORK, key) if one.round < round_no)
        return max(self.rules.audit_rate_ppm, min(PPM, 3 * PPM // (1 + passed)))

    def audited(self, audit: Entry) -> int:
        """Tokens of an audit that are paid for."""
        epoch_rounds = self.rules.section.epoch_rounds
        before = [
            one
            for one in self.of(Kind.AUDIT, audit.key)
            if one < audit and one.round // epoch_rounds == audit.round // epoch_rounds
        ]
        if any((one.round, one.other) == (audit.round, audit.other) for one in before):
            return 0
        paid = sum(self.audited(one) for one in before)
        cap = self.tickets(audit.key, audit.round) * self.rules.section.audit_cap_ppm // PPM**2
        return min(audit.amount, max(0, max(audit.amount, cap) - paid))

    def worth(self, one: Entry) -> int:
        """Micro-credits of one entry, whoever is guilty of what."""
        section, common = self.rules.section, self.common(one.key, one.round)
        per_token = Fraction(6 * self.rules.parameters, 10**12)
        if one.kind == Kind.WORK:
            return floor(one.amount * per_token * Fraction(one.ppm, PPM) * common * section.compute_micro)
        uptime = self.uptime(one.key, one.round)
        if one.kind == Kind.AUDIT:
            return floor(self.audited(one) * per_token * uptime * common * section.audit_micro)
        return floor(Fraction(one.amount, 10**9) * uptime * common * section.reduce_micro)

    def balance(self, key: bytes, now: int) -> dict[str, int]:
        """Where each credit of a key is."""
        vesting = self.rules.section.vesting_rounds
        faults = {one.round for one in self.of(Kind.CASE, key)}
        found = {"vested": 0, "stake": 0, "burned": 0, "forfeited": 0}
        earned = [one for kind in (Kind.WORK, Kind.AUDIT, Kind.REDUCTION) for one in self.of(kind, key)]
        left = {one: self.worth(one) for one in sorted(earned) if not self.is_outlaw(key, one.round)}
        found["forfeited"] = sum(self.worth(one) for one in earned if one not in left)
        for bond in self.bonds_lost(key):
            owed = bond.amount
            for one in left:
                at_stake = one.round <= bond.round < one.round + vesting
                if at_stake and not any(one.round < fault <= bond.round for fault in faults):
                    taken = min(owed, left[one])
                    owed -= taken
                    left[one] -= taken
                    found["burned"] += taken
        for one, amount in left.items():
            if any(one.round < fault < one.round + vesting for fault in faults):
                place = "burned"
            else:
                place = "vested" if one.round + vesting <= now else "stake"
            found[place] += amount
        return found

    def bonds_lost(self, key: bytes) -> list[Entry]:
        """For each newcomer the first, if that came while it was on probation."""
        found: dict[bytes, Entry] = {}
        for one in self.of(Kind.BOND, key):
            served = [work for work in self.of(Kind.WORK, one.other) if work.round < one.round]
            if len(served) < self.rules.reputation.probation_rounds:
                found.setdefault(one.other, one)
        return list(found.values())
