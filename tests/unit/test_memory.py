"""What a node said, it knows again after a restart, wherever the chain has led it meanwhile."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from dhtnode.app.memory import Memory
from dhtnode.home import Home
from dhtnode.identity import Identity
from dhtnode.records import sign
from dhtnode.store import Store
from training.chain import Certificate, found
from training.messages import Vote
from training.state import Shape, State

SWARM = bytes(32)
ALICE = Identity.from_seed(bytes(32))
SHAPE = Shape(params=4, momentum=False)


def head_at(number: int) -> tuple[Certificate, State]:
    """A certified head of some round, alone."""
    state = State(SWARM, number, SHAPE, np.full(4, number, np.float32))
    first = found(ALICE, SWARM, None, state.digest)
    head = msgspec.structs.replace(first.head, number=number, since=number)
    vote = Vote(round=number, base=head.parent, step="found", view=0, value=head.id)
    return Certificate(head, (sign(ALICE, SWARM, vote),)), state


async def test_own_records_of_a_branch_with_smaller_numbers_are_known_again(tmp_path: Path) -> None:
    """A node alone came to round 100, and then moved to the swarm's own chain at round 60."""
    home = Home.open(tmp_path)
    store = Store.open(home.store_path)
    memory = Memory(home, store, SWARM, ALICE.peer_id)
    for number in (99, 100, 60):
        await memory.keep_head(*head_at(number))
    certificate, _ = head_at(60)
    vote = Vote(round=60, base=certificate.id, step="roster", view=0, value=bytes(32))
    memory.keep_own(sign(ALICE, SWARM, vote))
    store.close()

    again = Store.open(home.store_path)
    memory = Memory(home, again, SWARM, ALICE.peer_id)
    newest = memory.newest_head(SHAPE)
    assert newest is not None
    assert newest[0].id == certificate.id
    assert [record.body for record in memory.own()] == [vote]
    again.close()
