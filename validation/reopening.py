"""What a worker opens of its run when its work is called false: its boundaries, and the state in one of them.

Endpoint `boundaries`: a length and a frame (the signed `Opening`, and a `fail` that names the segment whose
beginning is wanted). The worker answers one byte and, if it opens, its sealed digests, then the length and
the bytes of the state, if one was asked for. How many digests there are and how long a state can be follows
from the manifest: nothing longer is read. Both are held against the commitment before anything is done
with them. What may be asked for is in `dispute`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from dhtnode.digest import DIGEST_BYTES
from dhtnode.errors import RemoteProtocolError, TransportError
from dhtnode.net.streams import Stream, Streams
from dhtnode.records import Signed, canonical, open_record, parse_canonical
from training.boundary import BadBoundaryError, Boundary
from training.in_force import TermsInForce
from training.messages import Commitment
from validation.dispute import boundary_count, check_seals, has_sealed
from validation.messages import Opening, Verdict

BOUNDARIES = "boundaries"
MAX_FRAME_BYTES = Opening.MAX_BYTES + Verdict.MAX_BYTES + 64
PIECE_BYTES = 2**20
"""Of a state, in one read: each has a deadline of its own."""
LIST_WAIT_S = 5.0
"""A list lies on the worker's disk. A guess."""
_OK, _ABSENT = b"\x01", b"\x00"


@dataclass(frozen=True, eq=False)
class Opened:
    """What a worker shows of its run."""

    seals: tuple[bytes, ...]
    """All its boundaries, as it has committed to them."""
    boundary: Boundary | None
    """Where the segment in question begins; None for the first, which begins in the shared state."""


Open = Callable[["Signed[Opening]", "Signed[Verdict] | None"], Awaitable["Opened | None"]]
"""What to open to whoever asks; None: nothing."""


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Open your boundaries to me."""

    opening: Annotated[bytes, msgspec.Meta(max_length=Opening.MAX_BYTES)]
    accusation: Annotated[bytes, msgspec.Meta(max_length=Verdict.MAX_BYTES)] | None
    """The `fail` that names the segment whose beginning is wanted; None for the list alone."""


def wanted(opening: Signed[Opening], accusation: Signed[Verdict] | None) -> bytes:
    """The bytes of a question."""
    asked = Wanted(opening=opening.wire, accusation=accusation.wire if accusation else None)
    return canonical(asked)


def open_wanted(wire: bytes, swarm_id: bytes, sender: str) -> tuple[Signed[Opening], Signed[Verdict] | None]:
    """Check a question.

    Raises:
        RemoteProtocolError: reason `bad-opening`, or that of the record in it.
    """
    try:
        value = parse_canonical(wire, MAX_FRAME_BYTES)
        asked = msgspec.convert(value, Wanted, strict=True, builtin_types=(bytes,))
    except (ValueError, msgspec.ValidationError) as error:
        raise RemoteProtocolError(sender, "bad-opening", str(error)[:200]) from error
    opening: Signed[Opening] = open_record(asked.opening, swarm_id, {Opening.KIND: Opening}, sender)
    if opening.signer != sender:
        raise RemoteProtocolError(sender, "bad-opening", "signed by another")
    if asked.accusation is None:
        return opening, None
    said: Signed[Verdict] = open_record(asked.accusation, swarm_id, {Verdict.KIND: Verdict}, sender)
    if said.body.target != opening.body.target or said.body.segment is None:
        raise RemoteProtocolError(sender, "bad-opening", "a verdict that names no segment of this work")
    return opening, said


class Reopening:
    """Opens own boundaries and asks for others'.

    Args:
        streams: the node's.
        swarm_id: signature domain.
        in_force: the swarm's terms, round by round.
        boundary_bytes: of the longest state that a run can have.
    """

    def __init__(
        self, streams: Streams, swarm_id: bytes, in_force: TermsInForce, boundary_bytes: int
    ) -> None:
        self._streams = streams
        self._swarm_id = swarm_id
        self._in_force = in_force
        self._boundary_bytes = boundary_bytes

    async def serve(self, show: Open) -> None:
        """Answer auditors and jurors from now on."""

        async def handle(stream: Stream) -> None:
            length = int.from_bytes(await stream.read_exactly(4), "big")
            if length > MAX_FRAME_BYTES:
                raise RemoteProtocolError(stream.peer, "oversized", f"question of {length} bytes")
            asked = open_wanted(await stream.read_exactly(length), self._swarm_id, stream.peer)
            opened = await show(*asked)
            if opened is None:
                stream.write(_ABSENT)
            else:
                await _write(stream, opened)
            await stream.drain()
            await stream.ended()

        await self._streams.serve(BOUNDARIES, handle)

    async def ask(
        self,
        work: Signed[Commitment],
        opening: Signed[Opening],
        accusation: Signed[Verdict] | None,
        wait_s: float = LIST_WAIT_S,
    ) -> Opened | None:
        """What a worker opens, held against its commitment; None if it opens nothing, or something else.

        Args:
            work: the worker's.
            opening: own.
            accusation: names the segment whose beginning is wanted; None for the list alone.
            wait_s: for the first byte: to open a state the worker does its run again.
        """
        worker = work.signer
        try:
            async with self._streams.opened(worker, BOUNDARIES) as stream:
                packed = wanted(opening, accusation)
                stream.write(len(packed).to_bytes(4, "big") + packed)
                await stream.drain()
                if await stream.read_exactly(1, wait_s) != _OK:
                    return None
                terms = self._in_force.at(work.body.round)
                count = boundary_count(work, terms)
                joined = await stream.read_exactly(DIGEST_BYTES * count, LIST_WAIT_S)
                seals = tuple(joined[at : at + DIGEST_BYTES] for at in range(0, len(joined), DIGEST_BYTES))
                check_seals(work, seals, terms)
                segment = accusation.body.segment if accusation else None
                if not segment:
                    return Opened(seals, None)
                return Opened(seals, await self._read_state(stream, work, seals, segment - 1))
        except TransportError:
            return None
        except RemoteProtocolError as error:
            self._streams.on_misbehaviour(worker, error.reason)
            return None

    async def _read_state(
        self, stream: Stream, work: Signed[Commitment], seals: Sequence[bytes], index: int
    ) -> Boundary:
        left = int.from_bytes(await stream.read_exactly(8), "big")
        if left > self._boundary_bytes:
            raise RemoteProtocolError(stream.peer, "oversized", f"a state of {left} bytes")
        pieces: list[bytes] = []
        while left:
            pieces.append(await stream.read_exactly(min(left, PIECE_BYTES)))
            left -= len(pieces[-1])
        try:
            boundary = Boundary.parse(b"".join(pieces))
        except BadBoundaryError as error:
            raise RemoteProtocolError(stream.peer, "bad-opening", str(error)) from error
        if not has_sealed(work, seals, index, boundary.digest):
            raise RemoteProtocolError(stream.peer, "bad-opening", "a state that it has not committed to")
        return boundary


async def _write(stream: Stream, opened: Opened) -> None:
    stream.write(_OK + b"".join(opened.seals))
    if opened.boundary is None:
        return
    state = memoryview(opened.boundary.wire)
    stream.write(len(state).to_bytes(8, "big"))
    for at in range(0, len(state), PIECE_BYTES):
        stream.write(state[at : at + PIECE_BYTES])
        await stream.drain()
