"""What a node's table of trust answers when a round asks about peers; see `training.regard`."""

from __future__ import annotations

from dhtnode.reputation import ReputationSection
from training.regard import Halves, Peers, Regard
from validation.voting import OpinionOf, acceptable_votes, proposed_votes


class Reputed(Regard):
    """Of a node that keeps a table.

    Args:
        section: the swarm's constants.
        opinion_of: the table's.
    """

    def __init__(self, section: ReputationSection, opinion_of: OpinionOf) -> None:
        self._section = section
        self._opinion_of = opinion_of

    def proposed_votes(self, peers: Peers, before: Halves) -> Halves:
        return proposed_votes(peers, before, self._opinion_of, self._section)

    def accepts_votes(self, peers: Peers, votes: Halves, before: Halves) -> bool:
        return acceptable_votes(peers, votes, before, self._opinion_of, self._section)
