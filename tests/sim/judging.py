"""How a simulated node looks at others' work, and shows its own: `dhtnode/app/judging.py` on a heap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dhtnode.digest import leaf_digests, root_digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Signed
from tests.sim.model import SIZES, WIRE, boundary_digest, update_of, walk
from training import codec
from training.codec import Vector
from training.contribution import Contribution
from training.messages import Commitment, Result
from training.reduce import reduce_part
from training.segments import boundaries_of
from validation.compare import distance_ppm, sketch
from validation.dispute import check_seals, has_sealed
from validation.events import (
    AskSeals,
    Compare,
    Compared,
    Look,
    Replay,
    Replayed,
    ReplaySegment,
    Rereduce,
    Rereduced,
    SealsShown,
    SegmentReplayed,
)
from validation.messages import Opening, Verdict
from validation.showing import Refusal

if TYPE_CHECKING:
    from tests.sim.shell import Node


SILENCE_S = 30.0
"""After which a stream is given up on which nothing comes, as `dhtnode/net/streams.py` does."""


@dataclass(frozen=True)
class Opened:
    """What a worker shows of its own run."""

    seals: tuple[bytes, ...]
    state: bytes | None
    """The local state that a segment begins in, if one inside the run was asked for."""


class Judging:
    """One node's. What it has replayed is forgotten in a crash."""

    def __init__(self, node: Node) -> None:
        self.steps: Counter[bytes] = Counter()
        """Inner steps that it has done again of others' work, and of its own to show it, by commitment."""
        self._node = node
        self._replays: dict[bytes, Sequence[bytes]] = {}
        self._under_way: set[bytes] = set()
        self._reopened: set[tuple[bytes, int]] = set()

    def look(self, effect: Look) -> None:
        """Do something again and tell what came out."""
        match effect:
            case Replay(commitment, _):
                self._replay(commitment)
            case AskSeals(commitment, opening):
                self._open(commitment, opening, None, lambda shown: self._take_seals(commitment, shown))
            case ReplaySegment(commitment, opening, accusation):
                segment = accusation.body.segment or 0
                self._open(
                    *(commitment, opening, accusation),
                    lambda shown: self._replay_segment(commitment, segment, shown),
                )
            case Compare(commitment, opening, indices):
                self._compare(commitment, opening, indices)
            case Rereduce():
                self._rereduce(effect)

    def _replay(self, commitment: Signed[Commitment]) -> None:
        """Another's work again; it is done beside own training, and forgotten in a crash."""
        node = self._node
        body, worker = commitment.body, commitment.signer

        def done() -> None:
            self._under_way.discard(commitment.id)
            self.steps[commitment.id] += body.steps
            states = walk(body.start, worker, range(body.steps))
            chunks = Contribution.of(worker, body.base, node.drift(update_of(states[-1])), WIRE)
            self._replays[commitment.id] = chunks.chunks_K
            passed = tuple(boundary_digest(states[place]) for place in self._places(commitment))
            node.on(Replayed(commitment.id, chunks.root, _root(chunks), exact=True, boundaries=passed))

        if body.start in node.states and commitment.id not in self._under_way:
            self._under_way.add(commitment.id)
            node.later(body.steps * node.step_s, done)

    def _places(self, commitment: Signed[Commitment]) -> tuple[int, ...]:
        return boundaries_of(
            self._node.floor.in_force.at(commitment.body.round), commitment.body.round, commitment.body.steps
        )

    # Disputes

    def _take_seals(self, commitment: Signed[Commitment], shown: Opened | None) -> None:
        self._node.on(SealsShown(commitment.id, shown.seals if shown else None))

    def _replay_segment(self, commitment: Signed[Commitment], segment: int, shown: Opened | None) -> None:
        """One segment again, from what the worker shows if that is what it has committed to."""
        node, body, worker = self._node, commitment.body, commitment.signer
        places = (0, *self._places(commitment), body.steps)
        start = body.start if segment == 0 else shown.state if shown else None
        if shown is None or start is None:
            node.on(SegmentReplayed(commitment.id, segment, None, sound=False))
            return
        seals = shown.seals
        if segment and not has_sealed(commitment, seals, segment - 1, boundary_digest(start)):
            node.on(SegmentReplayed(commitment.id, segment, None, sound=False))
            return
        steps = range(places[segment], places[segment + 1])

        def done() -> None:
            self.steps[commitment.id] += len(steps)
            end = walk(start, worker, steps)[-1]
            if segment < len(seals):
                name = boundary_digest(end)
                sound = has_sealed(commitment, seals, segment, name)
            else:
                chunks = Contribution.of(worker, body.base, node.drift(update_of(end)), WIRE)
                name, sound = _root(chunks), chunks.root == body.parts
            node.on(SegmentReplayed(commitment.id, segment, name, sound))

        node.later(len(steps) * node.step_s, done)

    def _open(
        self,
        commitment: Signed[Commitment],
        opening: Signed[Opening],
        accusation: Signed[Verdict] | None,
        arrive: Callable[[Opened | None], None],
    ) -> None:
        """Ask a worker for its boundaries; what is not what it has committed to is nothing."""
        node = self._node
        worker = node.world.by_id(commitment.signer)

        def answer() -> None:
            reachable = node.world.reachable(node, worker)
            shown = worker.judging.open(opening, accusation) if reachable else None
            if shown is not None:
                try:
                    check_seals(commitment, shown.seals, node.floor.in_force.at(commitment.body.round))
                except RemoteProtocolError as error:
                    node.world.blame(node, error.peer, error.reason, error.detail)
                    shown = None
            arrive(shown)

        if worker.answers:
            node.later(2 * node.world.delay(), answer)
        else:
            node.later(SILENCE_S, lambda: arrive(None))

    def open(self, opening: Signed[Opening], accusation: Signed[Verdict] | None) -> Opened | None:
        """What another member is shown of this node's run. A state is made by doing the run again, once."""
        node = self._node
        if node.validator is None or not node.opens:
            return None
        own, effects = node.validator.on_dispute(opening, accusation)
        node.do(effects)
        if own is None or own.body.base not in node.disk.seals:
            return None
        state, segment = None, accusation.body.segment if accusation else None
        if segment:
            place = self._places(own)[segment - 1]
            if (own.id, segment) not in self._reopened:
                self._reopened.add((own.id, segment))
                self.steps[own.id] += place
            state = node.run(own.body.start, place)[-1]
        return node.opened(Opened(node.disk.seals[own.body.base], state))

    # Chunks

    def _compare(
        self, commitment: Signed[Commitment], opening: Signed[Opening], indices: Sequence[int]
    ) -> None:
        node = self._node
        mine = self._replays[commitment.id]

        def arrive(shown: Sequence[bytes] | None) -> None:
            if shown is None:
                node.on(Compared(commitment.id, None))
                return
            here = _decoded([mine[index] for index in indices], indices)
            apart = distance_ppm(sketch(_decoded(shown, indices), 1), sketch(here, 1))
            node.on(Compared(commitment.id, apart))

        self._ask_for(commitment, [commitment.signer], opening, indices, arrive)

    def _rereduce(self, wish: Rereduce) -> None:
        node = self._node
        body, plan = wish.result.body, wish.plan
        owned = plan.ranges_N[body.part]
        whole = len(wish.indices) == len(owned)
        announced = node.results.get(body.root)
        if announced is None:
            return
        senders: dict[int, tuple[int, Sequence[bytes]]] = {}

        def take(place: int) -> Callable[[Sequence[bytes] | None], None]:
            def arrive(shown: Sequence[bytes] | None) -> None:
                if shown is None:
                    node.on(Rereduced(wish.result.id, None, whole))
                    return
                senders[place] = (plan.weights[place], shown)
                if len(senders) == len(body.included):
                    finish()

            return arrive

        def finish() -> None:
            sizes = [SIZES[index] for index in wish.indices]
            ordered = [senders[place] for place in body.included]
            again = reduce_part(ordered, sizes, WIRE, node.world.terms.reduce)
            same = again == [announced[i - owned.start] for i in wish.indices]
            node.on(Rereduced(wish.result.id, same, whole))

        for place in body.included:
            commitment = plan.commitments_N[place]
            holders = [commitment.signer, wish.result.signer]
            self._ask_for(commitment, holders, wish.opening, wish.indices, take(place))

    def _ask_for(
        self,
        commitment: Signed[Commitment],
        holders: Sequence[str],
        opening: Signed[Opening],
        indices: Sequence[int],
        arrive: Callable[[Sequence[bytes] | None], None],
    ) -> None:
        """Chunks of a worker's update from whoever shows them first."""
        node = self._node
        if not holders:
            node.later(0.01, lambda: arrive(None))
            return
        holder = node.world.by_id(holders[0])

        def prove() -> bytes | None:
            return node.validator.proof(opening) if node.validator else None

        def answer() -> None:
            shown = None
            if node.world.reachable(node, holder):
                shown = holder.judging.show(opening, commitment.signer, indices, prove)
            if shown is None:
                self._ask_for(commitment, holders[1:], opening, indices, arrive)
            else:
                arrive(shown)

        node.later(2 * node.world.delay(), answer)

    def show(
        self,
        opening: Signed[Opening],
        worker: str,
        indices: Sequence[int],
        proof: Callable[[], bytes | None],
    ) -> Sequence[bytes] | None:
        """What an auditor is shown of a worker's update; it may ask this node itself."""
        node = self._node
        if node.validator is None or not node.opens:
            return None
        target, effects = node.validator.on_opening(opening, worker, indices, None)
        if target is Refusal.UNKNOWN:
            target, effects = node.validator.on_opening(opening, worker, indices, proof())
        if opening.signer != node.peer_id:
            node.do(effects)
        if isinstance(target, Refusal):
            return None
        if worker == node.peer_id:
            own = node.disk.work.get(target.body.base)
            return [own.chunks_K[index] for index in indices] if own else None
        if isinstance(target.body, Result):
            held = node.disk.parts.get((target.body.roster, target.body.part, worker), {})
            return [held[index] for index in indices] if set(indices) <= set(held) else None
        return None


def _root(chunks: Contribution) -> bytes:
    return root_digest("replay", leaf_digests("replay", chunks.chunks_K))


def _decoded(chunks: Sequence[bytes], indices: Sequence[int]) -> Vector:
    pieces = [codec.decode(chunk, SIZES[i], WIRE) for i, chunk in zip(indices, chunks, strict=True)]
    return np.concatenate(pieces)
