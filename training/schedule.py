"""Where in the whole run an inner step stands, and what learning rate that gives.

Steps are counted as a node at full speed would do them: the schedule is the same for all members,
however many steps each really did.
"""

from __future__ import annotations

import math

from dhtnode.manifest import InnerSection

_EVEN_FACTORIALS = tuple(math.factorial(2 * k) for k in range(13, -1, -1))
"""Of the cosine's series, the smallest term first: enough for 16 digits up to pi / 2."""


def nominal_steps(inner: InnerSection, rounds: int) -> int:
    """Inner steps of a full-speed node in the rounds 0..rounds-1."""
    starts = [start for start, _ in inner.steps]
    ends = [*starts[1:], max(rounds, starts[-1])]
    return sum(
        steps * max(0, min(end, rounds) - start)
        for (start, steps), end in zip(inner.steps, ends, strict=True)
    )


def lr_factor(inner: InnerSection, step: int, total: int) -> float:
    """Share of the full learning rate in nominal step `step` of `total`.

    Linear warm-up, times a cosine from 1 in the first step to `inner.final_lr` at the end
    (Loshchilov and Hutter, arXiv:1608.03983, without restarts).
    """
    warmup = min(1.0, (step + 1) / inner.warmup_steps) if inner.warmup_steps else 1.0
    return warmup * (inner.final_lr + (1 - inner.final_lr) * _half_wave(min(1.0, step / total)))


def reach(inner: InnerSection, round_no: int, total: int) -> float:
    """Sum of the learning rate's shares over a full-speed node's round: how far a gradient of 1 carries."""
    first = nominal_steps(inner, round_no)
    return sum(
        lr_factor(inner, first + step, total) * round_factor(inner, step, first_round=round_no == 0)
        for step in range(inner.steps_at(round_no))
    )


def _half_wave(x: float) -> float:
    """(1 + cos(pi x)) / 2 for x from 0 to 1, by its power series.

    Only adds and multiplies, which are the same everywhere; a library's cosine differs in the last bit from
    one machine to the next, and the shared state may follow from it (`training.scaling`).
    """
    angle = math.pi / 2 * x
    cosine = 0.0
    square = angle * angle
    for factorial in _EVEN_FACTORIALS:
        cosine = 1 / factorial - square * cosine
    return cosine * cosine


def round_factor(inner: InnerSection, step: int, first_round: bool) -> float:
    """Share of the learning rate in a round's own step, from 0, while fresh moments fill."""
    if first_round or not inner.round_warmup:
        return 1.0
    return min(1.0, (step + 1) / (inner.round_warmup + 1))
