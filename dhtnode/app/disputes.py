"""How this node takes part in a dispute: opens its own run, and replays a segment of another's.

What is opened is made by doing the own run again, up to the state that is wanted; all jurors of one dispute
want the same one, so it is made once and kept for them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from dhtnode.app.memory import Memory
from dhtnode.app.replayed import is_exact, replay_root
from dhtnode.driver import Driver
from dhtnode.manifest import WireSection
from dhtnode.records import Signed
from training.boundary import BadBoundaryError, Boundary, UnfitBoundaryError
from training.contribution import Contribution
from training.inner import LocalWork
from training.library import Library
from training.messages import Commitment
from training.outer import DivergedError
from training.state import State
from training.worker import Worker
from validation.dispute import has_sealed
from validation.events import AskSeals, NodeEffect, NodeEvent, ReplaySegment, SealsShown, SegmentReplayed
from validation.messages import Opening, Verdict
from validation.reopening import LIST_WAIT_S, Opened, Reopening
from validation.validator import Validator

log = logging.getLogger(__name__)

MAX_REOPENED = 2
"""States of own runs that are kept for jurors; each is as large as model and optimizer."""
RUNS_WAITED = 2
"""A worker is waited for as long as this node would take for so many such runs. A guess: it does its run
again in the pauses of its training; who is never answered must still replay the whole before the round is
forgotten."""
NOTHING = bytes(32)
"""What a segment leads to that leads to nothing finite, or can't be begun."""


class Disputes:
    """Does what the judging core asks for where work is called false.

    Args:
        driver: where events go.
        validator: says what may be opened to whom.
        memory: own boundaries.
        reopening: to ask others.
        library: states.
        worker: the arithmetic.
        wire: the manifest's section.
    """

    def __init__(
        self,
        driver: Callable[[], Driver[NodeEvent, NodeEffect]],
        validator: Validator,
        memory: Memory,
        reopening: Reopening,
        library: Library,
        worker: Worker,
        wire: WireSection,
    ) -> None:
        self._driver = driver
        self._validator = validator
        self._memory = memory
        self._reopening = reopening
        self._library = library
        self._worker = worker
        self._wire = wire
        self._states: dict[tuple[bytes, int], asyncio.Future[Boundary | None]] = {}
        """Of own runs, by commitment and boundary: made, or in the making."""

    async def serve(self) -> None:
        """Open own runs from now on."""
        await self._reopening.serve(self._open)

    async def look(self, effect: AskSeals | ReplaySegment) -> SealsShown | SegmentReplayed:
        """Ask a worker for what it has to open; what came of it."""
        if isinstance(effect, ReplaySegment):
            return await self._replay_segment(effect)
        opened = await self._reopening.ask(effect.commitment, effect.opening, None)
        return SealsShown(effect.commitment.id, opened.seals if opened else None)

    # Others' runs

    async def _replay_segment(self, wish: ReplaySegment) -> SegmentReplayed:
        work, segment = wish.commitment, wish.accusation.body.segment or 0
        state = self._library.state(work.body.start)  # held while the worker makes its own
        opened = None
        if state is not None:
            opened = await self._reopening.ask(work, wish.opening, wish.accusation, self._wait_s(work))
        if state is None or opened is None:
            log.info("round %d of %s: segment %d was not opened", work.body.round, work.signer, segment)
            return SegmentReplayed(work.id, segment, None, sound=False)
        try:
            end = await self._worker.replay_segment(
                state, work.signer, work.body.steps, segment, opened.boundary
            )
        except UnfitBoundaryError as error:
            log.info("segment %d of round %d of %s: %s", segment, work.body.round, work.signer, error)
            return SegmentReplayed(work.id, segment, None, sound=False)
        except (BadBoundaryError, DivergedError) as error:
            log.info("segment %d of round %d of %s: %s", segment, work.body.round, work.signer, error)
            return SegmentReplayed(work.id, segment, NOTHING, sound=False)
        if isinstance(end, LocalWork):
            return await self._ended(work, segment, end)
        return SegmentReplayed(work.id, segment, end, has_sealed(work, opened.seals, segment, end))

    async def _ended(self, work: Signed[Commitment], segment: int, end: LocalWork) -> SegmentReplayed:
        """The last segment leads to the update and to all that a commitment says."""
        worker, body, update = work.signer, work.body, end.update_U
        chunks = await asyncio.to_thread(lambda: Contribution.of(worker, body.base, update, self._wire))
        exact = is_exact(body, end, self._validator.member.context.device)
        return SegmentReplayed(work.id, segment, replay_root(chunks), exact and chunks.root == body.parts)

    def _wait_s(self, work: Signed[Commitment]) -> float:
        speed = self._worker.speed
        return max(LIST_WAIT_S, RUNS_WAITED * work.body.tokens / speed if speed else 0.0)

    # Own runs

    async def _open(self, opening: Signed[Opening], accusation: Signed[Verdict] | None) -> Opened | None:
        own, effects = self._validator.on_dispute(opening, accusation)
        self._driver().perform_all(effects)
        if own is None:
            return None
        seals = await asyncio.to_thread(self._memory.seals, own.body.base)
        segment = accusation.body.segment if accusation else None
        if seals is None or not segment:
            return Opened(seals, None) if seals is not None else None
        boundary = await self._state(own, segment - 1) if segment <= len(seals) else None
        return Opened(seals, boundary) if boundary is not None else None

    async def _state(self, own: Signed[Commitment], index: int) -> Boundary | None:
        """The own state at a boundary; None if what it follows from is gone."""
        made = self._states.get((own.id, index))
        if made is None:
            state = self._library.state(own.body.start)
            if state is None:
                return None
            made = self._states[own.id, index] = asyncio.get_running_loop().create_future()
            while len(self._states) > MAX_REOPENED:
                del self._states[next(iter(self._states))]
            self._driver().spawn(self._make(made, state, own.body.steps, index))
        return await asyncio.shield(made)

    async def _make(
        self, made: asyncio.Future[Boundary | None], state: State, steps: int, index: int
    ) -> None:
        try:
            made.set_result(await self._worker.reopen(state, steps, index))
        except DivergedError as error:
            log.warning("an own run can't be done again: %s", error)
            made.set_result(None)
