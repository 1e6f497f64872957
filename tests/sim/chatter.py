"""A simulated member that works honestly and says more than anybody keeps of it.

It does again all that others have judged, says in both roles what it found, and judges each verdict on it in
both roles as well. Nothing that it says contradicts the rest: there is no proof against its key.
"""

from __future__ import annotations

from typing import cast

import msgspec

from dhtnode.records import Signed, sign
from tests.sim.model import SWARM
from tests.sim.shell import Node, chain_of
from validation.events import Declare, Judged, NodeEffect, Replayed
from validation.messages import Verdict, mark


class Chatterbox:
    """Makes a node that is up one of them, for the rest of its life."""

    def __init__(self, node: Node) -> None:
        self.said: set[bytes] = set()
        """Ids of verdicts that no honest member would have signed beside its own."""
        self._node = node
        self._roots: dict[bytes, bytes] = {}
        """What replays led to, by commitment."""
        self._on = node.on
        node.on = self._hear  # type: ignore[method-assign]
        node.twist = self._more

    def _hear(self, event: object) -> None:
        if isinstance(event, Replayed):
            self._roots[event.target] = event.root
        self._on(event)  # type: ignore[arg-type]

    def _more(self, effect: NodeEffect) -> list[NodeEffect]:
        validator = self._node.validator
        if not isinstance(effect, Judged) or validator is None or effect.verdict.body.about != "work":
            return [effect]
        trial = validator.docket.trial(effect.verdict.body.target)
        if trial is None:
            return [effect]
        root = self._roots.get(trial.target.id)
        if root is None:
            return [effect, *validator._auditor.judge(trial, "audit")]
        said: list[NodeEffect] = []
        for verdict in list(trial.verdicts.values()):
            if verdict.signer == self._node.peer_id:
                said += self._say(verdict.body)
            elif verdict.body.outcome == "pass":
                said += self._say(self._opinion_of(verdict, root))
        return [effect, *said]

    def _say(self, body: Verdict) -> list[NodeEffect]:
        """The same in both roles, once."""
        bodies = [msgspec.structs.replace(body, role=role) for role in ("jury", "audit")]
        both = [sign(self._node.identity, SWARM, one) for one in bodies]
        new = [Declare(one) for one in both if one.id not in self.said]
        self.said |= {one.id for one in both}
        return cast("list[NodeEffect]", new)

    def _opinion_of(self, verdict: Signed[Verdict], root: bytes) -> Verdict:
        return msgspec.structs.replace(
            verdict.body,
            about="audit",
            target=verdict.id,
            worker=verdict.signer,
            preimage=chain_of(self._node.identity).preimage(verdict.body.round),
            replayed=mark(self._node.peer_id, verdict.id, root),
        )
