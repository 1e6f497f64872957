"""The bulk side of a round on the network: parts go to reducers, results come back.

Endpoint `part`: the sender writes a header (base, roster, part, digests of all its chunks) and the part's
chunks; their sizes follow from the plan. The reducer answers one byte when all of it is checked.
Endpoint `result`: the reader writes 32 bytes, the result's root, and gets a status byte and the
chunks. Any holder can answer, since the root in the signed record names the bytes.

Every byte is held against the certified roster before it is kept; who breaks the rules is blamed by
the stream it came on.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Annotated

import msgspec

from dhtnode.digest import DIGEST_BYTES
from dhtnode.errors import RemoteProtocolError, TransportError
from dhtnode.manifest import WireSection
from dhtnode.net.streams import Stream, Streams
from dhtnode.records import Digest, Signed, canonical, parse_canonical
from training import codec
from training.contribution import Contribution, check_part, check_result, result_root
from training.events import PartArrived, Plan
from training.messages import MAX_BANDWIDTH, MAX_MEMBERS, Result

PART, RESULT = "part", "result"
PLAN_PATIENCE_S = 20.0
"""How long a sender may be ahead of us: its roster is certified, ours not yet. A guess."""
SEND_ATTEMPTS = 2
ROUNDS_KEPT = 2
"""Results of the round before are still asked for by those who lag."""
SPEEDS_KEPT = 32
NOMINAL_BANDWIDTH = 1024
"""What a node offers that has not sent anything yet."""
_OK, _ABSENT = b"\x01", b"\x00"
_HEADER_LENGTH = 4


class PartHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What precedes a part's chunks."""

    base: Digest
    roster: Digest
    part: Annotated[int, msgspec.Meta(ge=0, lt=MAX_MEMBERS)]
    leaves: bytes
    """Digests of all chunks of the sender's update, one after the other."""


@dataclass(frozen=True)
class Received:
    """A sender's chunks of a part, and the digests by which anybody can tell that it committed to them."""

    leaves_K: Sequence[bytes]
    owned: Sequence[int]
    """Indices of the chunks."""
    chunks: Sequence[bytes]


class Exchange:
    """Parts received, results held, and the streams that carry both.

    Args:
        streams: the node's.
        wire: the manifest's section.
        elems: elements of a whole update.
        arrived: told of each part that is complete and checked.
    """

    def __init__(
        self, streams: Streams, wire: WireSection, elems: int, arrived: Callable[[PartArrived], None]
    ) -> None:
        self.sizes_K = codec.chunk_sizes(elems, wire)
        self._streams = streams
        self._wire = wire
        self._arrived = arrived
        self._plans: dict[bytes, Plan] = {}
        self._opened = asyncio.Event()
        self._parts: dict[tuple[bytes, int, str], Received] = {}
        self._results: dict[bytes, list[bytes]] = {}
        self._results_of: dict[bytes, set[bytes]] = {}
        self._speeds: deque[float] = deque(maxlen=SPEEDS_KEPT)

    @property
    def bandwidth(self) -> int:
        """KiB/s at which parts were lately taken from us; nominal before the first."""
        return min(MAX_BANDWIDTH, max(1, round(median(self._speeds)))) if self._speeds else NOMINAL_BANDWIDTH

    async def serve(self) -> None:
        """Answer senders and readers from now on."""
        await self._streams.serve(PART, self._take_part)
        await self._streams.serve(RESULT, self._give_result)

    def open_plan(self, plan: Plan) -> None:
        """Parts of this round may come; forget rounds that nobody asks for any more."""
        self._plans[plan.base] = plan
        while len(self._plans) > ROUNDS_KEPT:
            del self._plans[next(iter(self._plans))]
        if len(self._plans) == ROUNDS_KEPT:
            for base in [base for base in self._results_of if base not in self._plans]:
                for root in self._results_of.pop(base):
                    self._results.pop(root, None)
        rosters = {plan.roster for plan in self._plans.values()}
        self._parts = {key: received for key, received in self._parts.items() if key[0] in rosters}
        opened, self._opened = self._opened, asyncio.Event()
        opened.set()

    def part(self, roster: bytes, part: int, sender: str) -> Received | None:
        """What a sender sent for a part, checked; None once its roster is given up, or its round is old."""
        return self._parts.get((roster, part, sender))

    def keep_result(self, base: bytes, chunks: list[bytes]) -> bytes:
        """Hold a reduced part for whoever asks.

        Returns:
            Its root.
        """
        root = result_root(chunks)
        self._results[root] = chunks
        self._results_of.setdefault(base, set()).add(root)
        return root

    def result(self, root: bytes) -> list[bytes]:
        """Chunks of a held result."""
        return self._results[root]

    async def send_part(self, plan: Plan, part: int, to: str, own: Contribution) -> None:
        """Send own chunks of a part to a reducer.

        Raises:
            TransportError: it could not be reached, or did not take them.
        """
        for attempt in range(SEND_ATTEMPTS):
            try:
                await self._send_part(plan, part, to, own)
            except TransportError:
                if attempt + 1 == SEND_ATTEMPTS:
                    raise
            else:
                return

    async def fetch_result(self, plan: Plan, record: Signed[Result], sources: Sequence[str]) -> None:
        """Get the bytes behind a result record and hold them.

        Raises:
            TransportError: no source has them.
            RemoteProtocolError: the reducer signed bytes that no honest reducer makes.
        """
        root = record.body.root
        if root in self._results:
            return
        sizes = [self.sizes_K[index] for index in plan.ranges_N[record.body.part]]
        for source in sources:
            try:
                chunks = await self._ask_result(source, root, sizes)
            except TransportError:
                continue
            except RemoteProtocolError as error:
                self._streams.on_misbehaviour(error.peer, error.reason)
                continue
            if chunks is not None:
                check_result(record.signer, root, chunks, sizes, self._wire)
                self.keep_result(plan.base, chunks)
                return
        raise TransportError(f"nobody has the result of part {record.body.part}")

    async def _send_part(self, plan: Plan, part: int, to: str, own: Contribution) -> None:
        packed = part_header(plan, part, own.leaves_K)
        start_s = time.monotonic()
        async with self._streams.opened(to, PART) as stream:
            stream.write(len(packed).to_bytes(_HEADER_LENGTH, "big") + packed)
            for index in plan.ranges_N[part]:
                stream.write(own.chunks_K[index])
                await stream.drain()
            if await stream.read_exactly(1, PLAN_PATIENCE_S * 2) != _OK:
                raise TransportError(f"{to}: did not take part {part}")
        sent = len(packed) + sum(len(own.chunks_K[index]) for index in plan.ranges_N[part])
        self._speeds.append(sent / 1024 / max(1e-6, time.monotonic() - start_s))

    async def _take_part(self, stream: Stream) -> None:
        length = int.from_bytes(await stream.read_exactly(_HEADER_LENGTH), "big")
        header = open_part_header(await self._read_capped(stream, length), stream.peer)
        plan = await self._plan(header)
        if plan is None or stream.peer not in plan.members:
            stream.write(_ABSENT)
            await stream.drain()
            await stream.ended()
            return
        if header.part >= len(plan.ranges_N):
            raise RemoteProtocolError(stream.peer, "bad-part", f"no part {header.part}")
        owned = plan.ranges_N[header.part]
        chunks = [
            await stream.read_exactly(codec.chunk_bytes(self.sizes_K[index], self._wire)) for index in owned
        ]
        commitment = plan.commitments_N[plan.members.index(stream.peer)]
        step = DIGEST_BYTES
        leaves_K = [header.leaves[at : at + step] for at in range(0, len(header.leaves), step)]
        check_part(commitment, leaves_K, chunks, owned, self.sizes_K, self._wire)
        self._parts[plan.roster, header.part, stream.peer] = Received(leaves_K, owned, chunks)
        self._arrived(PartArrived(plan.base, plan.roster, header.part, stream.peer))
        stream.write(_OK)
        await stream.drain()
        await stream.ended()

    async def _read_capped(self, stream: Stream, length: int) -> bytes:
        if length > DIGEST_BYTES * len(self.sizes_K) + 256:
            raise RemoteProtocolError(stream.peer, "oversized", f"part header of {length} bytes")
        return await stream.read_exactly(length)

    async def _plan(self, header: PartHeader) -> Plan | None:
        """The plan that a sender follows, perhaps one that is about to be certified here."""
        try:
            async with asyncio.timeout(PLAN_PATIENCE_S):
                while (plan := self._plans.get(header.base)) is None or plan.roster != header.roster:
                    await self._opened.wait()
        except TimeoutError:
            return None
        return plan

    async def _give_result(self, stream: Stream) -> None:
        chunks = self._results.get(await stream.read_exactly(DIGEST_BYTES))
        stream.write(_ABSENT if chunks is None else _OK)
        for chunk in chunks or ():
            stream.write(chunk)
            await stream.drain()
        await stream.drain()
        await stream.ended()

    async def _ask_result(self, source: str, root: bytes, sizes: Sequence[int]) -> list[bytes] | None:
        async with self._streams.opened(source, RESULT) as stream:
            stream.write(root)
            await stream.drain()
            if await stream.read_exactly(1) != _OK:
                return None
            chunks = [await stream.read_exactly(codec.chunk_bytes(elems, self._wire)) for elems in sizes]
        if result_root(chunks) != root:
            raise RemoteProtocolError(source, "bad-result", "bytes are not those asked for")
        return chunks


def part_header(plan: Plan, part: int, leaves_K: Sequence[bytes]) -> bytes:
    """What a sender says before its chunks; `leaves_K` are the digests of its whole update."""
    header = PartHeader(base=plan.base, roster=plan.roster, part=part, leaves=b"".join(leaves_K))
    return canonical(header)


def open_part_header(packed: bytes, sender: str) -> PartHeader:
    """Check what a sender says before its chunks.

    Raises:
        RemoteProtocolError: reason `bad-part`.
    """
    try:
        value = parse_canonical(packed, len(packed))
        return msgspec.convert(value, PartHeader, strict=True, builtin_types=(bytes,))
    except (ValueError, msgspec.ValidationError) as error:
        raise RemoteProtocolError(sender, "bad-part", str(error)[:200]) from error
