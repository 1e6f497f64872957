"""The arithmetic of a node, off the event loop: one thread trains, another reduces and applies.

The trainer's model belongs to the training thread; evaluation and samples queue behind the local
run there. Reduction and the outer step need no model and must not wait for a step.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from dhtnode.manifest import Manifest
from training import outer
from training.codec import chunk_sizes, decode_all
from training.contribution import Contribution
from training.inner import LocalWork, Trainer
from training.reduce import reduce_part
from training.state import State
from training.tasks import Generates, Scores, Shard, Task

T = TypeVar("T")

SAMPLE_PROMPT = "The "
SAMPLE_LENGTH = 300


class Worker:
    """Does what the round core asks for.

    Args:
        manifest: the swarm's.
        task: made for it.
        shard: this node's data.
        trainer: made for manifest and task.
        peer_id: whose batches to train on.
    """

    def __init__(self, manifest: Manifest, task: Task, shard: Shard, trainer: Trainer, peer_id: str) -> None:
        self.busy_s = 0.0
        """Wall time spent in inner steps."""
        self.speed: float | None = None
        """Tokens per second of the last local run."""
        self._manifest = manifest
        self._task = task
        self._shard = shard
        self._trainer = trainer
        self._peer_id = peer_id
        self._sizes = chunk_sizes(trainer.shape.update_elems, manifest.terms.wire)
        self._halted = threading.Event()
        self._halts: dict[bytes, threading.Event] = {}
        self._training = ThreadPoolExecutor(1, "training")
        self._arithmetic = ThreadPoolExecutor(1, "arithmetic")

    def close(self) -> None:
        """Give up local work; returns when the threads have ended."""
        self._halted.set()
        self._training.shutdown(cancel_futures=True)
        self._arithmetic.shutdown(cancel_futures=True)

    def halt(self, base: bytes) -> None:
        """Give up local work on a head, now or when it comes to its turn."""
        self._halts.setdefault(base, threading.Event()).set()

    async def train(
        self, state: State, base: bytes, steps: int, budget_s: float | None
    ) -> tuple[LocalWork, Contribution] | None:
        """One local run, encoded; None if it was given up.

        Raises:
            DivergedError: weights or loss are not finite.
        """
        halt = self._halts.setdefault(base, threading.Event())
        while len(self._halts) > 4:
            del self._halts[next(iter(self._halts))]
        return await self._in(self._training, lambda: self._train(state, base, steps, budget_s, halt))

    async def reduce(self, senders: Sequence[tuple[int, Sequence[bytes]]], owned: range) -> list[bytes]:
        """The encoded weighted mean of a part; see `reduce.reduce_part`."""
        sizes = [self._sizes[index] for index in owned]
        wire = self._manifest.terms.wire
        return await self._in(self._arithmetic, lambda: reduce_part(senders, sizes, wire))

    async def apply(self, state: State, results: list[bytes]) -> State:
        """The outer step with all results, in chunk order.

        Raises:
            DivergedError: the new state is not finite.
        """

        def advance() -> State:
            mean = decode_all(results, state.shape.update_elems, self._manifest.terms.wire)
            after = outer.advance(state, mean, self._manifest.terms.outer)
            _ = after.digest  # computed here, not in the event loop
            return after

        return await self._in(self._arithmetic, advance)

    async def evaluate(self, state: State) -> Scores:
        """Judge a state by this node's held-out data."""
        return await self._in(self._training, lambda: self._trainer.evaluate(state, self._shard))

    async def sample(self, state: State) -> str:
        """Text that the state's model writes; empty for tasks that write none."""

        def write() -> str:
            if not isinstance(self._task, Generates):
                return ""
            return self._task.sample(self._trainer.model(state), SAMPLE_PROMPT, SAMPLE_LENGTH)

        return await self._in(self._training, write)

    def _train(
        self, state: State, base: bytes, steps: int, budget_s: float | None, halt: threading.Event
    ) -> tuple[LocalWork, Contribution] | None:
        start_s = time.monotonic()
        done = 0

        def on_step(step: int, loss: float) -> None:
            nonlocal done
            done = step

        def should_stop() -> bool:
            given_up = halt.is_set() or self._halted.is_set()
            late = budget_s is not None and done > 0 and time.monotonic() - start_s >= budget_s
            return given_up or late

        work = self._trainer.run(state, self._shard, self._peer_id, steps, should_stop, on_step)
        elapsed_s = time.monotonic() - start_s
        self.busy_s += elapsed_s
        if halt.is_set() or self._halted.is_set() or not work.steps:
            return None
        self.speed = work.units / elapsed_s if elapsed_s else None
        return work, Contribution.of(self._peer_id, base, work.update_U, self._manifest.terms.wire)

    async def _in(self, executor: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor, call)
