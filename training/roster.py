"""Who leads, in which order work is reduced, and how many votes decide.

Order follows from a hash over the current state, which nobody can foresee before the round before
has closed: no member can choose its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dhtnode.digest import digest


def rank(state: bytes, round_no: int, purpose: str, peer: str) -> bytes:
    """Sort key of a peer for one purpose in one round."""
    return digest("rank", purpose, state, round_no, peer)


def ordered(peers: Iterable[str], state: bytes, round_no: int, purpose: str) -> tuple[str, ...]:
    """Peers in the order that everybody derives; for `leader`, each view's leader in turn."""
    return tuple(sorted(peers, key=lambda peer: rank(state, round_no, purpose, peer)))


def quorum(electors: Sequence[str]) -> int:
    """Votes that decide: any two such sets share an elector."""
    return len(electors) // 2 + 1
