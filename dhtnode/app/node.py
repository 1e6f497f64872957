"""One node, put together: this file and its neighbours are the only ones that know all rooms.

Start: home and store, network, data, trainer, core. Then the driver runs until the rounds are done
or the user stops it. Each part is made once, here, and handed what it needs.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress

from dhtnode.app.canaries import Canaries
from dhtnode.app.dataset import dataset_from_peers, local_dataset
from dhtnode.app.disputes import Disputes
from dhtnode.app.effects import TOPIC, Performer
from dhtnode.app.joining import RENEW_S, Joining
from dhtnode.app.judging import Judging
from dhtnode.app.lookout import Lookout
from dhtnode.app.memory import Memory
from dhtnode.app.opinions import Opinions
from dhtnode.app.report import Report
from dhtnode.app.standing import Standing
from dhtnode.app.talk import Talk
from dhtnode.config import Progress, RunOptions
from dhtnode.control import control_server
from dhtnode.driver import Driver
from dhtnode.errors import ConfigError, Exit, TransportError
from dhtnode.net.chunks import serve_chunks
from dhtnode.net.daemon import DaemonConfig
from dhtnode.net.gossip import REJOIN_S
from dhtnode.net.multiaddress import split_peer
from dhtnode.net.network import Network, NetworkConfig
from dhtnode.store import Store
from training.chain import Certificate, found
from training.codec import chunk_sizes
from training.events import HeadOffered, Stop, Tick
from training.exchange import Exchange
from training.gathering import RoundContext
from training.inner import Trainer
from training.library import Library
from training.member import Member
from training.outer import DivergedError
from training.state import State
from training.tasks import load_task
from training.worker import Worker
from validation.cases import Case
from validation.commitment import find_fault
from validation.events import NodeEffect, NodeEvent
from validation.exhibits import Exhibits
from validation.lottery import Chain
from validation.profile import device_profile
from validation.reopening import Reopening
from validation.validator import Validator

log = logging.getLogger(__name__)

REPORT_S = 1.0
FAREWELL_S = 3.0
"""How long a node that leaves waits for its neighbours' last word. A guess."""


class Node:
    """A running node. Use `run_node`."""

    def __init__(self, options: RunOptions, progress: Progress, store: Store) -> None:
        self._options = options
        self._progress = progress
        self._identity = options.home.identity()
        self._manifest = options.manifest
        self._swarm_id = options.manifest.swarm_id
        self._store = store
        self._memory = Memory(options.home, store, self._swarm_id, self._identity.peer_id)
        self._report = Report(options, store, self._identity.peer_id)
        self._driver: Driver[NodeEvent, NodeEffect] | None = None
        self._validator: Validator | None = None
        self._lookout: Lookout | None = None
        self._sampler: Callable[[], Awaitable[str]] | None = None
        self._daemon_death = ""
        self._out: Case | None = None
        self._talk: Talk | None = None
        self._built = asyncio.Event()
        self._stop_asked = asyncio.Event()
        self._end_now = asyncio.Event()

    async def run(self) -> int:
        """Start everything, work, and take everything down again, whatever happens."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        handlers = {"status": self._answer_status, "stop": self._answer_stop, "sample": self._answer_sample}
        task = loop.create_task(self._start_and_work())
        cut = loop.create_task(self._end_now.wait())
        async with control_server(self._options.home.control_path, handlers):
            await asyncio.wait([task, cut], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                log.warning("stopping at once: the current round is left as it is")
                task.cancel()
            cut.cancel()
            results = await asyncio.gather(task, return_exceptions=True)
            self._report.save()
        if self._daemon_death:
            raise ConfigError(
                f"the network daemon died: {self._daemon_death}; start the node again, nothing is lost",
                Exit.NETWORK,
            )
        if self._out is not None:
            raise ConfigError(
                f"this node's key is out of the swarm: {self._out.text}; 'dhtnode audit show' has the proof. "
                "If it did not cheat, it computes wrongly: test its memory; a new --home has a new key",
                Exit.FAILED,
            )
        failure = results[0]
        if isinstance(failure, DivergedError):
            raise ConfigError(str(failure), Exit.FAILED) from failure
        if isinstance(failure, BaseException) and not isinstance(failure, asyncio.CancelledError):
            raise failure
        return Exit.OK

    def _on_signal(self) -> None:
        if self._stop_asked.is_set() or self._driver is None:
            self._end_now.set()
            return
        log.info("stopping: the current round is finished or left first (again to stop at once)")
        self._stop_asked.set()
        self._driver.post(Stop())

    async def _start_and_work(self) -> None:
        task = load_task(self._manifest.terms.task, self._options.folder)
        content = local_dataset(self._options, self._identity.peer_id)
        self._report.starting = "starting the network"
        network = await self._start_network()
        try:
            self._report.network = network
            joining = Joining(
                *(network, self._store, self._identity, self._swarm_id),
                lambda certificate: self._post(HeadOffered(certificate)),
            )
            self._report.joining = joining
            if content is None:
                content = await self._dataset_from_peers(network, joining)
            shard = task.shard(content, self._manifest.terms.data.held_out)
            self._report.starting = "building the model"
            trainer = await asyncio.to_thread(Trainer, self._manifest, task, self._options.device)
            self._report.parameters = trainer.shape.params
            worker = Worker(self._manifest, task, shard, trainer, self._identity.peer_id)
            self._report.worker = worker
            try:
                await self._work(network, joining, trainer, worker, content)
            finally:
                await asyncio.to_thread(worker.close)
        finally:
            joining_done = self._report.joining
            if joining_done is not None:
                joining_done.remember_connected()
            self._report.save()
            await network.stop()
            self._report.network = None

    async def _start_network(self) -> Network:
        bootstrap = (*self._options.peers, *self._manifest.terms.network.bootstrap)
        config = NetworkConfig(
            swarm_id=self._swarm_id,
            daemon=DaemonConfig(
                identity_path=self._options.home.identity_path,
                listen=self._options.listen,
                announce=self._options.announce,
            ),
            bootstrap=bootstrap,
        )
        network = await Network.start(
            config, on_misbehaviour=self._report.blamed, on_connect=self._on_connect
        )
        self._check_reached(network, bootstrap)
        return network

    def _check_reached(self, network: Network, bootstrap: tuple[str, ...]) -> None:
        """A newcomer that reaches nobody has nothing to do; a member goes on and keeps trying."""
        others = [address for address in bootstrap if split_peer(address)[0] != self._identity.peer_id]
        for address, why in network.unreachable.items():
            self._report.notice(f"bootstrap peer {address} does not answer: {why}")
        listed_self = len(others) < len(bootstrap)
        knows_swarm = self._memory.newest_round() > 0 or bool(self._store.known_peers())
        if others and len(network.unreachable) == len(others) and not (listed_self or knows_swarm):
            address, why = next(iter(network.unreachable.items()))
            raise ConfigError(
                f"no bootstrap peer answers, first {address}: {why}; "
                "check that it runs and that its port can be reached, or name another with --peer",
                Exit.NETWORK,
            )

    async def _dataset_from_peers(self, network: Network, joining: Joining) -> bytes:
        def tell(text: str) -> None:
            self._report.starting = text

        watching = asyncio.create_task(joining.watch())
        try:
            return await dataset_from_peers(self._options, network, tell)
        finally:
            watching.cancel()

    async def _work(
        self, network: Network, joining: Joining, trainer: Trainer, worker: Worker, content: bytes
    ) -> None:
        elems = trainer.shape.update_elems
        library = Library(self._swarm_id, trainer.shape)
        library.add_dataset(self._manifest.terms.data, content)
        exchange = Exchange(network.streams, self._manifest.terms.wire, elems, self._post)
        for base, chunks in self._memory.results():
            exchange.keep_result(base, chunks)
        chain = Chain(self._identity, self._swarm_id)
        context = RoundContext(
            identity=self._identity,
            swarm_id=self._swarm_id,
            terms=self._manifest.terms,
            chunk_count=len(chunk_sizes(elems, self._manifest.terms.wire)),
            device=device_profile(self._options.device),
            find_fault=find_fault,
            link=chain.link,
        )
        member = self._report.member = Member(context, Driver.now_s())
        canaries = Canaries(
            *(self._identity, self._swarm_id, context.device, self._manifest.terms, network, worker),
            members=lambda: member.certificate.head.members if member.certificate else (),
            spawn=lambda work: self._running().spawn(work),
        )
        validator = Validator(member, chain, canaries.eps_ppm)
        self._validator = self._report.validator = validator
        standing = self._report.standing = Standing(
            *(self._store, self._manifest.terms, self._swarm_id, self._identity.peer_id),
            parameters=trainer.shape.params,
            sizes_K=exchange.sizes_K,
        )
        standing.restore(validator.witness, self._memory.cases())
        opinions = standing.opinions = Opinions(
            network, validator, self._identity, self._swarm_id, self._report.blamed
        )
        for case in self._memory.cases():
            if case.guilty == self._identity.peer_id:
                self._on_own_conviction(case)
            validator.remember([case])
        wire = self._manifest.terms.wire
        exhibits = Exhibits(network.streams, self._swarm_id, wire, exchange.sizes_K)
        if self._manifest.terms.data.mode == "private":
            self._lookout = self._report.lookout = Lookout(self._identity, self._swarm_id, wire)
        reopening = Reopening(network.streams, self._swarm_id, self._manifest.terms, trainer.boundary_bytes)
        disputes = Disputes(
            *(self._running, validator, self._memory, reopening), library=library, worker=worker, wire=wire
        )
        judging = Judging(
            *(self._running, validator, self._identity.peer_id, self._memory),
            exchange=exchange,
            exhibits=exhibits,
            disputes=disputes,
            library=library,
            worker=worker,
            wire=wire,
        )
        talk = Talk(*(network, validator, self._running, self._swarm_id, self._report.blamed, self._lookout))
        performer = Performer(
            *(self._running, network, self._memory, exchange, library, worker, self._report, talk.ask),
            judging=judging,
            lookout=self._lookout,
        )
        driver = self._driver = Driver(validator, performer.perform, Tick())
        self._report.on_adopted = lambda state: driver.spawn(self._evaluate(worker, state))
        self._report.on_own_conviction = self._on_own_conviction
        self._report.on_finished = lambda why: self._on_finished(why, performer)
        self._sampler = lambda: self._sample(worker, library)
        await exchange.serve()
        await judging.serve()
        if self._manifest.terms.data.mode == "shared":
            await canaries.serve()
        await opinions.serve()
        await serve_chunks(network.streams, library)
        await talk.serve()
        network.died.add_done_callback(self._on_daemon_death)

        own = self._memory.own()
        library.add_state(trainer.genesis())
        newest = self._memory.newest_head(trainer.shape)
        if not self._store.known_peers():
            await talk.listen()
        if newest is None and not own and self._founds(network):
            newest = await self._found(trainer.genesis())

        def begin() -> list[NodeEffect]:
            self._talk = talk
            if not talk.listens:
                driver.spawn(talk.listen(REJOIN_S))
            driver.spawn(joining.watch())
            driver.spawn(self._keep_present(joining))
            driver.spawn(talk.keep_asking())
            driver.spawn(self._keep_reporting())
            driver.spawn(opinions.keep_asking())
            self._built.set()
            if newest is not None:
                certificate, state = newest
                library.add_state(state)
                standing.stand_on(certificate)
                self._report.began(state)
                return validator.resume(certificate, own, Driver.now_s())
            member.remember(own)
            for peer in network.connected_peers():
                talk.ask(peer)
            return []

        await driver.run(begin)

    def _founds(self, network: Network) -> bool:
        """Whether there is nobody to wait for who may show the swarm's head."""
        bootstrap = (*self._options.peers, *self._manifest.terms.network.bootstrap)
        first = not bootstrap or (
            split_peer(bootstrap[0])[0] == self._identity.peer_id and not network.connected_peers()
        )
        return first and not self._store.known_peers()

    async def _found(self, genesis: State) -> tuple[Certificate, State]:
        """The swarm's first head, on the disk before anything is said that builds on it."""
        log.info("nobody to join: this node founds the swarm")
        certificate = found(self._identity, self._swarm_id, None, genesis.digest)
        await self._memory.keep_head(certificate, genesis)
        return certificate, genesis

    # Events from the network

    def _post(self, event: NodeEvent) -> None:
        if self._driver is not None:
            self._driver.post(event)

    def _running(self) -> Driver[NodeEvent, NodeEffect]:
        if self._driver is None:
            raise AssertionError("no driver yet")
        return self._driver

    def _newest(self) -> Certificate | None:
        return self._validator.member.certificate if self._validator else None

    def _on_connect(self, peer: str) -> None:
        if self._talk is not None:
            self._talk.ask(peer)

    def _on_own_conviction(self, case: Case) -> None:
        self._out = case
        self._end_now.set()

    def _on_daemon_death(self, died: asyncio.Future[str]) -> None:
        if not died.cancelled():
            self._daemon_death = died.result()
            self._end_now.set()

    # What runs beside the core

    async def _keep_present(self, joining: Joining) -> None:
        while True:
            try:
                await joining.keep_present(self._newest())
            except TransportError as error:
                log.debug("presence not renewed: %s", error)
            joining.remember_connected()
            await asyncio.sleep(RENEW_S)

    async def _keep_reporting(self) -> None:
        while True:
            self._progress(self._report.status())
            await asyncio.sleep(REPORT_S)

    async def _evaluate(self, worker: Worker, state: State) -> None:
        scores = self._report.scores = await worker.evaluate(state)
        said = self._lookout.say(state.digest, scores) if self._lookout else None
        if said is not None and self._report.network is not None:
            with suppress(TransportError):
                await self._report.network.publish(TOPIC, said.wire)
        self._report.scored_round = state.round_no
        self._progress(self._report.status())
        self._store.save_status(self._report.status())

    def _on_finished(self, why: str, performer: Performer) -> None:
        log.info("%s", why)
        if self._stop_asked.is_set() or not self._options.stay:
            self._running().spawn(self._part(performer))

    async def _part(self, performer: Performer) -> None:
        """Go when all that was said is out and all that was reached is on the disk.

        Gossip is only queued when the daemon takes it: an answer to a later question shows that the
        line to that peer has moved.
        """
        await performer.settled()
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                if self._talk is not None and self._report.network is not None:
                    peers = self._report.network.connected_peers()
                    await asyncio.gather(*(self._talk.exchange(peer) for peer in peers))
        self._running().end()

    # Questions over the control socket

    async def _answer_status(self) -> object:
        return self._report.status()

    async def _answer_stop(self) -> object:
        self._on_signal()
        return "stopping"

    async def _answer_sample(self) -> object:
        await self._built.wait()
        return await self._sampler() if self._sampler else ""

    async def _sample(self, worker: Worker, library: Library) -> str:
        certificate = self._newest()
        state = library.state(certificate.head.state) if certificate else None
        return await worker.sample(state) if state else ""
