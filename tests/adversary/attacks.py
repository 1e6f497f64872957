"""What a dishonest member does instead of honest work: one class for each attack.

An attack departs from honest work in one place: the batches it trains on, whose batches these are, how
many of the steps that it claims it does, or what it commits to in the end. `crooked.py` does such work
with a real task, for benchmarks and for the real node (`cheat.py`); `tests/sim/crooked.py` does it in the
simulator.

# U = elements of an update, N = honest members
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from training.codec import Vector
from training.tasks import Batch

DROPPED = 1 / 32
"""Share of a batch that is left out: 2 samples of 64."""


class Attack:
    """Honest in everything; an attack overrides one method. Made anew for each member."""

    NAME: ClassVar[str]

    def batch(self, batch: Batch) -> Batch:
        """What is trained on instead of a batch."""
        return batch

    def whose(self, peer_id: str, others: Sequence[str]) -> str:
        """Whose batches are trained on; `others` are the honest members."""
        return peer_id

    def steps(self, claimed: int) -> int:
        """How many steps are done."""
        return claimed

    def __call__(self, honest_U: Vector, seen_NU: Sequence[Vector] = ()) -> Vector:
        """What is committed to.

        Args:
            honest_U: what the work gave.
            seen_NU: what the honest members commit to, where attackers see that; a real node does not.
        """
        return honest_U


class SignFlip(Attack):
    """Away from the goal."""

    NAME = "sign-flip"

    def __call__(self, honest_U: Vector, seen_NU: Sequence[Vector] = ()) -> Vector:
        return -honest_U


class ScaledNoise(Attack):
    """Noise a hundred times as long as the work."""

    NAME = "scaled-noise"

    def __init__(self) -> None:
        self._rng = np.random.default_rng(1)

    def __call__(self, honest_U: Vector, seen_NU: Sequence[Vector] = ()) -> Vector:
        noise = self._rng.standard_normal(honest_U.size).astype(np.float32)
        return noise * np.float32(100 * np.linalg.norm(honest_U) / np.linalg.norm(noise))


class RightNorm(Attack):
    """The honest numbers in another order: no norm, mean or histogram tells it from work."""

    NAME = "right-norm"

    def __init__(self) -> None:
        self._rng = np.random.default_rng(2)

    def __call__(self, honest_U: Vector, seen_NU: Sequence[Vector] = ()) -> Vector:
        return self._rng.permutation(honest_U)


class Zero(Attack):
    """No work at all."""

    NAME = "zero"

    def __call__(self, honest_U: Vector, seen_NU: Sequence[Vector] = ()) -> Vector:
        return np.zeros_like(honest_U)


class Stale(Attack):
    """The work of the round before, once more."""

    NAME = "stale"

    def __init__(self) -> None:
        self._before: Vector | None = None

    def __call__(self, honest_U: Vector, seen_NU: Sequence[Vector] = ()) -> Vector:
        before, self._before = self._before, honest_U
        return honest_U if before is None else before


class OnePart(Attack):
    """Honest but for its first 256 elements, which it doubles."""

    NAME = "one-part"

    def __call__(self, honest_U: Vector, seen_NU: Sequence[Vector] = ()) -> Vector:
        return np.concatenate([2 * honest_U[:256], honest_U[256:]])


class LabelFlip(Attack):
    """Wrong data: a digit d is called 9 - d, text is learned backwards."""

    NAME = "label-flip"

    def batch(self, batch: Batch) -> Batch:
        if len(batch) == 1:
            (tokens_BT,) = batch
            return (tokens_BT.flip(1),)
        images, labels_B = batch
        return images, 9 - labels_B


class DroppedSamples(Attack):
    """The last 2 of 64 samples of each batch are left out, of a small batch the last one."""

    NAME = "dropped-samples"

    def batch(self, batch: Batch) -> Batch:
        count = len(batch[0])
        return tuple(tensor[: count - max(1, round(count * DROPPED))] for tensor in batch)


class FewerSteps(Attack):
    """Half of the steps that it claims."""

    NAME = "fewer-steps"

    def steps(self, claimed: int) -> int:
        return max(1, claimed // 2)


class Copycat(Attack):
    """Another member's update as its own.

    Commitments are salted, so there is nothing to copy in them. Who wants the other's update before the
    other sends it must do the other's work.
    """

    NAME = "copycat"

    def whose(self, peer_id: str, others: Sequence[str]) -> str:
        return others[0] if others else peer_id


class InnerProduct(Attack):
    """The honest mean, turned round (Xie et al., arXiv:1903.03936).

    It reverses the plain mean of n with f attackers only for size > (n - f) / f.
    """

    NAME = "inner-product"

    def __init__(self, size: float = 2.0) -> None:
        self.size = size

    def __call__(self, honest_U: Vector, seen_NU: Sequence[Vector] = ()) -> Vector:
        turned: Vector = (-self.size * np.mean(seen_NU or [honest_U], axis=0)).astype(np.float32)
        return turned


class LittleIsEnough(Attack):
    """Each coordinate z deviations below the honest mean (Baruch et al., arXiv:1902.06156).

    Who sees nobody else takes the spread of its own elements for the deviation.
    """

    NAME = "little-is-enough"

    def __init__(self, z: float = 1.0) -> None:
        self.z = z

    def __call__(self, honest_U: Vector, seen_NU: Sequence[Vector] = ()) -> Vector:
        stack = np.stack(seen_NU or [honest_U])
        spread = stack.std(axis=0) if seen_NU else honest_U.std()
        shifted: Vector = (stack.mean(axis=0) - self.z * spread).astype(np.float32)
        return shifted


ATTACKS: dict[str, type[Attack]] = {
    attack.NAME: attack
    for attack in (SignFlip, ScaledNoise, RightNorm, Zero, Stale, OnePart, InnerProduct, LittleIsEnough)
}
"""Those that alter the update: calling one is all there is to it."""
WORK_ATTACKS: dict[str, type[Attack]] = {
    attack.NAME: attack for attack in (LabelFlip, DroppedSamples, FewerSteps, Copycat)
}
"""Those that alter how the work is done; what they commit to is what it gave."""
