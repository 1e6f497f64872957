"""Whose work a round has taken in: it follows from its results, each of which names who is in its part.

All of what is in the state is audited, so nobody slips in by sending false work to some reducers only. What
most of the parts include is accepted: it has a receipt, and counts for its member's trust. Most, not all,
because a reducer that leaves somebody out can't be told from one that this sender can't reach: one member
must not be able to keep another's work from being accepted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from dhtnode.records import Signed
from training.messages import Commitment, Result


def intake(
    works_N: Sequence[Signed[Commitment]], results: Iterable[Signed[Result]]
) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """What a head says of it.

    Args:
        works_N: of the roster, in its order.
        results: one for each part; every place in them is one of the roster's.

    Returns:
        Ids of the accepted commitments, and of those that are in fewer parts, each in the roster's order.
    """
    said = [result.body.included for result in results]
    parts = Counter(place for included in said for place in included)
    within = [(work.id, 2 * parts[place] > len(said)) for place, work in enumerate(works_N) if parts[place]]
    return tuple(id_ for id_, most in within if most), tuple(id_ for id_, most in within if not most)
