"""What one node holds for and against one peer: fading terms, bans, and time served on probation.

Everything follows from the evidence and the order of its rounds. An upheld `fail` cuts what was good in
its context, also what others have told, and bans if it brings trust below the limit. Nothing else
bans: after a ban a peer is audited always and has no vote, and its next proven fault bans for twice as
long. What others tell is kept by teller and weighed when it is read: when a teller turns out to be
false, all that it ever said loses its weight with it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

import msgspec

from dhtnode.reputation import SIGNS, ReputationSection, TermSection
from validation.evidence import CONTEXTS, Context, Evidence, Term
from validation.halflife import Series

JUDGED: tuple[Context, ...] = ("work", "audit")
"""Contexts in which a majority can find somebody false. Being late bans nobody."""


class ClosedAccount(msgspec.Struct, frozen=True, array_like=True):
    """What can't change any more of an account: all that has to be on the disk."""

    heard_of: int
    served: int
    banned: tuple[int, int, int]
    values: list[tuple[Context, Term, str, int, int]]
    """Context, term, teller or nothing, value and the round it is of."""


class Account:
    """One peer's terms.

    Args:
        section: the swarm's constants.
    """

    def __init__(self, section: ReputationSection) -> None:
        self._section = section
        self._own: dict[Context, dict[Term, Series]] = {context: {} for context in CONTEXTS}
        self._told: dict[Context, dict[Term, dict[str, Series]]] = {context: {} for context in CONTEXTS}
        """By context, term and teller."""
        self._cuts: dict[Context, list[int]] = {context: [] for context in CONTEXTS}
        """Rounds of upheld fails that are still open."""
        self._accepted: list[int] = []
        self._served = 0
        """Accepted rounds since the last ban, as far as books are closed."""
        self._banned = (0, 0, 0)
        """Number of bans, first round of the last one, and the round it ends; of closed books."""
        self._newest_ban: tuple[int, int, int] | None = None
        """As `_banned`, with all that is open; until something is added."""
        self.heard_of = 0
        """Newest round of any evidence."""

    def add(self, evidence: Evidence) -> None:
        """Take in a piece of evidence on an open round, in any order."""
        context, term, round_no = evidence.context, evidence.term, evidence.round_no
        self.heard_of = max(self.heard_of, round_no)
        self._newest_ban = None
        if term == "upheld":
            self._cut(context, round_no)
        if term == "accepted" and context == "work":
            insort(self._accepted, round_no)
        self._series(context, term, evidence.teller).add(round_no)

    def own(self, context: Context, term: Term, round_no: int) -> int:
        """A term of what this node has seen itself, or needs nobody's word for; in millionths."""
        series = self._own[context].get(term)
        return series.at(round_no) if series else 0

    def told(self, context: Context, term: Term, round_no: int) -> dict[str, int]:
        """The same of what others tell, by teller, unweighed."""
        told = self._told[context].get(term, {})
        return {teller: series.at(round_no) for teller, series in told.items()}

    def own_pair(self, context: Context, round_no: int) -> tuple[int, int]:
        """The pair (r, s) without anybody's word, in millionths."""
        good = bad = 0
        for term, series in self._own[context].items():
            if SIGNS[term] > 0:
                good += series.at(round_no)
            else:
                bad += series.at(round_no)
        return good, bad

    def bans(self, round_no: int) -> tuple[int, int]:
        """How often the peer was banned up to a round, and the first round in which it is not any more."""
        count, _, until = self._last_ban(round_no)
        return count, until

    def served(self, round_no: int) -> int:
        """Accepted rounds since the last ban, or since the beginning."""
        count, since, _ = self._last_ban(round_no)
        first = bisect_right(self._accepted, since) if count > self._banned[0] else 0
        settled = 0 if count > self._banned[0] else self._served
        return settled + bisect_right(self._accepted, round_no) - first

    def settle(self, before: int) -> None:
        """Close the books on rounds before this one."""
        ended = self._last_ban(before - 1)
        self._served = self.served(before - 1)
        self._banned = ended
        self._newest_ban = None
        del self._accepted[: bisect_left(self._accepted, before)]
        for cuts in self._cuts.values():
            del cuts[: bisect_left(cuts, before)]
        for context in CONTEXTS:
            for _, _, series in self._all(context):
                series.settle(before)

    def closed(self) -> ClosedAccount:
        """The part of closed books."""
        values = [
            (context, term, teller, *series.settled)
            for context in CONTEXTS
            for term, teller, series in self._all(context)
            if series.settled[0]
        ]
        return ClosedAccount(self.heard_of, self._served, self._banned, values)

    @classmethod
    def reopened(cls, section: ReputationSection, closed: ClosedAccount) -> Account:
        """An account that goes on from closed books; evidence on open rounds has to be added again."""
        account = cls(section)
        account.heard_of, account._served, account._banned = closed.heard_of, closed.served, closed.banned
        for context, term, teller, value, round_no in closed.values:
            account._series(context, term, teller, (value, round_no))
        return account

    def _last_ban(self, round_no: int) -> tuple[int, int, int]:
        if round_no < self.heard_of:
            return self._find_ban(round_no)
        if self._newest_ban is None:
            self._newest_ban = self._find_ban(round_no)
        return self._newest_ban

    def _find_ban(self, round_no: int) -> tuple[int, int, int]:
        count, since, until = self._banned
        faults = sorted((cut, judged) for judged in JUDGED for cut in self._cuts[judged] if cut <= round_no)
        for cut, judged in faults:
            if cut < until:
                continue  # false for a few rounds before it was found out: one ban for all of them
            if self._section.trust_micro(*self.own_pair(judged, cut)) >= 10_000 * self._section.ban_percent:
                continue
            doublings = min(count, self._section.most_doublings)
            count, since = count + 1, cut
            until = cut + self._section.ban_rounds * 2**doublings
        return count, since, until

    def _cut(self, context: Context, round_no: int) -> None:
        insort(self._cuts[context], round_no)
        for term, _, series in self._all(context):
            if SIGNS[term] > 0:
                series.cut(round_no)

    def _all(self, context: Context) -> Iterator[tuple[Term, str, Series]]:
        """Term, teller or nothing, and the series."""
        for term, series in self._own[context].items():
            yield term, "", series
        for term, told in self._told[context].items():
            for teller, series in told.items():
                yield term, teller, series

    def _series(self, context: Context, term: Term, teller: str, settled: tuple[int, int] = (0, 0)) -> Series:
        if teller:
            told = self._told[context].setdefault(term, {})
            if teller not in told:
                told[teller] = self._begin(context, term, settled)
            return told[teller]
        if term not in self._own[context]:
            self._own[context][term] = self._begin(context, term, settled)
        return self._own[context][term]

    def _begin(self, context: Context, term: Term, settled: tuple[int, int]) -> Series:
        settings: TermSection = getattr(self._section, term)
        return Series(
            1000 * settings.add_milli,
            1000 * settings.most_milli,
            settings.half_life_rounds,
            self._section.kept_percent,
            self._cuts[context] if SIGNS[term] > 0 else (),
            settled,
        )
