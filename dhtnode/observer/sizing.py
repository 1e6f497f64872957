"""How large the swarm's model is, proven: the ledger pays for arithmetic, which the model decides.

A certified head names the digest of its state, and that is a root over the digests of the state's chunks. All
chunks but the last have one length. So whoever is shown the digests and the last chunk, and finds that they
lead to the root, knows the length of the whole; what that consists of follows from the manifest (`Model`).
"""

from __future__ import annotations

from dhtnode.digest import DIGEST_BYTES, leaf_digest, root_digest
from dhtnode.errors import RemoteProtocolError, TransportError
from dhtnode.observer.client import Client, Door, read_exactly
from training.messages import Head
from training.state import CHUNK_BYTES, state_label

ENDPOINT = "chunks"
MAX_LEAVES = 262_144
"""States of 64 GiB."""
_LEAVES = _ABSENT = 2**32 - 1
"""As in `dhtnode.net.chunks`."""


async def state_bytes(client: Client, door: Door, protocol: str, swarm_id: bytes, head: Head) -> int:
    """Length of a head's state, as a member proves it.

    Raises:
        RemoteProtocolError: reason `bad-leaves` or `bad-chunk`.
        TransportError: no answer, or it does not hold that state any more.
    """
    label = state_label(swarm_id, head.number)
    async with client.stream(door, protocol) as stream:
        await stream.write(head.state + _LEAVES.to_bytes(4, "big"))
        joined = await _answer(stream, door, DIGEST_BYTES * MAX_LEAVES, "bad-leaves")
        leaves = [joined[at : at + DIGEST_BYTES] for at in range(0, len(joined), DIGEST_BYTES)]
        if not leaves or root_digest(label, leaves) != head.state:
            raise RemoteProtocolError(door.peer, "bad-leaves", "they are not those of the certified state")
        last = len(leaves) - 1
        await stream.write(last.to_bytes(4, "big"))
        chunk = await _answer(stream, door, CHUNK_BYTES, "bad-chunk")
        if leaf_digest(label, last, chunk) != leaves[last]:
            raise RemoteProtocolError(door.peer, "bad-chunk", f"chunk {last} of the certified state")
    return CHUNK_BYTES * last + len(chunk)


async def _answer(stream: object, door: Door, most: int, reason: str) -> bytes:
    length = int.from_bytes(await read_exactly(stream, 4), "big")
    if length == _ABSENT:
        raise TransportError(f"{door.peer} does not hold the state any more")
    if length > most:
        raise RemoteProtocolError(door.peer, reason, f"{length} bytes, at most {most}")
    return await read_exactly(stream, length)
