"""The node's network in one object: what the rest of the node sees of libp2p.

Composes the daemon, its streams, its gossip and the DHT on one identity. Everything runs in the
caller's event loop; nothing here forks, and nothing above here knows hivemind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from dhtnode.errors import LocalProtocolError, TransportError
from dhtnode.identity import Identity
from dhtnode.net.attempts import in_good_time
from dhtnode.net.daemon import Daemon, DaemonConfig
from dhtnode.net.dht import Dht
from dhtnode.net.gossip import Gossip
from dhtnode.net.instance import answer_instance_questions, refuse_second_instance
from dhtnode.net.multiaddress import is_loopback, split_peer
from dhtnode.net.streams import DIAL_DEADLINE_S, Streams, Traffic

log = logging.getLogger(__name__)

POLL_S = 1.0


@dataclass(frozen=True)
class NetworkConfig:
    """What a node needs to know to join a swarm's network."""

    swarm_id: bytes
    """32 bytes; part of every protocol name, topic and DHT key."""
    daemon: DaemonConfig
    bootstrap: tuple[str, ...] = ()
    """Multiaddrs with /p2p/ of peers to dial at the start."""
    check_instance: bool = True
    """Ask the bootstrap peers first whether this identity runs already."""


def _nothing(*_: str) -> None:
    """What happens to events that the caller did not ask for."""


class Network:
    """A started network. Use `Network.start`.

    Attributes:
        peer_id: own peer id.
        unreachable: bootstrap address -> one line why it did not answer. The caller decides.
        streams, gossip, dht: the parts; `open`, `serve`, `request`, `on_request`, `publish`,
            `subscribe`, `announce` and `lookup` are theirs.
    """

    def __init__(
        self,
        daemon: Daemon,
        streams: Streams,
        gossip: Gossip,
        dht: Dht,
        on_connect: Callable[[str], None],
        on_disconnect: Callable[[str], None],
    ) -> None:
        self.peer_id = daemon.peer_id
        self.unreachable: dict[str, str] = {}
        self.streams, self.gossip, self.dht = streams, gossip, dht
        self.open, self.serve = streams.open, streams.serve
        self.request, self.on_request = streams.request, streams.on_request
        self.publish, self.subscribe = gossip.publish, gossip.subscribe
        self.announce, self.lookup = dht.announce, dht.lookup
        self._daemon = daemon
        self._on_connect, self._on_disconnect = on_connect, on_disconnect
        self._addresses: list[str] = []
        self._peers: dict[str, list[str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def start(
        cls,
        config: NetworkConfig,
        *,
        on_misbehaviour: Callable[[str, str], None] = _nothing,
        on_connect: Callable[[str], None] = _nothing,
        on_disconnect: Callable[[str], None] = _nothing,
    ) -> Network:
        """Start the daemon, dial the bootstrap peers, join the DHT.

        Args:
            config: see there.
            on_misbehaviour: (peer, reason) when a peer breaks a protocol.
            on_connect: a peer is connected; within about a second, never before this returns.
            on_disconnect: the last connection to a peer is gone.

        Raises:
            ConfigError: exit code NETWORK: port in use, bad address, identity runs elsewhere, the
                daemon does not start. Bootstrap peers that do not answer are no error here: see
                `unreachable`.
        """
        if config.daemon.identity_path is None:
            raise LocalProtocolError("a node's network needs the node's identity")
        identity = Identity.load(config.daemon.identity_path)
        targets = [address for address in config.bootstrap if split_peer(address)[0]]
        if targets and config.check_instance:
            await refuse_second_instance(identity.peer_id, config.swarm_id, targets)
        daemon = await Daemon.start(config.daemon)
        streams = Streams(daemon.control, config.swarm_id, on_misbehaviour)
        gossip = Gossip(daemon.control, config.swarm_id, streams.traffic, on_misbehaviour)
        try:
            dht = await Dht.start(daemon.control.path, identity, config.swarm_id)
        except BaseException:
            await daemon.stop()
            raise
        network = cls(daemon, streams, gossip, dht, on_connect, on_disconnect)
        try:
            await network._join(targets)
        except BaseException:
            await network.stop()
            raise
        return network

    async def stop(self) -> None:
        """Close everything and end the daemon."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.gossip.stop()
        await self.streams.stop()
        await self.dht.stop()
        await self._daemon.stop()

    @property
    def died(self) -> asyncio.Future[str]:
        """Resolves with a readable reason when the daemon ends by itself."""
        return self._daemon.died

    @property
    def daemon_pid(self) -> int:
        return self._daemon.pid

    @property
    def traffic(self) -> Traffic:
        return self.streams.traffic

    def addresses(self) -> list[str]:
        """Multiaddrs at which others can dial us, those of this machine alone last."""
        return sorted((f"{address}/p2p/{self.peer_id}" for address in self._addresses), key=is_loopback)

    def connected_peers(self) -> dict[str, list[str]]:
        """Connected peers and the remote addresses of their connections; a second old at most."""
        return dict(self._peers)

    async def connect(self, address: str, timeout_s: float = DIAL_DEADLINE_S) -> str:
        """Dial a multiaddr with /p2p/ and return the peer id behind it.

        Raises:
            ConfigError: not such a multiaddr.
            TransportError: nobody answers there, or another peer does.
        """
        peer, dial = split_peer(address)
        await self._daemon.control.connect(peer, [dial], timeout_s)
        return peer

    async def disconnect(self, peer: str) -> None:
        """Close all connections to a peer. It may dial again."""
        await self._daemon.control.disconnect(peer)

    async def _join(self, bootstrap: list[str]) -> None:
        await self.streams.start()
        await answer_instance_questions(self.streams, self.peer_id)
        others = [address for address in bootstrap if split_peer(address)[0] != self.peer_id]
        self.unreachable = dict.fromkeys(others, "no answer yet, and others were quicker")
        await in_good_time([self._dial_bootstrap(address) for address in others])
        joined, _ = await self._poll()
        await asyncio.gather(*(self.dht.greet(peer) for peer in joined))
        self._start(self._keep_watching(joined))

    async def _dial_bootstrap(self, address: str) -> str | None:
        try:
            peer = await self.connect(address)
        except TransportError as error:
            self.unreachable[address] = str(error)
            return None
        self.unreachable.pop(address, None)
        return peer

    async def _keep_watching(self, joined: set[str]) -> None:
        """Report who came and went. The first report comes when `start` has returned."""
        left: set[str] = set()
        while True:
            for peers, listener in ((joined, self._on_connect), (left, self._on_disconnect)):
                for peer in peers:
                    try:
                        listener(peer)
                    except Exception:
                        log.exception("a listener for peers failed")
            await asyncio.sleep(POLL_S)
            try:
                joined, left = await self._poll()
            except TransportError as error:
                log.debug("the daemon did not list its peers: %s", error)
                joined, left = set(), set()
            for peer in joined:
                self._start(self.dht.greet(peer))

    async def _poll(self) -> tuple[set[str], set[str]]:
        """Refresh what we know of ourselves and our connections; who came, who went."""
        _, self._addresses = await self._daemon.control.identify()
        before, self._peers = self._peers, await self._daemon.control.peers()
        return self._peers.keys() - before.keys(), before.keys() - self._peers.keys()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
