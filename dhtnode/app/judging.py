"""How this node looks at others' work, and shows its own: replays, comparisons, reductions done again.

All of it runs beside training and comes back as an event. What can't be done (a state that is gone, too
many replays waiting) is left undone; what others do not show comes back as such.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import numpy as np

from dhtnode.app.disputes import Disputes
from dhtnode.app.memory import Memory
from dhtnode.app.replayed import is_exact, replay_root
from dhtnode.digest import derive
from dhtnode.driver import Driver
from dhtnode.manifest import WireSection
from dhtnode.records import Signed
from training import codec
from training.codec import Vector
from training.contribution import Contribution
from training.exchange import Exchange, Received
from training.library import Library
from training.messages import Commitment, Result
from training.outer import DivergedError
from training.worker import Worker
from validation.compare import distance_ppm, sketch
from validation.events import (
    AskSeals,
    Compare,
    Compared,
    Look,
    NodeEffect,
    NodeEvent,
    Replay,
    Replayed,
    ReplaySegment,
    Rereduce,
    Rereduced,
)
from validation.exhibits import Exhibits, Question
from validation.messages import Opening
from validation.showing import Refusal
from validation.validator import Validator

log = logging.getLogger(__name__)

MAX_REPLAYS = 4
"""Replays whose chunks wait for those of the worker."""


class Judging:
    """Does what the judging core asks for.

    Args:
        driver: where events go.
        validator: says what may be shown to whom.
        peer_id: own.
        memory: own work and received parts.
        exchange: results.
        exhibits: to ask others.
        disputes: what is done where work is called false.
        library: states.
        worker: the arithmetic.
        wire: the manifest's section.
    """

    def __init__(
        self,
        driver: Callable[[], Driver[NodeEvent, NodeEffect]],
        validator: Validator,
        peer_id: str,
        memory: Memory,
        exchange: Exchange,
        exhibits: Exhibits,
        disputes: Disputes,
        library: Library,
        worker: Worker,
        wire: WireSection,
    ) -> None:
        self._driver = driver
        self._validator = validator
        self._peer_id = peer_id
        self._memory = memory
        self._exchange = exchange
        self._exhibits = exhibits
        self._disputes = disputes
        self._library = library
        self._worker = worker
        self._wire = wire
        self._replays: dict[bytes, Sequence[bytes]] = {}
        """Chunks of own replays, by commitment."""
        self._under_way: set[bytes] = set()
        """Work that is being done again: once, for all that is to be said of it."""

    async def serve(self) -> None:
        """Show auditors what they may see from now on."""
        await self._exhibits.serve(self._show)
        await self._disputes.serve()

    async def look(self, effect: Look) -> None:
        """Do something again and tell what came out."""
        match effect:
            case Replay(commitment, urgent):
                event: NodeEvent | None = await self._replay(commitment, urgent)
            case Compare(commitment, opening, indices):
                event = await self._compare(commitment, opening, indices)
            case Rereduce():
                event = await self._rereduce(effect)
            case AskSeals() | ReplaySegment():
                event = await self._disputes.look(effect)
        if event is not None:
            self._driver().post(event)

    async def _replay(self, commitment: Signed[Commitment], urgent: bool) -> Replayed | None:
        """What another's work leads to; None if it can't be told, or if that is about to be told anyway."""
        if commitment.id in self._under_way:
            return None
        self._under_way.add(commitment.id)
        try:
            return await self._do_again(commitment, urgent)
        finally:
            self._under_way.discard(commitment.id)

    async def _do_again(self, commitment: Signed[Commitment], urgent: bool) -> Replayed | None:
        body, worker = commitment.body, commitment.signer
        state = self._library.state(body.start)
        if state is None:
            log.info("round %d of %s can't be audited: its state is gone", body.round, worker)
            return None
        try:
            work = await self._worker.replay(state, worker, body.steps, urgent=urgent)
        except DivergedError as error:
            log.info("replay of round %d of %s: %s", body.round, worker, error)
            return Replayed(commitment.id, bytes(32), bytes(32), exact=False)
        if work is None:
            log.info("round %d of %s is not audited: too many replays are waiting", body.round, worker)
            return None
        update = work.update_U
        chunks = await asyncio.to_thread(lambda: Contribution.of(worker, body.base, update, self._wire))
        self._replays[commitment.id] = chunks.chunks_K
        while len(self._replays) > MAX_REPLAYS:
            del self._replays[next(iter(self._replays))]
        exact = is_exact(body, work, self._validator.member.context.device)
        return Replayed(commitment.id, chunks.root, replay_root(chunks), exact, work.boundaries)

    async def _compare(
        self, commitment: Signed[Commitment], opening: Signed[Opening], indices: Sequence[int]
    ) -> Compared | None:
        mine = self._replays.get(commitment.id)
        if mine is None:
            return None
        holders = [commitment.signer]
        theirs = await self._exhibits.ask(holders, opening, commitment, indices, self._prove(opening))
        if theirs is None:
            return Compared(commitment.id, None)
        seed = derive("sketch", opening.id)
        there = sketch(self._decoded(theirs, indices), seed)
        here = sketch(self._decoded([mine[index] for index in indices], indices), seed)
        return Compared(commitment.id, distance_ppm(there, here))

    def _decoded(self, chunks: Sequence[bytes], indices: Sequence[int]) -> Vector:
        sizes = self._exchange.sizes_K
        pieces = [
            codec.decode(chunk, sizes[index], self._wire)
            for index, chunk in zip(indices, chunks, strict=True)
        ]
        return np.concatenate(pieces)

    async def _rereduce(self, wish: Rereduce) -> Rereduced | None:
        plan, record = wish.plan, wish.result
        owned = plan.ranges_N[record.body.part]
        whole = len(wish.indices) == len(owned)
        announced = self._memory.result(plan.base, record.body.root)
        if announced is None:
            return None
        senders = []
        for place in record.body.included:
            commitment = plan.commitments_N[place]
            chunks = await self._chunks_of(commitment, wish)
            if chunks is None:
                return Rereduced(record.id, None, whole)
            senders.append((plan.weights[place], chunks))
        again = await self._worker.reduce(senders, wish.indices)
        same = again == [announced[index - owned.start] for index in wish.indices]
        return Rereduced(record.id, same, whole)

    async def _chunks_of(self, commitment: Signed[Commitment], wish: Rereduce) -> Sequence[bytes] | None:
        """What a sender committed to: own, or shown by itself or by the reducer."""
        if commitment.signer == self._peer_id:
            own = self._memory.work(wish.plan.base)
            return [own.chunks_K[index] for index in wish.indices] if own else None
        holders = dict.fromkeys((commitment.signer, wish.result.signer))
        prove = self._prove(wish.opening)
        return await self._exhibits.ask(holders, wish.opening, commitment, wish.indices, prove)

    def _prove(self, opening: Signed[Opening]) -> Callable[[], bytes | None]:
        return lambda: self._validator.proof(opening)

    async def _show(self, opening: Signed[Opening], asked: Question) -> Received | Refusal:
        """Own chunks, or a sender's of a part that this node has reduced."""
        worker, indices = asked.worker, asked.indices
        target, effects = self._validator.on_opening(opening, worker, indices, asked.proof)
        self._driver().perform_all(effects)
        if isinstance(target, Refusal):
            return target
        held: Received | None = None
        if worker == self._peer_id:
            own = await asyncio.to_thread(self._memory.work, target.body.base)
            held = Received(own.leaves_K, range(len(own.leaves_K)), own.chunks_K) if own else None
        elif isinstance(target.body, Result):
            held = await asyncio.to_thread(self._memory.part, target.body.roster, target.body.part, worker)
        if held is None or not set(indices) <= set(held.owned):
            return Refusal.NO
        chunks = [held.chunks[held.owned.index(index)] for index in indices]
        return Received(held.leaves_K, indices, chunks)
