"""Registrations of data at one node: which it holds, and what its user wants registered.

A registration says who has brought a shard. It names a round, and counts from that on if its signer's
commitment to the round names it (`app.dating`). So the node's next commitment names what its user wants
registered, and when the round has closed with that, the registration is said. Of two on the same chunk, the
first in canonical order counts (`rewards.data`), whenever it came.

What is held counts. One whose sketch is not true is never held, so all who hold the dated ones hold the same.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from typing import cast

import msgspec

from dhtnode.app.bulletin import Bulletin
from dhtnode.app.dating import Undated
from dhtnode.app.sketches import Sketches
from dhtnode.app.standing import Standing
from dhtnode.app.wishes import Wish, Wishes
from dhtnode.errors import ConfigError, Exit, RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.manifest import DataSection
from dhtnode.proposals import ShardPart, ShardsPart
from dhtnode.records import Body, Signed, sign
from dhtnode.store import Store
from rewards.data import (
    CLAIMS_PER_KEY,
    SALT_BYTES,
    Claim,
    Registration,
    find_fault,
    sketch,
    training_chunks,
)
from rewards.governance import is_heard
from training.messages import Head

MAX_REGISTRATIONS = 4096
"""Of everybody together. A guess: 64 members with as many as count for one key."""


class Shards:
    """One node's registrations; a board of the bulletin.

    Args:
        store: the node's, used from the event loop's thread only.
        identity: own.
        swarm_id: signature domain.
        data: the manifest's section.
        content: the node's data: the swarm's, or in private mode its own.
        standing: books them.
        head: that the node stands on, None before it has one.
    """

    kinds: Mapping[str, type[Body]] = {Registration.KIND: Registration}

    def __init__(
        self,
        store: Store,
        identity: Identity,
        swarm_id: bytes,
        data: DataSection,
        content: bytes,
        standing: Standing,
        head: Callable[[], Head | None],
    ) -> None:
        self._store = store
        self._identity = identity
        self._swarm_id = swarm_id
        self._data = data
        self._standing = standing
        self._dating = standing.dating
        self._head = head
        self._chunks = training_chunks(data)
        self._wishes = Wishes(store)
        self._sketches = Sketches(store, data, content)
        self._held: dict[bytes, Signed[Registration]] = {}
        self._by_signer: Counter[str] = Counter()
        self._refused: set[bytes] = set()
        """What counts for nothing on this branch, and was held against its signer."""
        self._news = asyncio.Event()

    def restore(self, bulletin: Bulletin) -> None:
        """Take back what was registered before a restart, and follow the chain from now on."""
        for record in bulletin.stored(Registration.KIND):
            self._hold(cast("Signed[Registration]", record))
        self._let_go()
        self._dating.registered(self._held.values())
        self._dating.on_left = self._on_left
        self._dating.on_rounds = self._news.set
        self._news.set()

    # A board of the bulletin

    def take(self, record: Signed[Body], head: Head | None) -> bool:
        registration, head = cast("Signed[Registration]", record), head or self._head()
        signer, fault = registration.signer, find_fault(registration.body, self._data)
        if fault:
            raise RemoteProtocolError(signer, "bad-registration", fault)
        if registration.id in self._held or registration.id in self._refused or head is None:
            return False
        if self._by_signer[signer] >= CLAIMS_PER_KEY or len(self._held) >= MAX_REGISTRATIONS:
            return False
        if not is_heard(signer, head, self._standing.vested_before(head.number)):
            return False
        dated = self._dating.head_of(registration)
        if dated is Undated.UNNAMED:
            self._refuse(registration, dated.value)
        if isinstance(dated, Undated) or not self._is_true(registration):
            return False
        self._hold(registration)
        self._dating.registered(self._held.values(), [registration])
        return True

    def records(self) -> Mapping[bytes, bytes]:
        return {id_: one.wire for id_, one in self._held.items()}

    def _hold(self, registration: Signed[Registration]) -> None:
        self._held[registration.id] = registration
        self._by_signer[registration.signer] += 1

    def _is_true(self, registration: Signed[Registration]) -> bool:
        """Whether a sketch was looked at and found true. The own one this node has made itself."""
        if registration.signer == self._identity.peer_id:
            return True
        found = self._sketches.verdict(registration)
        if found is False:
            self._refuse(registration, "its sketch is not that of its chunks")
        return found is True

    def _refuse(self, registration: Signed[Registration], why: str) -> None:
        """Hold it against its signer, once.

        Raises:
            RemoteProtocolError: always.
        """
        if len(self._refused) >= MAX_REGISTRATIONS:
            self._refused.clear()
        self._refused.add(registration.id)
        raise RemoteProtocolError(registration.signer, "bad-registration", why)

    # Where the chain goes

    def _on_left(self) -> None:
        """Other rounds are followed than before."""
        self._refused.clear()
        self._let_go()
        self._dating.registered(self._held.values(), self._held.values())
        self._news.set()

    def _let_go(self) -> None:
        """What the followed chain shows to be undated counts no more; an own one waits for a round again."""
        known = (Undated.ABSENT, Undated.UNNAMED)
        gone = [one for one in self._held.values() if self._dating.head_of(one) in known]
        for one in gone:
            del self._held[one.id]
            self._by_signer[one.signer] -= 1
        if gone:
            self._store.drop_records(one.id for one in gone)

    async def keep_saying(self, bulletin: Bulletin) -> None:
        """Say what rounds have dated, for ever."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self.say_dated(bulletin)

    async def say_dated(self, bulletin: Bulletin) -> None:
        """Say the own registrations that a closed round dates and nobody was shown."""
        for wish in self._wishes.waiting(self._own()):
            dated = self._dated(wish)
            if dated is not None:
                await bulletin.say(dated)

    async def keep_looking(self, bulletin: Bulletin) -> None:
        """Look at others' sketches, for ever: beside all else, it may take minutes."""
        while True:
            await self._sketches.some_wait.wait()
            await self.look(bulletin)

    async def look(self, bulletin: Bulletin) -> None:
        """Look at all sketches that wait, and take in or refuse what they belong to."""
        while (looked := await self._sketches.look()) is not None:
            bulletin.hear(looked)

    def _dated(self, wish: Wish) -> Registration | None:
        """What became of a wish in a round that this node holds: its own word is not enough."""
        signed = (self._signed(wish.at(round_no)) for round_no in wish.named)
        return next((one.body for one in signed if self._dating.is_certified(one)), None)

    def _own(self) -> list[Registration]:
        """Own registrations that count."""
        return [one.body for one in self._held.values() if one.signer == self._identity.peer_id]

    def _signed(self, shard: Registration) -> Signed[Registration]:
        return sign(self._identity, self._swarm_id, shard)

    # What the user says and sees

    def dated(self, round_no: int) -> bytes | None:
        """What the own commitment to a round should name: the oldest wish, signed for this round."""
        waiting = self._wishes.waiting(self._own())
        wish = next((one for one in waiting if self._dated(one) is None), None)
        if wish is None:
            return None
        self._wishes.name(wish, round_no)
        return self._signed(wish.at(round_no)).id

    async def register(self, domain: str, first: int, chunks: int) -> ShardPart:
        """Have the next commitment name a shard.

        Args:
            domain: what it is about.
            first: its first chunk.
            chunks: how many; 0: all from there on, in private mode the whole of the own data.

        Raises:
            ConfigError: FAILED (1); there is no such shard, or it would not count.
        """
        head = self._head()
        if head is None:
            raise ConfigError("the node has not joined yet; try again in a moment", Exit.FAILED)
        count = (chunks or self._chunks - first) if self._chunks else 0
        content = self._sketches.shard(first, count)
        try:
            shard = msgspec.convert(
                {
                    "round": head.number,
                    "domain": domain,
                    "first": first,
                    "chunks": count,
                    "tokens": len(content),
                    "sketch": await asyncio.to_thread(sketch, content),
                    "salt": secrets.token_bytes(SALT_BYTES),
                },
                Registration,
            )
            fault = find_fault(shard, self._data)
        except ValueError as error:
            fault = str(error)
        if fault:
            raise ConfigError(
                f"no such shard: {fault}; training uses {self._chunks} chunks of the data", Exit.FAILED
            )
        wish, registered = Wish(shard), self._own()
        waiting = self._wishes.waiting(registered)
        if any(map(wish.is_like, (*registered, *(other.shard for other in waiting)))):
            raise ConfigError("this is registered already, or waits: see 'dhtnode data list'", Exit.FAILED)
        if len(registered) + len(waiting) >= CLAIMS_PER_KEY:
            raise ConfigError(
                f"{CLAIMS_PER_KEY} shards of a key count, and this node has named as many", Exit.FAILED
            )
        self._wishes.add(wish)
        return _part(shard, self._identity.peer_id)

    def listed(self) -> ShardsPart:
        """All that is registered, in canonical order, and then what this node's user waits for."""
        claims = {claim.record: claim for claim in self._dating.claims}
        order = sorted(self._held.values(), key=lambda one: (one.body.round, one.id))
        parts = [_part(one.body, one.signer, one.id, claims.get(one.id)) for one in order]
        waiting = self._wishes.waiting(self._own())
        parts += [_part(wish.shard, self._identity.peer_id) for wish in waiting]
        return ShardsPart(chunks=self._chunks, shards=tuple(parts))


def _part(
    shard: Registration, signer: str, id_: bytes | None = None, claim: Claim | None = None
) -> ShardPart:
    """How a registration is shown; without an id it waits."""
    return ShardPart(
        state="waiting for the next round" if id_ is None else "registered",
        id=id_.hex() if id_ else None,
        by=signer,
        round=shard.round if id_ else None,
        domain=shard.domain,
        first=shard.first,
        chunks=shard.chunks,
        own=claim.size if claim else 0,
        duplicate_ppm=claim.duplicate_ppm if claim else 0,
    )
