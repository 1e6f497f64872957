"""The shell of one simulated node: what the real one does with disk, streams and threads, on a heap.

It keeps the real shell's promises and no others: own records are on the disk before they are sent,
work before it is committed to, results before the step that rests on them is reported; a head is
written after its state and after its adoption. A crash may fall between any two effects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.quota import Quota
from dhtnode.records import Body, Signed, sign
from dhtnode.store import Store
from rewards.governance import GOVERNANCE
from tests.adversary.offences import Offence
from tests.sim.filling import Filling
from tests.sim.floor import Floor
from tests.sim.judging import Judging, Opened
from tests.sim.model import SHAPE, SIZES, SWARM, WIRE, boundary_digest, update_of, walk
from training import codec, outer
from training.chain import Certificate, found
from training.codec import Vector
from training.contribution import Contribution, check_part, check_result, result_root
from training.events import (
    Adopt,
    Applied,
    Apply,
    AskPeer,
    Blame,
    CannotFollow,
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
from training.gathering import RoundContext
from training.member import Member
from training.messages import Head, Result
from training.reduce import reduce_part
from training.round import Phase
from training.segments import boundaries_of, seal_all, segments_root
from training.state import State, from_chunks
from training.sync import Held, open_sync_reply
from validation.cases import Case
from validation.commitment import find_fault
from validation.entry import Entry, Gate, find_nonce
from validation.events import (
    Admit,
    AskSeals,
    Compare,
    Convict,
    Declare,
    Displaced,
    Judged,
    NodeEffect,
    NodeEvent,
    Replay,
    ReplaySegment,
    Rereduce,
    Show,
    Vouched,
)
from validation.lottery import Chain
from validation.messages import Verdict
from validation.regard import Reputed
from validation.reputation import Opinion
from validation.validator import Validator
from validation.voucher import Backing, NoBacking
from validation.witness import Witness

if TYPE_CHECKING:
    from dhtnode.app.standing import Standing
    from tests.sim.world import World

TICK_S = 0.25
SYNC_S = 1.0
IO_TIMEOUT_S = 2.0
HEADS_KEPT = 3


@lru_cache(maxsize=128)
def chain_of(identity: Identity) -> Chain:
    """It follows from the key alone, and takes thousands of hashes: once for all lives of a node."""
    return Chain(identity, SWARM)


@dataclass
class Disk:
    """What survives a crash."""

    heads: list[Certificate] = field(default_factory=list)
    """The newest last."""
    states: dict[bytes, State] = field(default_factory=dict)
    journal: list[Signed[Body]] = field(default_factory=list)
    work: dict[bytes, Contribution] = field(default_factory=dict)
    seals: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    """The boundaries that own work is committed to with."""
    parts: dict[tuple[bytes, int, str], dict[int, bytes]] = field(default_factory=dict)
    """What own results were made from: on disk before they are announced."""
    cases: dict[bytes, Case] = field(default_factory=dict)
    entries: dict[str, Signed[Entry]] = field(default_factory=dict)
    """Proofs of work, by who has shown them."""
    verdicts: dict[bytes, Signed[Verdict]] = field(default_factory=dict)
    store: Store | None = None
    """What the ledger is made from, where the world keeps ledgers."""
    votes: dict[bytes, Signed[Body]] = field(default_factory=dict)
    """Amendments and ballots, in the order in which they were taken in."""
    results: dict[bytes, list[bytes]] = field(default_factory=dict)
    """Results behind an outer step: on disk before the step is voted for."""


class Node:
    """One simulated node.

    Args:
        world: time, network and witness.
        index: its place in the world.
        identity: its key.
        step_s: true seconds that one inner step takes.
    """

    def __init__(self, world: World, index: int, identity: Identity, step_s: float) -> None:
        self.world = world
        self.index = index
        self.identity = identity
        self.peer_id = identity.peer_id
        self.step_s = step_s
        self.bandwidth = 100
        self.disk = Disk()
        self.up = False
        self.life = 0
        self.finished: str | None = None
        self.member: Member | None = None
        self.validator: Validator | None = None
        self.standing: Standing | None = None
        """Where the world keeps ledgers."""
        self.dropped = 0
        """Verdicts that it has kept for a while."""
        self.fuse: int | None = None
        """Effects until a crash that nobody sees coming."""
        self.twist: Callable[[NodeEffect], list[NodeEffect]] = lambda effect: [effect]
        """What a dishonest or broken node does instead of an effect."""
        self.cheat: Callable[[Vector], Vector] = lambda update: update
        """What it commits to instead of what its training gave."""
        self.detour: int | None = None
        """An inner step that it does in another way; what comes after it is honest."""
        self.run: Callable[[bytes, int], list[bytes]] = lambda state, steps: walk(
            state, self.peer_id, range(steps), self.detour
        )
        """The local states of its own run from a state on, of so many steps as it says."""
        self.miscount: Callable[[list[bytes]], list[bytes]] = lambda chunks: chunks
        """What it announces instead of what it has reduced."""
        self.offence: Callable[[int], Offence] = lambda round_no: Offence()
        """What it does with bytes in a round."""
        self.device = "cpu/simulated"
        self.drift: Callable[[Vector], Vector] = lambda update: update
        """What its device makes of the same work."""
        self.tolerance: Callable[[str], int | None] = world.tolerances.get
        """Distance, in ppm, at which work on another device passes here."""
        self.deaf = False
        """Whether no amendment or ballot reaches it by itself."""
        self.pays = True
        """Whether it finds its proof of work."""
        self.opens = True
        """Whether auditors are shown what they ask for."""
        self.answers = True
        """Whether who asks for its boundaries is answered at all."""
        self.opened: Callable[[Opened], Opened] = lambda opened: opened
        """What it shows of its run instead of what it has committed to."""
        self._clock_rate = 1.0
        self._clock_offset_s = 0.0
        self.floor = Floor(self)
        self._forget()

    def _forget(self) -> None:
        self.states: dict[bytes, State] = {}
        self._applied: dict[bytes, State] = {}
        self.results: dict[bytes, list[bytes]] = {}
        self._announced: dict[bytes, list[bytes]] = {}
        """What others get of own results, by root: something else, where there is an offence in it."""
        self._quota = Quota()
        self._plans: dict[bytes, Plan] = {}
        self._parts: dict[tuple[bytes, int, str], list[bytes]] = {}
        self._early_parts: list[tuple[Plan, int, Node, Contribution, Callable[[], None]]] = []
        self._halted: set[bytes] = set()
        self.filling = Filling(self)
        self.judging = Judging(self)

    def __repr__(self) -> str:
        where = self.phase.value if self.phase else self.finished or "no round"
        return f"<{self.index} {'up' if self.up else 'down'} at {self.number}: {where}>"

    # What tests ask

    @property
    def head(self) -> Certificate | None:
        """The newest adopted head: the member's, or what is left of it on the disk."""
        if self.member is not None:
            return self.member.certificate
        return self.disk.heads[-1] if self.disk.heads else None

    @property
    def number(self) -> int:
        return self.head.head.number if self.head else -1

    @property
    def phase(self) -> Phase | None:
        return self.member.round.phase if self.member and self.member.round else None

    @property
    def now_s(self) -> float:
        """The node's own clock."""
        return self.world.now_s * self._clock_rate + self._clock_offset_s

    # Life

    def run_clock(self, rate: float) -> None:
        """From now on its clock counts so many seconds in a true one."""
        self._clock_offset_s = self.now_s - self.world.now_s * rate
        self._clock_rate = rate

    def start(self, founder: bool = False) -> None:
        """Start the process, on what the disk holds. A machine's clock begins anywhere."""
        self.up = True
        self.life += 1
        self.finished = self.fuse = None
        self._clock_rate = self.world.rng.uniform(*self.world.clock_rates)
        self._clock_offset_s = self.world.rng.uniform(0, 1000)
        self._forget()
        chain = chain_of(self.identity)
        self.floor = Floor(self)
        section = self.world.terms.reputation
        witness, gate = Witness(section, self.peer_id), Gate(section.entry_bits)
        context = RoundContext(
            identity=self.identity,
            swarm_id=SWARM,
            in_force=self.floor.in_force,
            chunk_count=len(SIZES),
            device=self.device,
            find_fault=find_fault,
            link=chain.link,
            regard=Reputed(
                self.floor.in_force, self._opinion, self._is_banned, witness.matched, gate.may_enter
            ),
            adoptable=self.floor.assembly.adoptable,
        )
        self.member = Member(context, self.now_s)
        backing: Backing = NoBacking()
        if self.world.ledgers is not None:
            self.disk.store = self.disk.store or self.world.ledgers.open(self.peer_id)
            self.standing = self.world.ledgers.standing(self.disk.store, self.floor.in_force, self.identity)
            backing = self.standing.bonds
        self.validator = Validator(self.member, witness, gate, chain, self.tolerance, backing)
        self._pay()
        if self.standing is not None:
            self.standing.restore(self.validator, self.disk.cases.values())
        self.validator.remember(self.disk.cases.values())
        self.results.update(self.disk.results)
        genesis = self.world.genesis
        self.states[genesis.digest] = genesis
        if founder and not self.disk.heads:
            first = found(self.identity, SWARM, None, genesis.digest)
            self._write(first, genesis)
            self.world.witness.adopted(self.peer_id, self.life, first, genesis)
        own = sorted(self.disk.journal, key=lambda record: record.id)  # the order in which a store gives them
        self.world.witness.resumed(self.peer_id, self.disk.heads, own)
        if self.disk.heads:
            newest = self.disk.heads[-1]
            self.states[newest.head.state] = self.disk.states[newest.head.state]
            effects = self.validator.resume(newest, own, self.now_s)
            if self.standing is not None:
                self.standing.stand_on(newest)
            self.do(effects)
            self.floor.restore(newest.head)
        else:
            self.member.remember(own)
        self.later(self.world.rng.random() * TICK_S, self._tick)
        self.later(self.world.rng.random() * SYNC_S, self._sync)

    def _pay(self) -> None:
        """Take back what others have shown, and find the own proof of work if one is asked for."""
        assert self.validator is not None
        bits, entries = self.world.terms.reputation.entry_bits, self.disk.entries
        if bits and self.pays and self.peer_id not in entries:
            nonce = find_nonce(SWARM, self.peer_id, bits, 0, 2**20)
            entries[self.peer_id] = sign(self.identity, SWARM, Entry(nonce=nonce or b""))
        for entry in entries.values():
            self.validator.admit(entry)
        self.validator.entry = entries.get(self.peer_id)

    def _opinion(self, peer: str) -> Opinion | None:
        """What the scenario says; but who is banned is banned."""
        if self.validator is not None and self.validator.witness.is_banned(peer):
            return self.validator.witness.opinion(peer)
        return self.world.opinions(self.peer_id, peer)

    def _is_banned(self, peer: str) -> bool:
        opinion = self._opinion(peer)
        return opinion is not None and opinion.banned_until != 0

    def crash(self, lose_newest: bool = False) -> None:
        """End without warning; what was said is on disk, the newest head perhaps not yet."""
        if lose_newest and len(self.disk.heads) > 1:
            self.disk.heads.pop()
            self.world.witness.stored(self.peer_id, self.disk.heads[-1])
        self._end()

    def leave(self) -> None:
        """Ctrl-C."""
        self.on(Stop())

    def _end(self) -> None:
        self.up = False
        self.life += 1
        self.member = self.validator = self.standing = None

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something unless the node has ended by then."""
        life = self.life
        self.world.schedule(delay_s, lambda: action() if self.life == life else None)

    def _tick(self) -> None:
        self.on(Tick())
        self.later(TICK_S, self._tick)

    def on(self, event: NodeEvent) -> None:
        """Hand an event to the core and do what it asks for."""
        if isinstance(event, RecordArrived) and event.record.body.KIND in GOVERNANCE:
            self.floor.take(event.record)
        elif self.validator is not None:
            self.world.note(self, event)
            self.do(self.validator.on(event, self.now_s))

    def do(self, effects: Sequence[NodeEffect]) -> None:
        """Perform effects in order, up to a crash."""
        life = self.life
        for wanted in effects:
            for effect in self.twist(wanted):
                if self.life != life or self._fuse_blows():
                    return
                self._perform(effect)

    def _fuse_blows(self) -> bool:
        if self.fuse is None:
            return False
        self.fuse -= 1
        if self.fuse >= 0:
            return False
        self.fuse = None
        self.crash(lose_newest=self.world.rng.random() < 0.5)
        return True

    # Records and heads

    def hear(self, wire: bytes, source: Node) -> None:
        """Bytes that somebody has gossiped."""
        if not self._quota.admit(source.peer_id, self.now_s):
            self.world.blame(self, source.peer_id, "flood", "")
            return
        with self._blaming():
            self.on(RecordArrived(self.world.opened(wire, source), source.peer_id))

    @contextmanager
    def _blaming(self) -> Iterator[None]:
        """Who sends what no node sends is blamed, and no more of it is looked at."""
        try:
            yield
        except RemoteProtocolError as error:
            self.world.blame(self, error.peer, error.reason, error.detail)

    def _sync(self) -> None:
        others = [node for node in self.world.nodes if node is not self and node.up]
        if others:
            other = self.world.rng.choice(others)
            self._ask(other)
            self.floor.ask(other)
        self.later(SYNC_S, self._sync)

    def _ask(self, other: Node) -> None:
        if self.validator is None:
            return
        request = self.validator.sync_request()
        self.world.send(self, other, lambda: other.answer(request, self))

    def answer(self, request: bytes, asker: Node) -> None:
        """Tell a neighbour what it lacks."""
        self.on(Heard(asker.peer_id))
        if self.validator is None:
            return
        with self._blaming():
            reply, effects = self.validator.on_sync_request(request, asker.peer_id, self.now_s)
            self.do(effects)
            self.world.send(self, asker, lambda: asker.take_reply(reply, self))

    def take_reply(self, wire: bytes, other: Node) -> None:
        """What a neighbour has answered."""
        with self._blaming():
            reply = open_sync_reply(wire, other.peer_id)
            self.on(Heard(other.peer_id))
            for record in reply.records:
                self.on(RecordArrived(self.world.opened(record, other), other.peer_id))
            if reply.certificate is not None:
                self.on(HeadOffered(self.world.certificate(reply.certificate, other)))
            self.filling.fill(other, Held(reply.since, reply.root))

    def show_evidence(self, question: bytes, asker: Node) -> bytes | None:
        """What a neighbour is answered that compares sets with this node; None to what is no question."""
        assert self.validator is not None
        try:
            return self.validator.on_question(question, asker.peer_id, self.stored)
        except RemoteProtocolError as error:
            self.world.blame(self, error.peer, error.reason, error.detail)
            return None

    # Effects

    def _perform(self, effect: NodeEffect) -> None:
        match effect:
            case Publish(record):
                self._publish(record)
            case Train(head, steps, budget_s):
                self._train(head, steps, budget_s)
            case Halt(base):
                self._halted.add(base)
            case Finished(why):
                self.finished = why
                if self.world.leave_when_done or "all rounds" not in why:
                    self._end()
            case OpenReduce(plan):
                self._open(plan)
            case SendPart(plan, part, to):
                self._send_part(plan, part, self.world.by_id(to))
            case Reduce(plan, part, included):
                self.later(0.01, lambda: self._reduce(plan, part, included))
            case FetchResult(plan, result, sources):
                self._fetch_result(plan, result, [self.world.by_id(peer) for peer in sources])
            case Apply(plan, results):
                self.later(0.01, lambda: self._apply(plan, results))
            case FetchState(certificate):
                self.later(self.world.state_s(), lambda: self._take_state(certificate))
            case Adopt(certificate, _):
                if self.standing is not None:
                    self.standing.adopted(effect, self.validator)
                self._adopt(certificate)
            case CannotFollow(why):
                self.finished = why
                self._end()
            case AskPeer(peer):
                if peer in self.world.peers:
                    self.later(0.01, lambda: self._ask(self.world.by_id(peer)))
            case Blame(peer, reason, detail):
                self.world.blame(self, peer, reason, detail)
            case Replay() | AskSeals() | ReplaySegment() | Compare() | Rereduce():
                self.judging.look(effect)
            case Declare(verdict):
                self.world.broadcast(self, verdict.wire)
            case Judged(verdict):
                self._judged(verdict)
            case Displaced(verdict):
                self.dropped += 1
                if self.standing is None:
                    del self.disk.verdicts[verdict.id]
                else:
                    self.standing.displaced(verdict)
            case Convict(case):
                self.disk.cases[case.id] = case
                if self.standing is not None:
                    self.standing.convicted(case)
                self.world.witness.convicted(case)
            case Admit(entry):
                self.disk.entries[entry.signer] = entry
            case Vouched(voucher):
                if self.standing is not None:
                    self.standing.vouched(voucher)
            case Show(record):
                self.world.broadcast(self, record.wire)

    def stored(self, id_: bytes) -> bytes | None:
        """A record that a neighbour lacks."""
        verdict = self.disk.verdicts.get(id_)
        return verdict.wire if verdict else self.standing.record(id_) if self.standing else None

    def _judged(self, verdict: Signed[Verdict]) -> None:
        if self.standing is None:
            self.disk.verdicts[verdict.id] = verdict
        else:
            self.standing.judged(verdict)
        self.world.witness.judged(verdict)

    def _publish(self, record: Signed[Body]) -> None:
        self.disk.journal.append(record)
        self.world.witness.said(record)
        if not self._fuse_blows():  # a crash between the disk and the network
            self.world.broadcast(self, record.wire)

    def _train(self, head: Head, steps: int, budget_s: float | None) -> None:
        base, start = head.id, head.state
        if budget_s is not None:
            steps = max(1, min(steps, int(budget_s / self._clock_rate / self.step_s)))

        def done() -> None:
            if base in self._halted:
                return
            states = self.run(start, steps)
            contribution = Contribution.of(
                self.peer_id, base, self.cheat(self.drift(update_of(states[-1]))), WIRE
            )
            terms = self.floor.in_force.at(head.number)
            places = boundaries_of(terms, head.number, steps)
            passed = [boundary_digest(states[place]) for place in places if place < len(states) - 1]
            seals = seal_all(self.peer_id, base, passed)
            self.disk.work[base], self.disk.seals[base] = contribution, seals
            units = steps * terms.inner.batch_size
            offence = self.offence(head.number)
            root = offence.ships(contribution, base).root
            work = Work(*(steps, units, units, root, 1_000_000, self.bandwidth), segments_root(seals))
            self.on(Trained(base, offence.claims(work)))

        self.later(steps * self.step_s, done)

    def _open(self, plan: Plan) -> None:
        self._plans[plan.base] = plan
        waiting, self._early_parts = self._early_parts, []
        for part in waiting:
            self.take_part(*part)

    def _send_part(self, plan: Plan, part: int, to: Node) -> None:
        own = self.disk.work.get(plan.base)
        if own is None:
            return
        contribution = self.offence(plan.round).ships(own, plan.base)

        def failed() -> None:
            self.later(IO_TIMEOUT_S, lambda: self.on(SendFailed(plan.base, plan.roster, part, to.peer_id)))

        def arrive() -> None:  # a stream delivers everything, or fails
            if self.world.reachable(self, to):
                to.take_part(plan, part, self, contribution, failed)
            else:
                failed()

        self.later(self.world.delay() * 2, arrive)

    def take_part(
        self, theirs: Plan, part: int, sender: Node, contribution: Contribution, failed: Callable[[], None]
    ) -> None:
        """Another node's chunks for a part: held against its commitment before they are kept."""
        plan = self._plans.get(theirs.base)
        if plan is None or plan.roster != theirs.roster:
            self._early_parts.append((theirs, part, sender, contribution, failed))
            return
        if sender.peer_id not in plan.members:
            return
        commitment = plan.commitments_N[plan.members.index(sender.peer_id)]
        owned = plan.ranges_N[part]
        chunks = [contribution.chunks_K[index] for index in owned]
        try:
            check_part(commitment, contribution.leaves_K, chunks, owned, SIZES, WIRE)
        except RemoteProtocolError as error:
            self.world.blame(self, error.peer, error.reason, error.detail)
            failed()
            return
        self._parts[(plan.roster, part, sender.peer_id)] = chunks
        self.on(PartArrived(plan.base, plan.roster, part, sender.peer_id))

    def _reduce(self, plan: Plan, part: int, included: tuple[int, ...]) -> None:
        owned = plan.ranges_N[part]
        senders = []
        for place in included:
            commitment = plan.commitments_N[place]
            if commitment.signer == self.peer_id:
                chunks = [self.disk.work[plan.base].chunks_K[index] for index in owned]
            else:
                chunks = self._parts[(plan.roster, part, commitment.signer)]
            senders.append((plan.weights[place], chunks))
            self.disk.parts[(plan.roster, part, commitment.signer)] = dict(zip(owned, chunks, strict=True))
        reduced = reduce_part(senders, [SIZES[index] for index in owned], WIRE, self.world.terms.reduce)
        reduced = self.miscount(reduced)
        announced = self.offence(plan.round).announces(reduced)
        root = result_root(announced)
        self.results[root], self._announced[root] = reduced, announced
        self.on(Reduced(plan.base, plan.roster, part, included, root))

    def _fetch_result(self, plan: Plan, result: Signed[Result], sources: list[Node]) -> None:
        base, root = plan.base, result.body.root
        if root in self.results:
            self.later(0.0, lambda: self.on(ResultFetched(base, result.id)))
            return
        if not sources:
            self.later(0.01, lambda: self.on(ResultMissing(base, result.id)))
            return
        source, rest = sources[0], sources[1:]

        def arrive() -> None:
            if not (
                self.world.reachable(self, source)
                and source.offence(plan.round).serves
                and root in source.results
            ):
                self._fetch_result(plan, result, rest)
                return
            chunks = source._announced.get(root, source.results[root])
            sizes = [SIZES[index] for index in plan.ranges_N[result.body.part]]
            try:
                check_result(result.signer, root, chunks, sizes, WIRE)
            except RemoteProtocolError as error:
                self.world.blame(self, error.peer, error.reason, error.detail)
                self.on(ResultMissing(base, result.id))
                return
            self.results[root] = chunks
            self.on(ResultFetched(base, result.id))

        delay_s = self.world.delay() * 2 if self.world.reachable(self, source) else IO_TIMEOUT_S / 4
        self.later(delay_s, arrive)

    def _apply(self, plan: Plan, results: tuple[Signed[Result], ...]) -> None:
        state = self.states.get(plan.commitments_N[0].body.start)
        if state is None:
            return
        chunks = []
        for result in results:
            part = self.results[result.body.root]
            self.disk.results[result.body.root] = part
            chunks += part
        mean = codec.decode_all(chunks, SHAPE.update_elems, WIRE)
        after = outer.advance(state, mean, self.floor.in_force.at(plan.round))
        self._applied[after.digest] = after
        self.on(Applied(plan.base, tuple(result.id for result in results), after.digest))

    def _take_state(self, certificate: Certificate) -> None:
        """Put a state together from whoever has it; nobody's bytes are believed."""
        wanted, number = certificate.head.state, certificate.head.number
        self.floor.fetch(certificate.head)
        for other in self.world.shuffled(self.world.nodes):
            if wanted in self.states:
                break
            held = other.states.get(wanted)
            if other is self or held is None or not self.world.reachable(self, other):
                continue
            chunks = {index: bytes(chunk) for index, chunk in enumerate(held.chunks)}
            try:
                self.states[wanted] = from_chunks(SWARM, number, SHAPE, chunks, wanted)
            except ValueError as error:
                self.world.blame(self, other.peer_id, "bad-chunk", str(error))
        here = wanted in self.states
        self.on(StateFetched(certificate.id) if here else StateMissing(certificate.id))

    def _adopt(self, certificate: Certificate) -> None:
        digest_ = certificate.head.state
        state = self._applied.get(digest_) or self.states.pop(digest_)
        self._applied.clear()
        self.states[digest_] = state
        self.states = dict(list(self.states.items())[-HEADS_KEPT:])
        self.world.witness.adopted(self.peer_id, self.life, certificate, state)
        self.later(self.world.delay(), lambda: self._write(certificate, state))

    def _write(self, certificate: Certificate, state: State) -> None:
        self.disk.states[state.digest] = state
        self.disk.heads = [*self.disk.heads, certificate][-HEADS_KEPT:]
        self.world.witness.stored(self.peer_id, certificate)
        kept = {head.head.state for head in self.disk.heads}
        self.disk.states = {key: state for key, state in self.disk.states.items() if key in kept}
        for root in list(self.disk.results)[: -3 * len(self.world.nodes)]:
            del self.disk.results[root]
