"""Where in the whole run an inner step stands, and what learning rate that gives.

Steps are counted as a node at full speed would do them: the schedule is the same for all members,
however many steps each really did.
"""

from __future__ import annotations

import math

from dhtnode.manifest import InnerSection


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
    progress = min(1.0, step / total)
    return warmup * (inner.final_lr + (1 - inner.final_lr) * (1 + math.cos(math.pi * progress)) / 2)


def round_factor(inner: InnerSection, step: int, first_round: bool) -> float:
    """Share of the learning rate in a round's own step, from 0, while fresh moments fill."""
    if first_round or not inner.round_warmup:
        return 1.0
    return min(1.0, (step + 1) / (inner.round_warmup + 1))
