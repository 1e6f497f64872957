"""Which member reduces which chunks: the butterfly's shares, in proportion to bandwidth.

# K = chunks, N = members
"""

from __future__ import annotations

from collections.abc import Sequence


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
    shares = list(bandwidths) if total else [1] * len(bandwidths)
    total = total or len(shares)
    counts = [chunks * share // total for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda n: (-(chunks * shares[n] % total), n))
    for member in by_remainder[: chunks - sum(counts)]:
        counts[member] += 1
    ranges, start = [], 0
    for count in counts:
        ranges.append(range(start, start + count))
        start += count
    return ranges
