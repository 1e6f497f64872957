"""What is asked of one member, and the first look at each answer: nothing that is not signed gets past it."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from dhtnode.errors import RemoteProtocolError, TransportError
from dhtnode.observer.client import Client, Door, RefusedError
from dhtnode.observer.directory import find_entries
from dhtnode.observer.evidence import Evidence
from dhtnode.observer.sizing import ENDPOINT as CHUNKS
from dhtnode.observer.sizing import state_bytes
from dhtnode.presence import KEY
from dhtnode.records import Signed
from rewards.disclosure import ENDPOINT as DISCLOSURE
from rewards.disclosure import MAX_PAGE_BYTES, START, Place, question
from training.chain import Certificate, open_certificate
from training.messages import Head
from training.sync import MAX_SYNC_BYTES, open_sync_reply, sync_request
from validation.appraisal import Appraisal, open_appraisal

SYNC, OPINION = "sync", "standing"
"""The members' names for them; see `dhtnode.app`."""
PAUSE_S = 0.5
"""Before a member that has had enough is asked again: it shows two pages a second in the long run."""
MAX_PAGES = 4096
"""A page has a record or 64 rounds: a member that shows more of them is of no use."""


@dataclass(frozen=True)
class Asking:
    """Questions to one member.

    All raise TransportError if there is no answer, and RemoteProtocolError if it is one that no honest peer
    gives.
    """

    client: Client
    door: Door
    swarm_id: bytes

    async def connect(self) -> None:
        """Dial it."""
        await self.client.connect(self.door)

    async def head(self) -> Certificate:
        """The head that it stands on."""
        request = sync_request(None, None)
        wire = await self._request(SYNC, request, MAX_SYNC_BYTES)
        shown = open_sync_reply(wire, self.door.peer).certificate
        if shown is None:
            raise TransportError(f"{self.door.peer} has no head yet")
        return open_certificate(shown, self.swarm_id, self.door.peer)

    async def presences(self) -> dict[str, bytes]:
        """Who is present, as it knows it: signed entries, not verified yet."""
        return await find_entries(self.client, self.door, f"dhtnode/{self._short}/{KEY}")

    async def opinion(self, key: str) -> Signed[Appraisal]:
        """What it thinks of a key."""
        reply = await self._request(OPINION, key.encode(), Appraisal.MAX_BYTES)
        return open_appraisal(reply, self.swarm_id, self.door.peer, key)

    async def state_bytes(self, head: Head) -> int:
        """Length of a head's state."""
        return await state_bytes(self.client, self.door, self._protocol(CHUNKS), self.swarm_id, head)

    async def evidence(self, kept: Evidence) -> None:
        """All records that it shows, into `kept`."""
        place: Place | None = START
        for _ in range(MAX_PAGES):
            if place is None:
                return
            place = kept.take(self.door.peer, place, await self._page(place))
        raise RemoteProtocolError(self.door.peer, "too-much", "its pages have no end")

    async def _page(self, place: Place) -> bytes:
        """The page after a place, however often the member wants to be left alone first."""
        while True:
            try:
                return await self._request(DISCLOSURE, question(place), MAX_PAGE_BYTES)
            except RefusedError:
                await trio.sleep(PAUSE_S)

    async def _request(self, endpoint: str, payload: bytes, most: int) -> bytes:
        return await self.client.request(self.door, self._protocol(endpoint), payload, most)

    @property
    def _short(self) -> str:
        return self.swarm_id.hex()[:16]

    def _protocol(self, endpoint: str) -> str:
        return f"/dhtnode/1/{self._short}/{endpoint}"
