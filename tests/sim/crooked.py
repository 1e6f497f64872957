"""Attacks in a simulated node, by the names by which `tests/adversary/cheat.py` puts them into a real one."""

from __future__ import annotations

import torch

from dhtnode.digest import digest
from tests.adversary.attacks import ATTACKS, WORK_ATTACKS
from tests.adversary.clocks import CLOCKS
from tests.adversary.judges import JUDGES, corrupt
from tests.adversary.offences import OFFENCES, offence
from tests.adversary.reducers import miscounted
from tests.adversary.twists import TWISTS
from tests.sim.model import step
from tests.sim.shell import Node
from training.events import Publish
from training.tasks import Batch
from validation.events import NodeEffect


def attack(node: Node, name: str) -> None:
    """From now on a node is an attacker, as `cheat.py NAME` is among real nodes."""
    if name in ATTACKS | WORK_ATTACKS:
        work_falsely(node, name)
    elif name in JUDGES:
        corrupt(node.validator, name)
    elif name in TWISTS:
        twist(node, name)
    elif name in CLOCKS:
        node.run_clock(CLOCKS[name])
    elif name in OFFENCES or name == "mole":
        node.offence = lambda round_no: offence(name, round_no)
    else:
        assert name == "false-reducer", f"no attack {name}"
        node.miscount = miscounted


def batch_of(peer: str, number: int) -> Batch:
    """What a member takes in one of its inner steps: 32 samples, a byte each, and what each is called."""
    samples_B = torch.tensor(list(digest("batch", peer, number)))
    return samples_B, samples_B % 10


def work_falsely(node: Node, name: str) -> None:
    """From now on a node works as the attack of that name does. It sees nobody's update before it commits."""
    attack = (ATTACKS | WORK_ATTACKS)[name]()
    honest = [other.peer_id for other in node.world.nodes if other.peer_id not in node.world.dishonest]

    def run(state: bytes, steps: int) -> list[bytes]:
        whose = attack.whose(node.peer_id, honest)
        states = [state]
        for number in range(attack.steps(steps)):
            drawn, taken = (
                [tensor.numpy().tobytes() for tensor in batch]
                for batch in (batch_of(whose, number), attack.batch(batch_of(whose, number)))
            )
            states.append(step(states[-1], whose, number, *(taken if taken != drawn else ())))
        return states

    node.run, node.cheat = run, attack


def twist(node: Node, name: str) -> None:
    """From now on a node performs something else than its core asks for."""

    def instead(effect: NodeEffect) -> list[NodeEffect]:
        assert node.validator is not None
        if isinstance(effect, Publish):
            node.world.witness.said(effect.record)  # it gossips something else, but who asks is given this
        return TWISTS[name](node.validator.member.context, effect)

    node.twist = instead
