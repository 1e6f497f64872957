"""How a simulated node looks at others' work, and shows its own: `dhtnode/app/judging.py` on a heap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dhtnode.digest import leaf_digests, root_digest
from dhtnode.records import Signed
from tests.sim.model import SIZES, WIRE, honest_update
from training import codec
from training.codec import Vector
from training.contribution import Contribution
from training.messages import Commitment, Result
from training.reduce import reduce_part
from validation.compare import distance_ppm, sketch
from validation.events import Compare, Compared, Replay, Replayed, Rereduce, Rereduced
from validation.messages import Opening
from validation.showing import Refusal

if TYPE_CHECKING:
    from tests.sim.shell import Node


class Judging:
    """One node's. What it has replayed is forgotten in a crash."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._replays: dict[bytes, Sequence[bytes]] = {}

    def look(self, effect: Replay | Compare | Rereduce) -> None:
        """Do something again and tell what came out."""
        match effect:
            case Replay(commitment, _):
                self._replay(commitment)
            case Compare(commitment, opening, indices):
                self._compare(commitment, opening, indices)
            case Rereduce():
                self._rereduce(effect)

    def _replay(self, commitment: Signed[Commitment]) -> None:
        """Another's work again; it is done beside own training, and forgotten in a crash."""
        node = self._node
        body, worker = commitment.body, commitment.signer

        def done() -> None:
            update = node.drift(honest_update(body.start, worker, body.steps))
            chunks = Contribution.of(worker, body.base, update, WIRE)
            self._replays[commitment.id] = chunks.chunks_K
            root = root_digest("replay", leaf_digests("replay", chunks.chunks_K))
            node.on(Replayed(commitment.id, chunks.root, root, exact=True))

        if body.start in node.states:
            node.later(body.steps * node.step_s, done)

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
        announced = node.results.get(body.root)
        if announced is None:
            return
        senders: dict[int, tuple[int, Sequence[bytes]]] = {}

        def take(place: int) -> Callable[[Sequence[bytes] | None], None]:
            def arrive(shown: Sequence[bytes] | None) -> None:
                if shown is None:
                    node.on(Rereduced(wish.result.id, None))
                    return
                senders[place] = (plan.commitments_N[place].body.weight, shown)
                if len(senders) == len(body.included):
                    finish()

            return arrive

        def finish() -> None:
            sizes = [SIZES[index] for index in wish.indices]
            ordered = [senders[place] for place in body.included]
            again = reduce_part(ordered, sizes, WIRE, node.world.terms.reduce)
            first = plan.ranges_N[body.part].start
            node.on(Rereduced(wish.result.id, again == [announced[i - first] for i in wish.indices]))

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
            held = node.disk.parts.get((target.body.base, target.body.part, worker), {})
            return [held[index] for index in indices] if set(indices) <= set(held) else None
        return None


def _decoded(chunks: Sequence[bytes], indices: Sequence[int]) -> Vector:
    pieces = [codec.decode(chunk, SIZES[i], WIRE) for i, chunk in zip(indices, chunks, strict=True)]
    return np.concatenate(pieces)
