"""What a node's table of trust, and its gate, answer when a round asks about peers; see `training.regard`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from training.in_force import TermsInForce
from training.regard import Halves, Peers, Regard
from validation.voting import OpinionOf, acceptable_votes, proposed_votes


class Reputed(Regard):
    """Of a node that keeps a table.

    Args:
        in_force: the swarm's terms.
        opinion_of: the table's.
        is_banned: whom the table keeps out.
        matched: the order that the table puts peers in.
        may_enter: what the gate says of newcomers.
    """

    def __init__(
        self,
        in_force: TermsInForce,
        opinion_of: OpinionOf,
        is_banned: Callable[[str], bool],
        matched: Callable[[Iterable[str]], list[str]],
        may_enter: Callable[[str], bool],
    ) -> None:
        self._in_force = in_force
        self._opinion_of = opinion_of
        self._is_banned = is_banned
        self._matched = matched
        self._may_enter = may_enter

    def proposed_votes(self, peers: Peers, before: Halves) -> Halves:
        return proposed_votes(peers, before, self._opinion_of, self._in_force.now.reputation)

    def accepts_votes(self, peers: Peers, votes: Halves, before: Halves) -> bool:
        return acceptable_votes(peers, votes, before, self._opinion_of, self._in_force.now.reputation)

    def shuns(self, peer: str) -> bool:
        return self._is_banned(peer)

    def may_enter(self, peer: str) -> bool:
        return self._may_enter(peer)

    def matched(self, peers: Iterable[str]) -> list[str]:
        return self._matched(peers)
