"""The weighted mean of what the senders sent for one part: the same bits whoever computes it.

The sum runs over the senders in roster order, never in order of arrival, with one multiply and one
add per element. So a second reducer that repeats a part after the first one died gets the same
bytes, and an auditor can show that a reducer lied. The mean is encoded once and these bytes go to
everybody: nobody applies a value that another node does not see.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dhtnode.manifest import WireSection
from training.codec import LIMIT, decode, encode


def reduce_part(
    senders: Sequence[tuple[int, Sequence[bytes]]], sizes: Sequence[int], wire: WireSection
) -> list[bytes]:
    """Reduce one part.

    Args:
        senders: (weight, chunks of the part), in roster order. All chunks have passed
            `codec.check`. A weight is an integer of at least 0; 0 adds nothing.
        sizes: elements of each chunk of the part.
        wire: the manifest's section.

    Returns:
        The encoded mean, one chunk for each of `sizes`.

    Raises:
        ValueError: a negative weight, no positive weight, or a sender with another number of chunks.
    """
    weights = [weight for weight, _ in senders]
    total = sum(weights)
    if total <= 0 or min(weights) < 0:
        raise ValueError(f"weights {weights} give no mean")
    if any(len(chunks) != len(sizes) for _, chunks in senders):
        raise ValueError(f"a sender has not sent {len(sizes)} chunks")
    # Python divides integers with one correct rounding, however large they are.
    shares = [(np.float32(weight / total), chunks) for weight, chunks in senders if weight]
    return [_reduce_chunk(shares, index, elems, wire) for index, elems in enumerate(sizes)]


def _reduce_chunk(
    shares: Sequence[tuple[np.float32, Sequence[bytes]]], index: int, elems: int, wire: WireSection
) -> bytes:
    mean = np.zeros(elems, np.float32)
    for share, chunks in shares:
        term = decode(chunks[index], elems, wire)
        np.multiply(term, share, out=term)
        np.add(mean, term, out=mean)
    # Rounding may lift a mean of values at the limit over the limit.
    np.clip(mean, -LIMIT, LIMIT, out=mean)
    (chunk,) = encode(mean, wire)
    return chunk
