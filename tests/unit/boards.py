"""Nodes with boards on which records of no round are said, and a network between them in one thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from dhtnode.app.bulletin import BULLETIN, MAX_BYTES, Board, Bulletin
from dhtnode.app.governing import Governing
from dhtnode.app.shards import Shards
from dhtnode.app.standing import Standing
from dhtnode.digest import digest
from dhtnode.errors import TransportError
from dhtnode.identity import Identity
from dhtnode.manifest import AuditSection, DataSection, OuterSection, Terms
from dhtnode.proposals import ShardPart
from dhtnode.reward import RewardSection
from dhtnode.store import Store
from tests.unit.parties import CHUNKS, SWARM, core, people, terms
from tests.unit.rounds import history
from training.events import Adopt
from training.in_force import TermsInForce
from training.messages import Head

PEOPLE = people(4)
ME, OTHER, THIRD, FOURTH = PEOPLE
HISTORY = history(9, PEOPLE)
HEAD = HISTORY[-1].certificate.head
CHUNK = 1000
CONTENT = b"".join(digest("content", number) for number in range(320))
DATA = DataSection(
    mode="shared",
    digest="0" * 64,
    total_bytes=len(CONTENT),
    chunk_bytes=CHUNK,
    chunks=("0" * 64,) * -(-len(CONTENT) // CHUNK),
)
"""Eleven chunks, of which training draws from nine."""
TERMS = msgspec.structs.replace(
    terms(),
    data=DATA,
    outer=OuterSection(),
    audit=AuditSection(rate=0.5),
    reward=RewardSection(epoch_rounds=2, vesting_rounds=2, vote_cap_ppm=500_000),
)

Answer = Callable[[str, bytes], Awaitable[bytes]]


class Wire:
    """A network on which everybody is connected to everybody, in one thread."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.heard: dict[str, Callable[[str, bytes], None]] = {}
        self.gossips = True


class End:
    """One node's end of it."""

    def __init__(self, wire: Wire, peer_id: str) -> None:
        self.wire, self.peer_id = wire, peer_id

    def connected_peers(self) -> dict[str, list[str]]:
        return {peer: [] for peer in self.wire.answers if peer != self.peer_id}

    async def on_request(self, endpoint: str, most: int, answer: Answer) -> None:
        assert (endpoint, most) == (BULLETIN, MAX_BYTES)
        self.wire.answers[self.peer_id] = answer

    async def request(self, peer: str, endpoint: str, payload: bytes, *, max_reply_bytes: int) -> bytes:
        reply = await self.wire.answers[peer](self.peer_id, payload)
        assert len(reply) <= max_reply_bytes
        return reply

    async def subscribe(self, topic: str, heard: Callable[[str, bytes], None]) -> None:
        self.wire.heard[self.peer_id] = heard

    async def publish(self, topic: str, data: bytes) -> None:
        if not self.wire.gossips:
            raise TransportError("nobody hears")
        for heard in self.wire.heard.values():
            heard(self.peer_id, data)


class Home:
    """What of a node has to do with the bulletin."""

    def __init__(
        self, wire: Wire, store: Store, me: Identity, adopted: Sequence[Adopt] = HISTORY, terms: Terms = TERMS
    ) -> None:
        self.me, self.store = me, store
        self.blamed: list[tuple[str, str]] = []
        self.head: Head | None = adopted[-1].certificate.head if adopted else None
        self.core = core(me, terms)
        self.in_force = TermsInForce(terms)
        self.standing = Standing(*(store, self.in_force, SWARM, me), parameters=10**9, sizes_K=[256] * CHUNKS)
        for one in adopted:
            self.go(one)
        self.governing = Governing(me, self.in_force, self.standing.vested_before, lambda: self.head)
        self.shards = Shards(store, me, SWARM, DATA, CONTENT, self.standing, lambda: self.head)
        network: Any = End(wire, me.peer_id)
        boards: list[Board] = [self.governing, self.shards]
        self.bulletin = Bulletin(network, store, me, SWARM, self._blame, boards)
        self.governing.restore(self.bulletin)
        self.shards.restore(self.bulletin)
        self.governing.stood(self.bulletin)

    def _blame(self, peer: str, reason: str, detail: str) -> None:
        del detail
        self.blamed.append((peer, reason))

    def go(self, adopted: Adopt) -> None:
        """Adopt a head."""
        self.head = adopted.certificate.head
        self.core.holdings.begin(self.head.number)
        self.standing.adopted(adopted, self.core)

    def again(self, wire: Wire) -> Home:
        """The same node after a restart."""
        home = Home(wire, self.store, self.me, ())
        home.head = self.head
        return home

    async def begin(self) -> Home:
        await self.bulletin.serve()
        await self.bulletin.listen()
        return self

    async def propose(self, **changes: str) -> str:
        wish = {key.replace("__", "."): value for key, value in (changes or {"outer__lr": "0.35"}).items()}
        return await self.governing.propose(self.bulletin, wish, None, "calmer")

    async def vote(self, proposal: str, yes: bool = True) -> str:
        return await self.governing.vote(self.bulletin, proposal, yes)

    async def register(self, domain: str = "law", first: int = 0, chunks: int = 4) -> ShardPart:
        return await self.shards.register(domain, first, chunks)


async def homes(stores: list[Store], wire: Wire) -> list[Home]:
    return [await Home(wire, store, me).begin() for store, me in zip(stores, (ME, OTHER, THIRD), strict=True)]
