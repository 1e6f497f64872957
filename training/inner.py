"""One node's local round: from the shared state, H inner steps, to what it sends.

Everything that a round does follows from the shared state, the manifest, the peer id and the data:
another node that has these can replay it. The clock enters only through `should_stop`, which a slow
node uses to do fewer steps; it reports the steps that it did.

# P = floating-point elements of the model, U = elements of an update: P, or with moments P * (1 + M)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from dhtnode.digest import derive
from dhtnode.errors import ConfigError
from dhtnode.manifest import InnerSection, Manifest, Terms
from training import eager
from training.boundary import BadBoundaryError, Boundary, boundary_digest, capture, most_bytes, restore
from training.codec import LIMIT, Vector
from training.data import batch_indices
from training.flatten import Layout
from training.genesis import build_model
from training.in_force import TermsInForce
from training.optimizer import (
    divisors_of,
    lift_roots,
    load_moments,
    make_optimizer,
    moment_names,
    read_moments,
)
from training.outer import DivergedError
from training.scaling import divisor
from training.schedule import lr_factor, nominal_steps, round_factor
from training.segments import boundaries_of
from training.state import Shape, State
from training.tasks import Scores, Shard, Task


@dataclass(frozen=True, eq=False)
class LocalWork:
    """What a node has done in one round."""

    update_U: Vector
    """Pseudo-gradient theta_t - theta_local, then the inner moments if the swarm averages them."""
    steps: int
    """Inner steps done, at most the manifest's H."""
    units: int
    """Tokens or samples trained on: steps x batch size x units of one example."""
    weight: int
    """Weight in the mean: units, or in private mode the examples of the shard (FedAvg,
    arXiv:1602.05629). 0 if no step was done."""
    loss: float | None
    """Mean training loss over the steps, None if no step was done."""
    boundaries: tuple[bytes, ...] = ()
    """Digests of the states between its segments, see `training.boundary`; none where nobody replays."""


@dataclass(eq=False)
class LocalRun:
    """A local round in progress."""

    round_no: int
    shard: Shard
    peer_id: str
    optimizer: torch.optim.Optimizer
    rates: list[float]
    """Full learning rate of each parameter group."""
    start_P: Vector
    places: frozenset[int]
    """Steps after which there is a boundary."""
    divisors: list[tuple[torch.nn.Parameter, torch.Tensor]]
    """What each parameter's gradients are divided by; empty if they are not scaled."""
    steps: int = 0
    """Inner steps done."""
    loss_sum: float = 0.0
    """Of their losses, added one after the other."""
    boundaries: dict[int, bytes] = field(default_factory=dict)
    """Digests by step, of those that this run has come by."""


def _never() -> bool:
    return False


def _unseen(step: int, loss: float) -> None:
    """The default for who does not watch."""


class Trainer:
    """Runs local rounds of one swarm on one device. Not for several threads at once.

    Args:
        manifest: the swarm's.
        task: made for it.
        device: where to compute.
        in_force: of which each round takes its constants; left out, the manifest's hold for ever.

    Raises:
        ConfigError: MANIFEST (3), from the optimizer's options.
    """

    def __init__(
        self, manifest: Manifest, task: Task, device: str = "cpu", in_force: TermsInForce | None = None
    ) -> None:
        self._manifest, self._task, self._device = manifest, task, torch.device(device)
        self.in_force = in_force or TermsInForce(manifest.terms)
        inner = manifest.terms.inner
        model = build_model(task.model, manifest.terms.seed)
        self._layout = Layout.of(model)
        self._genesis_P = self._layout.read(model)
        self._model = model.to(self._device)
        self.boundary_bytes = most_bytes(self._model, make_optimizer(inner, self._model))
        """Of the longest state that a run can be opened at."""
        self._moments = moment_names(inner)
        self.shape = Shape(
            self._layout.elems, manifest.terms.outer.momentum > 0, len(self._moments), inner.scaling > 0
        )

    def twin(self) -> Trainer:
        """Another trainer of the same swarm on the same device, with a model of its own."""
        return Trainer(self._manifest, self._task, str(self._device), self.in_force)

    def genesis(self) -> State:
        """The state before the first round."""
        values_S = np.zeros(self.shape.elems, np.float32)
        values_S[: self.shape.params] = self._genesis_P
        return State(self._manifest.swarm_id, 0, self.shape, values_S)

    def run(
        self,
        state: State,
        shard: Shard,
        peer_id: str,
        max_steps: int | None = None,
        should_stop: Callable[[], bool] = _never,
        on_step: Callable[[int, float], None] = _unseen,
    ) -> LocalWork:
        """One local round.

        Args:
            state: the shared state that the round starts from.
            shard: what to train on.
            peer_id: whose work this is; its batches follow from it.
            max_steps: do no more, for a slow node or to replay one; None for the manifest's H.
            should_stop: asked before each step.
            on_step: told the number of each step done in this round, from 1, and its loss.

        Raises:
            DivergedError: the loss or the result is not finite, or beyond what the wire carries.
        """
        most = self._inner(state.round_no).steps_at(state.round_no)
        local = self.begin(state, shard, peer_id)
        for step in range(most if max_steps is None else min(most, max_steps)):
            if should_stop():
                break
            on_step(step + 1, self.step(local))
        return self.finish(local)

    def begin(self, state: State, shard: Shard, peer_id: str) -> LocalRun:
        """A local round that is done step by step; arguments as in `run`. It has the model to itself."""
        inner = self._inner(state.round_no)
        optimizer = make_optimizer(inner, self._model)
        if self._moments:
            first_step = nominal_steps(inner, state.round_no)
            load_moments(optimizer, self._model, self._layout, state.moments, first_step)
        self._layout.write(self._model, state.weights)
        self._model.train()
        rates = [group["lr"] for group in optimizer.param_groups]
        start_P, places = self._layout.read(self._model), self._places(state.round_no)
        divisors = divisors_of(self._model, self._layout, divisor(state, inner)) if self.shape.scaling else []
        return LocalRun(state.round_no, shard, peer_id, optimizer, rates, start_P, places, divisors)

    def begin_at(self, boundary: Boundary, state: State, shard: Shard, peer_id: str) -> LocalRun:
        """A local round from a boundary inside it on, with the same bits as if its first steps were done.

        Args:
            boundary: of that round of that peer; its digest has been checked.
            state: the shared state that the round started from.
            shard: what it trains on.
            peer_id: whose work it is.

        Raises:
            BadBoundaryError: it is one of another model, optimizer or round.
        """
        local = self.begin(state, shard, peer_id)
        if boundary.step not in local.places or not math.isfinite(boundary.loss_sum):
            raise BadBoundaryError(
                f"no boundary of this round: step {boundary.step}, losses {boundary.loss_sum}"
            )
        local.optimizer = make_optimizer(self._inner(state.round_no), self._model)
        restore(boundary.content, self._model, local.optimizer)
        local.steps, local.loss_sum = boundary.step, boundary.loss_sum
        return local

    def boundary(self, local: LocalRun) -> Boundary:
        """The exact state that a local run has now. Costs a copy of model and optimizer."""
        return Boundary(local.steps, local.loss_sum, capture(self._model, local.optimizer))

    def step(self, local: LocalRun) -> float:
        """The next inner step; its loss. At most the manifest's H.

        Raises:
            DivergedError: the loss is not finite.
        """
        terms = self.in_force.at(local.round_no)
        inner, total = terms.inner, nominal_steps(terms.inner, terms.round.rounds)
        first_step = nominal_steps(inner, local.round_no)
        factor = lr_factor(inner, first_step + local.steps, total)
        factor *= round_factor(inner, local.steps, first_round=local.round_no == 0)
        for group, rate in zip(local.optimizer.param_groups, local.rates, strict=True):
            group["lr"] = rate * factor
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            loss = self._step(local, local.steps)
        local.steps += 1
        local.loss_sum += loss
        if local.steps in local.places:
            where = (local.steps, local.loss_sum)
            local.boundaries[local.steps] = boundary_digest(*where, self._model, local.optimizer)
        return loss

    def finish(self, local: LocalRun) -> LocalWork:
        """What the steps so far have led to.

        Raises:
            DivergedError: the result is not finite, or beyond what the wire carries.
        """
        terms, steps = self.in_force.at(local.round_no), local.steps
        delta_P = np.subtract(local.start_P, self._layout.read(self._model))
        moments = read_moments(local.optimizer, self._model, self._layout, self._moments)
        update_U = np.concatenate([delta_P, moments])
        if not (np.abs(update_U) <= LIMIT).all():
            raise DivergedError(f"weights are not finite after {steps} steps; lower inner.options.lr")
        lift_roots(update_U, self.shape.params, self._moments, terms.wire)
        units = steps * terms.inner.batch_size * self._task.units_per_example
        weight = local.shard.examples if terms.data.mode == "private" and steps else units
        loss = local.loss_sum / steps if steps else None
        passed = tuple(found for step, found in local.boundaries.items() if step < steps)
        return LocalWork(update_U, steps, units, weight, loss, passed)

    def evaluate(self, state: State, shard: Shard) -> Scores:
        """Judge the shared weights by held-out data."""
        self._layout.write(self._model, state.weights)
        self._model.eval()
        with torch.inference_mode():
            return self._task.evaluate(self._model, shard)

    def model(self, state: State) -> torch.nn.Module:
        """The trainer's own model with the shared weights, in evaluation mode."""
        self._layout.write(self._model, state.weights)
        return self._model.eval()

    def check(self, terms: Terms) -> None:
        """Whether this machine could train by other terms.

        Raises:
            ValueError: the optimizer does not take its options, or the state would have another shape.
        """
        try:
            make_optimizer(terms.inner, torch.nn.Linear(1, 1))
            if moment_names(terms.inner) != self._moments:
                raise ValueError("inner.options would change what moments the state has")
        except ConfigError as error:
            raise ValueError(str(error)) from error

    def _inner(self, round_no: int) -> InnerSection:
        return self.in_force.at(round_no).inner

    def _places(self, round_no: int) -> frozenset[int]:
        """Steps of a round after which others may want to know the state."""
        terms = self.in_force.at(round_no)
        return frozenset(boundaries_of(terms, round_no, terms.inner.steps_at(round_no)))

    def _step(self, local: LocalRun, step: int) -> float:
        swarm_id, inner = self._manifest.swarm_id, self._inner(local.round_no)
        which = (swarm_id, local.round_no, local.peer_id, step)
        torch.manual_seed(derive("step", *which) % 2**63)
        indices = batch_indices(*which, inner.batch_size, local.shard.examples)
        batch = tuple(tensor.to(self._device) for tensor in self._task.batch(local.shard, indices))
        local.optimizer.zero_grad()
        loss = self._task.loss(self._model, batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DivergedError(
                f"the loss is {value} in step {step + 1} of round {local.round_no}; lower inner.options.lr"
            )
        torch.autograd.backward(loss)
        if inner.clip_norm:
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), inner.clip_norm)
        for parameter, scale in local.divisors:
            if parameter.grad is not None:
                parameter.grad.div_(scale)
        eager.step(local.optimizer)
        return value
