"""Is this identity running somewhere else already?

Two processes with one identity confuse every peer: libp2p sends to either of them. So before a node
joins, a visitor with a throw-away identity asks the bootstrap peers whether a living process answers
under the node's peer id. A connection is no proof of life, since peers keep those of a killed process
for a while: the peer really pings the other holder and waits for its answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from dhtnode.errors import ConfigError, DhtnodeError, Exit, RemoteProtocolError, TransportError
from dhtnode.identity import is_peer_id
from dhtnode.net.attempts import in_good_time
from dhtnode.net.daemon import Daemon, DaemonConfig
from dhtnode.net.multiaddress import split_peer
from dhtnode.net.streams import Streams

PING_DEADLINE_S = 3.0
ASK_DEADLINE_S = 6.0
"""The asked peer may need PING_DEADLINE_S itself."""
_ALIVE, _SILENT = b"\x01", b"\x00"


async def answer_instance_questions(streams: Streams, own_peer_id: str) -> None:
    """Serve `ping` (answers while this process lives) and `whois` (pings another peer)."""

    async def ping(peer: str, payload: bytes) -> bytes:
        return _ALIVE

    async def whois(peer: str, payload: bytes) -> bytes:
        asked = payload.decode(errors="replace")
        if not is_peer_id(asked):
            raise RemoteProtocolError(peer, "malformed", "whois")
        return _ALIVE if asked == own_peer_id or await _answers(streams, asked) else _SILENT

    await streams.on_request("ping", 0, ping)
    await streams.on_request("whois", 64, whois)


async def refuse_second_instance(peer_id: str, swarm_id: bytes, bootstrap: Sequence[str]) -> None:
    """Ask the bootstrap peers whether `peer_id` is alive.

    Raises:
        ConfigError: exit code NETWORK; it is.
    """
    visitor = await Daemon.start(
        DaemonConfig(None, listen=(), relay=True, autonat=False, nat_port_map=False, dht_client=True)
    )
    streams = Streams(visitor.control, swarm_id, lambda peer, reason: None)
    try:
        findings = await in_good_time([_ask(visitor, streams, peer_id, address) for address in bootstrap])
    finally:
        await visitor.stop()
    if any(findings):
        raise ConfigError(
            f"the identity {peer_id} is already running in this swarm; "
            "stop the other node, or give this one a home of its own with --home",
            Exit.NETWORK,
        )


async def _ask(visitor: Daemon, streams: Streams, peer_id: str, address: str) -> bool | None:
    """Whether the peer at this address knows `peer_id` to be alive; None if it does not answer."""
    neighbour, dial = split_peer(address)
    try:
        await visitor.control.connect(neighbour, [dial], ASK_DEADLINE_S)
        if neighbour == peer_id:
            return await _answers(streams, peer_id)
        payload = peer_id.encode()
        reply = await streams.request(
            neighbour, "whois", payload, max_reply_bytes=1, timeout_s=ASK_DEADLINE_S
        )
    except DhtnodeError:  # an answer that is rubbish is none either
        return None
    return reply == _ALIVE


async def _answers(streams: Streams, peer_id: str) -> bool:
    try:
        reply = await streams.request(peer_id, "ping", max_reply_bytes=1, timeout_s=PING_DEADLINE_S)
    except (TransportError, RemoteProtocolError):
        return False
    return reply == _ALIVE
