"""How far two machines' results for the same work lie apart, told from a few hundred numbers.

A count-sketch (Charikar, Chen, Farach-Colton, ICALP 2002) puts every element of a vector, with a random
sign, into one of WIDTH buckets. The squared length of the sketch is that of the vector on average, with a
relative standard deviation of sqrt(2 / WIDTH): 9 %, so lengths are told to about 4 %. It is linear, so the
sketch of a difference is the difference of the sketches. Buckets and signs follow from a seed that is not
known while the work is done: nobody can prepare an error that falls through.

Sketches are integers, and so is the distance: the same on every machine.

# U = elements of an update, W = WIDTH
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from training.codec import Vector

WIDTH = 256
"""Buckets. A power of two; the bands of `judge` are a factor of five wide, lengths are told to 4 %."""
UNIT = 2.0**-32
"""What one counts for in a sketch: far below what a codec can tell apart in an update that trains."""
MOST = 2**62
"""No bucket counts for more: beyond it no honest update lies, and everything fits 64 bits."""
MAX_PPM = 10**9
"""Distances end here: a thousand times the length of what was expected."""
UNSURE = 5
"""Up to so many times the tolerance nothing is said against a worker (DESIGN section 5)."""
_PIECE = 2**20

Sketch = tuple[int, ...]


def sketch(update_U: Vector, seed: int) -> Sketch:
    """The W integers that stand for an update.

    Args:
        update_U: decoded, finite.
        seed: of 128 bits, from `dhtnode.digest.derive`.
    """
    stream = np.random.Philox(key=seed)
    sums_W = np.zeros(WIDTH)
    for start in range(0, update_U.size, _PIECE):
        piece = update_U[start : start + _PIECE].astype(np.float64)
        raw = np.asarray(stream.random_raw(piece.size), np.uint64)
        np.negative(piece, out=piece, where=(raw >> np.uint64(63)).astype(bool))
        buckets = (raw % np.uint64(WIDTH)).astype(np.int64)
        # one addition after the other in fp64: every machine rounds alike
        sums_W += np.bincount(buckets, weights=piece, minlength=WIDTH)
    return tuple(max(-MOST, min(MOST, round(value))) for value in (sums_W / UNIT).tolist())


def distance_ppm(theirs: Sequence[int], mine: Sequence[int]) -> int:
    """Length of the difference over the length of one's own result, in millionths, at most MAX_PPM.

    Raises:
        ValueError: the two are not of one length.
    """
    apart = sum((a - b) ** 2 for a, b in zip(theirs, mine, strict=True))
    length = sum(b**2 for b in mine)
    if not apart:
        return 0
    return min(MAX_PPM, math.isqrt(apart * 10**12 // length)) if length else MAX_PPM


def judge(distance_ppm: int, eps_ppm: int) -> Literal["pass", "unsure", "fail"]:
    """What a distance says of the work, where honest machines of the two kinds differ by up to eps."""
    if distance_ppm <= eps_ppm:
        return "pass"
    return "unsure" if distance_ppm <= UNSURE * eps_ppm else "fail"
