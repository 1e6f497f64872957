"""Who leads, in which order work is reduced, whose votes decide, and how many.

Order follows from a hash over the current state, which nobody can foresee before the round before
has closed: no member can choose its place.

Names are free, so being there is not enough to decide anything: electors are the members with a vote. Where
nobody has one (a swarm's first rounds, and swarms that keep no reputation), all members count alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from dhtnode.digest import digest

T = TypeVar("T")


def rank(state: bytes, round_no: int, purpose: str, peer: str) -> bytes:
    """Sort key of a peer for one purpose in one round."""
    return digest("rank", purpose, state, round_no, peer)


def ordered(peers: Iterable[str], state: bytes, round_no: int, purpose: str) -> tuple[str, ...]:
    """Peers in the order that everybody derives; for `leader`, each view's leader in turn."""
    return tuple(sorted(peers, key=lambda peer: rank(state, round_no, purpose, peer)))


def voters(members: Sequence[T], votes: Sequence[int]) -> tuple[T, ...]:
    """Members with a vote; all of them if none has one."""
    return tuple(peer for peer, vote in zip(members, votes, strict=True) if vote) or tuple(members)


def weighed(weights: Sequence[int], votes: Sequence[int]) -> tuple[int, ...]:
    """What a roster's commitments weigh with their votes: integers, as the reduction takes them."""
    if not any(votes):
        return tuple(weights)
    return tuple(weight * vote for weight, vote in zip(weights, votes, strict=True))


def quorum(electors: Sequence[str]) -> int:
    """Votes that decide: any two such sets share an elector."""
    return len(electors) // 2 + 1
