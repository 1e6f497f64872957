"""What each peer is worth to this node: its own table, made from evidence that all may hold.

Evidence is gossiped, scores are not: nobody can tell this node what to think of a peer, only show it
records. The same evidence gives the same table to the bit, in whatever order it came, as long as
each piece came while its round's books were open (`open_rounds`).

For each peer and context there is a pair (r, s) of named, capped, fading terms, and trust T = (r + 0.4) /
(r + s + 2). What others tell counts for little:

- A teller's word weighs r / (r + s + 2) of its own audit record: audits of its work and of its verdicts that
  this node has done itself. Who has never been checked weighs nothing, nor do a thousand fresh keys.
- All that one teller gives away counts for at most twice that record. So whatever a crowd of made-up keys
  gains is bounded by what those who vouch for it have earned, not by the size of the crowd.
- All tellers together add at most 10 to a peer's r, or as much as this node has seen itself.
- An accusation without proof is no evidence; how often somebody is audited is counted in `rates`.

Trust decides the vote in the reduction, the order in matchmaking, and bans. Tables differ from node to
node, the state must not: how a vote becomes the same for all is told in `voting`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

import msgspec

from dhtnode.reputation import ReputationSection
from validation.account import JUDGED, Account, ClosedAccount
from validation.evidence import CONTEXTS, Context, Evidence, Term
from validation.halflife import MICRO, Series

MAX_ACCOUNTS = 4096
"""Beyond it, the peer that nothing was heard of for longest is forgotten, unless it is banned. A guess."""
CHANGES_KEPT = 16
"""For each peer, context and term: no flood of small changes pushes out the one that mattered."""


@dataclass(frozen=True)
class Change:
    """Why a number is not what it was."""

    round_no: int
    peer: str
    context: Context
    term: Term
    delta_micro: int
    """What it did to trust when it came, in millionths."""
    cause: str
    record: bytes
    """Id of the record that shows it."""


@dataclass(frozen=True)
class Opinion:
    """What this node thinks of a peer, as far as it decides anything."""

    trust_micro: int
    """In its work."""
    on_probation: bool
    """Whether this node has seen less of it than a probation takes: it is new, or this node is."""
    banned_until: int
    """First round in which it is not banned; 0 if it is not; -1 for ever."""


class Books(msgspec.Struct, frozen=True):
    """What a table has of rounds whose books are closed: small, and all that a restart can't add up again."""

    before: int
    """Evidence on this round and later ones is not in here."""
    accounts: dict[str, ClosedAccount]
    given: dict[str, tuple[int, int]]
    outlaws: list[tuple[str, int, bytes, bytes]]
    """Key, round, and ids of what it is about and of the record that shows it."""
    upheld: list[tuple[str, Context, bytes, int]]


class Reputation:
    """One node's table.

    Args:
        section: the swarm's constants.
    """

    def __init__(self, section: ReputationSection) -> None:
        self.round_no = 0
        self._closed_before = 0
        self._section = section
        self._accounts: dict[str, Account] = {}
        self._given: dict[str, Series] = {}
        """How much each teller has said for others in all."""
        self._outlaws: dict[str, Evidence] = {}
        """Keys that have signed the proof against themselves."""
        self._seen: dict[int, set[tuple[str, Context, Term, bytes, str]]] = {}
        """What has been counted of each open round."""
        self._upheld: dict[tuple[str, Context, bytes], int] = {}
        """Cases that have been counted, of all times, and in which round."""
        self._changes: dict[tuple[str, Context, Term], deque[Change]] = {}
        self._shares: dict[str, int] = {}
        """Of the current round, until something changes."""

    def settle(self, section: ReputationSection) -> None:
        """Other thresholds hold from now on (`dhtnode.amendments` says which can change)."""
        self._section = section

    # Evidence

    def begin(self, round_no: int) -> None:
        """A round begins; books of rounds that are too old are closed."""
        if round_no <= self.round_no:
            return
        self.round_no = round_no
        self._shares.clear()
        self._closed_before = max(self._closed_before, round_no - self._section.open_rounds)
        closed = [one for one in self._seen if one < self._closed_before]
        for one in closed:
            del self._seen[one]
        if closed:
            for account in self._accounts.values():
                account.settle(self._closed_before)
            for series in self._given.values():
                series.settle(self._closed_before)

    def add(self, evidence: Evidence) -> Change | None:
        """Take in a piece of evidence. A case is never too late: it counts from the oldest open round.

        Returns:
            What it did, or None: it is known, its round's books are closed or not yet open, or it is a peer's
            word on itself.
        """
        if evidence.term in ("upheld", "proven"):
            evidence = replace(evidence, round_no=max(evidence.round_no, self._closed_before))
        if not self._is_news(evidence):
            return None
        before = self.trust(evidence.peer, evidence.context)
        if evidence.term == "proven":
            self._outlaws[evidence.peer] = evidence
        else:
            self._account(evidence.peer).add(evidence)
        if evidence.teller and evidence.term == "passed":
            self._given_by(evidence.teller).add(evidence.round_no)
        self._shares.pop(evidence.teller, None)
        self._shares.pop(evidence.peer, None)
        return self._note(evidence, self.trust(evidence.peer, evidence.context) - before)

    # What it decides

    def trust(self, peer: str, context: Context) -> int:
        """T, in millionths: 0 for a key that is out for good."""
        if peer in self._outlaws:
            return 0
        return self._section.trust_micro(*self.pair(peer, context))

    def pair(self, peer: str, context: Context) -> tuple[int, int]:
        """The pair (r, s), with what others tell, in millionths."""
        account = self._accounts.get(peer)
        if account is None:
            return 0, 0
        good, bad = account.own_pair(context, self.round_no)
        most = max(1000 * self._section.told_most_milli, good)
        unsure = account.own(context, "unsure", self.round_no)
        doubt = self.told(peer, context, "unsure")
        bad += min(doubt, 1000 * self._section.unsure.most_milli - unsure)
        return good + min(most, self.told(peer, context, "passed")), bad

    def told(self, peer: str, context: Context, term: Term) -> int:
        """A term of what others tell of a peer, weighed by what each teller's word is worth.

        The doubt of those who do not judge well is worth nothing.
        """
        account = self._accounts.get(peer)
        if account is None:
            return 0
        told = account.told(context, term, self.round_no)
        return sum(
            value * self.share(teller) // MICRO
            for teller, value in told.items()
            if term == "passed" or self.judges_well(teller)
        )

    def earned(self, teller: str) -> int:
        """What this node itself has found good of a peer by doing it again, in millionths."""
        account = self._accounts.get(teller)
        if account is None:
            return 0
        return sum(account.own(context, "passed", self.round_no) for context in JUDGED)

    def share(self, teller: str) -> int:
        """What counts of a teller's word, in millionths."""
        if teller not in self._shares:
            self._shares[teller] = self._share(teller)
        return self._shares[teller]

    def judges_well(self, peer: str) -> bool:
        """Whether as many of a peer's verdicts were found right here as doubts of it were refuted."""
        if peer in self._outlaws or peer not in self._accounts:
            return peer not in self._outlaws
        good, bad = self._accounts[peer].own_pair("audit", self.round_no)
        return self._section.trust_micro(good, bad) >= self._section.newcomer_micro

    def opinion(self, peer: str) -> Opinion | None:
        """What decides a peer's vote; None if nothing is known of it."""
        if peer in self._outlaws:
            return Opinion(0, on_probation=True, banned_until=-1)
        account = self._accounts.get(peer)
        if account is None:
            return None
        return Opinion(
            self.trust(peer, "work"),
            account.served(self.round_no) < self._section.probation_rounds,
            self.banned_until(peer),
        )

    def banned_until(self, peer: str) -> int:
        """First round in which a peer is not banned; 0 if it is not; -1 for ever."""
        if peer in self._outlaws:
            return -1
        _, until = self.bans(peer)
        return until if until > self.round_no else 0

    def matched(self, peers: Iterable[str]) -> list[str]:
        """Peers in the order in which they are taken up: punctual before late, trusted before unknown."""
        return sorted(
            peers, key=lambda peer: (-self.trust(peer, "liveness"), -self.trust(peer, "work"), peer)
        )

    def bans(self, peer: str) -> tuple[int, int]:
        """How often a peer was banned, and the first round in which it is not any more."""
        account = self._accounts.get(peer)
        return account.bans(self.round_no) if account else (0, 0)

    def why(self, peer: str) -> list[Change]:
        """The last changes of a peer's numbers, the newest first."""
        found = [change for (about, _, _), kept in self._changes.items() if about == peer for change in kept]
        return sorted(found, key=lambda change: -change.round_no)

    def table(self) -> list[tuple[str, tuple[int, ...], int, int]]:
        """All peers by name: trust by context in millionths, bans, and when the last one ends."""
        return [
            (peer, tuple(self.trust(peer, context) for context in CONTEXTS), *self.bans(peer))
            for peer in sorted(self._accounts.keys() | self._outlaws.keys())
        ]

    # On the disk

    def closed_books(self) -> bytes:
        """What has to be stored. Evidence on open rounds is stored as the records that it comes from."""
        books = Books(
            self._closed_before,
            {peer: account.closed() for peer, account in self._accounts.items()},
            {teller: series.settled for teller, series in self._given.items()},
            [(peer, one.round_no, one.about, one.record) for peer, one in self._outlaws.items()],
            [(*case, round_no) for case, round_no in self._upheld.items() if round_no < self._closed_before],
        )
        return msgspec.msgpack.encode(books)

    @classmethod
    def reopened(cls, section: ReputationSection, stored: bytes) -> Reputation:
        """The table of `closed_books`. Evidence on later rounds has to be added again, and all cases first.

        Raises:
            msgspec.MsgspecError: these are no such bytes.
        """
        books = msgspec.msgpack.decode(stored, type=Books)
        table = cls(section)
        table.round_no = table._closed_before = books.before
        for peer, account in books.accounts.items():
            table._accounts[peer] = Account.reopened(section, account)
        for teller, settled in books.given.items():
            table._given_by(teller, settled)
        for peer, round_no, about, record in books.outlaws:
            table._outlaws[peer] = Evidence(peer, "work", "proven", round_no, about, record)
        table._upheld = {(peer, context, about): round_no for peer, context, about, round_no in books.upheld}
        return table

    # Inside

    def _is_news(self, evidence: Evidence) -> bool:
        is_open = self._closed_before <= evidence.round_no <= self.round_no
        if not is_open or evidence.teller == evidence.peer:
            return False
        seen = self._seen.setdefault(evidence.round_no, set())
        if evidence.term == "proven":
            return evidence.peer not in self._outlaws
        if evidence.term == "upheld":
            case = (evidence.peer, evidence.context, evidence.about)
            news = case not in self._upheld
            self._upheld.setdefault(case, evidence.round_no)
            return news
        name = (evidence.peer, evidence.context, evidence.term, evidence.about, evidence.teller)
        news = name not in seen
        seen.add(name)
        return news

    def _share(self, teller: str) -> int:
        account = self._accounts.get(teller)
        if account is None or teller in self._outlaws or account.bans(self.round_no)[1] > self.round_no:
            return 0
        earned = self.earned(teller)
        bad = sum(account.own_pair(context, self.round_no)[1] for context in JUDGED)
        weight = earned * MICRO // (earned + bad + 1000 * self._section.all_prior_milli)
        given = self._given[teller].at(self.round_no) if teller in self._given else 0
        budget = earned * self._section.told_share_percent // 100
        return min(weight, budget * MICRO // given) if given else weight

    def _account(self, peer: str) -> Account:
        if peer not in self._accounts:
            if len(self._accounts) >= MAX_ACCOUNTS:
                self._forget()
            self._accounts[peer] = Account(self._section)
        return self._accounts[peer]

    def _forget(self) -> None:
        idle = [peer for peer in self._accounts if self.bans(peer)[1] <= self.round_no]
        oldest = min(idle or self._accounts, key=lambda peer: (self._accounts[peer].heard_of, peer))
        del self._accounts[oldest]
        self._given.pop(oldest, None)
        for key in [key for key in self._changes if key[0] == oldest]:
            del self._changes[key]

    def _given_by(self, teller: str, settled: tuple[int, int] = (0, 0)) -> Series:
        if teller not in self._given:
            passed = self._section.passed
            limit = 1000 * passed.add_milli * 2**32  # all that is said is counted: no cap
            self._given[teller] = Series(
                1000 * passed.add_milli, limit, passed.half_life_rounds, 100, settled=settled
            )
        return self._given[teller]

    def _note(self, evidence: Evidence, delta_micro: int) -> Change:
        change = Change(
            evidence.round_no,
            evidence.peer,
            evidence.context,
            evidence.term,
            delta_micro,
            evidence.cause,
            evidence.record,
        )
        key = (evidence.peer, evidence.context, evidence.term)
        self._changes.setdefault(key, deque(maxlen=CHANGES_KEPT)).append(change)
        return change
