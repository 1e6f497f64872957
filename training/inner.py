"""One node's local round: from the shared state, H inner steps, to what it sends.

Everything that a round does follows from the shared state, the manifest, the peer id and the data:
another node that has these can replay it. The clock enters only through `should_stop`, which a slow
node uses to do fewer steps; it reports the steps that it did.

# P = floating-point elements of the model, U = elements of an update: P, or with moments P * (1 + M)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from dhtnode.digest import derive
from dhtnode.manifest import Manifest
from training import eager
from training.codec import LIMIT, Vector
from training.data import batch_indices
from training.flatten import Layout
from training.genesis import build_model
from training.optimizer import lift_roots, load_moments, make_optimizer, moment_names, read_moments
from training.outer import DivergedError
from training.schedule import lr_factor, nominal_steps, round_factor
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


def _never() -> bool:
    return False


def _unseen(step: int, loss: float) -> None:
    """The default for who does not watch."""


class Trainer:
    """Runs local rounds of one swarm on one device. Not for several threads at once.

    Raises:
        ConfigError: MANIFEST (3), from the optimizer's options.
    """

    def __init__(self, manifest: Manifest, task: Task, device: str = "cpu") -> None:
        self._manifest, self._task, self._device = manifest, task, torch.device(device)
        inner = manifest.terms.inner
        model = build_model(task.model, manifest.terms.seed)
        self._layout = Layout.of(model)
        self._genesis_P = self._layout.read(model)
        self._model = model.to(self._device)
        make_optimizer(inner, self._model)
        self._moments = moment_names(inner)
        self._total_steps = nominal_steps(inner, manifest.terms.round.rounds)
        self.shape = Shape(self._layout.elems, manifest.terms.outer.momentum > 0, len(self._moments))

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
        terms = self._manifest.terms
        optimizer = make_optimizer(terms.inner, self._model)
        rates = [group["lr"] for group in optimizer.param_groups]
        first_step = nominal_steps(terms.inner, state.round_no)
        if self._moments:
            load_moments(optimizer, self._model, self._layout, state.moments, first_step)
        self._layout.write(self._model, state.weights)
        start_P = self._layout.read(self._model)
        self._model.train()
        losses: list[float] = []
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            for step in range(terms.inner.steps_at(state.round_no)):
                if step == max_steps or should_stop():
                    break
                factor = lr_factor(terms.inner, first_step + step, self._total_steps)
                factor *= round_factor(terms.inner, step, first_round=state.round_no == 0)
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * factor
                losses.append(self._step(optimizer, state.round_no, step, shard, peer_id))
                on_step(step + 1, losses[-1])
        return self._work(optimizer, start_P, shard, losses)

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

    def _step(
        self, optimizer: torch.optim.Optimizer, round_no: int, step: int, shard: Shard, peer_id: str
    ) -> float:
        swarm_id, inner = self._manifest.swarm_id, self._manifest.terms.inner
        torch.manual_seed(derive("step", swarm_id, round_no, peer_id, step) % 2**63)
        indices = batch_indices(swarm_id, round_no, peer_id, step, inner.batch_size, shard.examples)
        batch = tuple(tensor.to(self._device) for tensor in self._task.batch(shard, indices))
        optimizer.zero_grad()
        loss = self._task.loss(self._model, batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DivergedError(
                f"the loss is {value} in step {step + 1} of round {round_no}; lower inner.options.lr"
            )
        torch.autograd.backward(loss)
        if inner.clip_norm:
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), inner.clip_norm)
        eager.step(optimizer)
        return value

    def _work(
        self, optimizer: torch.optim.Optimizer, start_P: Vector, shard: Shard, losses: list[float]
    ) -> LocalWork:
        terms, steps = self._manifest.terms, len(losses)
        delta_P = np.subtract(start_P, self._layout.read(self._model))
        moments = read_moments(optimizer, self._model, self._layout, self._moments)
        update_U = np.concatenate([delta_P, moments])
        if not (np.abs(update_U) <= LIMIT).all():
            raise DivergedError(f"weights are not finite after {steps} steps; lower inner.options.lr")
        lift_roots(update_U, self.shape.params, self._moments, terms.wire)
        units = steps * terms.inner.batch_size * self._task.units_per_example
        weight = shard.examples if terms.data.mode == "private" and steps else units
        return LocalWork(update_U, steps, units, weight, sum(losses) / steps if steps else None)
