"""The outer step: the averaged pseudo-gradient moves the shared weights.

SGD with Nesterov momentum as in DiLoCo (Douillard et al., arXiv:2311.08105, algorithm 1), in the
form of Sutskever et al. (2013) that torch.optim.SGD uses:

    v' = momentum * v + g
    theta' = theta - lr * (g + momentum * v')

Momentum 0 and lr 1 is plain averaging of the members' weights. Every operation is one elementwise
float32 ufunc, a multiply or an add, never a fused one: the result is the same on every machine.
"""

from __future__ import annotations

import numpy as np

from dhtnode.errors import DhtnodeError
from dhtnode.manifest import Terms
from training.codec import Vector
from training.scaling import squares_after
from training.state import State


class DivergedError(DhtnodeError):
    """Losses or weights are no longer finite: the learning rates are too high for the task."""


def advance(state: State, mean_U: Vector, terms: Terms) -> State:
    """The state after a round.

    Args:
        state: the state that the round started from.
        mean_U: the decoded weighted mean of what members sent: pseudo-gradient_P, followed by the
            inner moments if the swarm averages them. # U = state.shape.update_elems
        terms: in force in the round.

    Raises:
        ValueError: the mean has another length.
        DivergedError: the new state is not finite.
    """
    shape, outer = state.shape, terms.outer
    if mean_U.shape != (shape.update_elems,) or mean_U.dtype != np.float32:
        raise ValueError(f"a mean of shape {mean_U.shape}, not {shape.update_elems} float32 elements")
    gradient_P, moments = mean_U[: shape.params], mean_U[shape.params :]
    step_P, momentum_P, squares_P = gradient_P, state.momentum, state.squares
    with np.errstate(over="ignore", invalid="ignore"):  # the result is checked below
        if shape.momentum:
            factor = np.float32(outer.momentum)
            momentum_P = np.add(np.multiply(state.momentum, factor), gradient_P)
            step_P = np.add(gradient_P, np.multiply(momentum_P, factor))
        weights_P = np.subtract(state.weights, np.multiply(step_P, np.float32(outer.lr)))
        if shape.scaling:
            squares_P = squares_after(state, gradient_P, terms)
    values_S = np.concatenate([weights_P, momentum_P, squares_P, moments])
    if not np.isfinite(values_S).all():
        raise DivergedError(
            f"the state after round {state.round_no} is not finite; lower outer.lr or inner.options.lr"
        )
    return State(state.swarm_id, state.round_no + 1, shape, values_S)
