"""A peer that keeps no rule: stranger.py KEY SWARM.TOML ADDRESS. It goes on until it is killed.

It speaks libp2p and the swarm's protocols well enough to be listened to, and then sends what no
honest node sends, on the topic, to every endpoint, and in its answers.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from pathlib import Path

import uvloop

from dhtnode.errors import RemoteProtocolError, TransportError
from dhtnode.identity import Identity
from dhtnode.manifest import Manifest
from dhtnode.net.chunks import serve_chunks
from dhtnode.net.daemon import DaemonConfig
from dhtnode.net.network import Network, NetworkConfig
from dhtnode.records import canonical
from tests.adversary.rubbish import QUESTION, Rubbish
from training.chain import open_certificate
from training.data import SMALLEST_CHUNK as CHUNK_BYTES
from training.messages import Head
from training.sync import MAX_SYNC_BYTES, open_sync_reply, sync_request

PAUSE_S = 0.1


class Stranger:
    """What it knows of the swarm, and what it makes of that."""

    def __init__(self, network: Network, identity: Identity, manifest: Manifest) -> None:
        self.network, self.terms, self.swarm_id = network, manifest.terms, manifest.swarm_id
        self.rubbish = Rubbish(identity, manifest.swarm_id, manifest.terms)

    async def answer(self, peer: str, payload: bytes) -> bytes:
        del peer, payload
        return self.rubbish.reply()

    async def show(self, peer: str, payload: bytes) -> bytes:
        """To who compares sets with it: the root that it names is nobody's."""
        del peer, payload
        return self.rubbish.garbage()

    # Deeds

    async def learn(self, peer: str) -> Head:
        """The head that a peer holds."""
        question = sync_request(None, None)
        wire = await self.network.request(peer, "sync", question, max_reply_bytes=MAX_SYNC_BYTES)
        certificate = open_sync_reply(wire, peer).certificate
        if certificate is None:
            raise TransportError("no head yet")
        self.rubbish.newest = newest = open_certificate(certificate, self.swarm_id, peer)
        return newest.head

    async def gossip(self, head: Head) -> None:
        topic = f"/dhtnode/1/{self.swarm_id.hex()[:16]}/records"
        for wire in self.rubbish.records(head):
            await self.network.gossip._control.publish(topic, wire)

    async def flood(self) -> None:
        for _ in range(1000):
            await self.network.publish("records", os.urandom(20))

    async def badger(self, peer: str, head: Head) -> None:
        """Rubbish for each endpoint of a peer; half a question where it would wait for the rest."""
        header = canonical({"base": head.id, "leaves": b"", "part": 0})
        for endpoint, data in (
            ("sync", len(QUESTION).to_bytes(4, "big") + QUESTION),
            ("sync", (2**31).to_bytes(4, "big")),
            ("evidence", len(QUESTION).to_bytes(4, "big") + QUESTION),
            ("rounds", len(QUESTION).to_bytes(4, "big") + QUESTION),
            ("part", (2**31).to_bytes(4, "big")),
            ("part", (40).to_bytes(4, "big") + os.urandom(40)),
            ("part", len(header).to_bytes(4, "big") + header),
            ("part", b"\0"),
            ("result", os.urandom(32)),
            ("result", os.urandom(9)),
            ("chunks", os.urandom(32) + (0).to_bytes(4, "big") + (2**32 - 1).to_bytes(4, "big")),
            ("chunks", bytes.fromhex(self.terms.data.digest or "") + (2**31).to_bytes(4, "big")),
            ("chunks", os.urandom(5)),
            ("whois", (3).to_bytes(4, "big") + b"you"),
        ):
            async with self.network.streams.opened(peer, endpoint) as stream:
                stream.write(data)
                await stream.drain()
                await stream.ended(0.05)


class Liar:
    """Has everything, and all of it wrong."""

    def leaves(self, root: bytes) -> list[bytes]:
        return [root]

    def chunk(self, root: bytes, index: int) -> bytes:
        del root, index
        return bytes(CHUNK_BYTES)


async def main(key: str, manifest_path: str, address: str) -> None:
    manifest = Manifest.load(Path(manifest_path))
    identity = Identity.load_or_create(Path(key))
    daemon = DaemonConfig(
        Path(key), ("/ip4/127.0.0.1/tcp/0",), relay=False, autonat=False, nat_port_map=False
    )
    network = await Network.start(NetworkConfig(manifest.swarm_id, daemon, (address,)))
    stranger = Stranger(network, identity, manifest)
    await network.subscribe("records", lambda author, data: stranger.rubbish.heard.append(data))
    await network.on_request("sync", MAX_SYNC_BYTES, stranger.answer)
    await network.on_request("evidence", MAX_SYNC_BYTES, stranger.show)
    await serve_chunks(network.streams, Liar())
    print(network.addresses()[0], flush=True)
    for turn in itertools.count():
        for peer in network.connected_peers():
            try:
                head = await stranger.learn(peer)
                await stranger.gossip(head)
                await stranger.badger(peer, head)
                if turn % 4 == 3:
                    await stranger.flood()
            except (TransportError, RemoteProtocolError) as error:
                print(error, flush=True)
            await asyncio.sleep(PAUSE_S)


uvloop.run(main(*sys.argv[1:]))
