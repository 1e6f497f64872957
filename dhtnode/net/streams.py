"""Raw binary streams between peers, and one small request and reply on top of them.

A stream is a plain libp2p stream: no framing of ours below the protocol of its endpoint, so any
libp2p implementation can speak it. Protocol names are `/dhtnode/1/<first 16 hex of swarm id>/<name>`.

Request and reply: one stream, `length u32 | payload` there, `status u8 | length u32 | payload` back,
big-endian. Status 0 carries the answer, status 1 a short refusal. The side that reads last closes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import cast

from dhtnode.errors import RemoteProtocolError, TransportError
from dhtnode.net.control import PIPE_BYTES, STREAM_SOCKET, Connection, Control, read_stream_info

log = logging.getLogger(__name__)

IO_DEADLINE_S = 30.0
"""Longest silence within one read or one drain. A guess: three times a bad mobile round trip under load."""
DIAL_DEADLINE_S = 10.0
MAX_INBOUND = 256
MAX_INBOUND_PER_PEER = 32
"""Streams that peers may hold open here. A fetch uses a handful; a flood must not exhaust our files."""
MAX_REFUSAL_BYTES = 200

_OK, _REFUSED = 0, 1


class RefusedError(TransportError):
    """A peer answered, and the answer is no. Raised by a handler, it becomes that answer."""


@dataclass
class Traffic:
    """Payload bytes of streams and gossip, in total and by peer (bytes, without encryption and framing)."""

    sent_bytes: int = 0
    received_bytes: int = 0
    sent_to: Counter[str] = field(default_factory=Counter)
    received_from: Counter[str] = field(default_factory=Counter)
    sent_by: Counter[str] = field(default_factory=Counter)
    """By endpoint; gossip counts once, however many neighbours pass it on."""

    def sent(self, count: int, endpoint: str, peer: str = "") -> None:
        """Count bytes of an endpoint to one peer, or to nobody in particular as gossip is."""
        self.sent_bytes += count
        self.sent_by[endpoint] += count
        if peer:
            self.sent_to[peer] += count

    def received(self, count: int, peer: str) -> None:
        self.received_bytes += count
        self.received_from[peer] += count


class Stream:
    """A two-way byte stream with one peer. Every wait has a deadline."""

    def __init__(self, peer: str, endpoint: str, connection: Connection, traffic: Traffic) -> None:
        self.peer = peer
        self._endpoint = endpoint
        self._reader, self._writer = connection.reader, connection.writer
        self._traffic = traffic

    async def read_exactly(self, count: int, timeout_s: float = IO_DEADLINE_S) -> bytes:
        """The next `count` bytes.

        Raises:
            TransportError: the stream ended first, or nothing came within the deadline.
        """
        try:
            async with asyncio.timeout(timeout_s):
                data = await self._reader.readexactly(count)
        except TimeoutError as error:
            raise TransportError(f"{self.peer}: silent for {timeout_s:g} s") from error
        except (EOFError, OSError) as error:
            raise TransportError(f"{self.peer}: stream ended") from error
        self._traffic.received(count, self.peer)
        return data

    def write(self, data: bytes | memoryview) -> None:
        """Queue bytes. Call `drain` after each piece, or the queue grows without bound."""
        self._writer.write(data)
        self._traffic.sent(len(data), self._endpoint, self.peer)

    async def drain(self, timeout_s: float = IO_DEADLINE_S) -> None:
        """Wait until the queue is short again.

        Raises:
            TransportError: the peer is gone, or took nothing within the deadline.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._writer.drain()
        except TimeoutError as error:
            raise TransportError(f"{self.peer}: took nothing for {timeout_s:g} s") from error
        except OSError as error:
            raise TransportError(f"{self.peer}: stream ended") from error

    async def ended(self, timeout_s: float = IO_DEADLINE_S) -> None:
        """Return when the peer has closed, or after the deadline or one buffer of unasked bytes.

        The side that wrote last waits here: the daemon resets a stream that its owner closes, and a
        reset overtakes bytes that the peer has not read yet.
        """
        unasked = PIPE_BYTES
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(timeout_s):
                while unasked > 0 and (data := await self._reader.read(unasked)):
                    unasked -= len(data)

    def close(self) -> None:
        """Send what is queued, then end the stream in both directions."""
        self._writer.close()


Handler = Callable[[Stream], Awaitable[None]]
Answer = Callable[[str, bytes], Awaitable[bytes]]
Misbehaviour = Callable[[str, str], None]


class Streams:
    """All streams of one node: those it opens, and those that peers open to it.

    Args:
        control: the daemon that carries them; its folder also holds our listening socket.
        swarm_id: 32 bytes; endpoints of other swarms do not exist for us.
        on_misbehaviour: told (peer, reason) when a peer breaks the protocol of an endpoint.
    """

    def __init__(self, control: Control, swarm_id: bytes, on_misbehaviour: Misbehaviour) -> None:
        self.traffic = Traffic()
        self.on_misbehaviour = on_misbehaviour
        self._control = control
        self._prefix = f"/dhtnode/1/{swarm_id.hex()[:16]}/"
        self._listen_path = control.path.with_name(STREAM_SOCKET)
        self._handlers: dict[str, Handler] = {}
        self._inbound: defaultdict[str, int] = defaultdict(int)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(
            self._accept, path=str(self._listen_path), limit=PIPE_BYTES
        )

    async def stop(self) -> None:
        """Close the listener and every inbound stream."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def open(self, peer: str, endpoint: str, timeout_s: float = DIAL_DEADLINE_S) -> Stream:
        """Open a stream to an endpoint of a peer, dialling the peer if it is not connected.

        Raises:
            TransportError: not reachable within the deadline, or it does not serve this endpoint.
        """
        try:
            connection = await self._control.open_stream(peer, self._prefix + endpoint, timeout_s)
        except TransportError as error:
            raise TransportError(f"{peer}: cannot open {endpoint}: {error}") from error
        return Stream(peer, endpoint, connection, self.traffic)

    @asynccontextmanager
    async def opened(
        self, peer: str, endpoint: str, timeout_s: float = DIAL_DEADLINE_S
    ) -> AsyncIterator[Stream]:
        """`open`, closed at the end of the block."""
        stream = await self.open(peer, endpoint, timeout_s)
        try:
            yield stream
        finally:
            stream.close()

    async def serve(self, endpoint: str, handler: Handler) -> None:
        """Have `handler` run for each stream that a peer opens to this endpoint, and close it after.

        What it raises is sorted: RemoteProtocolError goes to `on_misbehaviour`, TransportError is
        nobody's fault, anything else is a bug here and is logged. None of them reaches the loop.
        """
        self._handlers[self._prefix + endpoint] = handler
        await self._control.handle(self._prefix + endpoint, self._listen_path)

    async def request(
        self,
        peer: str,
        endpoint: str,
        payload: bytes = b"",
        *,
        max_reply_bytes: int,
        timeout_s: float = DIAL_DEADLINE_S,
    ) -> bytes:
        """Ask a peer and return its answer.

        Args:
            peer: peer id.
            endpoint: name that the peer gave to `on_request`.
            payload: the question.
            max_reply_bytes: a longer answer is not read.
            timeout_s: for everything together, dialling included.

        Raises:
            RefusedError: the peer says no, with its text.
            RemoteProtocolError: `oversized-reply` or `bad-reply`.
            TransportError: not reachable, or no answer in time.
        """
        try:
            async with asyncio.timeout(timeout_s), self.opened(peer, endpoint, timeout_s) as stream:
                stream.write(len(payload).to_bytes(4, "big") + payload)
                await stream.drain(timeout_s)
                head = await stream.read_exactly(5, timeout_s)
                status, length = head[0], int.from_bytes(head[1:], "big")
                if status not in (_OK, _REFUSED):
                    raise RemoteProtocolError(peer, "bad-reply", f"{endpoint}: status {status}")
                if length > (max_reply_bytes if status == _OK else MAX_REFUSAL_BYTES):
                    raise RemoteProtocolError(peer, "oversized-reply", f"{endpoint}: {length} bytes")
                reply = await stream.read_exactly(length, timeout_s)
        except TimeoutError as error:
            raise TransportError(f"{peer}: no answer to {endpoint} within {timeout_s:g} s") from error
        if status == _REFUSED:
            raise RefusedError(f"{peer}: refuses {endpoint}: {reply.decode(errors='replace')}")
        return reply

    async def on_request(self, endpoint: str, max_request_bytes: int, answer: Answer) -> None:
        """Answer requests with `await answer(peer, payload)`; a RefusedError is sent as a refusal."""

        async def handle(stream: Stream) -> None:
            length = int.from_bytes(await stream.read_exactly(4), "big")
            if length > max_request_bytes:
                await _reply(stream, _REFUSED, b"request too large")
                raise RemoteProtocolError(stream.peer, "oversized-request", f"{endpoint}: {length} bytes")
            payload = await stream.read_exactly(length)
            try:
                reply = await answer(stream.peer, payload)
            except RefusedError as refusal:
                await _reply(stream, _REFUSED, str(refusal).encode()[:MAX_REFUSAL_BYTES])
            except RemoteProtocolError as error:
                await _reply(stream, _REFUSED, error.reason.encode()[:MAX_REFUSAL_BYTES])
                raise
            else:
                await _reply(stream, _OK, reply)

        await self.serve(endpoint, handle)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._tasks.add(task)
        try:
            peer, protocol = await read_stream_info(reader)
            if len(self._tasks) > MAX_INBOUND or self._inbound[peer] >= MAX_INBOUND_PER_PEER:
                log.debug("%s: too many open streams", peer)
                return
            endpoint = protocol.removeprefix(self._prefix)
            stream = Stream(peer, endpoint, Connection(reader, writer), self.traffic)
            self._inbound[peer] += 1
            try:
                await self._run(self._handlers[protocol], stream)
            finally:
                self._inbound[peer] -= 1
                if not self._inbound[peer]:
                    del self._inbound[peer]
        except (EOFError, OSError) as error:
            log.debug("inbound stream ended at its head: %s", error)
        except asyncio.CancelledError:
            if self._server is not None and self._server.is_serving():
                raise
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _run(self, handler: Handler, stream: Stream) -> None:
        try:
            await handler(stream)
        except RemoteProtocolError as error:
            log.debug("dropped a stream: %s", error)
            self.on_misbehaviour(error.peer, error.reason)
        except TransportError as error:
            log.debug("stream failed: %s", error)
        except Exception:
            log.exception("a stream handler failed; the stream of %s is closed", stream.peer)


async def _reply(stream: Stream, status: int, payload: bytes) -> None:
    stream.write(bytes([status]) + len(payload).to_bytes(4, "big") + payload)
    await stream.drain()
    await stream.ended()
