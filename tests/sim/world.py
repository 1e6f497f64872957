"""A swarm in one thread: real cores, real arithmetic on small vectors, and a hostile network.

Time is a heap of callbacks. The network loses, repeats, delays (and so reorders) and partitions;
nodes crash, forget what was not on disk, and start again; clocks run apart. Everything follows
from one seed. After every event the world checks what must always hold:

- one head for each round of a branch, one state for each head, whoever holds it;
- a node that adopts a head holds a state with just that digest;
- honest nodes are never blamed.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from dhtnode.digest import derive, digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.manifest import (
    FORMAT,
    DataSection,
    InnerSection,
    OuterSection,
    RoundSection,
    TaskSection,
    Terms,
    WireSection,
)
from dhtnode.records import Body, Signed, open_record
from training import codec, outer
from training.chain import Certificate, open_certificate
from training.contribution import Contribution, check_part, result_root
from training.events import (
    Adopt,
    Applied,
    Apply,
    AskPeer,
    Blame,
    Effect,
    Event,
    FetchResult,
    FetchState,
    Finished,
    Halt,
    HeadOffered,
    Heard,
    OpenReduce,
    PartArrived,
    Plan,
    Publish,
    RecordArrived,
    Reduce,
    Reduced,
    ResultFetched,
    ResultMissing,
    SendFailed,
    SendPart,
    StateFetched,
    StateMissing,
    Stop,
    Tick,
    Train,
    Trained,
    Work,
)
from training.member import Member, open_sync_reply
from training.messages import KINDS
from training.reduce import reduce_part
from training.gathering import RoundContext
from training.state import Shape, State
from validation.commitment import find_fault

SWARM = digest("swarm", "simulated")
WIRE = WireSection(codec="int8", block_elems=32, chunk_elems=256)
SHAPE = Shape(params=256 * 6 - 56, momentum=True)
SIZES = codec.chunk_sizes(SHAPE.update_elems, WIRE)
TICK_S = 0.2
SYNC_S = 1.0
IO_TIMEOUT_S = 2.0


def terms(rounds: int, min_peers: int, stall_s: float) -> Terms:
    return Terms(
        format=FORMAT,
        name="simulated",
        creator=identity_of(0).peer_id,
        task=TaskSection(kind="none"),
        data=DataSection(mode="private"),
        inner=InnerSection(steps=((0, 10),)),
        outer=OuterSection(),
        wire=WIRE,
        round=RoundSection(rounds=rounds, min_peers=min_peers, stall_s=stall_s, first_deadline_s=20.0),
    )


@lru_cache(maxsize=256)
def identity_of(index: int) -> Identity:
    return Identity.from_seed(digest("identity", index))


@lru_cache(maxsize=100_000)
def opened(wire: bytes) -> Signed[Body]:
    """Verified once for all nodes of a world: the check itself is tested elsewhere."""
    return open_record(wire, SWARM, KINDS)


@dataclass
class Weather:
    """What the network does to a message."""

    loss: float = 0.0
    repeat: float = 0.0
    delay_s: float = 0.02
    """Mean of an exponential delay."""


@dataclass
class Disk:
    """What survives a crash."""

    certificate: Certificate | None = None
    previous: Certificate | None = None
    """What is found after a crash that came before the newest certificate was written."""
    states: dict[bytes, State] = field(default_factory=dict)
    own: list[Signed[Body]] = field(default_factory=list)
    work: dict[bytes, tuple[Contribution, Work]] = field(default_factory=dict)
    results: dict[bytes, list[bytes]] = field(default_factory=dict)
    """Results behind an outer step: on disk before the step is voted for."""


class Node:
    """The shell of one simulated node."""

    def __init__(
        self, world: World, index: int, step_s: float, clock_rate: float, clock_offset_s: float
    ) -> None:
        self.world = world
        self.index = index
        self.identity = identity_of(index)
        self.peer_id = self.identity.peer_id
        self.step_s = step_s
        self.clock_rate = clock_rate
        self.clock_offset_s = clock_offset_s
        self.disk = Disk()
        self.up = False
        self.life = 0
        self.member: Member | None = None
        self.plans: dict[bytes, Plan] = {}
        self.parts: dict[tuple[bytes, int, str], list[bytes]] = {}
        self.early_parts: list[tuple[bytes, int, str, Contribution]] = []
        self.results: dict[bytes, list[bytes]] = {}
        self.reduced: dict[tuple[bytes, int], list[bytes]] = {}
        self.applied: dict[tuple[bytes, ...], State] = {}
        self.finished: str | None = None

    @property
    def now_s(self) -> float:
        return self.world.now_s * self.clock_rate + self.clock_offset_s

    # Life

    def start(self, founder: bool = False) -> None:
        self.up = True
        self.life += 1
        self.finished = None
        for volatile in (self.plans, self.parts, self.early_parts, self.results, self.reduced, self.applied):
            volatile.clear()
        context = RoundContext(
            identity=self.identity,
            swarm_id=SWARM,
            terms=self.world.terms,
            chunk_count=len(SIZES),
            device="simulated/fp32",
            find_fault=find_fault,
        )
        self.member = Member(context, self.now_s)
        if self.disk.certificate is not None:
            self.do(self.member.resume(self.disk.certificate, self.disk.own, self.now_s))
        elif founder:
            genesis = genesis_state()
            self.disk.states[genesis.digest] = genesis
            self.do(self.member.found(genesis.digest, self.now_s))
        self.later(self.world.rng.random() * TICK_S, self.tick)
        self.later(self.world.rng.random() * SYNC_S, self.sync)

    def crash(self, lose_newest: bool = False) -> None:
        """End without warning; what was said is on disk, the newest head perhaps not yet."""
        if lose_newest and self.disk.previous is not None:
            self.disk.certificate = self.disk.previous
        self.up = False
        self.life += 1
        self.member = None

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something unless the node has crashed by then."""
        life = self.life
        self.world.schedule(delay_s, lambda: action() if self.life == life else None)

    def tick(self) -> None:
        self.on(Tick())
        self.later(TICK_S, self.tick)

    def on(self, event: Event) -> None:
        if self.up and self.member is not None:
            self.world.note(self, event)
            self.do(self.member.on(event, self.now_s))
            self.world.check(self)

    # Sync

    def sync(self) -> None:
        others = [node for node in self.world.nodes if node is not self and node.up]
        if others:
            self.ask(self.world.rng.choice(others))
        self.later(SYNC_S, self.sync)

    def ask(self, other: Node) -> None:
        if self.member is None:
            return
        request = self.member.sync_request()

        def serve() -> None:
            if not other.up or other.member is None:
                return
            reply, effects = other.member.on_sync_request(request, self.peer_id, other.now_s)
            other.do(effects)
            self.world.send(other, self, lambda: self.take_reply(reply, other))

        self.world.send(self, other, serve)

    def take_reply(self, wire: bytes, other: Node) -> None:
        reply = open_sync_reply(wire, other.peer_id)
        self.on(Heard(other.peer_id))
        for record in reply.records:
            self.on(RecordArrived(opened(record), other.peer_id))
        if reply.certificate is not None:
            self.on(HeadOffered(open_certificate(reply.certificate, SWARM, other.peer_id)))

    # Effects

    def do(self, effects: list[Effect]) -> None:
        for effect in effects:
            self.perform(effect)

    def perform(self, effect: Effect) -> None:
        match effect:
            case Publish(record):
                self.disk.own.append(record)
                self.world.broadcast(self, record.wire)
            case Train(head, steps, budget_s):
                self.train(head.id, head.state, steps, budget_s)
            case Halt() | Finished():
                if isinstance(effect, Finished):
                    self.finished = effect.why
            case OpenReduce(plan):
                self.plans[plan.base] = plan
                waiting, self.early_parts = self.early_parts, []
                for part in waiting:
                    self.take_part(*part)
            case SendPart(plan, part, to):
                self.send_part(plan, part, self.world.by_id(to))
            case Reduce(plan, part, included):
                self.later(0.01, lambda: self.reduce(plan, part, included))
            case FetchResult(plan, result, sources):
                self.fetch_result(plan.base, result, [self.world.by_id(peer) for peer in sources])
            case Apply(plan, results):
                self.later(0.01, lambda: self.apply(plan, tuple(result.id for result in results)))
            case FetchState(certificate):
                self.fetch_state(certificate)
            case Adopt(certificate, _):
                self.adopt(certificate)
            case AskPeer(peer):
                if peer in self.world.peers:
                    self.later(0.01, lambda: self.ask(self.world.by_id(peer)))
            case Blame(peer, reason, detail):
                self.world.blamed.append((self.index, self.world.by_id(peer).index, reason, detail))

    def train(self, base: bytes, start: bytes, steps: int, budget_s: float | None) -> None:
        if budget_s is not None:
            steps = max(1, min(steps, int(budget_s / self.clock_rate / self.step_s)))

        def done() -> None:
            seed = derive("work", start, self.peer_id, steps)
            update = np.random.default_rng(seed).normal(0, 0.01, SHAPE.update_elems).astype(np.float32)
            contribution = Contribution.of(self.peer_id, base, update, WIRE)
            work = Work(
                steps,
                steps * 100,
                steps * 100,
                contribution.root,
                1_000_000,
                self.world.rng.randrange(500, 5000),
            )
            self.disk.work[base] = (contribution, work)
            self.on(Trained(base, work))

        self.later(steps * self.step_s, done)

    def send_part(self, plan: Plan, part: int, to: Node) -> None:
        if plan.base not in self.disk.work:
            return
        contribution = self.disk.work[plan.base][0]

        def arrive() -> None:  # a stream delivers everything, or fails
            if self.world.reachable(self, to):
                to.take_part(plan.base, part, self.peer_id, contribution)
            else:
                self.later(IO_TIMEOUT_S, lambda: self.on(SendFailed(plan.base, part, to.peer_id)))

        self.later(self.world.delay() * 2, arrive)

    def take_part(self, base: bytes, part: int, sender: str, contribution: Contribution) -> None:
        plan = self.plans.get(base)
        if plan is None:
            self.early_parts.append((base, part, sender, contribution))
            return
        if sender not in plan.members:
            return
        commitment = plan.commitments_N[plan.members.index(sender)]
        owned = plan.ranges_N[part]
        chunks = [contribution.chunks_K[index] for index in owned]
        check_part(commitment, contribution.leaves_K, chunks, owned, SIZES, WIRE)
        self.parts[(base, part, sender)] = chunks
        self.on(PartArrived(base, part, sender))

    def reduce(self, plan: Plan, part: int, included: tuple[int, ...]) -> None:
        owned = plan.ranges_N[part]
        senders = []
        for place in included:
            commitment = plan.commitments_N[place]
            if commitment.signer == self.peer_id:
                if plan.base not in self.disk.work:
                    return
                chunks = [self.disk.work[plan.base][0].chunks_K[index] for index in owned]
            else:
                chunks = self.parts[(plan.base, part, commitment.signer)]
            senders.append((commitment.body.weight, chunks))
        reduced = reduce_part(senders, [SIZES[index] for index in owned], WIRE)
        root = result_root(reduced)
        self.results[root] = reduced
        self.on(Reduced(plan.base, part, included, root))

    def fetch_result(self, base: bytes, result: Signed[Body], sources: list[Node]) -> None:
        root: bytes = result.body.root  # type: ignore[attr-defined]
        if not sources:
            self.later(0.01, lambda: self.on(ResultMissing(base, result.id)))
            return
        source, rest = sources[0], sources[1:]
        self.results.update(self.disk.results)
        if root in self.results:
            self.later(0.0, lambda: self.on(ResultFetched(base, result.id)))
            return

        def arrive() -> None:
            if self.world.reachable(self, source) and root in source.results:
                self.results[root] = source.results[root]
                self.on(ResultFetched(base, result.id))
            else:
                self.fetch_result(base, result, rest)

        delay_s = self.world.delay() * 2 if self.world.reachable(self, source) else IO_TIMEOUT_S / 4
        self.later(delay_s, arrive)

    def apply(self, plan: Plan, ids: tuple[bytes, ...]) -> None:
        assert self.member is not None
        if self.member.round is None or self.member.round.base != plan.base:
            return
        state = self.disk.states.get(self.member.round.head.state)
        assert state is not None
        chunks = []
        for id_ in ids:
            record = next(record for record in self.member.round.pool.all() if record.id == id_)
            root: bytes = record.body.root  # type: ignore[attr-defined]
            self.disk.results[root] = self.results[root]
            chunks += self.results[root]
        mean = codec.decode_all(chunks, SHAPE.update_elems, WIRE)
        after = outer.advance(state, mean, self.world.terms.outer)
        self.applied[ids] = after
        self.on(Applied(plan.base, ids, after.digest))

    def fetch_state(self, certificate: Certificate) -> None:
        def arrive() -> None:
            for other in self.world.nodes:
                if (
                    other is not self
                    and self.world.reachable(self, other)
                    and certificate.head.state in other.disk.states
                ):
                    state = other.disk.states[certificate.head.state]
                    self.disk.states[state.digest] = state
                    self.on(StateFetched(certificate.id))
                    return
            self.on(StateMissing(certificate.id))

        self.later(self.world.delay() * 5, arrive)

    def adopt(self, certificate: Certificate) -> None:
        head = certificate.head
        if head.state not in self.disk.states:
            self.disk.states[head.state] = self.applied[head.results]
        assert self.disk.states[head.state].digest == head.state
        for root in list(self.disk.results)[: -3 * len(self.world.nodes)]:
            del self.disk.results[root]
        self.disk.previous = self.disk.certificate
        self.disk.certificate = certificate
        keep = {head.state} | {state for state in list(self.disk.states)[-4:]}
        self.disk.states = {key: state for key, state in self.disk.states.items() if key in keep}
        self.disk.own = [record for record in self.disk.own if record.body.round + 2 >= head.number]  # type: ignore[attr-defined]
        self.world.adopted(self, certificate)


class World:
    """N nodes, a network and the invariants."""

    def __init__(
        self, seed: int, nodes: int, rounds: int = 5, min_peers: int | None = None, stall_s: float = 1e6
    ) -> None:
        self.rng = random.Random(seed)
        self.now_s = 0.0
        self.weather = Weather()
        self.terms = terms(rounds, min_peers or nodes, stall_s)
        self.groups: list[set[int]] | None = None
        self.nodes = [
            Node(
                self,
                index,
                self.rng.uniform(0.05, 0.2),
                self.rng.uniform(0.98, 1.02),
                self.rng.uniform(0, 1000),
            )
            for index in range(nodes)
        ]
        self.peers = {node.peer_id: node for node in self.nodes}
        self.heads: dict[tuple[bytes, int], bytes] = {}
        self.blamed: list[tuple[int, int, str, str]] = []
        self.trace = hashlib.sha256()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0

    # Time

    def schedule(self, delay_s: float, action: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (self.now_s + delay_s, self._sequence, action))

    def run_until(self, done: Callable[[], bool], limit_s: float) -> bool:
        """Run until `done`, at most `limit_s` of simulated time."""
        end_s = self.now_s + limit_s
        while self._heap and not done():
            at_s, _, action = heapq.heappop(self._heap)
            if at_s > end_s:
                self.now_s = end_s
                self.schedule(0, action)
                return done()
            self.now_s = at_s
            action()
        return done()

    # Network

    def delay(self) -> float:
        return self.rng.expovariate(1 / self.weather.delay_s)

    def reachable(self, one: Node, other: Node) -> bool:
        if not (one.up and other.up):
            return False
        return self.groups is None or any({one.index, other.index} <= group for group in self.groups)

    def send(self, source: Node, to: Node, arrive: Callable[[], None]) -> None:
        copies = 1 + (self.rng.random() < self.weather.repeat)
        for _ in range(copies):
            if self.rng.random() >= self.weather.loss:
                self.schedule(self.delay(), lambda: arrive() if self.reachable(source, to) else None)

    def broadcast(self, source: Node, wire: bytes) -> None:
        for node in self.nodes:
            if node is not source:
                self.send(
                    source, node, lambda node=node: node.on(RecordArrived(opened(wire), source.peer_id))
                )  # type: ignore[misc]

    def by_id(self, peer_id: str) -> Node:
        return self.peers[peer_id]

    # Scenario

    def start(self) -> None:
        for node in self.nodes:
            node.start(founder=node.index == 0)

    def done(self) -> bool:
        """All nodes that are up hold the last head."""
        return all(
            node.disk.certificate is not None and node.disk.certificate.head.number >= self.terms.round.rounds
            for node in self.nodes
            if node.up
        )

    def round_of(self, index: int) -> int:
        certificate = self.nodes[index].disk.certificate
        return certificate.head.number if certificate else -1

    def top(self) -> int:
        return max(self.round_of(node.index) for node in self.nodes)

    # Invariants

    def note(self, node: Node, event: Event) -> None:
        record = event.record.id.hex() if isinstance(event, RecordArrived) else ""
        self.trace.update(f"{self.now_s:.9f} {node.index} {type(event).__name__} {record}\n".encode())

    def adopted(self, node: Node, certificate: Certificate) -> None:
        head = certificate.head
        known = self.heads.setdefault((head.branch, head.number), certificate.id)
        assert known == certificate.id, (
            f"two heads for round {head.number} of one branch, at node {node.index}"
        )
        open_certificate(certificate.wire, SWARM, node.peer_id)

    def check(self, node: Node) -> None:
        assert not self.blamed, self.blamed
        certificate = node.disk.certificate
        if certificate is not None:
            assert certificate.head.state in node.disk.states


@lru_cache(maxsize=1)
def genesis_state() -> State:
    values = np.zeros(SHAPE.elems, np.float32)
    values[: SHAPE.params] = np.random.default_rng(7).normal(0, 0.1, SHAPE.params)
    return State(SWARM, 0, SHAPE, values)


__all__ = ["RemoteProtocolError", "Stop", "Weather", "World"]
