"""What this node pays for its entry: a number that is looked for once, beside all else, and kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

from dhtnode.app.memory import Memory
from dhtnode.identity import Identity
from dhtnode.records import Signed, sign
from validation.entry import Entry, find_nonce, is_paid

TRIES = 20_000
"""At a time: some 10 ms, after which the status can say how far it is."""


def _always() -> bool:
    return True


async def own_entry(
    memory: Memory,
    identity: Identity,
    swarm_id: bytes,
    bits: int,
    tell: Callable[[str], None],
    is_needed: Callable[[], bool] = _always,
) -> Signed[Entry] | None:
    """The proof of work of an earlier start, or a new one; None if none is asked for, or needed any more.

    Args:
        memory: keeps it.
        identity: the key it is for.
        swarm_id: the swarm it is for.
        bits: how hard it is.
        tell: told how far it is, in words.
        is_needed: whether this node still has to pay: a member may have answered for it.
    """
    if bits == 0:
        return None
    for kept in memory.entries():
        if kept.signer == identity.peer_id and is_paid(kept, bits):
            return kept
    for start in count(0, TRIES):
        if not is_needed():
            return None
        tell(f"finding its proof of work, {start:,} numbers tried; it takes about {2**bits:,}")
        nonce = await asyncio.to_thread(find_nonce, swarm_id, identity.peer_id, bits, start, TRIES)
        if nonce is not None:
            break
    entry = sign(identity, swarm_id, Entry(nonce=nonce or b""))
    memory.keep_entry(entry)
    return entry
