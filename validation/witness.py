"""What a node sees and hears, as evidence in its own table.

Rounds that close, verdicts and cases pass through the validator anyway; here they become pieces of
evidence (`evidence`) and are added up (`reputation`). Nothing is decided here: what the table decides is
asked through `regard`, and whom to audit follows `rates`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from dhtnode.records import Signed
from dhtnode.reputation import ReputationSection
from training.chain import Certificate
from training.events import Adopt
from training.messages import Head
from validation.cases import Case
from validation.evidence import of_absence, of_agreement, of_case, of_refutation, of_round, of_verdict
from validation.messages import Verdict
from validation.reputation import Opinion, Reputation


class Witness:
    """Feeds one node's table.

    Args:
        section: the swarm's constants.
        me: own peer id.
    """

    def __init__(self, section: ReputationSection, me: str) -> None:
        self.table = Reputation(section)
        """Who has stored one puts it here before anything is taken in."""
        self._me = me
        self._head: Head | None = None
        self._early: list[Case] = []
        """On rounds that are still to come here: others may be ahead."""

    def opinion(self, peer: str) -> Opinion | None:
        """What the table thinks of a peer now."""
        return self.table.opinion(peer)

    def is_banned(self, peer: str) -> bool:
        """Whether the table keeps a peer out now."""
        return self.table.banned_until(peer) != 0

    def matched(self, peers: Iterable[str]) -> list[str]:
        """Peers in the order that the table puts them in now."""
        return self.table.matched(peers)

    def began(self, round_no: int) -> None:
        """The table has come to this round."""
        self.table.begin(round_no)
        early, self._early = self._early, []
        for case in early:
            self.convicted(case)

    def stood(self, certificate: Certificate) -> None:
        """The node stands on this head, without having seen how it came about."""
        self._head = certificate.head
        self.began(certificate.head.number)

    def adopted(self, closed: Adopt, gone: Collection[str] | None) -> None:
        """A head is final here.

        Args:
            closed: the round that ended with it, as far as this node was there.
            gone: members that said that they go, or are out; None where that is not known.
        """
        before, head = self._head, closed.certificate.head
        self.stood(closed.certificate)
        found = of_round(closed.certificate, closed.works)
        if closed.works and gone is not None and before is not None and before.id == head.parent:
            found += of_absence(before, closed.certificate, gone)
        for evidence in found:
            self.table.add(evidence)

    def heard(
        self, verdict: Signed[Verdict], beside: Mapping[str, Signed[Verdict]], electors: Sequence[str]
    ) -> bool:
        """A verdict is in.

        Args:
            verdict: by anybody.
            beside: all that are held on the same record, by signer.
            electors: of that round.

        Returns:
            Whether a majority has found the record sound that somebody had doubted.
        """
        found = [of_verdict(verdict, self._me)]
        own = beside.get(self._me)
        if own is not None:
            others = beside.values() if verdict.signer == self._me else [verdict]
            found += [of_agreement(own, other) for other in others]
        for evidence in found:
            if evidence is not None:
                self.table.add(evidence)
        refuted = of_refutation(beside.values(), electors)
        for evidence in refuted:
            self.table.add(evidence)
        return bool(refuted)

    def judges_well(self, peer: str) -> bool:
        """Whether the table has nothing against a peer's verdicts."""
        return self.table.judges_well(peer)

    def convicted(self, case: Case) -> None:
        """A fault is proven. How many there can be is bounded by `validator.MAX_CASES`."""
        if case.round_no > self.table.round_no:
            self._early.append(case)
        else:
            self.table.add(of_case(case))
