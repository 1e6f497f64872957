"""What many senders' vectors become: the weighted mean, or one that no minority can carry away.

Both are elementwise or sums in one fixed order, so every machine gets the same bits.

Centered clipping (Karimireddy et al., "Learning from history", arXiv:2012.10333): whatever lies further
from a centre than the senders usually do is pulled in before it is averaged. The centre is first the
coordinate-wise median, which a minority can't move far, then what the step before gave. The usual
distance r is the lower median of the senders' distances d. There an offset is pulled in to length r;
here to r * r / d: who stands far out is hardly heard at all. `scripts/bench-adversary` shows why: with
four attackers of ten that send -10 times the honest mean it costs 1 point of accuracy instead of 10.

# N = senders, E = elements of a chunk
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.codec import Vector, halving_sum

STEPS = 4
"""Times that the centre is improved."""
MOST_WEIGHT = 2
"""Largest weight that counts, as a multiple of the median weight: who claims more work than others do
must not outvote them by claiming."""


def mean(vectors_N: Sequence[Vector], weights_N: Sequence[int]) -> Vector:
    """The weighted mean, summed in the order given. Weights are not all 0.

    Returns:
        E values, float32.
    """
    total = sum(weights_N)
    result_E = np.zeros(vectors_N[0].size, np.float32)
    for vector_E, weight in zip(vectors_N, weights_N, strict=True):
        if weight:
            # Python divides integers with one correct rounding, however large they are.
            np.add(result_E, np.multiply(vector_E, np.float32(weight / total)), out=result_E)
    return result_E


def clipped(vectors_N: Sequence[Vector], weights_N: Sequence[int]) -> Vector:
    """Centered clipping of the senders that have a weight. Weights are not all 0.

    Returns:
        E values, float32.
    """
    present = [(vector, weight) for vector, weight in zip(vectors_N, weights_N, strict=True) if weight]
    stack_NE = np.stack([vector for vector, _ in present])
    weights = capped([weight for _, weight in present])
    total = sum(weights)
    center_E = median(stack_NE)
    for _ in range(STEPS):
        offsets_NE = np.subtract(stack_NE, center_E)
        distances_N = np.sqrt(halving_sum(np.multiply(offsets_NE, offsets_NE)))
        usual = np.sort(distances_N)[(len(distances_N) - 1) // 2]
        for offset_E, distance, weight in zip(offsets_NE, distances_N, weights, strict=True):
            share = np.float32(weight / total)
            if distance > usual:
                near = np.float32(usual / distance)
                share = np.float32(share * np.float32(near * near))
            np.add(center_E, np.multiply(offset_E, share), out=center_E)
    return center_E


def median(stack_NE: Vector) -> Vector:
    """Coordinate-wise; of two middles their half sum."""
    ordered_NE = np.sort(stack_NE, axis=0)
    count = len(ordered_NE)
    low_E, high_E = ordered_NE[(count - 1) // 2], ordered_NE[count // 2]
    middle_E: Vector = np.multiply(np.add(low_E, high_E), np.float32(0.5))
    return middle_E


def capped(weights: Sequence[int]) -> list[int]:
    """Weights, none above MOST_WEIGHT times the lower median."""
    most = MOST_WEIGHT * sorted(weights)[(len(weights) - 1) // 2]
    return [min(weight, most) for weight in weights]
