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
from training.messages import Commitment
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


TWISTS: dict[str, Twist] = {"equivocator": equivocator, "selective-sender": selective_sender}
