"""Which member reduces which chunks: the butterfly's shares, in proportion to bandwidth.

# K = chunks, N = members
"""

from __future__ import annotations

from collections.abc import Sequence

from training.roster import voters

MAX_SHARE = 4
"""Largest part of the reduction, as a multiple of the median member's: a claim of endless bandwidth
must not buy the whole model. A guess."""


def partition(chunks: int, bandwidths: Sequence[int]) -> list[range]:
    """Contiguous ranges of the chunk indices 0..K-1, one for each member in roster order.

    Shares follow the bandwidths by the method of largest remainders (Hamilton), in integers; of
    equal remainders the earlier member's goes first. A member with bandwidth 0 (for example one that
    can't be dialled) gets no chunk; if all have 0, all count the same.

    Args:
        chunks: K, at least 0.
        bandwidths: N integers of at least 0, in any one unit.

    Returns:
        N ranges that cover 0..K-1 exactly, without overlap, in order.

    Raises:
        ValueError: no member, or a negative number.
    """
    if not bandwidths or chunks < 0 or min(bandwidths) < 0:
        raise ValueError(f"cannot share {chunks} chunks by bandwidths {list(bandwidths)}")
    total = sum(bandwidths)
    sizes = list(bandwidths) if total else [1] * len(bandwidths)
    total = total or len(sizes)
    counts = [chunks * size // total for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda n: (-(chunks * sizes[n] % total), n))
    for member in by_remainder[: chunks - sum(counts)]:
        counts[member] += 1
    ranges, start = [], 0
    for count in counts:
        ranges.append(range(start, start + count))
        start += count
    return ranges


def shares(bandwidths: Sequence[int], votes: Sequence[int]) -> list[int]:
    """What each member of a roster carries of the reduction: only electors are trusted with any of it."""
    places = range(len(votes))
    trusted = set(voters(places, votes))
    most = iter(capped([bandwidths[place] for place in places if place in trusted]))
    carried = [next(most) if place in trusted else 0 for place in places]
    return carried if any(carried) else [int(place in trusted) for place in places]


def capped(bandwidths: Sequence[int]) -> list[int]:
    """Claimed bandwidths, none above MAX_SHARE times the (upper) median of those that can be dialled."""
    dialled = sorted(bandwidth for bandwidth in bandwidths if bandwidth) or [0]
    most = MAX_SHARE * dialled[len(dialled) // 2]
    return [min(bandwidth, most) for bandwidth in bandwidths]
