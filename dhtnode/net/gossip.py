"""GossipSub of the daemon: publish to a topic, hear what others publish.

At most once and unordered: a message can be missed, a record that matters is also pulled. The daemon
checks that a message was signed by the peer it names as its author, and repeats nothing it has seen.
Who is reached: subscribers that are connected to us, directly or over others. Own messages come back.
Who has not subscribed can publish all the same, just as fast, and hears nothing.

Source: libp2p specs, pubsub/gossipsub/gossipsub-v1.1.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from dhtnode.errors import LocalProtocolError, TransportError
from dhtnode.net.control import Connection, Control, read_message
from dhtnode.net.streams import Misbehaviour, Traffic

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 64 * 1024
"""Own cap; go-libp2p-pubsub's is 1 MiB. Records are at most 16 KiB, larger things go over streams."""

REJOIN_S = 12.0
"""How long whoever unsubscribed stays out before it subscribes again. Its neighbours may not take it
back into their mesh for 10 s; one that asks sooner is shut out for a minute, in which each of its
messages waits for the next heartbeat, a second away. A daemon unsubscribes even when its node is killed.
Source: as above, "Prune backoff and peer exchange"; go-libp2p-pubsub, GossipSubUnsubscribeBackoff."""

Heard = Callable[[str, bytes], None]


class Gossip:
    """Topics of one swarm. Topic names get the swarm's prefix, so two swarms can't hear each other."""

    def __init__(
        self, control: Control, swarm_id: bytes, traffic: Traffic, on_misbehaviour: Misbehaviour
    ) -> None:
        self._control = control
        self._prefix = f"/dhtnode/1/{swarm_id.hex()[:16]}/"
        self._traffic = traffic
        self._on_misbehaviour = on_misbehaviour
        self._subscriptions: list[tuple[Connection, asyncio.Task[None]]] = []

    async def publish(self, topic: str, data: bytes) -> None:
        """Send to all subscribers.

        Raises:
            LocalProtocolError: longer than MAX_MESSAGE_BYTES.
            TransportError: the daemon is gone.
        """
        if len(data) > MAX_MESSAGE_BYTES:
            raise LocalProtocolError(f"{len(data)} bytes for topic {topic}, at most {MAX_MESSAGE_BYTES}")
        await self._control.publish(self._prefix + topic, data)
        self._traffic.sent(len(data), "gossip")

    async def subscribe(self, topic: str, heard: Heard) -> None:
        """Call `heard(author, data)` for each message. It must be quick: the daemon drops when we lag."""
        connection = await self._control.subscribe(self._prefix + topic)
        task = asyncio.create_task(self._listen(topic, connection, heard))
        self._subscriptions.append((connection, task))

    async def stop(self) -> None:
        for connection, task in self._subscriptions:
            task.cancel()
            connection.writer.close()
        await asyncio.gather(*(task for _, task in self._subscriptions), return_exceptions=True)
        self._subscriptions.clear()

    async def _listen(self, topic: str, connection: Connection, heard: Heard) -> None:
        while True:
            try:
                author, data = await read_message(connection.reader)
            except (EOFError, OSError, TransportError) as error:
                log.info("subscription to %s ended: %s", topic, error)
                return
            self._traffic.received(len(data), author)
            if len(data) > MAX_MESSAGE_BYTES:
                self._on_misbehaviour(author, "oversized")
                continue
            try:
                heard(author, data)
            except Exception:
                log.exception("a listener of topic %s failed", topic)
