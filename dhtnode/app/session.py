"""A node's work in its swarm, from the first head to the last word: each part made once, given what it needs.

The pure core (`Validator` over `Member`) says what to do, `Performer` does it, and the rest answers
members' questions or watches. The node's own life, with its signals and its daemon, is `node`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from dhtnode.app.bulletin import Bulletin
from dhtnode.app.canaries import Canaries
from dhtnode.app.disclosing import Disclosing
from dhtnode.app.disputes import Disputes
from dhtnode.app.effects import TOPIC, Performer
from dhtnode.app.gaps import Gaps
from dhtnode.app.governing import Governing
from dhtnode.app.joining import RENEW_S, Joining
from dhtnode.app.judging import Judging
from dhtnode.app.lookout import Lookout
from dhtnode.app.memory import Memory
from dhtnode.app.opinions import Opinions
from dhtnode.app.report import Report
from dhtnode.app.shards import Shards
from dhtnode.app.standing import Standing
from dhtnode.app.talk import Talk
from dhtnode.app.vouching import Vouching
from dhtnode.config import Progress, RunOptions
from dhtnode.driver import Driver
from dhtnode.errors import ConfigError, Exit, TransportError
from dhtnode.net.chunks import serve_chunks
from dhtnode.net.gossip import REJOIN_S
from dhtnode.net.multiaddress import split_peer
from dhtnode.net.network import Network
from dhtnode.records import Signed
from dhtnode.store import Store
from training.chain import Certificate, found
from training.codec import chunk_sizes
from training.events import Tick
from training.exchange import Exchange
from training.gathering import RoundContext
from training.inner import Trainer
from training.library import Library
from training.member import Member
from training.messages import Head
from training.state import State
from training.worker import Worker
from validation.cases import Case
from validation.commitment import find_fault
from validation.entry import Entry, Gate
from validation.events import NodeEffect, NodeEvent, Show
from validation.exhibits import Exhibits
from validation.lottery import Chain
from validation.profile import device_profile
from validation.regard import Reputed
from validation.reopening import Reopening
from validation.validator import Validator
from validation.witness import Witness

log = logging.getLogger(__name__)

REPORT_S = 1.0
FAREWELL_S = 3.0
"""How long a node that leaves waits for its neighbours' last word. A guess."""


class Session:
    """Everything that takes part in rounds.

    Args:
        options: what the node was told.
        progress: shown the status whenever it changes.
        store: what a restart takes up.
        memory: the same, as the core's records and states.
        report: told of what people want to know.
        network: started.
        joining: keeps the node known.
        trainer: made for manifest and task.
        worker: around it.
        content: the dataset.
        search: for this node's own proof of work, if one is asked for; it may take longer than all else.
        leaves: whether the user has asked the node to stop.
        on_own_conviction: told when this node's own key is out.
    """

    def __init__(
        self,
        options: RunOptions,
        progress: Progress,
        store: Store,
        memory: Memory,
        report: Report,
        network: Network,
        joining: Joining,
        trainer: Trainer,
        worker: Worker,
        content: bytes,
        *,
        search: asyncio.Task[Signed[Entry] | None],
        leaves: Callable[[], bool],
        on_own_conviction: Callable[[Case], None],
    ) -> None:
        self._options = options
        self._progress = progress
        self._store = store
        self._memory = memory
        self._report = report
        self._network = network
        self._joining = joining
        self._trainer = trainer
        self._worker = worker
        self._leaves = leaves
        self._begun = asyncio.Event()
        self._identity = identity = options.home.identity()
        self._swarm_id = swarm_id = options.manifest.swarm_id
        terms = options.manifest.terms
        wire, elems = terms.wire, trainer.shape.update_elems
        in_force = trainer.in_force
        in_force.check = trainer.check

        self._library = library = Library(swarm_id, trainer.shape)
        library.add_dataset(terms.data, content)
        self._exchange = exchange = Exchange(network.streams, wire, elems, self.post)
        for base, chunks in memory.results():
            exchange.keep_result(base, chunks)
        chain = Chain(identity, swarm_id)
        witness, gate = Witness(terms.reputation, identity.peer_id), Gate(terms.reputation.entry_bits)
        context = RoundContext(
            identity=identity,
            swarm_id=swarm_id,
            in_force=in_force,
            chunk_count=len(chunk_sizes(elems, wire)),
            device=device_profile(options.device),
            find_fault=find_fault,
            link=chain.link,
            regard=Reputed(in_force, witness.opinion, witness.is_banned, witness.matched, gate.may_enter),
            adoptable=lambda head: self.governing.assembly.adoptable(head),
            dated=lambda round_no: self.shards.dated(round_no),
        )
        member = report.member = Member(context, Driver.now_s())
        self._canaries = Canaries(
            *(identity, swarm_id, context.device, terms, network, worker),
            members=lambda: member.certificate.head.members if member.certificate else (),
            spawn=lambda work: self._driver.spawn(work),
        )
        self._standing = standing = report.standing = Standing(
            *(store, in_force, swarm_id, identity),
            parameters=trainer.shape.params,
            sizes_K=exchange.sizes_K,
        )
        self._validator = validator = Validator(
            *(member, witness, gate, chain, self._canaries.eps_ppm), backing=standing.bonds
        )
        report.validator, self._search = validator, search
        for shown in memory.entries():
            validator.admit(shown)
        standing.restore(validator, memory.cases())
        self.governing = report.governing = Governing(
            *(identity, in_force, standing.vested_before),
            head=self._head,
        )
        self.shards = Shards(store, identity, swarm_id, terms.data, content, standing, self._head)
        self.bulletin = Bulletin(
            network, store, identity, swarm_id, report.blamed, [self.governing, self.shards]
        )
        self.vouching = Vouching(
            *(identity, swarm_id, validator, standing.bonds, self._head, self._running),
        )
        self._opinions = standing.opinions = Opinions(network, validator, identity, swarm_id, report.blamed)
        self._disclosing = Disclosing(network, store, self._newest)
        validator.remember(memory.cases())
        against_me = [case for case in memory.cases() if case.guilty == identity.peer_id]
        for case in against_me:
            if case.is_for_good:
                on_own_conviction(case)
        exhibits = Exhibits(network.streams, swarm_id, wire, exchange.sizes_K)
        self._lookout: Lookout | None = None
        if terms.data.mode == "private":
            self._lookout = report.lookout = Lookout(identity, swarm_id, wire)
        reopening = Reopening(network.streams, swarm_id, in_force, trainer.boundary_bytes)
        running = self._running
        disputes = Disputes(running, validator, memory, reopening, library=library, worker=worker, wire=wire)
        self._judging = Judging(
            *(running, validator, identity.peer_id, memory),
            exchange=exchange,
            exhibits=exhibits,
            disputes=disputes,
            library=library,
            worker=worker,
            wire=wire,
        )
        gaps = Gaps(network, validator, standing, running, swarm_id, report.blamed)
        self._talk = Talk(network, validator, running, swarm_id, report.blamed, gaps, self._lookout)
        self._performer = Performer(
            *(running, network, memory, exchange, library, worker, report, self._talk.ask),
            judging=self._judging,
            lookout=self._lookout,
            fetch_amendments=self._fetch_amendments,
            cannot_follow=self._on_cannot_follow,
        )
        self._driver: Driver[NodeEvent, NodeEffect] = Driver(validator, self._performer.perform, Tick())
        report.on_adopted = self._on_adopted
        if not against_me:  # who starts a banned node again wants to wait for the end of the ban
            report.on_own_conviction = on_own_conviction
        report.on_finished = self._on_finished
        self._outdated = ""
        """Why this node can't go on."""

    async def run(self) -> None:
        """Serve, begin where the node has left off or where the swarm is, and work until the end.

        Raises:
            DivergedError: training has led to nothing finite.
            ConfigError: TERMS (8); the swarm goes on under terms that this node can't apply.
        """
        await self._exchange.serve()
        await self._judging.serve()
        if self._options.manifest.terms.data.mode == "shared":
            await self._canaries.serve()
        await self._opinions.serve()
        await self._disclosing.serve()
        await serve_chunks(self._network.streams, self._library)
        await self._talk.serve()
        await self.bulletin.serve()
        self.governing.restore(self.bulletin)
        self.shards.restore(self.bulletin)

        own = self._memory.own()
        genesis = self._trainer.genesis()
        self._library.add_state(genesis)
        newest = self._memory.newest_head(self._trainer.shape)
        if not self._store.known_peers():
            await self._talk.listen()
        if newest is None and not own and self._founds():
            newest = await self._found(genesis)

        def begin() -> list[NodeEffect]:
            self._begun.set()
            if not self._talk.listens:
                self._driver.spawn(self._talk.listen(REJOIN_S))
            self._driver.spawn(self.bulletin.listen(REJOIN_S if self._store.known_peers() else 0.0))
            beside = (
                self._pay(),
                self._joining.watch(),
                self._keep_present(),
                self._talk.keep_asking(),
                self._keep_reporting(),
                self._opinions.keep_asking(),
                self.bulletin.keep_asking(),
                self.shards.keep_saying(self.bulletin),
                self.shards.keep_looking(self.bulletin),
            )
            for work in beside:
                self._driver.spawn(work)
            if newest is not None:
                certificate, state = newest
                self._library.add_state(state)
                effects = self._validator.resume(certificate, own, Driver.now_s())
                self._standing.stand_on(certificate)
                self.governing.stood(self.bulletin)
                self._report.began(state)
                return effects
            self._validator.member.remember(own)
            for peer in self._network.connected_peers():
                self._talk.ask(peer)
            return []

        await self._driver.run(begin)
        if self._outdated:
            raise ConfigError(
                f"this node can't follow the swarm: {self._outdated}; update dhtnode and start it again, "
                "its home stays as it is",
                Exit.TERMS,
            )

    def post(self, event: NodeEvent) -> None:
        """Let the core take in an event."""
        self._driver.post(event)

    def greet(self, peer: str) -> None:
        """A peer has connected: ask it for what this node lacks."""
        if self._driver.runs:
            self._talk.ask(peer)

    async def sample(self) -> str:
        """Text that the newest state's model writes, once there is one."""
        await self._begun.wait()
        certificate = self._newest()
        state = self._library.state(certificate.head.state) if certificate else None
        return await self._worker.sample(state) if state else ""

    def _running(self) -> Driver[NodeEvent, NodeEffect]:
        return self._driver

    def _newest(self) -> Certificate | None:
        return self._validator.member.certificate

    def _head(self) -> Head | None:
        certificate = self._newest()
        return certificate.head if certificate else None

    def _founds(self) -> bool:
        """Whether there is nobody to wait for who may show the swarm's head."""
        bootstrap = (*self._options.peers, *self._options.manifest.terms.network.bootstrap)
        first = not bootstrap or (
            split_peer(bootstrap[0])[0] == self._identity.peer_id and not self._network.connected_peers()
        )
        return first and not self._store.known_peers()

    async def _found(self, genesis: State) -> tuple[Certificate, State]:
        """The swarm's first head, on the disk before anything is said that builds on it."""
        log.info("nobody to join: this node founds the swarm")
        certificate = found(self._identity, self._swarm_id, None, genesis.digest)
        await self._memory.keep_head(certificate, genesis)
        return certificate, genesis

    @property
    def may_enter(self) -> bool:
        """Whether this node would be let in as it is, as far as it can see: it has paid, or need not."""
        return self._validator.gate.may_enter(self._identity.peer_id)

    # What runs beside the core

    async def _pay(self) -> None:
        """Show the own proof of work, from the first `Ready` on or as soon as it is found."""
        entry = await self._search
        self._report.entrance = ""
        if entry is None:
            return
        self._validator.entry = entry
        self._validator.admit(entry)
        self._driver.perform_all([Show(entry)])

    async def _keep_present(self) -> None:
        while True:
            try:
                await self._joining.keep_present(self._newest())
            except TransportError as error:
                log.debug("presence not renewed: %s", error)
            self._joining.remember_connected()
            await asyncio.sleep(RENEW_S)

    async def _keep_reporting(self) -> None:
        while True:
            self._progress(self._report.status())
            await asyncio.sleep(REPORT_S)

    def _on_adopted(self, state: State) -> None:
        head = self._head()
        for news in self.governing.news(head) if head else ():
            self._report.notice(news)
        self._driver.spawn(self._evaluate(state))

    async def _evaluate(self, state: State) -> None:
        scores = self._report.scores = await self._worker.evaluate(state)
        said = self._lookout.say(state.digest, scores) if self._lookout else None
        if said is not None:
            with suppress(TransportError):
                await self._network.publish(TOPIC, said.wire)
        self._report.scored_round = state.round_no
        self._progress(self._report.status())
        self._store.save_status(self._report.status())

    async def _fetch_amendments(self, head: Head) -> None:
        await self.governing.fetch(self.bulletin, list(self._network.connected_peers()), head)

    # The end

    def _on_cannot_follow(self, why: str) -> None:
        self._outdated = why
        self._driver.spawn(self._part())

    def _on_finished(self, why: str) -> None:
        log.info("%s", why)
        if self._leaves() or not self._options.stay:
            self._driver.spawn(self._part())

    async def _part(self) -> None:
        """Go when all that was said is out and all that was reached is on the disk.

        Gossip is only queued when the daemon takes it: an answer to a later question shows that the
        line to that peer has moved.
        """
        await self._performer.settled()
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                peers = self._network.connected_peers()
                await asyncio.gather(*(self._talk.exchange(peer) for peer in peers))
        self._driver.end()
