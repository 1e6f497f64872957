"""Private mode: what this node sees of others' work without replaying it, and what all say of the loss.

Suspicion is shown and told once; it changes nothing (`validation.plausibility`, `validation.evaluation`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from dhtnode.digest import derive
from dhtnode.identity import Identity
from dhtnode.manifest import WireSection
from dhtnode.records import Signed, sign
from dhtnode.status import PlausibilityPart, SuspicionPart
from training.events import Plan
from training.messages import Head
from training.tasks import Scores
from validation.evaluation import MICRO, Evaluation, Outlook, evaluation_of
from validation.plausibility import Suspicions, look_at_chunks

log = logging.getLogger(__name__)


class Lookout:
    """One node's.

    Args:
        identity: own key, for evaluations.
        swarm_id: signature domain.
        wire: the manifest's section.
    """

    def __init__(self, identity: Identity, swarm_id: bytes, wire: WireSection) -> None:
        self._identity = identity
        self._swarm_id = swarm_id
        self._wire = wire
        self._suspicions = Suspicions()
        self._outlook = Outlook()
        self._head: Head | None = None
        self._warned = False
        self._result: tuple[bytes, Sequence[bytes]] = (b"", ())
        """The last round's result, by the digest of the state that it led to."""

    # Parts

    def remember(self, state: bytes, chunks: Sequence[bytes]) -> None:
        """Keep what a round has made of all updates, to tell who sends it again."""
        self._result = (state, chunks)

    async def look(
        self, plan: Plan, owned: range, sizes: Sequence[int], senders: Sequence[tuple[str, Sequence[bytes]]]
    ) -> None:
        """Look at a part that this node has reduced.

        Args:
            plan: the round's.
            owned: chunk indices of the part.
            sizes: elements of each of them.
            senders: peer ids and chunks, in roster order.
        """
        state, result = self._result
        before = [result[index] for index in owned] if state == plan.commitments_N[0].body.start else None
        seed = derive("sketch", plan.base, plan.roster)
        looks = await asyncio.to_thread(look_at_chunks, senders, sizes, self._wire, seed, before)
        for line in self._suspicions.note(looks):
            log.warning("%s", line)

    # Held-out loss

    def adopt(self, head: Head) -> str | None:
        """A round is over. Returns what its operator should know, once."""
        self._head = head
        self._outlook.adopt(head)
        if not self._outlook.is_rising or self._warned:
            self._warned = self._outlook.is_rising
            return None
        self._warned = True
        return "the members' held-out loss has been rising for rounds: somebody's work, or the learning rate"

    def hear(self, record: Signed[Evaluation]) -> None:
        """Another member has judged a state."""
        self._outlook.add(record)

    def say(self, state: bytes, scores: Scores) -> Signed[Evaluation] | None:
        """Own word on a state, if it is the newest head's."""
        if self._head is None or self._head.state != state:
            return None
        body = evaluation_of(self._head, scores.loss, scores.examples or 0, scores.public)
        record = sign(self._identity, self._swarm_id, body)
        self._outlook.add(record)
        return record

    def part(self) -> PlausibilityPart:
        """What `status` shows."""
        last = self._outlook.changes[-1] if self._outlook.changes else None
        return PlausibilityPart(
            peers={
                peer: SuspicionPart(parts=count, **dict(self._suspicions.odd.get(peer, {})))
                for peer, count in self._suspicions.parts.items()
            },
            change=last.micro / MICRO if last else None,
            change_round=last.round if last else None,
            judges=last.members if last else 0,
            rising=self._outlook.is_rising,
        )
