"""A swarm in one thread: real cores, real arithmetic on small vectors, and a hostile network.

Time is a heap of callbacks. The network loses, repeats, delays (and so reorders) and partitions;
nodes crash between any two effects, forget what was not on disk, and start again; clocks run apart.
Everything follows from one seed, and after every event the witness has checked what must always
hold (`tests/sim/witness.py`).
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from dhtnode import records
from dhtnode.digest import digest
from dhtnode.identity import Identity
from dhtnode.manifest import FORMAT, DataSection, InnerSection, RoundSection, TaskSection, Terms
from dhtnode.records import Body, Signed, open_record
from dhtnode.reputation import ReputationSection
from rewards.governance import GOVERNANCE
from tests.sim.model import SHAPE, SWARM, WIRE
from tests.sim.shell import Disk, Node
from tests.sim.witness import Witness
from training.chain import Certificate, open_certificate
from training.events import RecordArrived
from training.messages import Head
from training.roster import ordered
from training.state import State
from validation.events import NodeEvent
from validation.messages import SPOKEN
from validation.reputation import Opinion

if TYPE_CHECKING:
    from tests.sim.ledgers import Ledgers

T = TypeVar("T")

records.verify = lru_cache(maxsize=2**14)(records.verify)  # type: ignore[attr-defined]
"""Signatures are checked as everywhere, but each once for all nodes of a process."""

NEVER_S = 86_400.0
FIRST_DEADLINE_S = 20.0
CONSTANTS = ReputationSection(entry_bits=0)
"""As by default, but nobody pays for its entry where that is not what is looked at."""


@lru_cache(maxsize=128)
def identity_of(index: int) -> Identity:
    return Identity.from_seed(digest("identity", index))


@lru_cache(maxsize=1)
def genesis_state() -> State:
    values = np.zeros(SHAPE.elems, np.float32)
    values[: SHAPE.params] = np.random.default_rng(7).normal(0, 0.1, SHAPE.params)
    return State(SWARM, 0, SHAPE, values)


def terms_of(
    rounds: int, min_peers: int, stall_s: float, first_deadline_s: float, reputation: ReputationSection
) -> Terms:
    return Terms(
        format=FORMAT,
        name="simulated",
        creator=identity_of(0).peer_id,
        task=TaskSection(kind="none"),
        data=DataSection(mode="shared"),
        inner=InnerSection(steps=((0, 10),)),
        wire=WIRE,
        round=RoundSection(
            rounds=rounds, min_peers=min_peers, stall_s=stall_s, first_deadline_s=first_deadline_s
        ),
        reputation=reputation,
    )


@dataclass
class Weather:
    """What the network does to a message."""

    loss: float = 0.0
    repeat: float = 0.0
    delay_s: float = 0.02
    """Mean of an exponential delay."""
    state_delays: float = 5.0
    """How much longer a whole state takes."""


class World:
    """Nodes, a network between them, and time.

    Args:
        seed: everything follows from it.
        nodes: how many; node 0 founds the swarm.
        rounds: the manifest's.
        min_peers: commitments that the founder waits for; all nodes by default.
        stall_s: after which a node may go on alone; by default it never does.
        first_deadline_s: for work, until somebody has learned how long it takes.
        people: number of the first identity; what is drawn by hashes follows from keys, not from the seed.
        reputation: the manifest's constants.
        ledgers: where each node books what it sees; by default nobody does.
    """

    def __init__(
        self,
        seed: int,
        nodes: int,
        rounds: int = 5,
        min_peers: int | None = None,
        stall_s: float = NEVER_S,
        first_deadline_s: float = FIRST_DEADLINE_S,
        people: int = 0,
        reputation: ReputationSection = CONSTANTS,
        ledgers: Ledgers | None = None,
    ) -> None:
        self.rng = random.Random(seed)  # noqa: S311  repeatable
        self.now_s = 0.0
        self.weather = Weather()
        self.ledgers = ledgers
        self.terms = terms_of(rounds, min_peers or nodes, stall_s, first_deadline_s, reputation)
        self.genesis = genesis_state()
        self.groups: list[set[int]] | None = None
        self.clock_rates = (0.98, 1.02)
        """Slowest and fastest clock."""
        self.leave_when_done = False
        """Whether nodes end after the last round, as they do without `--stay`."""
        self.tolerances: dict[str, int] = {}
        """Distance, in ppm, at which honest work on another device still passes."""
        self.opinions: Callable[[str, str], Opinion | None] = lambda judge, peer: None
        """What the first thinks of the second; by default, nobody knows anything of anybody. `by_table` is
        what nodes think in truth."""
        self.vested: Callable[[str, int], Mapping[bytes, int] | None] = lambda judge, round_no: {}
        """What, by the ledger of the first, everybody had vested before a round; by default, nothing."""
        self.dishonest: set[str] = set()
        self.witness = Witness(SWARM, self.dishonest)
        self.nodes = [
            Node(self, index, identity_of(people + index), self.rng.uniform(0.05, 0.2))
            for index in range(nodes)
        ]
        self.peers = {node.peer_id: node for node in self.nodes}
        self._trace = hashlib.sha256()
        self._opened: dict[bytes, Signed[Body]] = {}
        self._certificates: dict[bytes, Certificate] = {}
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0

    # Time

    def schedule(self, delay_s: float, action: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (self.now_s + delay_s, self._sequence, action))

    def run_until(self, done: Callable[[], bool], limit_s: float) -> None:
        """Let events happen until `done`.

        Raises:
            AssertionError: that took more than `limit_s` of simulated time.
        """
        end_s = self.now_s + limit_s
        while not done():
            assert self._heap, "nothing happens any more"
            assert self._heap[0][0] <= end_s, f"not within {limit_s} s: {self.nodes}"
            self.now_s, _, action = heapq.heappop(self._heap)
            action()

    def run_for(self, duration_s: float) -> None:
        """Let time pass."""
        end_s = self.now_s + duration_s
        while self._heap and self._heap[0][0] <= end_s:
            self.now_s, _, action = heapq.heappop(self._heap)
            action()
        self.now_s = end_s

    @property
    def trace(self) -> str:
        """Digest of all that has happened."""
        return self._trace.hexdigest()

    def note(self, node: Node, event: NodeEvent) -> None:
        record = event.record.id.hex() if isinstance(event, RecordArrived) else ""
        self._trace.update(f"{self.now_s!r} {node.index} {type(event).__name__} {record}\n".encode())

    # Network

    def delay(self) -> float:
        return self.rng.expovariate(1 / self.weather.delay_s)

    def state_s(self) -> float:
        return self.delay() * self.weather.state_delays

    def shuffled(self, items: Sequence[T]) -> list[T]:
        return self.rng.sample(items, len(items))

    def reachable(self, one: Node, other: Node) -> bool:
        """Whether a stream between two nodes can be opened."""
        return one.up and other.up and self.connected(one, other)

    def connected(self, one: Node, other: Node) -> bool:
        return self.groups is None or any({one.index, other.index} <= group for group in self.groups)

    def send(self, source: Node, to: Node, arrive: Callable[[], None]) -> None:
        """A message: lost, once, or more often. It may outlive its sender."""
        for _ in range(1 + (self.rng.random() < self.weather.repeat)):
            if source.up and self.rng.random() >= self.weather.loss:
                self.schedule(
                    self.delay(), lambda: arrive() if to.up and self.connected(source, to) else None
                )

    def broadcast(self, source: Node, wire: bytes, to: Iterable[Node] | None = None) -> None:
        """Gossip bytes to all, or to some."""
        for node in self.nodes if to is None else to:
            if node is not source:
                self.send(source, node, partial(node.hear, wire, source))

    def opened(self, wire: bytes, sender: Node) -> Signed[Body]:
        """A record, checked once for all nodes.

        Raises:
            RemoteProtocolError: as `open_record`.
        """
        if wire not in self._opened:
            self._opened[wire] = open_record(wire, SWARM, {**SPOKEN, **GOVERNANCE}, sender.peer_id)
        return self._opened[wire]

    def certificate(self, wire: bytes, sender: Node) -> Certificate:
        """The same for a certificate.

        Raises:
            RemoteProtocolError: as `open_certificate`.
        """
        if wire not in self._certificates:
            self._certificates[wire] = open_certificate(wire, SWARM, sender.peer_id)
        return self._certificates[wire]

    def by_id(self, peer_id: str) -> Node:
        return self.peers[peer_id]

    def blame(self, _by: Node, peer: str, reason: str, detail: str) -> None:
        self.witness.blamed(peer, reason, detail)

    def by_table(self, judge: str, peer: str) -> Opinion | None:
        """What a node that is up thinks of a peer, by the table that it keeps."""
        validator = self.peers[judge].validator
        return validator.witness.opinion(peer) if validator else None

    # Scenario

    def start(self) -> None:
        for node in self.nodes:
            node.start(founder=node.index == 0)

    def split(self, *groups: set[int]) -> None:
        """Partition the network; a node in no group hears nobody."""
        self.groups = list(groups)

    def heal(self) -> None:
        self.groups = None

    def lie(self, index: int) -> Node:
        """From now on this node is dishonest: it may be blamed, and contradict itself."""
        self.dishonest.add(self.nodes[index].peer_id)
        return self.nodes[index]

    def rename(self, node: Node) -> None:
        """A node that is down starts as somebody else, from an empty home.

        With its old key and no home it would look like one that hides what it has promised to show.
        """
        node.identity = identity_of(1000 + node.index)
        node.peer_id = node.identity.peer_id
        node.disk = Disk()
        self.peers[node.peer_id] = node

    def leader(self, head: Head, purpose: str = "leader") -> Node:
        """Who leads view 0 of the round after a head."""
        return self.by_id(ordered(head.electors, head.state, head.number, purpose)[0])

    # What tests ask

    def numbers(self, nodes: Iterable[Node] | None = None) -> list[int]:
        return [node.number for node in (self.nodes if nodes is None else nodes)]

    def all_at(self, number: int, nodes: Iterable[Node] | None = None) -> bool:
        """Whether nodes have come to a round, or beyond."""
        return all(node.number >= number for node in (self.nodes if nodes is None else nodes))

    def done(self) -> bool:
        """Whether every node holds the head after the last round."""
        return self.all_at(self.terms.round.rounds)

    def heads(self) -> set[bytes]:
        return {node.head.id if node.head else b"" for node in self.nodes}
