"""What an auditor is shown: chunks of an update, by who committed to them or by who reduced them.

Endpoint `work`: the auditor writes a length and a frame (its signed `Opening`, whose update, which chunks);
the holder answers one byte and, if it shows them, the digests of the whole update and the chunks. They
are held against the worker's commitment, so it does not matter who shows them. Who may see what is for
the judging core to say (`showing`); a holder that does not know the record asks for proof of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Annotated

import msgspec

from dhtnode.digest import DIGEST_BYTES
from dhtnode.errors import RemoteProtocolError, TransportError
from dhtnode.manifest import WireSection
from dhtnode.net.streams import Stream, Streams
from dhtnode.records import PeerId, Signed, canonical, open_record, parse_canonical
from training import codec
from training.contribution import check_part
from training.exchange import Received
from training.messages import Commitment
from validation.messages import Opening
from validation.showing import MAX_PROOF_BYTES, Refusal

WORK = "work"
MAX_CHUNKS = 4096
"""Of one question; a part of the largest model has fewer. A guess."""
MAX_FRAME_BYTES = Opening.MAX_BYTES + 5 * MAX_CHUNKS + MAX_PROOF_BYTES + 256
_OK, _ABSENT, _UNKNOWN = b"\x01", b"\x00", b"\x02"

Index = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
Show = Callable[["Signed[Opening]", "Question"], Awaitable["Received | Refusal"]]
"""What to show to whoever has signed an opening."""


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Show me these chunks of a worker's update."""

    opening: Annotated[bytes, msgspec.Meta(max_length=Opening.MAX_BYTES)]
    worker: PeerId
    indices: Annotated[tuple[Index, ...], msgspec.Meta(min_length=1, max_length=MAX_CHUNKS)]
    """Rising."""
    proof: Annotated[bytes, msgspec.Meta(max_length=MAX_PROOF_BYTES)] | None = None


def question(
    opening: Signed[Opening], worker: str, indices: Sequence[int], proof: bytes | None = None
) -> bytes:
    """The bytes of a question."""
    asked = Question(opening=opening.wire, worker=worker, indices=tuple(indices), proof=proof)
    return canonical(asked)


def open_question(wire: bytes, swarm_id: bytes, sender: str) -> tuple[Signed[Opening], Question]:
    """Check a question.

    Raises:
        RemoteProtocolError: reason `bad-opening`, or that of the record in it.
    """
    try:
        value = parse_canonical(wire, MAX_FRAME_BYTES)
        asked = msgspec.convert(value, Question, strict=True, builtin_types=(bytes,))
    except (ValueError, msgspec.ValidationError) as error:
        raise RemoteProtocolError(sender, "bad-opening", str(error)[:200]) from error
    opening: Signed[Opening] = open_record(asked.opening, swarm_id, {Opening.KIND: Opening}, sender)
    if opening.signer != sender or list(asked.indices) != sorted(set(asked.indices)):
        raise RemoteProtocolError(sender, "bad-opening", "signed by another, or chunks that do not rise")
    return opening, asked


class Exhibits:
    """Shows chunks and asks for them.

    Args:
        streams: the node's.
        swarm_id: signature domain.
        wire: the manifest's section.
        sizes_K: elements of each chunk of a whole update.
    """

    def __init__(self, streams: Streams, swarm_id: bytes, wire: WireSection, sizes_K: Sequence[int]) -> None:
        self._streams = streams
        self._swarm_id = swarm_id
        self._wire = wire
        self._sizes_K = sizes_K

    async def serve(self, show: Show) -> None:
        """Answer auditors from now on."""

        async def handle(stream: Stream) -> None:
            length = int.from_bytes(await stream.read_exactly(4), "big")
            if length > MAX_FRAME_BYTES:
                raise RemoteProtocolError(stream.peer, "oversized", f"question of {length} bytes")
            wire = await stream.read_exactly(length)
            opening, asked = open_question(wire, self._swarm_id, stream.peer)
            shown = await show(opening, asked)
            if isinstance(shown, Refusal):
                stream.write(_UNKNOWN if shown is Refusal.UNKNOWN else _ABSENT)
            else:
                stream.write(_OK + b"".join(shown.leaves_K))
                for chunk in shown.chunks:
                    stream.write(chunk)
                    await stream.drain()
            await stream.drain()
            await stream.ended()

        await self._streams.serve(WORK, handle)

    async def ask(
        self,
        holders: Collection[str],
        opening: Signed[Opening],
        commitment: Signed[Commitment],
        indices: Sequence[int],
        prove: Callable[[], bytes | None],
    ) -> list[bytes] | None:
        """Chunks of a worker's update from the first holder that shows them; None if nobody does.

        Args:
            holders: whom to ask, one after the other.
            opening: own.
            commitment: the worker's.
            indices: of the chunks, rising.
            prove: makes the proof for who does not know the record.
        """
        for holder in holders:
            try:
                shown = await self._ask(
                    holder, question(opening, commitment.signer, indices), commitment, indices
                )
                if shown is Refusal.UNKNOWN:
                    asked = question(opening, commitment.signer, indices, prove())
                    shown = await self._ask(holder, asked, commitment, indices)
            except TransportError:
                continue
            except RemoteProtocolError as error:
                self._streams.on_misbehaviour(holder, error.reason)
                continue
            if not isinstance(shown, Refusal):
                return shown
        return None

    async def _ask(
        self, holder: str, packed: bytes, commitment: Signed[Commitment], indices: Sequence[int]
    ) -> list[bytes] | Refusal:
        async with self._streams.opened(holder, WORK) as stream:
            stream.write(len(packed).to_bytes(4, "big") + packed)
            await stream.drain()
            answer = await stream.read_exactly(1)
            if answer != _OK:
                return Refusal.UNKNOWN if answer == _UNKNOWN else Refusal.NO
            joined = await stream.read_exactly(DIGEST_BYTES * len(self._sizes_K))
            leaves_K = [joined[at : at + DIGEST_BYTES] for at in range(0, len(joined), DIGEST_BYTES)]
            chunks = [
                await stream.read_exactly(codec.chunk_bytes(self._sizes_K[index], self._wire))
                for index in indices
            ]
        check_part(commitment, leaves_K, chunks, indices, self._sizes_K, self._wire)
        return chunks
