"""The arithmetic of a node, off the event loop: one thread trains, another reduces and applies.

The trainer's model belongs to the training thread; evaluation, samples and replays of others' work
queue behind the local run there. Reduction and the outer step need no model and must not wait for a step.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar, cast

from dhtnode.heap import give_back
from dhtnode.manifest import Manifest
from training import outer
from training.boundary import BadBoundaryError, Boundary, UnfitBoundaryError
from training.codec import chunk_sizes, decode_all
from training.contribution import Contribution
from training.inner import LocalRun, LocalWork, Trainer
from training.outer import DivergedError
from training.reduce import reduce_part
from training.segments import boundaries_of
from training.state import State
from training.tasks import Generates, Scores, Shard, Task

T = TypeVar("T")

MAX_REPLAYS = 4
"""Each that waits holds a state in memory. A guess."""
REPLAY_SHARE = 0.25
"""Of the time of own local runs, so that a node without pauses audits as well. A guess: four times
what steady auditing takes."""
SAMPLE_PROMPT = "The "
SAMPLE_LENGTH = 300


@dataclass(eq=False)
class _Replay:
    """A run that is done again, from its start or from a boundary: in progress, or waiting for its turn."""

    state: State
    peer_id: str
    until: int
    """Inner steps at which it ends."""
    start: Boundary | None = None
    keep: bool = False
    """Whether the state that it ends in is wanted."""
    kept: Boundary | None = None
    local: LocalRun | None = None
    work: LocalWork | None = None
    error: DivergedError | BadBoundaryError | UnfitBoundaryError | None = None

    @property
    def done(self) -> bool:
        return self.work is not None or self.error is not None


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
        self.replay_s = 0.0
        """Wall time spent in replaying others' steps."""
        self._manifest = manifest
        self._task = task
        self._shard = shard
        self._trainer = trainer
        self._in_force = trainer.in_force
        self._peer_id = peer_id
        self._sizes = chunk_sizes(trainer.shape.update_elems, manifest.terms.wire)
        self._twin: Trainer | None = None
        self._halted = threading.Event()
        self._replays: list[_Replay] = []
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

    async def reduce(
        self, senders: Sequence[tuple[int, Sequence[bytes]]], owned: Sequence[int]
    ) -> list[bytes]:
        """The encoded aggregate of a part, or of some chunks; see `reduce.reduce_part`."""
        sizes = [self._sizes[index] for index in owned]
        terms = self._manifest.terms
        return await self._in(self._arithmetic, lambda: reduce_part(senders, sizes, terms.wire, terms.reduce))

    async def apply(self, state: State, results: list[bytes]) -> State:
        """The outer step with all results, in chunk order.

        Raises:
            DivergedError: the new state is not finite.
        """

        def advance() -> State:
            mean = decode_all(results, state.shape.update_elems, self._manifest.terms.wire)
            after = outer.advance(state, mean, self._in_force.at(state.round_no))
            _ = after.digest  # computed here, not in the event loop
            return after

        return await self._in(self._arithmetic, advance)

    async def replay(self, state: State, peer_id: str, steps: int, *, urgent: bool) -> LocalWork | None:
        """Another member's local run, from the same state and on the same data; None if there is no time.

        It fills the pauses between own local runs, and takes up to REPLAY_SHARE of the time in them.

        Args:
            state: what the work started from.
            peer_id: whose work it was.
            steps: inner steps that it claims, at most the manifest's H.
            urgent: before all that wait, and never turned down.

        Raises:
            DivergedError: it leads to nothing finite.
        """
        if len(self._replays) >= MAX_REPLAYS and not urgent:
            return None
        return await self._do_again(_Replay(state, peer_id, steps), urgent)

    async def reopen(self, state: State, steps: int, index: int) -> Boundary:
        """The own run once more, up to a boundary, to show what was committed to. Never turned down.

        Args:
            state: what the work started from.
            steps: inner steps that were done.
            index: of the boundary, from 0: that at the end of the segment `index`.

        Raises:
            DivergedError: it leads to nothing finite.
        """
        places = boundaries_of(self._in_force.at(state.round_no), state.round_no, steps)
        replay = _Replay(state, self._peer_id, places[index], keep=True)
        await self._do_again(replay, urgent=True)
        return cast("Boundary", replay.kept)

    async def replay_segment(
        self, state: State, peer_id: str, steps: int, index: int, start: Boundary | None
    ) -> bytes | LocalWork:
        """One segment of another member's run, for a jury. Never turned down.

        Args:
            state: what the whole run started from.
            peer_id: whose work it was.
            steps: inner steps of the whole run.
            index: of the segment, from 0.
            start: the opened boundary `index` - 1, its digest checked; None for the first segment.

        Returns:
            Digest of the boundary that the segment ends in, or for the last one the finished work (its
            `boundaries` are empty).

        Raises:
            BadBoundaryError: `start` is none of such a run: the worker has committed to garbage.
            UnfitBoundaryError: steps from there break down; the whole run may tell.
            DivergedError: it leads to nothing finite.
        """
        places = boundaries_of(self._in_force.at(state.round_no), state.round_no, steps)
        if (start.step if start else 0) != (0, *places)[index]:
            raise BadBoundaryError(f"segment {index} does not begin there")
        until = (*places, steps)[index]
        replay = _Replay(state, peer_id, until, start)
        work = await self._do_again(replay, urgent=True)
        if replay.local is None or until == steps:
            return work
        return replay.local.boundaries[until]

    async def _do_again(self, replay: _Replay, urgent: bool) -> LocalWork:
        if urgent and self._replays:
            self._replays.insert(1, replay)  # the first has the model
        else:
            self._replays.append(replay)
        while not replay.done:
            await self._in(self._training, self._advance_replay)
        if replay.error is not None:
            raise replay.error
        return cast("LocalWork", replay.work)

    async def aside(self, call: Callable[[Trainer, Shard], T]) -> T:
        """Do something else between own local runs, with a trainer that is not the node's own."""
        return await self._in(self._training, lambda: call(self._trainer.twin(), self._shard))

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
        start_s, replayed_s = time.monotonic(), self.replay_s
        done = 0

        def on_step(step: int, loss: float) -> None:
            nonlocal done
            done = step
            if self.replay_s < REPLAY_SHARE * (self.busy_s + time.monotonic() - start_s):
                self._advance_replay()

        def should_stop() -> bool:
            given_up = halt.is_set() or self._halted.is_set()
            late = budget_s is not None and done > 0 and time.monotonic() - start_s >= budget_s
            return given_up or late

        work = self._trainer.run(state, self._shard, self._peer_id, steps, should_stop, on_step)
        elapsed_s = time.monotonic() - start_s - (self.replay_s - replayed_s)
        self.busy_s += elapsed_s
        if halt.is_set() or self._halted.is_set() or not work.steps:
            return None
        self.speed = work.units / elapsed_s if elapsed_s else None
        contribution = Contribution.of(self._peer_id, base, work.update_U, self._manifest.terms.wire)
        give_back()  # what follows is waiting
        return work, contribution

    def _advance_replay(self) -> None:
        """One step of the replay whose turn it is. On the training thread, like all that has a model."""
        if not self._replays:
            return
        replay, start_s = self._replays[0], time.monotonic()
        self._twin = self._twin or self._trainer.twin()
        try:
            if replay.local is None:
                replay.local = self._begin_again(self._twin, replay)
            if replay.local.steps < replay.until:
                self._twin.step(replay.local)
            if replay.local.steps == replay.until:
                replay.kept = self._twin.boundary(replay.local) if replay.keep else None
                replay.work = self._twin.finish(replay.local)
        except (DivergedError, BadBoundaryError) as error:
            replay.error = error
        except (ArithmeticError, RuntimeError, ValueError) as error:
            if replay.start is None:
                raise
            replay.error = UnfitBoundaryError(str(error)[:200])  # must not end own training
        if replay.done:
            self._replays.pop(0)
        self.replay_s += time.monotonic() - start_s

    def _begin_again(self, twin: Trainer, replay: _Replay) -> LocalRun:
        if replay.start is None:
            return twin.begin(replay.state, self._shard, replay.peer_id)
        return twin.begin_at(replay.start, replay.state, self._shard, replay.peer_id)

    async def _in(self, executor: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor, call)
