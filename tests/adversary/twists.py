"""Members that say or send something else than their core asks for: one function for each.

It turns one effect into those that are performed instead. They plug into one simulated node (`twist(node,
name)` in `tests/sim/crooked.py`) and into the real one (`cheat.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from dhtnode.records import sign
from training.events import Publish, SendPart
from training.gathering import RoundContext
from training.messages import Commitment, Promise, Proposal
from validation.events import NodeEffect

Twist = Callable[[RoundContext, NodeEffect], list[NodeEffect]]


def equivocator(context: RoundContext, effect: NodeEffect) -> list[NodeEffect]:
    """Says to all, beside each of its commitments, a second one."""
    if not (isinstance(effect, Publish) and isinstance(effect.record.body, Commitment)):
        return [effect]
    other = msgspec.structs.replace(effect.record.body, loss_micro=effect.record.body.loss_micro + 1)
    return [effect, Publish(sign(context.identity, context.swarm_id, other))]


def selective_sender(context: RoundContext, effect: NodeEffect) -> list[NodeEffect]:
    """Sends its work to the reducers of every fourth part only."""
    del context
    return [] if isinstance(effect, SendPart) and effect.part % 4 else [effect]


def false_promiser(context: RoundContext, effect: NodeEffect) -> list[NodeEffect]:
    """Gossips no proposal, so that others must lead, and tells them of its vote for what nobody has proposed.

    Believed, it would bind each new leader to a value that nobody has. In one half of the rounds it says that
    it voted in the view before, as it may have; in the others, in the view that only begins.
    """
    said = effect.record.body if isinstance(effect, Publish) else None
    if isinstance(said, Proposal):
        return []
    if not isinstance(said, Promise):
        return [effect]
    view = said.view - (said.base[0] % 2)
    other = msgspec.structs.replace(said, voted_view=view, voted=b"\xff" * 32)
    return [Publish(sign(context.identity, context.swarm_id, other))]


TWISTS: dict[str, Twist] = {
    "equivocator": equivocator,
    "selective-sender": selective_sender,
    "false-promiser": false_promiser,
}
