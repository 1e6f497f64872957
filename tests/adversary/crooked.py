"""Local work as an attack does it: a trainer that reports more, or other, than it did.

It stands in for the honest trainer in the real node (`cheat.py`) and in benchmarks. Its twin, with which
a node replays the work of others, is honest: a cheat that judges falsely is another attack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dhtnode.manifest import Manifest
from tests.adversary.attacks import Attack
from training.inner import LocalWork, Trainer
from training.state import State
from training.tasks import Batch, Shard, Task


class CrookedTask:
    """A task whose batches are what an attack makes of them; all else is the honest task's."""

    def __init__(self, task: Task, attack: Attack) -> None:
        self._task, self._attack = task, attack

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def batch(self, shard: Shard, indices: npt.NDArray[np.int64]) -> Batch:
        return self._attack.batch(self._task.batch(shard, indices))


class CrookedTrainer(Trainer):
    """Runs local rounds of one attacker.

    Args:
        others: the honest members.
    """

    def __init__(self, manifest: Manifest, task: Task, attack: Attack, others: Sequence[str] = ()) -> None:
        super().__init__(manifest, CrookedTask(task, attack))
        self._honest_task, self._attack, self._others = task, attack, others

    def twin(self) -> Trainer:
        return Trainer(self._manifest, self._honest_task, str(self._device), self.in_force)

    def run(
        self,
        state: State,
        shard: Shard,
        peer_id: str,
        max_steps: int | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        on_step: Callable[[int, float], None] = lambda step, loss: None,
    ) -> LocalWork:
        most = self._manifest.terms.inner.steps_at(state.round_no)
        claimed = most if max_steps is None else min(most, max_steps)
        short = self._attack.steps(claimed)
        whose = self._attack.whose(peer_id, self._others)
        done = super().run(state, shard, whose, short, should_stop, on_step)
        if done.steps == short < claimed:
            done = self._claim(done, claimed)
        return replace(done, update_U=self._attack(done.update_U))

    def _claim(self, done: LocalWork, steps: int) -> LocalWork:
        units = done.units // done.steps * steps
        weight = units if self._manifest.terms.data.mode == "shared" else done.weight
        return replace(done, steps=steps, units=units, weight=weight)
