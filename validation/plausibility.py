"""What can be seen of work that nobody can do again: how it looks beside the work of the others.

In private mode the data stay at home, so there is no replay. But whoever reduces a part has that part of
every member's update before it. Four things are measured there: how long a member's part is, whether it
points where the others' point, whether two members' parts are one and the same, and whether it is only
the last round's result once more. Lengths are taken out before directions are compared, and each direction
counts the same: who is loud does not decide what is normal.

An odd part is a suspicion and never a proof. Honest members that each know other labels stand at odds, too;
the bounds below leave them alone, and so does much that is false: `docs/validation.md` has a table.

# N = senders, E = elements of the part, S = SKETCH_ELEMS
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dhtnode.manifest import WireSection
from training.codec import Vector, decode, halving_sum

PPM = 1_000_000
SKETCH_ELEMS = 256
"""A distance between two sketches is off by about sqrt(1 / (2 S)) of itself: 4 %."""

# Measured on honest members that train on digits (scripts/bench-plausibility): half of them with a tenth of
# the data each, half with few labels each.
SHORT, LONG = 62_500, 8 * PPM
"""Length against the usual one. Honest: 0.17 to 3.4. The bounds are a guess more than twice as far out."""
TOGETHER = 700_000
"""A group whose middle cosine is at least this goes one way."""
AGAINST = 100_000
"""Who has less in such a group does not go along. Honest members of such groups: 0.29 and more. Where labels
differ, or near the end of training, no group goes one way, and nothing can be told from directions."""
TWIN = 20_000
"""Distance of two directions below which they are one piece of work. Honest: 0.04 and more; 0.06 and more
for two members with the same data."""
ECHO = 230_000
"""The same against the last round's result. Honest: 0.45 and more."""

Oddity = Literal["length", "direction", "twin", "echo"]
WORDS: dict[Oddity, str] = {
    "length": "is far longer or shorter than the others' work",
    "direction": "does not go the way that all others go",
    "twin": "is nearly the same as another member's",
    "echo": "is nearly the last round's result",
}
MAX_PEERS = 256
"""Of whom something is counted: four full rounds of members."""


@dataclass(frozen=True)
class Look:
    """What one member's part looks like. All in ppm; None where there is nothing to compare with."""

    peer: str
    length: int | None
    """Against the lower median of all senders."""
    cosine: int | None
    """With the sum of the others' directions."""
    nearest: str
    """Whose direction is closest; empty if nobody's."""
    distance: int | None
    """To it: 0 for the same, 2 for the opposite."""
    echo: int | None
    """Distance to the direction of the last round's result."""


def look(senders_N: Sequence[tuple[str, Vector]], seed: int, before_E: Vector | None = None) -> list[Look]:
    """Measure the parts that a reducer has been sent. The same arguments give the same numbers everywhere.

    Args:
        senders_N: peer ids and decoded parts, in roster order.
        seed: of the sketches; from something that was not known when the members committed, or an
            update could be made that only looks different.
        before_E: what the last round made of the same elements, if it is here.
    """
    stack_NE = np.stack([part_E for _, part_E in senders_N])
    lengths_N = np.sqrt(halving_sum(np.multiply(stack_NE, stack_NE)))
    usual = np.sort(lengths_N)[(len(lengths_N) - 1) // 2]
    directions_NE = np.stack([_direction(part_E) for part_E in stack_NE])
    sum_E = np.zeros(stack_NE.shape[1], np.float32)
    for direction_E in directions_NE:
        np.add(sum_E, direction_E, out=sum_E)
    signs_E = _signs(seed, stack_NE.shape[1])
    sketches_NS = [_sketch(direction_E, signs_E) for direction_E in directions_NE]
    last_S = None
    if before_E is not None and before_E.any():
        last_S = _sketch(_direction(before_E), signs_E)
    looks = []
    for place, (peer, _) in enumerate(senders_N):
        moved, direction_E = bool(lengths_N[place] > 0), directions_NE[place]
        others_E = _direction(np.subtract(sum_E, direction_E))
        near = [
            (_distance(sketches_NS[place], sketches_NS[other]), senders_N[other][0])
            for other in range(len(senders_N))
            if moved and other != place and lengths_N[other] > 0
        ]
        distance, nearest = min(near, default=(None, ""))
        looks.append(
            Look(
                peer=peer,
                length=_ppm(lengths_N[place] / usual) if usual > 0 else None,
                cosine=_ppm(_dot(direction_E, others_E)) if moved and others_E.any() else None,
                nearest=nearest,
                distance=distance,
                echo=_distance(sketches_NS[place], last_S) if moved and last_S is not None else None,
            )
        )
    return looks


def look_at_chunks(
    senders_N: Sequence[tuple[str, Sequence[bytes]]],
    sizes: Sequence[int],
    wire: WireSection,
    seed: int,
    before: Sequence[bytes] | None = None,
) -> list[Look]:
    """`look` at a part as it travelled.

    Args:
        senders_N: peer ids and chunks that have passed `codec.check`, in roster order.
        sizes: elements of each chunk of the part.
        wire: the manifest's section.
        seed: as in `look`.
        before: chunks of the last round's result for the same elements, if they are here.
    """

    def joined(chunks: Sequence[bytes]) -> Vector:
        return np.concatenate(
            [decode(chunk, elems, wire) for chunk, elems in zip(chunks, sizes, strict=True)]
        )

    parts_N = [(peer, joined(chunks)) for peer, chunks in senders_N]
    return look(parts_N, seed, None if before is None else joined(before))


def oddities(looks: Sequence[Look]) -> dict[str, list[Oddity]]:
    """What is odd about whom, for members of whom something is."""
    cosines = sorted(each.cosine for each in looks if each.cosine is not None)
    agree = bool(cosines) and cosines[(len(cosines) - 1) // 2] >= TOGETHER
    found: dict[str, list[Oddity]] = {}
    for each in looks:
        odd: dict[Oddity, bool] = {
            "length": each.length is not None and not SHORT <= each.length <= LONG,
            "direction": agree and each.cosine is not None and each.cosine < AGAINST,
            "twin": each.distance is not None and each.distance < TWIN,
            "echo": each.echo is not None and each.echo < ECHO,
        }
        if any(odd.values()):
            found[each.peer] = [kind for kind, holds in odd.items() if holds]
    return found


class Suspicions:
    """Counts what was odd about whom. It changes nothing but what `status` shows."""

    def __init__(self) -> None:
        self.parts: Counter[str] = Counter()
        """How many parts of each member this node has looked at."""
        self.odd: dict[str, Counter[Oddity]] = {}

    def note(self, looks: Sequence[Look]) -> list[str]:
        """Count what one reduction has shown.

        Returns:
            A line for the log for each thing that has not been seen of that member before.
        """
        news = []
        for each in looks:
            if each.peer in self.parts or len(self.parts) < MAX_PEERS:
                self.parts[each.peer] += 1
        for peer, kinds in oddities(looks).items():
            if peer not in self.parts:
                continue
            counts = self.odd.setdefault(peer, Counter())
            news += [f"work of {peer} {WORDS[kind]}; no proof" for kind in kinds if not counts[kind]]
            counts.update(kinds)
        return news


def _direction(part_E: Vector) -> Vector:
    """The same at length 1; zeros stay zeros."""
    length = np.sqrt(_dot(part_E, part_E))
    if length == 0:
        return np.zeros_like(part_E)
    direction_E: Vector = np.divide(part_E, length)
    return direction_E


def _signs(seed: int, elems: int) -> Vector:
    """Plus and minus 1: raw Philox output, see `training.data.batch_indices`."""
    words = np.random.Philox(key=seed).random_raw(-(-elems // 64)).astype("<u8")
    bits_E = np.unpackbits(words.view(np.uint8))[:elems]
    signs_E: Vector = np.subtract(np.multiply(bits_E, np.float32(2)), np.float32(1))
    return signs_E


def _sketch(direction_E: Vector, signs_E: Vector) -> Vector:
    """A count-sketch: every S-th element into the same sum (Charikar et al., ICALP 2002).

    Returns:
        S values. Their squared distance to another sketch is on average that of the two directions.
    """
    signed_E = np.multiply(direction_E, signs_E)
    rows = np.append(signed_E, np.zeros(-signed_E.size % SKETCH_ELEMS, np.float32))
    return halving_sum(rows.reshape(-1, SKETCH_ELEMS).T)


def _distance(one_S: Vector, other_S: Vector) -> int:
    apart_S = np.subtract(one_S, other_S)
    return _ppm(np.sqrt(_dot(apart_S, apart_S)))


def _dot(one_E: Vector, other_E: Vector) -> np.float32:
    """In one fixed order, so that every machine gets the same."""
    product: np.float32 = halving_sum(np.multiply(one_E, other_E)[None, :])[0]
    return product


def _ppm(value: np.float32) -> int:
    return round(float(value) * PPM)
