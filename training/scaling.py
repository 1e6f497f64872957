"""Gradients scaled by second moments that all members share and nobody sends.

Adam divides each element of a gradient by the root of its own running second moment. In a swarm such
moments would be private, and could not be replayed; or fresh in each round, and know nothing; or sent, for
twice the bytes. But with plain SGD inside, a round's averaged update tells what the averaged gradient was:

    update = reach * lr * gradient / divisor,   divisor = sqrt(squares) + eps

where `reach` adds up the learning rate's shares over the round's steps (`training.schedule`). So every
node works out the same second moments from the encoded result that everybody has:

    squares' = squares + w * (H * gradient^2 - squares),   w = max(1 - scaling, 1 / (rounds so far))

H, the round's steps: a mean over them has H times less noise, and the divisor is that of one step's gradient.
All members' steps count as a full-speed node's; who does fewer makes its part of the gradient look smaller.
w starts as the plain mean of what there is, instead of Adam's correction for a start from zero.

Every operation is one correctly rounded float32 ufunc: the same bits on every machine. The first round
has no divisor.

# P = floating-point elements of the model
"""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from dhtnode.manifest import InnerSection, Terms
from training.codec import LIMIT, Vector
from training.schedule import nominal_steps, reach
from training.state import State

MOST_PER_STEP = 2.0**100
"""A finite bound for rounds whose learning rate is all but nothing."""


def divisor(state: State, inner: InnerSection) -> Vector:
    """What gradients are divided by in the round that starts from a state; P elements."""
    if state.round_no == 0:
        return np.ones(state.shape.params, np.float32)
    return np.add(np.sqrt(state.squares), np.float32(inner.scaling_eps))


def squares_after(state: State, mean_P: Vector, terms: Terms) -> Vector:
    """The second moments after a round.

    Args:
        state: that the round started from.
        mean_P: the decoded mean of the members' updates.
        terms: in force in the round.
    """
    inner = terms.inner
    rate = cast("float", inner.options["lr"])  # `check_terms` has seen to it
    lr = rate * reach(inner, state.round_no, nominal_steps(inner, terms.round.rounds))
    if not lr:
        return state.squares  # no step was long enough to tell
    per_step = np.float32(min(math.sqrt(inner.steps_at(state.round_no)) / lr, MOST_PER_STEP))
    # Where members are believed (`reduce.rule` mean), one could send what overflows here and stops everybody.
    with np.errstate(over="ignore"):
        raw_P = np.multiply(np.multiply(mean_P, per_step), divisor(state, inner))
    gradient_P: Vector = np.clip(raw_P, np.float32(-LIMIT), np.float32(LIMIT))
    news = np.subtract(np.multiply(gradient_P, gradient_P), state.squares)
    weight = np.float32(max(1 - inner.scaling, 1 / (state.round_no + 1)))
    return np.add(state.squares, np.multiply(news, weight))
