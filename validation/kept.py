"""Which verdicts on one round are kept, of all that was ever said: the same on all nodes.

A member can sign more than anybody has room for, and say it to one node first and to another last. If
whatever came first were kept, two nodes would hold different verdicts, and their roots would differ. So it
goes by ids:

- of what a member says about one record, the smallest; about a part one for a look, and one for all of it;
- of what it says about others' verdicts, the `most` smallest;
- and each verdict that one of these is about.

A verdict that comes later can push out others, but only of members that have said more than is kept: who has
judged what somebody said is heard, whatever that one says besides. Two nodes that show each other what they
keep then keep what both would have kept of everything.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from dhtnode.records import Signed
from validation.cases import is_whole
from validation.messages import Verdict

MAX_SPARE = 64
"""Verdicts of one signer that would be kept if somebody's verdict on them came. If one is forgotten too soon,
neighbours show both again. A guess."""


@dataclass(frozen=True)
class Change:
    """What one more verdict does to what is kept."""

    taken: tuple[Signed[Verdict], ...] = ()
    """What a verdict is about comes before it."""
    dropped: tuple[Signed[Verdict], ...] = ()


NOTHING = Change()


class Kept:
    """Verdicts on one closed round, each of which is known to be one that its signer may give.

    Args:
        most: verdicts of one signer on others' verdicts.
    """

    def __init__(self, most: int) -> None:
        self.verdicts: dict[bytes, Signed[Verdict]] = {}
        self._most = most
        self._least: dict[tuple[str, bytes, bool], bytes] = {}
        """By signer, record, and whether all of the record was looked at."""
        self._on_verdicts: dict[str, set[bytes]] = {}
        """By signer."""
        self._named: Counter[bytes] = Counter()
        """How many kept verdicts are about a verdict."""
        self._spare: dict[str, dict[bytes, Signed[Verdict]]] = {}
        """By signer, the oldest first."""

    def find(self, id_: bytes, signer: str) -> Signed[Verdict] | None:
        """A verdict that is kept, or at least remembered."""
        return self.verdicts.get(id_) or self._spare.get(signer, {}).get(id_)

    def has_room(self, signer: str) -> bool:
        """Whether a signer may judge one more verdict and push out none of its own."""
        return len(self._on_verdicts.get(signer, ())) < self._most

    def add(self, verdict: Signed[Verdict]) -> Change:
        """One more verdict on a record of the round. Returns what that changes, nothing if it is known."""
        if verdict.id in self.verdicts:
            return NOTHING
        place = self._place(verdict)
        least = self._least.get(place)
        if least is not None and least < verdict.id:
            self._remember(verdict)
            return NOTHING
        self._least[place] = verdict.id
        self.verdicts[verdict.id] = verdict
        return Change((verdict,), self._let_go(least) if least else ())

    def add_on(self, said: Signed[Verdict], verdict: Signed[Verdict]) -> Change:
        """One more verdict on somebody's verdict on a record, which is kept from now on if it was not."""
        own = self._on_verdicts.setdefault(verdict.signer, set())
        if verdict.id in own or (len(own) >= self._most and verdict.id > max(own)):
            return NOTHING
        taken = (verdict,) if said.id in self.verdicts else (said, verdict)
        self.verdicts |= {one.id: one for one in taken}
        self._named[said.id] += 1
        own.add(verdict.id)
        if len(own) <= self._most:
            return Change(taken)
        gone = self.verdicts.pop(max(own))
        own.discard(gone.id)
        self._named[gone.body.target] -= 1
        return Change(taken, (gone, *self._let_go(gone.body.target)))

    def _let_go(self, id_: bytes) -> tuple[Signed[Verdict], ...]:
        """Keep a verdict on a record no more, unless it is the smallest or somebody's verdict is about it."""
        verdict = self.verdicts[id_]
        if self._named[id_] or self._least[self._place(verdict)] == id_:
            return ()
        del self._named[id_]
        self._remember(verdict)
        return (self.verdicts.pop(id_),)

    def _remember(self, verdict: Signed[Verdict]) -> None:
        spare = self._spare.setdefault(verdict.signer, {})
        spare[verdict.id] = verdict
        while len(spare) > MAX_SPARE:
            del spare[next(iter(spare))]

    def _place(self, verdict: Signed[Verdict]) -> tuple[str, bytes, bool]:
        return verdict.signer, verdict.body.target, is_whole(verdict)
