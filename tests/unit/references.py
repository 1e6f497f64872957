"""Robust rules that others use, to hold ours against. Neither takes weights; none is an option of a swarm.

Both sort each coordinate, so the order of the vectors does not matter to the bits
(Yin et al., arXiv:1803.01498).

# N = senders, E = elements
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.codec import Vector


def coordinate_median(vectors_N: Sequence[Vector]) -> Vector:
    """The median of each coordinate."""
    middle_E: Vector = np.median(np.stack(vectors_N), axis=0)
    return middle_E


def trimmed_mean(vectors_N: Sequence[Vector], cut: int) -> Vector:
    """The mean of each coordinate without its `cut` largest and `cut` smallest values."""
    ordered_NE = np.sort(np.stack(vectors_N), axis=0)
    kept_E: Vector = ordered_NE[cut : len(vectors_N) - cut].mean(axis=0, dtype=np.float32)
    return kept_E
