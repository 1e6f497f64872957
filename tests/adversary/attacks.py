"""What a dishonest member commits to instead of its work: one class for each attack.

They plug into the simulator (`tests/sim`) and into the real node (`cheat.py`). An attack sees what
its member computed honestly and what it has committed to before.

# U = elements of an update
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from training.codec import Vector


class Attack(Protocol):
    """Turns honest updates into what is committed to; made anew for each member."""

    NAME: ClassVar[str]

    def __call__(self, honest_U: Vector) -> Vector: ...


class SignFlip:
    """Away from the goal."""

    NAME = "sign-flip"

    def __call__(self, honest_U: Vector) -> Vector:
        return -honest_U


class ScaledNoise:
    """Noise a hundred times as long as the work."""

    NAME = "scaled-noise"

    def __init__(self) -> None:
        self._rng = np.random.default_rng(1)

    def __call__(self, honest_U: Vector) -> Vector:
        noise = self._rng.standard_normal(honest_U.size).astype(np.float32)
        return noise * np.float32(100 * np.linalg.norm(honest_U) / np.linalg.norm(noise))


class RightNorm:
    """The honest numbers in another order: no norm, mean or histogram tells it from work."""

    NAME = "right-norm"

    def __init__(self) -> None:
        self._rng = np.random.default_rng(2)

    def __call__(self, honest_U: Vector) -> Vector:
        return self._rng.permutation(honest_U)


class Zero:
    """No work at all."""

    NAME = "zero"

    def __call__(self, honest_U: Vector) -> Vector:
        return np.zeros_like(honest_U)


class Stale:
    """The work of the round before, once more."""

    NAME = "stale"

    def __init__(self) -> None:
        self._before: Vector | None = None

    def __call__(self, honest_U: Vector) -> Vector:
        before, self._before = self._before, honest_U
        return honest_U if before is None else before


class OnePart:
    """Honest but for its first 256 elements, which it doubles."""

    NAME = "one-part"

    def __call__(self, honest_U: Vector) -> Vector:
        return np.concatenate([2 * honest_U[:256], honest_U[256:]])


class Collusion(Protocol):
    """What all attackers send together, seeing what the honest send."""

    NAME: ClassVar[str]

    def __call__(self, honest_NU: Sequence[Vector]) -> Vector: ...


@dataclass(frozen=True)
class InnerProduct:
    """The honest mean, turned round (Xie et al., arXiv:1903.03936).

    It reverses the plain mean of n with f attackers only for size > (n - f) / f.
    """

    NAME = "inner-product"
    size: float

    def __call__(self, honest_NU: Sequence[Vector]) -> Vector:
        turned: Vector = (-self.size * np.mean(honest_NU, axis=0)).astype(np.float32)
        return turned


@dataclass(frozen=True)
class LittleIsEnough:
    """Each coordinate z deviations below the honest mean (Baruch et al., arXiv:1902.06156)."""

    NAME = "little-is-enough"
    z: float

    def __call__(self, honest_NU: Sequence[Vector]) -> Vector:
        stack = np.stack(honest_NU)
        shifted: Vector = (stack.mean(axis=0) - self.z * stack.std(axis=0)).astype(np.float32)
        return shifted


ATTACKS: dict[str, type[Attack]] = {
    attack.NAME: attack for attack in (SignFlip, ScaledNoise, RightNorm, Zero, Stale, OnePart)
}
