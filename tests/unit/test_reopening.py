"""What a worker opens is read up to its length, held against its commitment, and else it is nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError, TransportError
from dhtnode.net.streams import Handler, Stream, Streams
from dhtnode.records import Signed
from tests.unit.parties import SWARM, commit
from tests.unit.test_cases import BEFORE, JUDGES, WORKER, opening
from tests.unit.test_dispute import cut, naming
from training.boundary import Boundary
from training.in_force import TermsInForce
from training.segments import seal_all, segments_root
from validation.messages import UNSEALED, Opening, Verdict
from validation.reopening import PIECE_BYTES, Opened, Reopening

STATES = [Boundary(step, 0.5, bytes([step]) * (2 * PIECE_BYTES + 5)) for step in (3, 6, 9)]
SEALS = seal_all(WORKER.peer_id, BEFORE.id, [state.digest for state in STATES])
WORK = commit(WORKER, BEFORE, segments=segments_root(SEALS))
JUROR = JUDGES[0].peer_id
ASKED = opening(JUDGES[0], UNSEALED, target=WORK.id)
TERMS = cut(3)
LENGTH = len(STATES[0].wire)


class Pipe:
    """One end of a stream in memory."""

    def __init__(self, peer: str, inbound: asyncio.StreamReader, outbound: asyncio.StreamReader) -> None:
        self.peer = peer
        self._in, self._out = inbound, outbound

    def write(self, data: bytes | memoryview) -> None:
        self._out.feed_data(bytes(data))

    async def drain(self) -> None:
        pass

    async def ended(self) -> None:
        self._out.feed_eof()

    async def read_exactly(self, count: int, _: float = 0.0) -> bytes:
        try:
            return await self._in.readexactly(count)
        except EOFError as error:
            raise TransportError("stream ended") from error


class Wire:
    """A juror and a worker, and what the juror holds against the worker."""

    def __init__(self) -> None:
        self.blamed: list[str] = []
        self._handler: Handler | None = None

    def on_misbehaviour(self, _: str, reason: str) -> None:
        self.blamed.append(reason)

    async def serve(self, _: str, handler: Handler) -> None:
        self._handler = handler

    @asynccontextmanager
    async def opened(self, peer: str, _: str) -> AsyncIterator[Pipe]:
        there, back = asyncio.StreamReader(), asyncio.StreamReader()
        assert self._handler is not None
        handling = asyncio.ensure_future(self._handler(cast("Stream", Pipe(JUROR, there, back))))
        yield Pipe(peer, back, there)
        await handling


async def ask(shown: Opened | None, segment: int | None = 2, length: int = LENGTH) -> tuple[Any, list[str]]:
    """What the juror makes of what the worker shows, and what it blames it for."""
    wire = Wire()
    reopening = Reopening(cast("Streams", wire), SWARM, TermsInForce(TERMS), length)

    async def show(asked: Signed[Opening], accusation: Signed[Verdict] | None) -> Opened | None:
        assert asked == ASKED
        assert (accusation.body.segment if accusation else None) == segment
        return shown

    await reopening.serve(show)
    accusation = None if segment is None else naming(JUDGES[1], segment, target=WORK.id)
    return await reopening.ask(WORK, ASKED, accusation), wire.blamed


async def test_a_list_is_opened_alone() -> None:
    opened, blamed = await ask(Opened(SEALS, None), segment=None)
    assert (opened.seals, opened.boundary, blamed) == (SEALS, None, [])


async def test_a_state_is_opened_in_pieces() -> None:
    opened, blamed = await ask(Opened(SEALS, STATES[1]))
    assert (opened.boundary.wire, blamed) == (STATES[1].wire, [])


async def test_the_first_segment_begins_in_the_shared_state() -> None:
    opened, blamed = await ask(Opened(SEALS, None), segment=0)
    assert (opened.seals, opened.boundary, blamed) == (SEALS, None, [])


async def test_who_opens_nothing_is_blamed_for_nothing() -> None:
    assert await ask(None) == (None, [])


FALSE = tuple(digest("false", seal) for seal in SEALS)


@pytest.mark.parametrize(
    ("shown", "length", "reason"),
    [
        (Opened(FALSE, STATES[1]), LENGTH, "bad-opening"),
        (Opened(SEALS, STATES[0]), LENGTH, "bad-opening"),
        (Opened(SEALS, Boundary(6, 0.5, b"")), LENGTH, "bad-opening"),
        (Opened(SEALS, STATES[1]), LENGTH - 1, "oversized"),
    ],
    ids=["list", "another-state", "no-state", "too-long"],
)
async def test_what_was_not_committed_to_is_nothing(shown: Opened, length: int, reason: str) -> None:
    assert await ask(shown, length=length) == (None, [reason])


async def test_a_question_that_is_too_long_is_not_read() -> None:
    wire = Wire()
    reopening = Reopening(cast("Streams", wire), SWARM, TermsInForce(TERMS), LENGTH)

    async def show(*_: object) -> Opened | None:
        raise AssertionError("it was read")

    await reopening.serve(show)
    with pytest.raises(RemoteProtocolError, match="oversized"):
        async with wire.opened(WORKER.peer_id, "boundaries") as stream:
            stream.write((2**20).to_bytes(4, "big"))
