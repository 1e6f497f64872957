"""Signed records that are not part of a round: amendments, ballots, registrations of data.

They are few and matter for long. Each is on the disk before it is shown, gossiped once on a topic of its own,
and asked for: a node tells a neighbour now and then which it has, and is shown those that it lacks. What is
kept is for the boards to say, each of its own kinds.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Protocol

import msgspec

from dhtnode.driver import Driver
from dhtnode.errors import RemoteProtocolError, TransportError
from dhtnode.identity import Identity
from dhtnode.net.network import Network
from dhtnode.quota import Quota
from dhtnode.records import Body, Signed, canonical, open_record, parse_canonical, sign
from dhtnode.store import Store, StoredRecord
from training.messages import Head
from training.pool import PREFIX_BYTES
from training.sync import Prefix

log = logging.getLogger(__name__)

BULLETIN = "bulletin"
ASK_S = 3.0
"""Mean pause between questions. A vote lasts for an epoch; a guess."""
MAX_HELD = 8192
MAX_BYTES = 256 * 1024
"""Of a question, and of an answer: what does not fit is shown next time."""
_OVERHEAD_BYTES = 8

Names = Annotated[tuple[Prefix, ...], msgspec.Meta(max_length=MAX_HELD)]
Records = Annotated[tuple[bytes, ...], msgspec.Meta(max_length=MAX_HELD)]


class Board(Protocol):
    """Who has a say on some kinds of records."""

    @property
    def kinds(self) -> Mapping[str, type[Body]]:
        """By name."""

    def take(self, record: Signed[Body], head: Head | None) -> bool:
        """Take in a verified record.

        Args:
            record: of one of its kinds.
            head: that it is wanted for; None: the one that the node stands on.

        Returns:
            Whether it is new and has to be kept.

        Raises:
            RemoteProtocolError: nobody could take it in.
        """

    def records(self) -> Mapping[bytes, bytes]:
        """By id, what neighbours may lack."""


class Bulletin:
    """One node's.

    Args:
        network: started.
        store: keeps what is taken in, for good.
        identity: own.
        swarm_id: signature domain.
        blamed: told of a peer, a reason and a detail.
        boards: what is said about.
    """

    def __init__(
        self,
        network: Network,
        store: Store,
        identity: Identity,
        swarm_id: bytes,
        blamed: Callable[[str, str, str], None],
        boards: Sequence[Board],
    ) -> None:
        self._network = network
        self._store = store
        self._identity = identity
        self._swarm_id = swarm_id
        self._blamed = blamed
        self._boards = {kind: board for board in boards for kind in board.kinds}
        self._kinds = {kind: body for board in boards for kind, body in board.kinds.items()}
        self._quota = Quota()

    def stored(self, kind: str) -> list[Signed[Body]]:
        """What was taken in before a restart."""
        return [
            open_record(one.wire, self._swarm_id, self._kinds, self._identity.peer_id)
            for one in self._store.all_records(kind)
        ]

    async def say(self, body: Body) -> Signed[Body] | None:
        """Sign a record, keep it, and tell the others. None if the own board does not take it."""
        record: Signed[Body] = sign(self._identity, self._swarm_id, body)
        if not self._take(record, None):
            return None
        try:
            await self._network.publish(BULLETIN, record.wire)
        except TransportError as error:
            log.info("a record was not gossiped, neighbours will ask for it: %s", error)
        return record

    def hear(self, record: Signed[Body], head: Head | None = None) -> None:
        """Take in a verified record, or hold against its signer what is wrong; `head`: as for a board."""
        try:
            self._take(record, head)
        except RemoteProtocolError as error:
            self._blamed(error.peer, error.reason, error.detail)

    async def serve(self) -> None:
        """Answer neighbours from now on."""
        await self._network.on_request(BULLETIN, MAX_BYTES, self._answer)

    async def listen(self, pause_s: float = 0.0) -> None:
        """Hear gossip; after a restart only when the others may take this node back."""
        await asyncio.sleep(pause_s)
        await self._network.subscribe(BULLETIN, self._on_gossip)

    async def keep_asking(self) -> None:
        """Ask a neighbour now and then, for ever."""
        while True:
            peers = sorted(self._network.connected_peers())
            if peers:
                await self.ask(random.choice(peers))  # noqa: S311  spreads load, no secret
            await asyncio.sleep(ASK_S * random.uniform(0.5, 1.5))  # noqa: S311

    async def ask(self, peer: str, head: Head | None = None) -> None:
        """Be shown what a neighbour has and this node lacks; `head`: what it is wanted for."""
        have = [id_[:PREFIX_BYTES] for board in self._each_board() for id_ in board.records()]
        try:
            wire = await self._network.request(
                peer, BULLETIN, canonical(have[:MAX_HELD]), max_reply_bytes=MAX_BYTES
            )
            for shown in open_records(wire, peer):
                self.hear(open_record(shown, self._swarm_id, self._kinds, peer), head)
        except TransportError as error:
            log.debug("no exchange with %s: %s", peer, error)
        except RemoteProtocolError as error:
            self._blamed(error.peer, error.reason, error.detail)

    async def _answer(self, peer: str, request: bytes) -> bytes:
        theirs = set(open_names(request, peer))
        room, shown = MAX_BYTES - _OVERHEAD_BYTES, list[bytes]()
        for board in self._each_board():
            for id_, wire in board.records().items():
                if id_[:PREFIX_BYTES] in theirs:
                    continue
                room -= len(wire) + _OVERHEAD_BYTES
                if room >= 0 and len(shown) < MAX_HELD:
                    shown.append(wire)
        return canonical(shown)

    def _on_gossip(self, author: str, data: bytes) -> None:
        if author == self._network.peer_id:
            return
        if not self._quota.admit(author, Driver.now_s()):
            self._blamed(author, "flood", "")
            return
        try:
            self._take(open_record(data, self._swarm_id, self._kinds, author), None)
        except RemoteProtocolError as error:
            self._blamed(error.peer, error.reason, error.detail)

    def _take(self, record: Signed[Body], head: Head | None) -> bool:
        board = self._boards[record.body.KIND]
        if not board.take(record, head):
            return False
        round_no = getattr(record.body, "round", 0)
        self._store.add_record(
            StoredRecord(record.id, record.body.KIND, round_no, record.signer, record.wire)
        )
        return True

    def _each_board(self) -> list[Board]:
        return list(dict.fromkeys(self._boards.values()))


def open_names(wire: bytes, sender: str) -> tuple[bytes, ...]:
    """Check a neighbour's question: how the ids of what it has begin.

    Raises:
        RemoteProtocolError: reason `bad-bulletin`.
    """
    names: tuple[bytes, ...] = _open(wire, Names, sender)
    return names


def open_records(wire: bytes, sender: str) -> tuple[bytes, ...]:
    """Check the frame of an answer; its records are checked one by one.

    Raises:
        RemoteProtocolError: reason `bad-bulletin`.
    """
    records: tuple[bytes, ...] = _open(wire, Records, sender)
    return records


def _open(wire: bytes, kind: Any, sender: str) -> Any:
    try:
        return msgspec.convert(parse_canonical(wire, MAX_BYTES), kind, strict=True, builtin_types=(bytes,))
    except (ValueError, msgspec.ValidationError) as error:
        raise RemoteProtocolError(sender, "bad-bulletin", str(error)[:200]) from error
