"""Reading hivemind's DHT through a member: one `DHTProtocol.rpc_find` over a libp2p stream.

hivemind itself can't be imported beside py-libp2p (both register the protobuf package
`crypto.pb`), but its compiled messages can: they are loaded from its folder under a name of ours.

What a member does not keep itself is missing from the answer. Members look the whole swarm's
presence up every few seconds and keep what they find, so any of them answers for all.

Source: hivemind 1.1, dht/protocol.py, dht/storage.py, p2p/p2p_daemon_bindings/control.py.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import base58
import msgpack
from google.protobuf.message import DecodeError
from libp2p.utils.varint import encode_varint_prefixed, read_varint_prefixed_bytes_limited

from dhtnode.errors import RemoteProtocolError, TransportError
from dhtnode.observer.client import Client, Door

RPC_FIND = "DHTProtocol.rpc_find"
MAX_REPLY_BYTES = 1 << 20
MAX_ENTRIES = 4096
_DICTIONARY = 0x50
"""Extension type of a value that has an entry for each subkey."""
_STUBS = "dhtnode_hivemind_proto"


async def find_entries(client: Client, door: Door, key: str) -> dict[str, bytes]:
    """A member's entries under a DHT key: subkey -> the signed value that hivemind stores.

    The values are not verified here: whoever reads them checks the record in them.

    Raises:
        RemoteProtocolError: `bad-dht-reply`.
        TransportError: no answer.
    """
    dht, p2pd = _stubs("dht_pb2"), _stubs("p2pd_pb2")
    key_id = hashlib.sha1(msgpack.packb(key), usedforsecurity=False).digest()
    find = dht.FindRequest(keys=[key_id], peer=dht.NodeInfo())  # no node id: not to be remembered
    callee = base58.b58decode(door.peer)
    call = p2pd.CallUnaryRequest(peer=callee, proto=RPC_FIND, data=find.SerializeToString())
    request = p2pd.PersistentConnectionRequest(callId=os.urandom(16), callUnary=call)
    async with client.stream(door, RPC_FIND) as stream:
        await stream.write(encode_varint_prefixed(request.SerializeToString()))
        wire = await read_varint_prefixed_bytes_limited(stream, MAX_REPLY_BYTES)
    try:
        reply = p2pd.PersistentConnectionRequest.FromString(wire).unaryResponse
        if reply.HasField("error"):
            raise TransportError(
                f"{door.peer} can't look it up: {reply.error.decode(errors='replace')[:200]}"
            )
        result = dht.FindResponse.FromString(reply.response).results[0]
        return _entries(result.value) if result.type == dht.FOUND_DICTIONARY else {}
    except (DecodeError, LookupError, ValueError, TypeError) as error:
        raise RemoteProtocolError(door.peer, "bad-dht-reply", f"{type(error).__name__}: {error}") from error


def _entries(packed: bytes) -> dict[str, bytes]:
    """Subkeys and values of a dictionary value.

    Raises:
        ValueError, TypeError: not one.
    """
    outer = msgpack.unpackb(packed, ext_hook=_open_dictionary, raw=False)
    _, _, items = outer
    found: dict[str, bytes] = {}
    for subkey, stored, _ in items[:MAX_ENTRIES]:
        value = msgpack.unpackb(stored, raw=False)
        if isinstance(subkey, str) and isinstance(value, list) and value and isinstance(value[0], bytes):
            found[subkey] = value[0]
    return found


def _open_dictionary(code: int, data: bytes) -> Any:
    if code != _DICTIONARY:
        raise ValueError(f"extension type {code}")
    return msgpack.unpackb(data, raw=False)


@cache
def _stubs(name: str) -> ModuleType:
    """A compiled protobuf module of hivemind, without hivemind."""
    if _STUBS not in sys.modules:
        found = importlib.util.find_spec("hivemind")
        if found is None or found.origin is None:
            raise ModuleNotFoundError("hivemind is not installed")
        spec = ModuleSpec(_STUBS, loader=None, is_package=True)
        spec.submodule_search_locations = [str(Path(found.origin).with_name("proto"))]
        sys.modules[_STUBS] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"{_STUBS}.{name}")
