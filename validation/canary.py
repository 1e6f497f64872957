"""How far honest machines of two kinds may lie apart, learned from work that all of them do.

Every node does RUNS short local runs that belong to nobody: from the state before the first round, on the
batches of peers that do not exist. It shows the sketches of what came out with its device profile.
How far two machines' canaries lie apart is what their kinds make of the same work; longer runs and later
rounds lie further apart, and what travels has been rounded to a few codes: both are in the tolerance.

Nearly all runs lie about equally far apart. One in thirteen meets a gradient that all but cancels, whose
sign then hangs on the rounding: it lies ten or a hundred times further apart and says nothing of the kinds.
So one of the nearer runs counts.

A member could show a false canary to be let off, so of all that name one profile the middle one counts, and
beyond a fixed most there is no tolerance at all: what is that far apart can't be told from a cheat, and
such profiles do not audit each other.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Annotated, ClassVar

import msgspec

from dhtnode.digest import derive
from dhtnode.records import Body, Signed
from training.inner import Trainer
from training.tasks import Shard
from validation.compare import MOST, WIDTH, Sketch, distance_ppm, sketch

RUNS = 5
TYPICAL = 1
"""Place, from the nearest, of the run that counts. In 40 swarms of a tiny model, where the first run alone
was beyond all tolerance in 3, the second nearest of 5 lay at 1 ppm in all."""
STEPS = 10
"""Inner steps of a run, or as many as a round has."""
NOBODY = "canary-{}"
"""Whose batches a run trains on; no peer id."""
GROWTH = 100
"""How much further apart later rounds may lie than the canary. Measured between instruction sets
(docs/validation.md): canaries 4e-7, runs of 10 steps from a trained state 1.4e-5, of 1 step 4e-5."""
LEAST_PPM = 100
"""No two profiles are held nearer than this, before rounding: a canary that rounds down to 0 ppm."""
MOST_PPM = 500
"""Beyond it profiles are not compared. At it, int8 fails from 1.8 % on and int2 from 10 %: below what
leaving out 2 of 64 samples in every step comes to (2.8 % and 11 %)."""
ROUNDING: dict[str, int] = {"fp32": 0, "int8": 25_000, "int4": 500_000, "int2": 750_000}
"""What a small difference becomes when it is rounded to codes, in ppm: of the elements, those that lie near
the border of two codes change by a whole step. Relative to the update the difference d becomes
sqrt(d^2 + c d), c = 0.8 x step / root mean square for blocks of normal elements with their mean distance
between codes: 4 / 127 and 4 / 7 root mean squares, for int2 its two kinds of borders."""
MAX_CANARIES = 256
"""Of the members heard of last. Each is a few KB."""

Device = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
Bucket = Annotated[int, msgspec.Meta(ge=-MOST, le=MOST)]


Run = Annotated[tuple[Bucket, ...], msgspec.Meta(min_length=WIDTH, max_length=WIDTH)]


class Canary(Body, frozen=True, kw_only=True):
    """What the canary has come to on the signer's device."""

    KIND: ClassVar[str] = "canary"
    MAX_BYTES: ClassVar[int] = RUNS * (9 * WIDTH + 3) + 512
    device: Device
    """Device profile."""
    sketches: Annotated[tuple[Run, ...], msgspec.Meta(min_length=RUNS, max_length=RUNS)]
    """Of each run's update, before it is encoded."""


def run_canary(trainer: Trainer, shard: Shard) -> tuple[Sketch, ...]:
    """Do the canary on this device: RUNS times STEPS inner steps. For swarms with shared data only.

    Raises:
        DivergedError: it leads to nothing finite.
    """
    genesis = trainer.genesis()
    seed = derive("canary", genesis.swarm_id)
    runs = (trainer.run(genesis, shard, NOBODY.format(index), max_steps=STEPS) for index in range(RUNS))
    return tuple(sketch(work.update_U, seed) for work in runs)


def apart_ppm(theirs: Sequence[Sketch], mine: Sequence[Sketch]) -> int:
    """How far apart two devices' canaries lie, in ppm: the typical one of their runs."""
    return sorted(map(distance_ppm, theirs, mine))[TYPICAL]


def tolerance_ppm(canaries_ppm: int, codec: str) -> int | None:
    """How far apart encoded honest work may lie, in ppm; None if a cheat's could be as near.

    Args:
        canaries_ppm: distance of the two profiles' canaries.
        codec: in which the work travels.
    """
    apart = max(LEAST_PPM, GROWTH * canaries_ppm)
    return math.isqrt(apart**2 + ROUNDING[codec] * apart) if apart <= MOST_PPM else None


class Tolerances:
    """Largest distances between honest work on this node's device and on others.

    Args:
        own: what the canary has come to here.
        codec: of the manifest's `wire`.
    """

    def __init__(self, own: Sequence[Sketch], codec: str) -> None:
        self._own, self._codec = own, codec
        self._canaries: dict[str, tuple[str, int]] = {}
        """Device and distance in ppm, by signer; the one heard of last at the end."""

    def learn(self, record: Signed[Canary]) -> None:
        """Take in a member's canary. Its newest one counts."""
        body = record.body
        self._canaries.pop(record.signer, None)
        self._canaries[record.signer] = (body.device, apart_ppm(body.sketches, self._own))
        if len(self._canaries) > MAX_CANARIES:
            del self._canaries[next(iter(self._canaries))]

    def eps_ppm(self, device: str) -> int | None:
        """Tolerance towards a device profile in ppm; None if it is unknown or too far away to tell."""
        found = [distance for named, distance in self._canaries.values() if named == device]
        return tolerance_ppm(statistics.median_low(found), self._codec) if found else None
