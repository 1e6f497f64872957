"""How often a member is checked: always at first, then less with every check that it comes through.

Each kind of thing that can be checked (work, reduction, audit) is counted by itself. What others say
they have checked counts for one check more than one's own at most: a friend that passes everything must
not lower a cheat's rate. Doubt makes a member a newcomer again, until it turns out to be groundless, and has
no other effect.
"""

from __future__ import annotations

from collections import Counter

from dhtnode.manifest import AuditSection
from validation.cases import SUBJECTS
from validation.messages import Subject


class Rates:
    """The checks that each member has come through, as this node has heard of them.

    Args:
        section: the manifest's.
        me: own peer id.
    """

    def __init__(self, section: AuditSection, me: str) -> None:
        self._section = section
        self._me = me
        self._passed: dict[tuple[Subject, str], Counter[str]] = {}
        self._set_aside: dict[tuple[Subject, str], Counter[str]] = {}
        """What somebody's doubt has taken, until it turns out whether there was a reason."""

    def settle(self, section: AuditSection) -> None:
        """These terms hold from now on."""
        self._section = section

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
        for about in SUBJECTS.values():
            self._set_aside.pop((about, teller), None)
        for passed in (*self._passed.values(), *self._set_aside.values()):
            passed.pop(teller, None)

    def of(self, about: Subject, peer: str) -> float:
        """Share of a member's records that somebody has to check, 0 to 1."""
        passed = self._passed.get((about, peer), Counter())
        own = passed[self._me]
        heard = sum(min(count, own + 1) for who, count in passed.items() if who != self._me)
        return min(1.0, max(self.least(about), self._probation(about) / (1 + own + heard)))

    def least(self, about: Subject) -> float:
        """The same for a member that everybody trusts: what a ticket obliges to whoever draws it."""
        return min(1.0, self._section.rate * (self._section.part_factor if about == "reduction" else 1))

    def _probation(self, about: Subject) -> int:
        match about:
            case "work":
                return self._section.work_probation
            case "reduction":
                return self._section.part_probation
            case "audit":
                return self._section.verdict_probation
