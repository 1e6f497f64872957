"""Streams that say what a test has them say: one of each that a node reads, and what reads it.

The reading side is the node's own. Below it are a reader that was given all its bytes, and a writer that
keeps what it is given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from dhtnode.app import opinions
from dhtnode.app.opinions import Opinions
from dhtnode.digest import digest, leaf_digests, root_digest
from dhtnode.errors import TransportError
from dhtnode.identity import is_peer_id
from dhtnode.net import chunks
from dhtnode.net.chunkplan import Content
from dhtnode.net.control import Connection
from dhtnode.net.streams import Handler, Stream, Streams, Traffic
from dhtnode.records import Signed, canonical
from tests.unit.parties import CHUNKS, SWARM, by_id, commit, core, plan_of, result_of, terms
from tests.unit.samples import AUDITOR, ME, PEER, PEOPLE, WIRE
from tests.unit.test_cases import BEFORE, WORKER, opening
from tests.unit.test_dispute import cut, naming
from training import exchange
from training.boundary import Boundary
from training.contribution import Contribution, result_root
from training.events import PartArrived
from training.exchange import Exchange, part_header
from training.in_force import TermsInForce
from training.segments import seal_all, segments_root
from validation import exhibits, reopening
from validation.appraisal import Appraisal, open_appraisal
from validation.exhibits import Exhibits, Question
from validation.messages import UNSEALED
from validation.reopening import Reopening
from validation.showing import Refusal

Read = Callable[[bytes], Awaitable[tuple[Any, bytes]]]


@dataclass(frozen=True)
class Fed:
    """What a peer says on a stream, and who reads it."""

    name: str
    wire: bytes
    read: Read
    """What was taken from it, None for nothing, and those of its bytes that were looked at.

    Raises:
        RemoteProtocolError, TransportError: the peer is at fault, or the stream ended.
    """
    check: Callable[[Any, bytes], None] | None = None
    """Holds what was taken from other bytes than were sent against them. None: a digest or a signature covers
    what is taken."""


class Told(Streams):
    """Streams to and from one peer that says the same whatever it is asked."""

    def __init__(self, *wires: bytes) -> None:
        super().__init__(cast("Any", SimpleNamespace(path=Path("control"))), SWARM, self._blame)
        self.blamed: list[str] = []
        self.written = bytearray()
        self._wires = list(wires)
        self._opened: list[tuple[bytes, Traffic]] = []
        self._served: dict[str, Handler] = {}

    @property
    def used(self) -> bytes:
        """What was read of the first stream."""
        wire, traffic = self._opened[0]
        return wire[: traffic.received_bytes]

    def stream(self, wire: bytes) -> Stream:
        reader, traffic = asyncio.StreamReader(), Traffic()
        reader.feed_data(wire)
        reader.feed_eof()
        self._opened.append((wire, traffic))
        writer = cast("asyncio.StreamWriter", _Kept(self.written))
        return Stream(PEER, "test", Connection(reader, writer), traffic)

    async def open(self, peer: str, endpoint: str, timeout_s: float = 0.0) -> Stream:
        return self.stream(self._wires.pop(0) if self._wires else b"")

    async def serve(self, endpoint: str, handler: Handler) -> None:
        self._served[endpoint] = handler

    async def hear(self, endpoint: str) -> None:
        """Have an endpoint read what the peer says."""
        await self._served[endpoint](await self.open(PEER, endpoint))

    def _blame(self, peer: str, reason: str) -> None:
        self.blamed.append(reason)


class _Kept:
    """The writing end of a stream."""

    def __init__(self, written: bytearray) -> None:
        self.write = written.extend

    async def drain(self) -> None:
        pass

    def close(self) -> None:
        pass


def framed(packed: bytes) -> bytes:
    return len(packed).to_bytes(4, "big") + packed


async def reply(wire: bytes) -> tuple[Any, bytes]:
    """An answer to any request."""
    streams = Told(wire)
    return await streams.request(PEER, "test", b"?", max_reply_bytes=64), streams.used


def is_reply(value: bytes, used: bytes) -> None:
    assert used == b"\0" + framed(value)


VALIDATOR = core(ME, terms())


async def opinion(wire: bytes) -> tuple[Any, bytes]:
    """A request: what is thought of whom."""
    streams = Told(wire)
    await Opinions(cast("Any", streams), VALIDATOR, ME, SWARM, lambda *_: None).serve()
    await streams.hear(opinions.ENDPOINT)
    answer = bytes(streams.written[5:])
    return open_appraisal(answer, SWARM, ME.peer_id, streams.used[4:].decode()), streams.used


def is_about(value: Signed[Appraisal], used: bytes) -> None:
    assert is_peer_id(value.body.about)
    assert used == framed(value.body.about.encode())


# Content by digest

PIECES = [b"abc", b"def", b"g"]
LEAVES = leaf_digests("test", PIECES)
CONTENT = Content("test", root_digest("test", LEAVES), 7, 3)
ABSENT = b"\xff" * 4


class Library:
    """Has one piece of content."""

    def leaves(self, root: bytes) -> list[bytes] | None:
        return LEAVES if root == CONTENT.root else None

    def chunk(self, root: bytes, index: int) -> bytes | None:
        return PIECES[index] if root == CONTENT.root and index < len(PIECES) else None


async def read_content(wire: bytes) -> tuple[Any, bytes]:
    """A reader's questions, until it has no more."""
    streams = Told(wire)
    await chunks.serve_chunks(streams, Library())
    with suppress(TransportError):
        await streams.hear(chunks.ENDPOINT)
    return bytes(streams.written), streams.used


def is_content(value: bytes, used: bytes) -> None:
    known: dict[bytes, bytes] = {ABSENT: b"".join(LEAVES)}
    if used[:32] == CONTENT.root:
        known |= {number.to_bytes(4, "big"): piece for number, piece in enumerate(PIECES)}
    else:
        known.clear()
    asked = [used[at : at + 4] for at in range(32, len(used), 4)]
    assert value == b"".join(framed(known[one]) if one in known else ABSENT for one in asked)


async def leaves(wire: bytes) -> tuple[Any, bytes]:
    """What a source says that content consists of."""
    return await _fetched(Told(wire, b"".join(map(framed, PIECES))), None)


async def pieces(wire: bytes) -> tuple[Any, bytes]:
    """Chunks of a source."""
    return await _fetched(Told(wire), LEAVES)


async def _fetched(streams: Told, known: list[bytes] | None) -> tuple[Any, bytes]:
    written: dict[int, bytes] = {}
    await chunks.fetch(streams, [PEER], CONTENT, written.__setitem__, leaves=known)
    return written, streams.used


# Parts and results

ELEMS = CHUNKS * WIRE.chunk_elems
NUMBERS = np.random.default_rng(2).standard_normal(ELEMS).astype(np.float32)
MINE = Contribution.of(PEER, BEFORE.id, NUMBERS, WIRE)
PART = 1
_PLAN = plan_of(PEOPLE, BEFORE)
SENT = commit(AUDITOR, BEFORE, parts=MINE.root)
PLAN = replace(_PLAN, commitments_N=tuple(SENT if one.signer == PEER else one for one in _PLAN.commitments_N))
OWNED = PLAN.ranges_N[PART]
PART_CHUNKS = [MINE.chunks_K[index] for index in OWNED]
RESULT = result_of(by_id(PLAN.members[PART]), PLAN, PART, root=result_root(PART_CHUNKS))


async def part(wire: bytes) -> tuple[Any, bytes]:
    """A sender's header and its chunks."""
    arrived: list[PartArrived] = []
    streams, here = await _exchange(wire, arrived)
    await streams.hear(exchange.PART)
    taken = [here.part(one.roster, one.part, one.sender) for one in arrived] or None
    here.open_plan(replace(PLAN, roster=digest("other")))
    assert not any(here.part(one.roster, one.part, one.sender) for one in arrived), "its roster is given up"
    return taken, streams.used


async def result_wanted(wire: bytes) -> tuple[Any, bytes]:
    """The name of a result."""
    streams, _ = await _exchange(wire, [])
    await streams.hear(exchange.RESULT)
    return bytes(streams.written), streams.used


def is_absent(value: bytes, _: bytes) -> None:
    assert value == b"\0"


async def result(wire: bytes) -> tuple[Any, bytes]:
    """What somebody says that a reducer has made."""
    streams = Told(wire)
    here = Exchange(streams, WIRE, ELEMS, lambda _: None)
    await here.fetch_result(PLAN, RESULT, [PEER])
    return here.result(RESULT.body.root), streams.used


async def _exchange(wire: bytes, arrived: list[PartArrived]) -> tuple[Told, Exchange]:
    streams = Told(wire)
    here = Exchange(streams, WIRE, ELEMS, arrived.append)
    here.open_plan(PLAN)
    here.keep_result(PLAN.base, PART_CHUNKS)
    await here.serve()
    return streams, here


# Audits and disputes

DRAWN = (1, 3)
LOOKING = opening(AUDITOR, digest("mine"))
STATES = [Boundary(step, 0.5, bytes([step]) * 20) for step in (3, 6, 9)]
SEALS = seal_all(WORKER.peer_id, BEFORE.id, [one.digest for one in STATES])
DISPUTED = commit(WORKER, BEFORE, segments=segments_root(SEALS))
ASKED = opening(AUDITOR, UNSEALED, target=DISPUTED.id)
NAMED = naming(AUDITOR, 2, target=DISPUTED.id)
TERMS = TermsInForce(cut(3))


async def work_wanted(wire: bytes) -> tuple[Any, bytes]:
    """An auditor's question."""
    streams, heard = Told(wire), list[Question]()

    async def show(_: Any, asked: Question) -> Refusal:
        heard.append(asked)
        return Refusal.NO

    await Exhibits(streams, SWARM, WIRE, [WIRE.chunk_elems] * CHUNKS).serve(show)
    await streams.hear(exhibits.WORK)
    return heard[0], streams.used


def is_question(value: Question, used: bytes) -> None:
    assert used == framed(canonical(value))
    assert value.opening == LOOKING.wire


async def work(wire: bytes) -> tuple[Any, bytes]:
    """Chunks that are shown to an auditor."""
    streams = Told(wire)
    exhibits_here = Exhibits(streams, SWARM, WIRE, [WIRE.chunk_elems] * CHUNKS)
    return await exhibits_here.ask([PEER], LOOKING, SENT, DRAWN, lambda: None), streams.used


async def boundaries_wanted(wire: bytes) -> tuple[Any, bytes]:
    """A juror's question."""
    streams, heard = Told(wire), list[bytes]()

    async def show(*asked: Any) -> None:
        heard.append(reopening.wanted(*asked))

    await _reopening(streams).serve(show)
    await streams.hear(reopening.BOUNDARIES)
    return heard[0], streams.used


def is_wanted(value: bytes, used: bytes) -> None:
    assert used == framed(value)
    assert value == reopening.wanted(ASKED, None)


async def boundaries(wire: bytes) -> tuple[Any, bytes]:
    """Seals and the state in which the disputed segment begins."""
    streams = Told(wire)
    opened = await _reopening(streams).ask(DISPUTED, ASKED, NAMED)
    if opened is None or opened.boundary is None:
        return None, streams.used
    return (opened.seals, opened.boundary.wire), streams.used


def _reopening(streams: Told) -> Reopening:
    return Reopening(streams, SWARM, TERMS, len(STATES[1].wire))


FED = [
    Fed("reply", b"\0" + framed(b"answer"), reply, is_reply),
    Fed("opinion wanted", framed(PEER.encode()), opinion, is_about),
    Fed("content wanted", CONTENT.root + ABSENT + bytes(4), read_content, is_content),
    Fed("leaves", framed(b"".join(LEAVES)), leaves),
    Fed("chunks", b"".join(map(framed, PIECES)), pieces),
    Fed("part", framed(part_header(PLAN, PART, MINE.leaves_K)) + b"".join(PART_CHUNKS), part),
    Fed("result wanted", RESULT.body.root, result_wanted, is_absent),
    Fed("result", b"\1" + b"".join(PART_CHUNKS), result),
    Fed("work wanted", framed(exhibits.question(LOOKING, WORKER.peer_id, DRAWN)), work_wanted, is_question),
    Fed("work", b"\1" + b"".join([*MINE.leaves_K, *(MINE.chunks_K[one] for one in DRAWN)]), work),
    Fed("boundaries wanted", framed(reopening.wanted(ASKED, NAMED)), boundaries_wanted, is_wanted),
    Fed(
        "boundaries",
        b"\1" + b"".join(SEALS) + len(STATES[1].wire).to_bytes(8, "big") + STATES[1].wire,
        boundaries,
    ),
]
