"""How often a member is checked: always at first, then less with every check that it comes through.

Each kind of thing that can be checked (work, reduction, audit) is counted by itself. What others say
they have checked counts for one check more than one's own at most: a friend that passes everything must
not lower a cheat's rate. Doubt, proven or not, makes a member a newcomer again and has no other effect.
"""

from __future__ import annotations

from collections import Counter

from validation.messages import Subject

PROBATION: dict[Subject, int] = {"work": 3, "reduction": 3, "audit": 1}
"""Checks that a newcomer has to come through before it is checked less. A verdict costs a whole replay to
check, as work does, but a member gives one in sixteen rounds: at three, its first hundred verdicts would be
checked at a newcomer's rate. And one that is false needs friends to do harm. The ledger expects audits of
work by the same number (`rewards.accounts`): with another, other balances come out. Guesses."""
CHEAP = 4
"""A part is re-reduced so much more often than work is replayed: it costs a chunk or two, not a local run."""


class Rates:
    """The checks that each member has come through, as this node has heard of them.

    Args:
        base: share of a trusted member's rounds that somebody replays (`audit.rate` of the manifest).
        me: own peer id.
    """

    def __init__(self, base: float, me: str) -> None:
        self._base = base
        self._me = me
        self._passed: dict[tuple[Subject, str], Counter[str]] = {}
        self._set_aside: dict[tuple[Subject, str], Counter[str]] = {}
        """What somebody's doubt has taken, until it turns out whether there was a reason."""

    def settle(self, base: float) -> None:
        """Another `audit.rate` holds from now on."""
        self._base = base

    def passed(self, about: Subject, peer: str, by: str) -> None:
        """A check has found nothing wrong."""
        self._passed.setdefault((about, peer), Counter())[by] += 1

    def doubted(self, about: Subject, peer: str) -> None:
        """Somebody has found something wrong, or was not shown what it asked for."""
        taken = self._passed.pop((about, peer), Counter())
        self._set_aside[about, peer] = self._set_aside.get((about, peer), Counter()) + taken

    def cleared(self, about: Subject, peer: str) -> None:
        """The doubt was groundless."""
        back = self._set_aside.pop((about, peer), None)
        if back:
            self._passed[about, peer] = self._passed.get((about, peer), Counter()) + back

    def discredited(self, teller: str) -> None:
        """A member was false: what it said of others up to now counts for nothing.

        False auditors pass each other, and who is left of them would be checked less for ever. What doubt
        has taken from it does not come back.
        """
        for about in PROBATION:
            self._set_aside.pop((about, teller), None)
        for passed in (*self._passed.values(), *self._set_aside.values()):
            passed.pop(teller, None)

    def of(self, about: Subject, peer: str) -> float:
        """Share of a member's records that somebody has to check, 0 to 1."""
        passed = self._passed.get((about, peer), Counter())
        own = passed[self._me]
        heard = sum(min(count, own + 1) for who, count in passed.items() if who != self._me)
        return min(1.0, max(self.least(about), PROBATION[about] / (1 + own + heard)))

    def least(self, about: Subject) -> float:
        """The same for a member that everybody trusts: what a ticket obliges to whoever draws it."""
        return min(1.0, self._base * (CHEAP if about == "reduction" else 1))
