"""What one node holds for and against one peer: fading terms, bans, and time served on probation.

Everything follows from the evidence and the order of its rounds. An upheld `fail` cuts what was good in
its context, also what others have told, and bans if it brings trust below the limit. Nothing else
bans: after a ban a peer is audited always and has no vote, and its next proven fault bans for twice as
long. What others tell is kept by teller and weighed when it is read: when a teller turns out to be
false, all that it ever said is gone.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import cast

from dhtnode.reputation_section import SIGNS, ReputationSection, TermSection
from validation.evidence import CONTEXTS, Context, Evidence, Term
from validation.halflife import Series

JUDGED: tuple[Context, ...] = ("work", "audit")
"""Contexts in which a majority can find somebody false. Being late bans nobody."""


class Account:
    """One peer's terms.

    Args:
        section: the swarm's constants.
    """

    def __init__(self, section: ReputationSection) -> None:
        self._section = section
        self._own: dict[tuple[Context, Term], Series] = {}
        self._told: dict[tuple[Context, Term], dict[str, Series]] = {}
        self._cuts: dict[Context, list[int]] = {context: [] for context in CONTEXTS}
        """Rounds of upheld fails that are still open."""
        self._accepted: list[int] = []
        self._served = 0
        """Accepted rounds since the last ban, as far as books are closed."""
        self._banned = (0, 0, 0)
        """Number of bans, first round of the last one, and the round it ends; of closed books."""
        self.heard_of = 0
        """Newest round of any evidence."""

    def add(self, evidence: Evidence) -> None:
        """Take in a piece of evidence on an open round, in any order."""
        context, term, round_no = evidence.context, evidence.term, evidence.round_no
        self.heard_of = max(self.heard_of, round_no)
        if term == "upheld":
            self._cut(context, round_no)
        if term == "accepted" and context == "work":
            insort(self._accepted, round_no)
        self._series(context, term, evidence.teller).add(round_no)

    def own(self, context: Context, term: Term, round_no: int) -> int:
        """A term of what this node has seen itself, or needs nobody's word for; in millionths."""
        series = self._own.get((context, term))
        return series.at(round_no) if series else 0

    def told(self, context: Context, term: Term, round_no: int) -> dict[str, int]:
        """The same of what others tell, by teller, unweighed."""
        told = self._told.get((context, term), {})
        return {teller: series.at(round_no) for teller, series in told.items()}

    def own_pair(self, context: Context, round_no: int) -> tuple[int, int]:
        """The pair (r, s) without anybody's word, in millionths."""
        values = {1: 0, -1: 0, 0: 0}
        for term, sign in SIGNS.items():
            values[sign] += self.own(context, cast("Term", term), round_no)
        return values[1], values[-1]

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
        del self._accepted[: bisect_left(self._accepted, before)]
        for cuts in self._cuts.values():
            del cuts[: bisect_left(cuts, before)]
        for series in self._all():
            series.settle(before)

    def _last_ban(self, round_no: int) -> tuple[int, int, int]:
        count, since, until = self._banned
        faults = sorted((cut, judged) for judged in JUDGED for cut in self._cuts[judged] if cut <= round_no)
        for cut, judged in faults:
            if self._section.trust_micro(*self.own_pair(judged, cut)) >= 10_000 * self._section.ban_percent:
                continue
            if count and cut == since:
                continue  # one round's fault, in both contexts or twice in one
            doublings = min(count, self._section.most_doublings)
            count, since = count + 1, cut
            until = max(until, cut + self._section.ban_rounds * 2**doublings)
        return count, since, until

    def _cut(self, context: Context, round_no: int) -> None:
        insort(self._cuts[context], round_no)
        for series in self._all(context):
            series.cut(round_no)

    def _all(self, context: Context | None = None) -> list[Series]:
        """All series, or those of a context that a cut takes from."""

        def meant(key: tuple[Context, Term]) -> bool:
            return context is None or (key[0] == context and SIGNS[key[1]] == 1)

        own = [series for key, series in self._own.items() if meant(key)]
        return own + [one for key, told in self._told.items() if meant(key) for one in told.values()]

    def _series(self, context: Context, term: Term, teller: str) -> Series:
        key = (context, term)
        held = self._told.setdefault(key, {}) if teller else None
        found = held.get(teller) if held is not None else self._own.get(key)
        if found is not None:
            return found
        settings: TermSection = getattr(self._section, term)
        cuts = self._cuts[context] if SIGNS[term] == 1 else ()
        new = Series(
            1000 * settings.add_milli,
            1000 * settings.most_milli,
            settings.half_life_rounds,
            self._section.kept_percent,
            cuts,
        )
        if held is not None:
            held[teller] = new
        else:
            self._own[key] = new
        return new
