"""The control socket of the libp2p daemon: small requests, raw streams, subscriptions.

One Unix connection carries one request, one stream or one subscription; each message has a varint
length in front. hivemind's own client speaks the same protocol but leaves connections open when a
dial fails or is cancelled and knows neither deadlines nor GossipSub, hence this one. Messages and
framing are hivemind's.

Source: go-libp2p-daemon, specs/CONTROL.md; hivemind/proto/p2pd.proto.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import base58
from hivemind.p2p.p2p_daemon_bindings.utils import read_pbmsg_safe, write_pbmsg
from hivemind.proto import p2pd_pb2 as pb
from hivemind.utils.logging import use_hivemind_log_handler
from hivemind.utils.multiaddr import Multiaddr
from hivemind.utils.multiaddr.exceptions import Error as MultiaddrError

from dhtnode.errors import TransportError

use_hivemind_log_handler("nowhere")  # its coloured handler goes; its records reach our handlers
logging.addLevelName(logging.WARNING, "WARNING")
logging.getLogger("hivemind").setLevel(logging.WARNING)

PIPE_BYTES = 256 * 1024
"""Read buffer of a stream. 1 MiB is no faster; peers can make us hold twice this for each stream."""
STREAM_SOCKET = "streams"
"""Beside the control socket: where the daemon connects to for each inbound stream."""


@dataclass(frozen=True)
class Connection:
    """One connection to the daemon; the writer must stay referenced or Python closes it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def exchange(self, request: Any) -> Any:
        """Send a `pb.Request`, return the `pb.Response`.

        Raises:
            TransportError: the daemon refuses, with its own words on one line.
        """
        await write_pbmsg(self.writer, request)
        response = pb.Response()
        await read_pbmsg_safe(self.reader, response)
        if response.type == pb.Response.ERROR:
            raise TransportError(one_line(response.error.msg))
        return response


class Control:
    """Client of one daemon's control socket."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def identify(self) -> tuple[str, list[str]]:
        """Own peer id and the addresses the daemon thinks it has, without /p2p/."""
        answer = (await self._request(pb.Request(type=pb.Request.IDENTIFY))).identify
        return peer_text(answer.id), _address_texts(answer.addrs)

    async def connect(self, peer: str, addresses: Sequence[str], timeout_s: float) -> None:
        """Dial a peer at these addresses, or through libp2p's own routing if there are none."""
        packed = [Multiaddr(address).to_bytes() for address in addresses]
        connect = pb.ConnectRequest(peer=peer_bytes(peer), addrs=packed, timeout=_whole(timeout_s))
        await self._request(pb.Request(type=pb.Request.CONNECT, connect=connect), timeout_s)

    async def disconnect(self, peer: str) -> None:
        disconnect = pb.DisconnectRequest(peer=peer_bytes(peer))
        await self._request(pb.Request(type=pb.Request.DISCONNECT, disconnect=disconnect))

    async def peers(self) -> dict[str, list[str]]:
        """Connected peers and the remote address of each connection."""
        found: dict[str, list[str]] = {}
        for info in (await self._request(pb.Request(type=pb.Request.LIST_PEERS))).peers:
            found.setdefault(peer_text(info.id), []).extend(_address_texts(info.addrs))
        return found

    async def handle(self, protocol: str, listen_path: Path) -> None:
        """Have the daemon connect to `listen_path` for each inbound stream of this protocol."""
        address = Multiaddr(f"/unix{listen_path}").to_bytes()
        handler = pb.StreamHandlerRequest(addr=address, proto=[protocol], balanced=False)
        await self._request(pb.Request(type=pb.Request.STREAM_HANDLER, streamHandler=handler))

    async def publish(self, topic: str, data: bytes) -> None:
        await self._request(_pubsub(type=pb.PSRequest.PUBLISH, topic=topic, data=data))

    async def subscribe(self, topic: str) -> Connection:
        """A connection on which `pb.PSMessage`s arrive until it is closed."""
        return await self._open(_pubsub(type=pb.PSRequest.SUBSCRIBE, topic=topic))

    async def open_stream(self, peer: str, protocol: str, timeout_s: float) -> Connection:
        """A raw two-way stream to a peer, which is dialled first if need be."""
        stream = pb.StreamOpenRequest(peer=peer_bytes(peer), proto=[protocol], timeout=_whole(timeout_s))
        return await self._open(pb.Request(type=pb.Request.STREAM_OPEN, streamOpen=stream), timeout_s)

    async def hold(self) -> Connection:
        """A persistent connection: when the last of them closes, the daemon ends."""
        upgrade = pb.Request(type=pb.Request.PERSISTENT_CONN_UPGRADE)
        connection = await self._dial()
        try:
            await write_pbmsg(connection.writer, upgrade)
        except OSError as error:
            connection.writer.close()
            raise TransportError(f"daemon: {error}") from error
        return connection

    async def _request(self, request: Any, timeout_s: float = 10.0) -> Any:
        async with self._exchange(request, timeout_s) as (connection, response):
            connection.writer.close()
            return response

    async def _open(self, request: Any, timeout_s: float = 10.0) -> Connection:
        async with self._exchange(request, timeout_s) as (connection, _):
            return connection

    @asynccontextmanager
    async def _exchange(self, request: Any, timeout_s: float) -> AsyncIterator[tuple[Connection, Any]]:
        """Exchange one request; every failure and a cancellation close the connection."""
        connection = None
        try:
            async with asyncio.timeout(timeout_s + 1):  # the daemon's own deadline comes first
                connection = await self._dial()
                response = await connection.exchange(request)
            yield connection, response
        except BaseException as error:
            if connection is not None:
                connection.writer.close()
            if isinstance(error, TimeoutError):
                raise TransportError(f"no answer within {timeout_s:g} s") from error
            if isinstance(error, OSError | EOFError):
                raise TransportError(f"daemon: {one_line(str(error))}") from error
            raise

    async def _dial(self) -> Connection:
        try:
            return Connection(*await asyncio.open_unix_connection(str(self.path), limit=PIPE_BYTES))
        except OSError as error:
            raise TransportError(f"the network daemon does not answer: {error.strerror}") from error


async def read_stream_info(reader: asyncio.StreamReader) -> tuple[str, str]:
    """Peer id and protocol, which the daemon writes at the head of an inbound stream."""
    info = pb.StreamInfo()
    await read_pbmsg_safe(reader, info)
    return peer_text(info.peer), info.proto


async def read_message(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """Author and data of the next message on a subscription."""
    message = pb.PSMessage()
    await read_pbmsg_safe(reader, message)
    return peer_text(getattr(message, "from")), message.data


def peer_text(raw: bytes) -> str:
    return str(base58.b58encode(raw), "ascii")


def peer_bytes(peer: str) -> bytes:
    """The bytes of a peer id.

    Raises:
        TransportError: not base58, so there is nobody to dial.
    """
    try:
        return bytes(base58.b58decode(peer))
    except ValueError as error:
        raise TransportError(f"not a peer id: {peer[:60]!r}") from error


def one_line(text: str) -> str:
    return " ".join(text.split())


def _address_texts(packed: Sequence[bytes]) -> list[str]:
    """Readable addresses; transports that this library has no name for are left out."""
    texts = []
    for address in packed:
        with suppress(MultiaddrError, ValueError, KeyError):
            texts.append(str(Multiaddr(bytes(address))))
    return texts


def _pubsub(**fields: Any) -> Any:
    return pb.Request(type=pb.Request.PUBSUB, pubsub=pb.PSRequest(**fields))


def _whole(timeout_s: float) -> int:
    return max(1, round(timeout_s))
