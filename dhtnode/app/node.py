"""One node's life: this file and its neighbours are the only ones that know all rooms.

Start: home and store, network, data, trainer. Then the session runs until the rounds are done or the user
stops it, and all is taken down again, whatever happened.
"""

from __future__ import annotations

import asyncio
import logging
import signal

import msgspec

from dhtnode.app.dataset import dataset_from_peers, local_dataset
from dhtnode.app.entrance import own_entry
from dhtnode.app.joining import Joining
from dhtnode.app.memory import Memory
from dhtnode.app.report import Report
from dhtnode.app.session import Session
from dhtnode.config import Progress, RunOptions
from dhtnode.control import Handler, control_server
from dhtnode.errors import ConfigError, Exit
from dhtnode.net.daemon import DaemonConfig
from dhtnode.net.multiaddress import split_peer
from dhtnode.net.network import Network, NetworkConfig
from dhtnode.records import Signed
from dhtnode.store import Store
from training.events import HeadOffered, Stop
from training.inner import Trainer
from training.outer import DivergedError
from training.tasks import Task, load_task
from training.worker import Worker
from validation.cases import Case
from validation.entry import Entry
from validation.events import NodeEvent

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
        self._session: Session | None = None
        self._daemon_death = ""
        self._out: Case | None = None
        self._built = asyncio.Event()
        self._stop_asked = asyncio.Event()
        self._end_now = asyncio.Event()

    async def run(self) -> int:
        """Start everything, work, and take everything down again, whatever happens."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        handlers: dict[str, Handler] = {
            "status": self._answer_status,
            "stop": self._answer_stop,
            "sample": self._answer_sample,
            "propose": self._answer_propose,
            "vote": self._answer_vote,
            "proposals": self._answer_proposals,
            "register": self._answer_register,
            "shards": self._answer_shards,
            "vouch": self._answer_vouch,
        }
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
                f"If it did not cheat, it computes wrongly: test its memory; {self._way_back(self._out)}",
                Exit.FAILED,
            )
        failure = results[0]
        if isinstance(failure, DivergedError):
            raise ConfigError(str(failure), Exit.FAILED) from failure
        if isinstance(failure, BaseException) and not isinstance(failure, asyncio.CancelledError):
            raise failure
        return Exit.OK

    def _on_signal(self) -> None:
        if self._stop_asked.is_set() or self._session is None:
            self._end_now.set()
            return
        log.info("stopping: the current round is finished or left first (again to stop at once)")
        self._stop_asked.set()
        self._session.post(Stop())

    async def _start_and_work(self) -> None:
        task = load_task(self._manifest.terms.task, self._options.folder)
        content = local_dataset(self._options, self._identity.peer_id)
        self._report.starting = "starting the network"
        search = asyncio.create_task(self._pay())
        try:
            await self._go(task, content, search)
        finally:
            search.cancel()
            await asyncio.gather(search, return_exceptions=True)

    async def _go(
        self, task: Task, content: bytes | None, search: asyncio.Task[Signed[Entry] | None]
    ) -> None:
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
            self._report.parameters, self._report.unit = trainer.shape.params, task.unit
            worker = Worker(self._manifest, task, shard, trainer, self._identity.peer_id)
            self._report.worker = worker
            try:
                await self._work(network, joining, trainer, worker, content, search)
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
        watching = asyncio.create_task(joining.watch())
        try:
            return await dataset_from_peers(self._options, network, self._tell)
        finally:
            watching.cancel()

    def _tell(self, text: str) -> None:
        """What the node does before it has begun, for the status."""
        self._report.starting = text

    def _tell_search(self, text: str) -> None:
        """How far the search for the proof of work is; it goes on beside all else."""
        self._report.entrance = text

    async def _pay(self) -> Signed[Entry] | None:
        """The own proof of work, unless a member answers for this node meanwhile."""
        return await own_entry(
            *(self._memory, self._identity, self._swarm_id),
            bits=self._manifest.terms.reputation.entry_bits,
            tell=self._tell_search,
            is_needed=lambda: self._session is None or not self._session.may_enter,
        )

    async def _work(
        self,
        network: Network,
        joining: Joining,
        trainer: Trainer,
        worker: Worker,
        content: bytes,
        search: asyncio.Task[Signed[Entry] | None],
    ) -> None:
        session = self._session = Session(
            *(self._options, self._progress, self._store, self._memory, self._report),
            *(network, joining, trainer, worker, content),
            search=search,
            leaves=self._stop_asked.is_set,
            on_own_conviction=self._on_own_conviction,
        )
        network.died.add_done_callback(self._on_daemon_death)
        self._built.set()
        await session.run()

    # Events from the network

    def _post(self, event: NodeEvent) -> None:
        if self._session is not None:
            self._session.post(event)

    def _on_connect(self, peer: str) -> None:
        if self._session is not None:
            self._session.greet(peer)

    def _on_own_conviction(self, case: Case) -> None:
        self._out = case
        self._end_now.set()

    def _way_back(self, out: Case) -> str:
        if out.is_for_good:
            return "a new --home has a new key"
        rounds = self._manifest.terms.reputation.ban_rounds
        return f"its ban takes {rounds} rounds or more; started again, it waits and takes no part"

    def _on_daemon_death(self, died: asyncio.Future[str]) -> None:
        if not died.cancelled():
            self._daemon_death = died.result()
            self._end_now.set()

    # Questions over the control socket

    async def _answer_status(self) -> object:
        return self._report.status()

    async def _answer_stop(self) -> object:
        self._on_signal()
        return "stopping"

    async def _answer_sample(self) -> object:
        await self._built.wait()
        return await self._session.sample() if self._session else ""

    async def _answer_propose(self, changes: str, effect: str = "", why: str = "") -> object:
        session = self._working
        wanted = msgspec.json.decode(changes, type=dict[str, str])
        return await session.governing.propose(session.bulletin, wanted, int(effect) if effect else None, why)

    async def _answer_vote(self, proposal: str, choice: str) -> object:
        session = self._working
        return await session.governing.vote(session.bulletin, proposal, choice == "yes")

    async def _answer_proposals(self) -> object:
        return self._working.governing.proposals()

    async def _answer_register(self, domain: str, first: str, chunks: str) -> object:
        session = self._working
        return await session.shards.register(domain, int(first), int(chunks))

    async def _answer_shards(self) -> object:
        return self._working.shards.listed()

    async def _answer_vouch(self, newcomer: str, bond: str = "") -> object:
        return await self._working.vouching.vouch(newcomer, int(bond) if bond else None)

    @property
    def _working(self) -> Session:
        """The session, for questions that only a node in a swarm can answer."""
        if self._session is None:
            raise ConfigError("the node is still starting; try again when 'dhtnode status' has a round")
        return self._session
