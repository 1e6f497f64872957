"""The node's network in one object: what the rest of the node sees of libp2p.

Composes the daemon, its streams, its gossip and the DHT on one identity. Everything runs in the
caller's event loop; nothing here forks, and nothing above here knows hivemind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from dhtnode.errors import TransportError
from dhtnode.identity import Identity
from dhtnode.net.daemon import Daemon, DaemonConfig
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
        streams, gossip: the parts; `open`, `serve`, `request`, `on_request`, `publish` and
            `subscribe` are theirs.
    """

    def __init__(
        self,
        daemon: Daemon,
        streams: Streams,
        gossip: Gossip,
        on_connect: Callable[[str], None],
        on_disconnect: Callable[[str], None],
    ) -> None:
        self.peer_id = daemon.peer_id
        self.unreachable: dict[str, str] = {}
        self.streams, self.gossip = streams, gossip
        self.open, self.serve = streams.open, streams.serve
        self.request, self.on_request = streams.request, streams.on_request
        self.publish, self.subscribe = gossip.publish, gossip.subscribe
        self._daemon = daemon
        self._on_connect, self._on_disconnect = on_connect, on_disconnect
        self._addresses: list[str] = []
        self._peers: dict[str, list[str]] = {}
        self._watch: asyncio.Task[None] | None = None

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
            on_connect: a peer is connected; within about a second.
            on_disconnect: the last connection to a peer is gone.

        Raises:
            ConfigError: exit code NETWORK: port in use, bad address, identity runs elsewhere, the
                daemon does not start. Bootstrap peers that do not answer are no error here: see
                `unreachable`.
        """
        own_id = Identity.load(config.daemon.identity_path).peer_id if config.daemon.identity_path else ""
        targets = [(address, *split_peer(address)) for address in config.bootstrap]
        if own_id and config.bootstrap and config.check_instance:
            await refuse_second_instance(own_id, config.swarm_id, config.bootstrap)
        daemon = await Daemon.start(config.daemon)
        streams = Streams(daemon.control, config.swarm_id, on_misbehaviour)
        gossip = Gossip(daemon.control, config.swarm_id, streams.traffic, on_misbehaviour)
        network = cls(daemon, streams, gossip, on_connect, on_disconnect)
        try:
            await streams.start()
            await answer_instance_questions(streams, daemon.peer_id)
            others = [address for address, peer, _ in targets if peer != daemon.peer_id]
            await asyncio.gather(*(network._dial_bootstrap(address) for address in others))
            await network._poll()
        except BaseException:
            await network.stop()
            raise
        network._watch = asyncio.create_task(network._keep_watching())
        return network

    async def stop(self) -> None:
        """Close everything and end the daemon."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
        await self.gossip.stop()
        await self.streams.stop()
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

    async def _dial_bootstrap(self, address: str) -> None:
        try:
            await self.connect(address)
        except TransportError as error:
            self.unreachable[address] = str(error)

    async def _keep_watching(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self._poll()
            except TransportError as error:
                log.debug("the daemon did not list its peers: %s", error)

    async def _poll(self) -> None:
        _, self._addresses = await self._daemon.control.identify()
        before, self._peers = self._peers, await self._daemon.control.peers()
        for peer in self._peers.keys() - before.keys():
            self._on_connect(peer)
        for peer in before.keys() - self._peers.keys():
            self._on_disconnect(peer)
