"""What a member sends: its encoded update in digested chunks, and how a reducer checks them.

The commitment's `parts` is a root over one digest for each chunk. The signer is bound into each, so
another member's bytes can't be committed to as one's own without having them. A reducer gets the
list of digests with the chunks, holds the list against the commitment, each chunk against the list
and its content against the codec: only then does anything reach arithmetic.

# K = chunks
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dhtnode.digest import leaf_digest, leaf_digests, root_digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.manifest import WireSection
from dhtnode.records import Signed
from training import codec
from training.codec import Vector
from training.messages import Commitment


@dataclass(frozen=True)
class Contribution:
    """One member's encoded update for one round."""

    signer: str
    leaves_K: tuple[bytes, ...]
    chunks_K: tuple[bytes, ...]

    @classmethod
    def of(cls, signer: str, base: bytes, update: Vector, wire: WireSection) -> Contribution:
        """Encode an update and digest its chunks."""
        return cls.of_chunks(signer, base, codec.encode(update, wire))

    @classmethod
    def of_chunks(cls, signer: str, base: bytes, chunks_K: Sequence[bytes]) -> Contribution:
        """Digest chunks that were encoded before."""
        leaves_K = leaf_digests(_label(signer, base), chunks_K)
        return cls(signer, tuple(leaves_K), tuple(chunks_K))

    @property
    def root(self) -> bytes:
        """What the commitment calls `parts`."""
        return root_digest("parts", self.leaves_K)


def check_part(
    commitment: Signed[Commitment],
    leaves_K: Sequence[bytes],
    chunks: Sequence[bytes],
    owned: Sequence[int],
    sizes_K: Sequence[int],
    wire: WireSection,
) -> None:
    """Hold a sender's part against its commitment.

    Args:
        commitment: the sender's, from the certified roster.
        leaves_K: the digests that the sender says it committed to.
        chunks: its bytes for the chunk indices in `owned`.
        owned: a part, or some of its chunks.
        sizes_K: elements of each chunk of a whole update.
        wire: the manifest's section.

    Raises:
        RemoteProtocolError: reason `bad-part`.
    """
    sender = commitment.signer
    if len(leaves_K) != len(sizes_K) or root_digest("parts", leaves_K) != commitment.body.parts:
        raise RemoteProtocolError(sender, "bad-part", "digests are not those it committed to")
    if len(chunks) != len(owned):
        raise RemoteProtocolError(sender, "bad-part", f"{len(chunks)} chunks, {len(owned)} expected")
    label = _label(sender, commitment.body.base)
    for index, chunk in zip(owned, chunks, strict=True):
        if leaf_digest(label, index, chunk) != leaves_K[index]:
            raise RemoteProtocolError(sender, "bad-part", f"chunk {index} is not what it committed to")
        try:
            codec.check(chunk, sizes_K[index], wire)
        except ValueError as error:
            raise RemoteProtocolError(sender, "bad-part", f"chunk {index}: {error}") from error


def result_root(chunks: Sequence[bytes]) -> bytes:
    """What a result record names its bytes by."""
    return root_digest("result", leaf_digests("result", chunks))


def check_result(
    reducer: str, root: bytes, chunks: Sequence[bytes], sizes: Sequence[int], wire: WireSection
) -> None:
    """Hold a reduced part against its result record.

    Raises:
        RemoteProtocolError: reason `bad-result`; blames the reducer, who signed the root. Bytes
            that differ from the root are the source's fault and told apart by the caller.
    """
    if len(chunks) != len(sizes):
        raise RemoteProtocolError(reducer, "bad-result", f"{len(chunks)} chunks, {len(sizes)} expected")
    for index, (chunk, elems) in enumerate(zip(chunks, sizes, strict=True)):
        try:
            codec.check(chunk, elems, wire)
        except ValueError as error:
            raise RemoteProtocolError(reducer, "bad-result", f"chunk {index}: {error}") from error
    if result_root(chunks) != root:
        raise RemoteProtocolError(reducer, "bad-result", "bytes are not those it signed")


def _label(signer: str, base: bytes) -> str:
    return f"part {signer} {base.hex()}"
