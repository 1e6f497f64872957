"""Whether the sketches in others' registrations are those of the chunks that they name.

With the swarm's data at hand, anybody can make a sketch again: half a second of a core for a megabyte. So it
is done in a thread, one after the other, and once. Of whom the fewest were looked at comes first: a flood of
one member holds up its own alone. In private mode nobody can tell.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from dhtnode.digest import DIGEST_BYTES
from dhtnode.manifest import DataSection
from dhtnode.records import Signed
from dhtnode.store import Store
from rewards.data import Registration, sketch, training_chunks

MAX_WAITING = 64
"""Of one key: as many as count."""
MAX_FALSE = 4096
"""That are remembered, so that a restart does not look at them again. A guess: 128 KB."""
_FALSE = "shards.false"
"""Fact of a store: ids of registrations with false sketches, the oldest first."""


class Sketches:
    """One node's.

    Args:
        store: the node's, used from the event loop's thread only.
        data: the manifest's section.
        content: the swarm's data, or in private mode the node's own.
    """

    def __init__(self, store: Store, data: DataSection, content: bytes) -> None:
        self._store = store
        self._is_shared = training_chunks(data) > 0
        self._chunk_bytes = data.chunk_bytes
        self._content = content
        ids = store.fact(_FALSE) or b""
        self._false = dict.fromkeys(ids[at : at + DIGEST_BYTES] for at in range(0, len(ids), DIGEST_BYTES))
        self._true: set[bytes] = set()
        self.some_wait = asyncio.Event()
        self._waiting: dict[bytes, Signed[Registration]] = {}
        self._looked: Counter[str] = Counter()
        """At how many of each signer."""

    def verdict(self, registration: Signed[Registration]) -> bool | None:
        """Whether a registration's sketch is true; None: it was not looked at, and waits for that now."""
        if not self._is_shared or registration.id in self._true:
            return True
        if registration.id in self._false:
            return False
        waiting = sum(one.signer == registration.signer for one in self._waiting.values())
        if waiting < MAX_WAITING:
            self._waiting.setdefault(registration.id, registration)
            self.some_wait.set()
        return None

    async def look(self) -> Signed[Registration] | None:
        """Look at one that waits; None if none does."""
        if not self._waiting:
            self.some_wait.clear()
            return None
        one = min(self._waiting.values(), key=lambda record: (self._looked[record.signer], record.id))
        found = await asyncio.to_thread(sketch, self.shard(one.body.first, one.body.chunks))
        del self._waiting[one.id]
        self._looked[one.signer] += 1
        if found == one.body.sketch:
            self._true.add(one.id)
        else:
            self._false = dict.fromkeys([*self._false, one.id][-MAX_FALSE:])
            self._store.set_fact(_FALSE, b"".join(self._false))
        return one

    def shard(self, first: int, chunks: int) -> bytes:
        """The content of a shard; in private mode all there is."""
        size = self._chunk_bytes
        return self._content[first * size : (first + chunks) * size] if self._is_shared else self._content
