"""Registrations of data at one node: which it holds, and what its user wants registered.

A registration says who has brought a shard and names a round. It counts from that round on in everybody's
ledger, so one of a round to come is not taken in. Of two on the same chunk, the first in canonical order
counts (`rewards.data`), whenever it came.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import cast

import msgspec

from dhtnode.app.bulletin import Bulletin
from dhtnode.app.standing import Standing
from dhtnode.errors import ConfigError, Exit, RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.manifest import DataSection
from dhtnode.proposals import ShardPart, ShardsPart
from dhtnode.records import Body, Signed
from rewards.data import CLAIMS_PER_KEY, Registration, sketch, training_chunks
from rewards.governance import is_heard
from training.messages import Head

MAX_REGISTRATIONS = 4096
"""Of everybody together. A guess: 64 members with as many as count for one key."""


class Shards:
    """One node's registrations; a board of the bulletin.

    Args:
        identity: own.
        data: the manifest's section.
        content: the node's data: the swarm's, or in private mode its own.
        standing: books them.
        head: that the node stands on, None before it has one.
    """

    kinds: Mapping[str, type[Body]] = {Registration.KIND: Registration}

    def __init__(
        self,
        identity: Identity,
        data: DataSection,
        content: bytes,
        standing: Standing,
        head: Callable[[], Head | None],
    ) -> None:
        self._identity = identity
        self._data = data
        self._content = content
        self._standing = standing
        self._head = head
        self._chunks = training_chunks(data)
        self._held: dict[bytes, Signed[Registration]] = {}
        self._by_signer: Counter[str] = Counter()

    def restore(self, bulletin: Bulletin) -> None:
        """Take back what was registered before a restart."""
        for record in bulletin.stored(Registration.KIND):
            self._hold(cast("Signed[Registration]", record))
        self._standing.registered(self._held.values())

    # A board of the bulletin

    def take(self, record: Signed[Body], head: Head | None) -> bool:
        registration, head = cast("Signed[Registration]", record), head or self._head()
        body, signer = registration.body, registration.signer
        if (body.chunks > 0) != (self._chunks > 0) or body.first + body.chunks > max(self._chunks, 0):
            raise RemoteProtocolError(
                signer, "bad-registration", "names chunks that the swarm's data has not"
            )
        if registration.id in self._held or head is None or body.round > head.number:
            return False
        if self._by_signer[signer] >= CLAIMS_PER_KEY or len(self._held) >= MAX_REGISTRATIONS:
            return False
        if not is_heard(signer, head, self._standing.vested_before(head.number)):
            return False
        self._hold(registration)
        self._standing.registered(self._held.values(), registration)
        return True

    def records(self) -> Mapping[bytes, bytes]:
        return {id_: one.wire for id_, one in self._held.items()}

    def _hold(self, registration: Signed[Registration]) -> None:
        self._held[registration.id] = registration
        self._by_signer[registration.signer] += 1

    # What the user says and sees

    async def register(self, bulletin: Bulletin, domain: str, first: int, chunks: int) -> str:
        """Register a shard.

        Args:
            bulletin: where it is said.
            domain: what it is about.
            first: its first chunk.
            chunks: how many; 0: all from there on, in private mode the whole of the own data.

        Returns:
            The registration's id in hex.

        Raises:
            ConfigError: FAILED (1); there is no such shard, or nobody would take it in.
        """
        head = self._head()
        if head is None:
            raise ConfigError("the node has not joined yet; try again in a moment", Exit.FAILED)
        count = (chunks or self._chunks - first) if self._chunks else 0
        size = self._data.chunk_bytes
        shard = self._content[first * size : (first + count) * size] if self._chunks else self._content
        try:
            body = msgspec.convert(
                {
                    "round": head.number,
                    "domain": domain,
                    "first": first,
                    "chunks": count,
                    "tokens": len(shard),
                    "sketch": await asyncio.to_thread(sketch, shard),
                },
                Registration,
            )
            record = await bulletin.say(body)
        except (ValueError, RemoteProtocolError) as error:
            what = error.detail if isinstance(error, RemoteProtocolError) else str(error)
            raise ConfigError(
                f"no such shard: {what}; training uses {self._chunks} chunks of the data", Exit.FAILED
            ) from error
        if record is None:
            raise ConfigError(
                f"nobody would take it in: register as a member of a round, at most {CLAIMS_PER_KEY} shards",
                Exit.FAILED,
            )
        return record.id.hex()

    def listed(self) -> ShardsPart:
        """All that is registered, in canonical order."""
        claims = {claim.record: claim for claim in self._standing.claims}
        order = sorted(self._held.values(), key=lambda one: (one.body.round, one.id))
        parts = []
        for one in order:
            claim = claims.get(one.id)
            parts.append(
                ShardPart(
                    id=one.id.hex(),
                    by=one.signer,
                    round=one.body.round,
                    domain=one.body.domain,
                    first=one.body.first,
                    chunks=one.body.chunks,
                    own=claim.size if claim else 0,
                    duplicate_ppm=claim.duplicate_ppm if claim else 0,
                )
            )
        return ShardsPart(chunks=self._chunks, shards=tuple(parts))
