"""A local run in segments, so that a quarrel about it is a quarrel about a few steps.

A commitment binds its signer to the exact local state between segments: weights, inner optimizer, loss
so far. Whoever disputes the work finds the first boundary at which the own replay differs; the worker opens
the one before it, and a juror does that one segment again. Nothing is kept for it: local work repeats to
the bit, so a worker that is asked does its own run again.

What is signed is a boundary's digest (`training.boundary`) under the signer's name and the round's head,
which can't be copied by who has not done the work. The first segment starts from the shared state and
the last one ends in the update itself, so only the boundaries in between have digests; a run of one segment
has none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dhtnode.digest import digest, root_digest
from dhtnode.manifest import Terms

MAX_BOUNDARIES = 64
"""Their digests are 2 KiB then, when they are opened. Finding the bad one takes one replay, however many."""


def segments_root(sealed: Sequence[bytes]) -> bytes:
    """What the commitment calls `segments`: it stands for the whole list of sealed digests."""
    return root_digest("segments", sealed)


ONE_SEGMENT = segments_root(())
"""Of a run that has no boundary inside."""


def boundaries(steps: int, most: int, segment: int) -> tuple[int, ...]:
    """After which inner steps a run of `steps` steps has a boundary: at most MAX_BOUNDARIES, rising.

    Where they lie does not depend on how many steps a slow node did of them, which it does not know before.

    Args:
        steps: that were done.
        most: inner steps H of a full-speed node in that round.
        segment: the manifest's `audit.segment`; made longer where H is large, 0 for one segment.
    """
    length = max(segment, math.ceil(most / (MAX_BOUNDARIES + 1))) if segment else most
    return tuple(range(length, steps, length))


def boundaries_of(terms: Terms, round_no: int, steps: int) -> tuple[int, ...]:
    """`boundaries` of a member's run in a round; none where nobody can replay it, or does."""
    if terms.data.mode == "private" or not terms.audit.rate:
        return ()
    return boundaries(steps, terms.inner.steps_at(round_no), terms.audit.segment)


def seal(signer: str, base: bytes, index: int, boundary: bytes) -> bytes:
    """A boundary's digest under its signer's name.

    Args:
        signer: whose work it is.
        base: id of the head that the work builds on.
        index: of the boundary, from 0.
        boundary: `Boundary.digest`.
    """
    return digest("boundary", signer, base, index, boundary)


def seal_all(signer: str, base: bytes, digests: Sequence[bytes]) -> tuple[bytes, ...]:
    """What a worker opens when its work is disputed: `seal` of each of its boundaries."""
    return tuple(seal(signer, base, index, boundary) for index, boundary in enumerate(digests))


def first_difference(theirs: Sequence[bytes], mine: Sequence[bytes]) -> int:
    """The first segment that does not end where one's own replay does; the last if all boundaries agree.

    Args:
        theirs: the worker's sealed digests.
        mine: those of one's own replay, sealed under the worker's name; as many.
    """
    pairs = enumerate(zip(theirs, mine, strict=True))
    return next((index for index, (one, other) in pairs if one != other), len(mine))
