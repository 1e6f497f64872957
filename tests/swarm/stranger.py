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

import msgspec
import uvloop

from dhtnode.errors import RemoteProtocolError, TransportError
from dhtnode.identity import Identity
from dhtnode.manifest import Manifest
from dhtnode.net.chunks import serve_chunks
from dhtnode.net.daemon import DaemonConfig
from dhtnode.net.network import Network, NetworkConfig
from dhtnode.presence import Presence
from dhtnode.records import Body, canonical, sign
from training.chain import Certificate, open_certificate
from training.data import SMALLEST_CHUNK as CHUNK_BYTES
from training.messages import Commitment, Head, Ready, Result, Vote
from training.segments import ONE_SEGMENT
from training.sync import MAX_SYNC_BYTES, SyncReply, open_sync_reply, sync_request

PAUSE_S = 0.1
OTHER_SWARM = bytes(31) + b"\1"


class Stranger:
    """What it knows of the swarm, and what it makes of that."""

    def __init__(self, network: Network, identity: Identity, manifest: Manifest) -> None:
        self.network, self.identity, self.terms = network, identity, manifest.terms
        self.swarm_id = manifest.swarm_id
        self.heard: list[bytes] = []
        self.replies = itertools.cycle(
            [self.garbage, self.truncated_reply, self.uncertified, self.bad_records]
        )
        self.newest: Certificate | None = None

    # Records

    def signed(self, body: Body, swarm_id: bytes | None = None) -> bytes:
        return sign(self.identity, swarm_id or self.swarm_id, body).wire

    def commitment(self, head: Head, **changes: object) -> Commitment:
        steps = self.terms.inner.steps_at(head.number)
        tokens = steps * self.terms.inner.batch_size * 16
        honest = Commitment(
            round=head.number,
            base=head.id,
            start=head.state,
            steps=steps,
            tokens=tokens,
            weight=tokens,
            parts=os.urandom(32),
            segments=ONE_SEGMENT,
            loss_micro=1,
            bandwidth=1,
            device="cpu/fp32",
            link=os.urandom(32),
            private=self.terms.data.mode == "private",
        )
        return msgspec.structs.replace(honest, **changes)

    def records(self, head: Head) -> list[bytes]:
        """For the topic: garbage, damaged, replayed, of another swarm, and lies with a good signature."""
        known = self.heard[-1] if self.heard else self.signed(self.commitment(head))
        vote = {"base": head.id, "round": -1, "step": "close", "value": bytes(32), "view": 0}
        result = Result(
            round=head.number, base=head.id, roster=bytes(32), part=0, included=(0, 1), root=bytes(32)
        )
        return [
            os.urandom(300),
            bytes(70_000),
            known + bytes(60_000),
            known[:-7],
            known[:-1] + bytes([known[-1] ^ 1]),
            canonical(["vote", self.identity.peer_id, vote, bytes(64)]),
            self.signed(Presence(addresses=(), round=0, head=bytes(32), made_at_s=0)),
            self.signed(self.commitment(head), OTHER_SWARM),
            self.signed(self.commitment(head, steps=2**31)),
            self.signed(self.commitment(head, weight=2**31)),
            self.signed(self.commitment(head, start=bytes(32))),
            self.signed(self.commitment(head)),  # with the one before: two commitments in one round
            self.signed(Ready(round=head.number, base=head.id)),  # and nothing follows
            self.signed(Vote(round=head.number, base=head.id, step="roster", view=0, value=bytes(32))),
            self.signed(result),
            *self.heard[:3],
        ]

    # Answers

    def garbage(self) -> bytes:
        return os.urandom(500)

    def truncated_reply(self) -> bytes:
        return self.reply(None, ())[:-3]

    def uncertified(self) -> bytes:
        """The swarm's own head, as if it had one vote."""
        newest = self.newest
        wire = Certificate(newest.head, newest.votes[:1]).wire if newest else b"nothing"
        return self.reply(wire, ())

    def bad_records(self) -> bytes:
        return self.reply(None, (b"no record", *(wire[:-1] for wire in self.heard[-2:])))

    def reply(self, certificate: bytes | None, records: tuple[bytes, ...]) -> bytes:
        reply = SyncReply(certificate=certificate, records=records, since=0, root=bytes(32))
        return canonical(msgspec.to_builtins(reply, builtin_types=(bytes,)))

    async def answer(self, peer: str, payload: bytes) -> bytes:
        del peer, payload
        return next(self.replies)()

    async def show(self, peer: str, payload: bytes) -> bytes:
        """To who compares sets with it: the root that it names is nobody's."""
        del peer, payload
        return self.garbage()

    # Deeds

    async def learn(self, peer: str) -> Head:
        """The head that a peer holds."""
        question = sync_request(None, None)
        wire = await self.network.request(peer, "sync", question, max_reply_bytes=MAX_SYNC_BYTES)
        certificate = open_sync_reply(wire, peer).certificate
        if certificate is None:
            raise TransportError("no head yet")
        self.newest = open_certificate(certificate, self.swarm_id, peer)
        return self.newest.head

    async def gossip(self, head: Head) -> None:
        topic = f"/dhtnode/1/{self.swarm_id.hex()[:16]}/records"
        for wire in self.records(head):
            await self.network.gossip._control.publish(topic, wire)

    async def flood(self) -> None:
        for _ in range(1000):
            await self.network.publish("records", os.urandom(20))

    async def badger(self, peer: str, head: Head) -> None:
        """Rubbish for each endpoint of a peer; half a question where it would wait for the rest."""
        header = canonical({"base": head.id, "leaves": b"", "part": 0})
        for endpoint, data in (
            ("sync", len(b"rubbish").to_bytes(4, "big") + b"rubbish"),
            ("sync", (2**31).to_bytes(4, "big")),
            ("evidence", len(b"rubbish").to_bytes(4, "big") + b"rubbish"),
            ("rounds", len(b"rubbish").to_bytes(4, "big") + b"rubbish"),
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
    await network.subscribe("records", lambda author, data: stranger.heard.append(data))
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
