"""How a node finds the others and stays in touch: bootstrap, memory, the DHT, and a neighbour's word.

Presence is renewed in the DHT; peers found there, in the manifest or in the store are dialled until
they are connected. Every second or so one connected peer is asked for what it knows (`Member`'s
sync): that fills the gaps of gossip and shows heads that are ahead of ours.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable

from dhtnode.errors import RemoteProtocolError, TransportError
from dhtnode.identity import Identity
from dhtnode.net.dht import MAX_VALUE_BYTES
from dhtnode.net.network import Network
from dhtnode.presence import HEAD_KEY, KEY, RENEW_S, TTL_S, Presence
from dhtnode.records import Signed, open_record, sign
from dhtnode.store import KnownPeer, Store
from training.chain import Certificate, open_certificate

log = logging.getLogger(__name__)

LOOKUP_S = 10.0
"""Pause between looks into the DHT for peers that are not connected. A guess."""
MAX_CONNECTED = 64


class Joining:
    """Keeps the node findable and connected.

    Args:
        network: started.
        store: remembers peers.
        identity: signs presence.
        swarm_id: signature domain.
        offered: told of verified heads that members announced.
    """

    def __init__(
        self,
        network: Network,
        store: Store,
        identity: Identity,
        swarm_id: bytes,
        offered: Callable[[Certificate], None],
    ) -> None:
        self._offered = offered
        self.presences: dict[str, Signed[Presence]] = {}
        """Newest verified presence of each peer that was looked up."""
        self._network = network
        self._store = store
        self._identity = identity
        self._swarm_id = swarm_id

    def remember_connected(self) -> None:
        """Note the addresses of connected peers for the next start."""
        for peer, addresses in self._network.connected_peers().items():
            dialable = tuple(f"{address}/p2p/{peer}" for address in addresses)
            known = self.presences.get(peer)
            chosen = known.body.addresses if known else dialable
            self._store.remember_peer(KnownPeer(peer, chosen, time.time()))

    async def keep_present(self, newest: Certificate | None) -> None:
        """Announce where this node is, and the newest head that it holds."""
        body = Presence(
            addresses=tuple(self._network.addresses()[:12]),
            round=newest.head.number if newest else 0,
            head=newest.id if newest else bytes(32),
            made_at_s=int(time.time()),
        )
        record = sign(self._identity, self._swarm_id, body)
        await self._network.announce(KEY, record.wire, TTL_S)
        if newest is not None and len(newest.wire) <= MAX_VALUE_BYTES:
            await self._network.announce(HEAD_KEY, newest.wire, TTL_S)

    async def look_around(self) -> None:
        """Dial members that the DHT knows and we are not connected to; look at their heads."""
        await self._look_for_peers()
        for peer, wire in (await self._network.lookup(HEAD_KEY)).items():
            try:
                self._offered(open_certificate(wire, self._swarm_id, peer))
            except RemoteProtocolError as error:
                log.debug("head of %s dropped: %s", peer, error)

    async def _look_for_peers(self) -> None:
        connected = self._network.connected_peers()
        for peer, wire in (await self._network.lookup(KEY)).items():
            try:
                record = open_record(wire, self._swarm_id, {Presence.KIND: Presence}, peer)
            except RemoteProtocolError as error:
                log.debug("presence of %s dropped: %s", peer, error)
                continue
            if record.signer != peer or peer == self._identity.peer_id:
                continue
            self.presences[peer] = record
            if peer not in connected and len(connected) < MAX_CONNECTED:
                await self._dial(record.body.addresses)

    async def _dial(self, addresses: tuple[str, ...]) -> None:
        for address in addresses:
            try:
                await self._network.connect(address)
            except (TransportError, ValueError) as error:
                log.debug("cannot dial %s: %s", address, error)
            else:
                return

    async def dial_known(self) -> None:
        """Try the peers of earlier sessions that are not connected."""
        connected = self._network.connected_peers()
        for known in self._store.known_peers():
            if known.peer_id not in connected and known.peer_id != self._identity.peer_id:
                await self._dial(known.addresses)

    async def watch(self) -> None:
        """Dial and look around for as long as the node runs."""
        await self.dial_known()
        while True:
            try:
                await self.look_around()
                if not self._network.connected_peers():
                    await self.dial_known()
            except TransportError as error:
                log.debug("looking around failed: %s", error)
            await asyncio.sleep(LOOKUP_S * random.uniform(0.7, 1.3))  # noqa: S311  spreads load, no secret


__all__ = ["RENEW_S", "Joining"]
