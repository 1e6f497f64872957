"""Which of the chains that members stand on is the swarm's, as far as an outsider can tell. Pure.

A certificate is checked from itself: a majority of those whom it names has signed it. What ties it to the
head before is looked at here: the rules that honest electors keep. So who shows a chain that breaks them is
found out. Who makes up a whole chain of keys of its own is not: that chain is as sound as any other, and
what tells them apart is who stands on it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cmp_to_key

from dhtnode.errors import RemoteProtocolError
from rewards.evidence import followed_over_gaps
from training.chain import Certificate, heavier
from training.messages import Head
from training.roster import quorum


def link_fault(before: Head, head: Head) -> str | None:
    """Why no honest majority has closed a round with this head after that one, or None."""
    if head.number == head.since:
        fits = (head.number, head.marks, head.state) == (before.number, before.marks + 1, before.state)
        return None if fits else "a founding that does not go on from the head before"
    if head.number != before.number + 1:
        return f"round {before.number} ends with head {head.number}"
    if (head.branch, head.since, head.marks) != (before.branch, before.since, before.marks):
        return "another branch without a founding"
    if head.tokens < before.tokens:
        return "accepted tokens went down"
    if len(set(before.electors) & set(head.electors)) < quorum(before.electors):
        return "most of the electors before are no electors after it"
    return None


def chain_fault(heads: Mapping[bytes, Certificate], newest: bytes) -> str | None:
    """Why a chain can't be one that honest members have made, or None."""
    id_ = newest
    while id_ in heads:
        head = heads[id_].head
        if head.parent in heads:
            fault = link_fault(heads[head.parent].head, head)
            if fault:
                return f"round {head.number}: {fault}"
        id_ = head.parent
    return None


class Chosen:
    """The chain that is taken for the swarm's.

    That on which most of the members stand that the user has named, then most of all that were asked, then
    the heavier one. Whom a liar names as the other members may be the liar again.

    Args:
        heads: certificates by id.
        stands: the head of each member that was asked.
        named: members that the user has named.

    Raises:
        RemoteProtocolError: reason `bad-chain`: no member has shown a sound one.
    """

    def __init__(
        self,
        heads: Mapping[bytes, Certificate],
        stands: Mapping[str, Certificate],
        named: Collection[str] = (),
    ) -> None:
        self.faults: dict[str, RemoteProtocolError] = {}
        """Members that stand on a chain which honest ones do not make."""
        values = {id_: one.head for id_, one in heads.items()}
        chains: dict[str, dict[int, bytes]] = {}
        for peer, certificate in sorted(stands.items()):
            fault = chain_fault(heads, certificate.id)
            if fault:
                self.faults[peer] = RemoteProtocolError(peer, "bad-chain", fault)
            else:
                chains[peer] = followed_over_gaps(values, certificate.id)
        if not chains:
            nothing = RemoteProtocolError("", "bad-chain", "nobody has shown one")
            raise next(iter(self.faults.values()), nothing)
        on_chain = {peer: {*chain.values(), stands[peer].id} for peer, chain in chains.items()}
        beside = {
            peer: {other for other in chains if stands[other].id in ids or stands[peer].id in on_chain[other]}
            for peer, ids in on_chain.items()
        }
        """Who stands on the same chain as each, be it some rounds before or after."""
        by_weight = cmp_to_key(_compared)
        leading = max(
            chains,
            key=lambda peer: (len(beside[peer] & set(named)), len(beside[peer]), by_weight(stands[peer])),
        )
        self.newest = stands[leading]
        self.followed = chains[leading]
        """For each closed round that is known, the id of the head that it ended with."""
        self.ids = on_chain[leading]
        """Of all its heads."""
        self.elsewhere = [peer for peer in chains if peer not in beside[leading]]
        """Members on another chain: the swarm is parted, or they lie."""


def _compared(one: Certificate, other: Certificate) -> int:
    return heavier(one.head, other.head) - heavier(other.head, one.head)
