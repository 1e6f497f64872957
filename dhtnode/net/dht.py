"""Presence and pointers in hivemind's DHT, on the same daemon and in the same event loop.

Under a key each peer has one entry, named by its peer id. An entry is the msgpack list
`[value, signature]`; the Ed25519 signature by the named peer covers key, peer id, value and expiry, so
nobody else can replace, prolong or revive it: our nodes neither store nor return anything else. A
plain `hivemind.dht.DHTNode` reads the entries all the same, it needs no validator of ours for that.

Keys are `dhtnode/<first 16 hex of swarm id>/<name>`.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
from hivemind.dht.node import DHTNode
from hivemind.dht.validation import DHTRecord, RecordValidatorBase
from hivemind.p2p import P2P, PeerID
from hivemind.utils.multiaddr import Multiaddr
from hivemind.utils.timed_storage import get_dht_time

from dhtnode.digest import digest
from dhtnode.errors import LocalProtocolError
from dhtnode.identity import SIGNATURE_BYTES, Identity, verify

MAX_VALUE_BYTES = 16 * 1024
MAX_ENTRIES = 4096
"""Entries of one key that `lookup` returns: a bound on what a crowd of made-up peers can cost us."""
MAX_TTL_S = 24 * 3600.0
"""Nothing may claim to be fresh for longer; also limits how far a peer's clock may be ahead."""


class Dht:
    """One node of the DHT. Use `Dht.start`."""

    def __init__(self, p2p: P2P, node: DHTNode, identity: Identity, swarm_id: bytes) -> None:
        self._p2p, self._node = p2p, node
        self._own_id = identity.peer_id
        self._prefix = f"dhtnode/{swarm_id.hex()[:16]}/"

    @classmethod
    async def start(cls, control_path: Path, identity: Identity, swarm_id: bytes) -> Dht:
        """Join through the daemon that listens at `control_path`; neighbours come with `greet`."""
        p2p = await P2P.replicate(Multiaddr(f"/unix{control_path}"))
        node = await DHTNode.create(p2p=p2p, record_validator=SignedEntries(identity))
        return cls(p2p, node, identity, swarm_id)

    async def stop(self) -> None:
        """Leave. The daemon is about to end, or has ended: nothing is asked of it any more.

        `DHTNode.shutdown` would have it remove handlers, and wait for ever if it is dead.
        """
        self._node.is_alive = False
        await self._p2p.shutdown()

    async def greet(self, peer: str) -> None:
        """Make a connected peer a neighbour in the DHT, if it takes part in it."""
        peer_id = PeerID.from_base58(peer)
        node_id = await self._node.protocol.call_ping(peer_id)
        if node_id is not None:  # and through it, get to know those nearest to us
            await self._node.find_nearest_nodes([self._node.node_id], node_to_peer_id={node_id: peer_id})

    async def announce(self, key: str, value: bytes, ttl_s: float) -> bool:
        """Store our entry under a key for `ttl_s` seconds. The one that expires last wins.

        Returns:
            Whether at least one node took it (this one counts).

        Raises:
            LocalProtocolError: value or ttl beyond the bounds.
        """
        if len(value) > MAX_VALUE_BYTES or not 0 < ttl_s <= MAX_TTL_S:
            raise LocalProtocolError(f"announcing {len(value)} bytes for {ttl_s} s")
        expiry = get_dht_time() + ttl_s
        return bool(await self._node.store(self._prefix + key, value, expiry, subkey=self._own_id))

    async def lookup(self, key: str) -> dict[str, bytes]:
        """Fresh entries under a key: peer id -> value, each signed by that peer."""
        found = await self._node.get(self._prefix + key, latest=True)
        if found is None or not isinstance(found.value, dict):
            return {}
        entries = list(found.value.items())[:MAX_ENTRIES]
        return {peer: entry.value for peer, entry in entries}


class SignedEntries(RecordValidatorBase):  # type: ignore[misc]  # hivemind has no type hints
    """Accepts only entries that the peer in their subkey has signed."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def sign_value(self, record: DHTRecord) -> bytes:
        if _unpack(record.subkey) != self._identity.peer_id:
            return bytes(record.value)
        signature = self._identity.sign(_covered(record))
        return _pack([_unpack(record.value), signature])

    def validate(self, record: DHTRecord) -> bool:
        if (
            len(record.value) > MAX_VALUE_BYTES + 128
            or record.expiration_time > get_dht_time() + 2 * MAX_TTL_S
        ):
            return False
        peer, entry = _unpack(record.subkey), _unpack(record.value)
        if not (isinstance(peer, str) and isinstance(entry, list) and len(entry) == 2):
            return False
        value, signature = entry
        if not (
            isinstance(value, bytes) and isinstance(signature, bytes) and len(signature) == SIGNATURE_BYTES
        ):
            return False
        if record.value != _pack(entry):
            return False  # the signature does not cover how list and bytes are spelt
        return verify(peer, _covered(replace(record, value=_pack(value))), signature)

    def strip_value(self, record: DHTRecord) -> bytes:
        return _pack(_unpack(record.value)[0])  # only called after `validate`


def _covered(record: DHTRecord) -> bytes:
    expiry = struct.pack(">d", record.expiration_time)
    return digest("dhtnode/1/dht-entry", record.key, record.subkey, record.value, expiry)


def _pack(value: object) -> bytes:
    return bytes(msgpack.packb(value, use_bin_type=True))


def _unpack(data: bytes) -> Any:
    """The value, or None for bytes that are none: a validator must not raise."""
    try:
        return msgpack.unpackb(data, raw=False)
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException):
        return None
