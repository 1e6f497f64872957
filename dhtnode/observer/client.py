"""A light libp2p client: py-libp2p on trio, no daemon of ours, no hivemind, no torch.

It speaks to members what they speak among themselves: GossipSub, one request and reply on a raw
stream (see `dhtnode.net.streams`), and hivemind's `DHTProtocol.rpc_find`. A second, independent
implementation: what it can read is libp2p and not a private dialect.

GossipSub settings are those that delivered everything in a mesh with go-libp2p peers; with the
library's own defaults a busy topic loses messages.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import base58
import libp2p.pubsub.pubsub
import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.protocol_muxer.exceptions import MultiselectClientError, MultiselectError
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from dhtnode.errors import ConfigError, Exit, RemoteProtocolError, TransportError
from dhtnode.identity import Identity

logging.getLogger("libp2p").addHandler(logging.NullHandler())  # it logs each error that it also raises

libp2p.pubsub.pubsub.SUBSCRIPTION_CHANNEL_SIZE = 4096
"""Messages that wait for us; more are dropped. A burst of a fast swarm overflows the default of 32."""

DEADLINE_S = 10.0
"""For a dial, or for a whole request and reply. The node's own `DIAL_DEADLINE_S`."""
MAX_REASON = 200
_OK, _REFUSED = 0, 1


class RefusedError(TransportError):
    """A member answered, and the answer is no."""


@dataclass(frozen=True)
class Door:
    """A member through which we look at the swarm."""

    address: str
    peer: str

    @classmethod
    def parse(cls, address: str) -> Door:
        """Read a multiaddr that ends in /p2p/ and a peer id.

        Raises:
            ConfigError: exit code NETWORK; not such a multiaddr, or nothing that we can dial.
        """
        try:
            info = info_from_p2p_addr(Multiaddr(address))
        except ValueError as error:
            raise ConfigError(
                f"--peer {address!r} does not lead to a peer ({_one_line(str(error))}); take an address "
                "as `dhtnode status` of that node shows it, with /p2p/ and the peer id at its end",
                Exit.NETWORK,
            ) from error
        names = {protocol.name for protocol in info.addrs[0].protocols()}
        if not names & {"tcp", "quic-v1"} or "p2p-circuit" in names:
            raise ConfigError(
                f"--peer {address} is no direct TCP or QUIC address; take another one of that node, or "
                "another member's",
                Exit.NETWORK,
            )
        return cls(address, info.peer_id.to_base58())

    @property
    def info(self) -> Any:
        """The same in the library's terms."""
        return info_from_p2p_addr(Multiaddr(self.address))


class Client:
    """A started client. Use `light_client`."""

    def __init__(self, host: Any, pubsub: Any) -> None:
        self._host = host
        self._pubsub = pubsub

    async def connect(self, door: Door) -> None:
        """Dial a member, unless it is connected.

        Raises:
            TransportError: it does not answer there.
        """
        self._host.get_network().unblock_peer(door.info.peer_id)  # the library remembers failed dials
        async with _failing(f"{door.address} does not answer"):
            await self._host.connect(door.info)

    async def messages(self, topic: str) -> AsyncIterator[tuple[str, bytes]]:
        """Author and data of every message on a topic. The author's signature has been checked."""
        async for message in await self._pubsub.subscribe(topic):
            yield _text(message.from_id), message.data

    async def request(self, door: Door, protocol: str, payload: bytes, max_reply_bytes: int) -> bytes:
        """Ask a member and return its answer, as `dhtnode.net.streams.Streams.request` does.

        Raises:
            RemoteProtocolError: `oversized-reply` or `bad-reply`.
            RefusedError: the answer is no.
            TransportError: not reachable, or no answer in time.
        """
        async with self.stream(door, protocol) as stream:
            await stream.write(len(payload).to_bytes(4, "big") + payload)
            status, *length = await read_exactly(stream, 5)
            count = int.from_bytes(bytes(length), "big")
            if count > max_reply_bytes:
                raise RemoteProtocolError(door.peer, "oversized-reply", f"{protocol}: {count} bytes")
            reply = await read_exactly(stream, count)
        if status == _REFUSED:
            raise RefusedError(f"{door.peer} refuses: {reply.decode(errors='replace')[:MAX_REASON]}")
        if status != _OK:
            raise RemoteProtocolError(door.peer, "bad-reply", f"{protocol}: status {status}")
        return reply

    @asynccontextmanager
    async def stream(self, door: Door, protocol: str) -> AsyncIterator[Any]:
        """A stream to a connected member, closed at the end of the block. Everything has a deadline.

        Raises:
            TransportError: not connected, not served there, ended early, or too slow.
        """
        async with _failing(f"{door.peer} does not answer {protocol}"):
            stream = await self._host.new_stream(door.info.peer_id, [protocol])
            try:
                yield stream
                await stream.close()
            except BaseException:
                with trio.CancelScope(shield=True), trio.move_on_after(1):
                    await stream.reset()
                raise


@asynccontextmanager
async def light_client(identity: Identity, *, quic: bool) -> AsyncIterator[Client]:
    """Start a client that dials and is not dialled.

    Args:
        identity: its key.
        quic: whether QUIC addresses will be dialled.

    Raises:
        TransportError: a member sent what the library has no answer for, and it gave up.
    """
    host = new_host(key_pair=create_new_key_pair(identity.key.private_bytes_raw()), enable_quic=quic)
    router = GossipSub(
        protocols=[PROTOCOL_ID_V11],
        degree=4,
        degree_low=3,
        degree_high=8,
        heartbeat_interval=1,
        spam_protection_enabled=False,
    )
    pubsub = Pubsub(host, router, strict_signing=True)
    pubsub.counter = time.time_ns()  # a restarted peer's messages must not look like old ones
    own: Exception | None = None
    try:
        async with (
            host.run(listen_addrs=[]),
            background_trio_service(pubsub),
            background_trio_service(router),
        ):
            await pubsub.wait_until_ready()
            try:
                yield Client(host, pubsub)
            except Exception as error:
                own = error
                raise
    except Exception as error:  # the library's services end with whatever they can't parse
        if own is not None:
            raise
        raise TransportError(f"libp2p can't read what a member sends: {_reason(error)}") from error


async def read_exactly(stream: Any, count: int) -> bytes:
    """The next `count` bytes; what cuts the stream short is the library's error."""
    data = bytearray()
    while len(data) < count:
        piece = await stream.read(count - len(data))
        if not piece:
            raise EOFError("the stream ended")
        data += piece
    return bytes(data)


@asynccontextmanager
async def _failing(what: str) -> AsyncIterator[None]:
    """A deadline, and the library's many errors as one of ours with the innermost reason."""
    try:
        with trio.fail_after(DEADLINE_S):
            yield
    except trio.TooSlowError as error:
        raise TransportError(f"{what}: silent for {DEADLINE_S:g} s") from error
    except (BaseLibp2pError, OSError, EOFError) as error:
        raise TransportError(f"{what}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The innermost error that says something: below a failed negotiation there are only odd bytes."""
    below: BaseException | None = error
    while below is not None and not isinstance(error, MultiselectError | MultiselectClientError):
        error = below
        several = getattr(error, "errors", None) or getattr(error, "exceptions", None)
        below = several[0] if several else error.__cause__
    return (_one_line(str(error)) or type(error).__name__)[:MAX_REASON]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _text(raw: bytes) -> str:
    return str(base58.b58encode(raw), "ascii")
