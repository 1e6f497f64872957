"""What the senders sent for one part becomes one vector: the same bits whoever computes it.

The sum runs over the senders in roster order, never in order of arrival, with one multiply and one
add per element. So a second reducer that repeats a part after the first one died gets the same
bytes, and an auditor can show that a reducer lied. Each chunk stands alone: the result does not depend
on how parts were cut. It is encoded once and these bytes go to everybody: nobody applies a value
that another node does not see.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dhtnode.manifest import ReduceSection, WireSection
from training.aggregate import clipped, mean
from training.codec import LIMIT, decode, encode

RULES = {"mean": mean, "clipped": clipped}


def reduce_part(
    senders: Sequence[tuple[int, Sequence[bytes]]],
    sizes: Sequence[int],
    wire: WireSection,
    how: ReduceSection,
) -> list[bytes]:
    """Reduce one part.

    Args:
        senders: (weight, chunks of the part), in roster order. All chunks have passed
            `codec.check`. A weight is an integer of at least 0; 0 adds nothing.
        sizes: elements of each chunk of the part.
        wire: the manifest's section.
        how: the manifest's section.

    Returns:
        The encoded aggregate, one chunk for each of `sizes`.

    Raises:
        ValueError: a negative weight, no positive weight, or a sender with another number of chunks.
    """
    weights = [weight for weight, _ in senders]
    total = sum(weights)
    if total <= 0 or min(weights) < 0:
        raise ValueError(f"weights {weights} give no mean")
    if any(len(chunks) != len(sizes) for _, chunks in senders):
        raise ValueError(f"a sender has not sent {len(sizes)} chunks")
    rule, reduced = RULES[how.rule], []
    for index, elems in enumerate(sizes):
        result = rule([decode(chunks[index], elems, wire) for _, chunks in senders], weights)
        # Rounding may lift a mean of values at the limit over the limit.
        np.clip(result, -LIMIT, LIMIT, out=result)
        reduced += encode(result, wire)
    return reduced
