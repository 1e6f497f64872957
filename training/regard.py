"""What a round asks a node about its peers: opinions, which differ from node to node.

Training knows nothing of reputation. It asks, and sees to it that the answers never stop a round: what
they change is decided by a majority of the electors in the first view, and left as it was in later ones
(`training.gathering`). Whoever keeps a table of trust answers from that (`validation.regard`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Peers = Sequence[str]
Halves = Sequence[int]
"""Votes, in halves, one for each of the peers beside which they stand."""


class Regard:
    """Of a node that thinks the same of everybody."""

    def proposed_votes(self, peers: Peers, before: Halves) -> Halves:
        """What peers should count for, by this node, from what they counted for before (0 for newcomers)."""
        return before

    def accepts_votes(self, peers: Peers, votes: Halves, before: Halves) -> bool:
        """Whether it lets votes pass that are not as they were before."""
        return False

    def shuns(self, peer: str) -> bool:
        """Whether it would take in nothing of a peer now."""
        return False

    def may_enter(self, peer: str) -> bool:
        """Whether it would take in a newcomer at all."""
        return True

    def matched(self, peers: Iterable[str]) -> list[str]:
        """Peers in the order in which it takes them up where there is no room for all."""
        return sorted(peers)
