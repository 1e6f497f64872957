"""Amendments and ballots at a simulated node: kept and asked for beside the core, as the real shell does."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from dhtnode.amendments import Amendment
from dhtnode.errors import RemoteProtocolError
from dhtnode.records import Body, Signed, sign
from rewards.governance import Assembly, Ballot
from tests.sim.model import SWARM
from training.in_force import TermsInForce
from training.messages import Head

if TYPE_CHECKING:
    from tests.sim.shell import Node


class Floor:
    """What a node holds of votes, from the start of its process on.

    Args:
        node: whose.
    """

    def __init__(self, node: Node) -> None:
        self.in_force = TermsInForce(node.world.terms)
        self.assembly = Assembly(self.in_force, lambda round_no: node.world.vested(node.peer_id, round_no))
        self._node = node
        for record in node.disk.votes.values():
            if isinstance(record.body, Amendment):
                self.assembly.keep(cast("Signed[Amendment]", record))

    def restore(self, head: Head) -> None:
        """The node stands on a head again: ballots count where it had heard them."""
        for record in self._node.disk.votes.values():
            self.assembly.add(record, head)

    def take(self, record: Signed[Body]) -> None:
        """An amendment or a ballot has come."""
        if self._node.deaf:
            return
        try:
            if self.assembly.add(record, self._head):
                self._node.disk.votes[record.id] = record
        except RemoteProtocolError as error:
            self._node.world.blame(self._node, error.peer, error.reason, error.detail)

    def say(self, body: Amendment | Ballot) -> bytes:
        """Sign one, keep it, and tell the others. Returns its id."""
        record: Signed[Body] = sign(self._node.identity, SWARM, body)
        self.take(record)
        self._node.world.broadcast(self._node, record.wire)
        return record.id

    def ask(self, other: Node) -> None:
        """Hear from a neighbour what this node lacks."""
        world = self._node.world

        def arrive(record: Signed[Body]) -> None:
            self._node.floor.take(record)  # that of its life by then

        for wire in other.floor.assembly.records(other.floor._head).values():
            world.send(other, self._node, partial(arrive, world.opened(wire, other)))

    def fetch(self, head: Head) -> None:
        """Get what a head names from whoever has it."""
        for id_ in self.in_force.missing(head.amendments):
            for other in self._node.world.nodes:
                record = other.floor.assembly.amendment(id_)
                if record is not None and self._node.world.reachable(self._node, other):
                    self._node.disk.votes[id_] = record
                    self.assembly.keep(record)

    @property
    def _head(self) -> Head | None:
        return self._node.head.head if self._node.head else None
