"""Pseudo-gradients as bytes: the canonical form in which all members see the same numbers.

A vector is cut into chunks of `wire.chunk_elems` elements (the last one may be shorter). Each chunk
stands alone and its length follows from (codec, elements), so it is digested, sent, checked and
decoded without the others. Inside a chunk come first the scales, then the codes:

    int8, int4   one little-endian fp32 scale for each block of `wire.block_elems` elements, then
                 one signed code for each element; int4 puts two in a byte, the first in the low half
    int2         the same with four codes in a byte, the first in the lowest bits, see below
    fp32         little-endian fp32 values, no scales: the reference that loses nothing

int8, int4: scale = largest magnitude of the block / L, code = round half to even of value / scale,
L = 127 for int8 and 7 for int4, value = code * scale. Single IEEE operations only: every machine
decodes the same bits. (Block-wise quantisation: Dettmers et al., arXiv:2110.02861, section 2.1.)

Error of a block with largest magnitude A <= LIMIT: |decoded - value| <= A / (2 L) up to fp32
rounding (a relative 2^-21 of A); a block with A / L < 2^-126 becomes zero, so that no result depends
on how a machine treats subnormal scales.

int2: scale = root mean square of the block, code = sign and whether the magnitude is above 0.9816
scales, value = +-0.4528 or +-1.5104 scales: the four levels that lose least of a normal distribution
(Lloyd, IEEE Trans. Inf. Theory 28, 1982; Max, IRE Trans. Inf. Theory 6, 1960). The error is at most
0.53 scales, and beyond 1.51 scales what is above them: outliers are cut. Nothing is exactly zero but
a block whose root mean square is below 2^-60.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dhtnode.manifest import WireSection

Vector = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.int8]

LIMIT = 2.0**20
"""Largest magnitude on the wire. No training run moves a weight by a million; an attacker would."""
SMALLEST_SCALE = np.float32(2.0**-126)
"""The smallest normal fp32 number."""
SCALE_BYTES = 4


class Codec(Protocol):
    """How the elements of one chunk become bytes. One more codec is one more entry in `CODECS`."""

    def length(self, elems: int, block: int) -> int: ...
    def encode(self, values: Vector, block: int) -> bytes: ...
    def check(self, chunk: Bytes, elems: int, block: int) -> None: ...
    def decode(self, chunk: Bytes, elems: int, block: int) -> Vector: ...


@dataclass(frozen=True)
class Packing:
    """Small signed codes as bytes. `valid` sees the packed bytes of all codes of a chunk."""

    codes_per_byte: int
    pack: Callable[[Codes], Bytes]
    unpack: Callable[[Bytes], Codes]
    valid: Callable[[Bytes], bool]


@dataclass(frozen=True)
class BlockCodec:
    """Codes from -levels to levels, with one scale for each block."""

    levels: int
    packing: Packing

    def length(self, elems: int, block: int) -> int:
        return SCALE_BYTES * -(-elems // block) + -(-elems // self.packing.codes_per_byte)

    def encode(self, values: Vector, block: int) -> bytes:
        grid = _grid(values, block)
        peak = np.abs(grid).max(axis=1)
        _check_magnitudes(peak)
        scale = peak / np.float32(self.levels)
        scale[scale < SMALLEST_SCALE] = 0
        divisor = np.where(scale > 0, scale, np.float32(1))
        codes = np.rint(grid / divisor[:, None]).astype(np.int8).ravel()[: values.size]
        return b"".join([scale.astype("<f4").tobytes(), self.packing.pack(codes).tobytes()])

    def check(self, chunk: Bytes, elems: int, block: int) -> None:
        scale, packed = _split(chunk, elems, block)
        _check_scales(scale, np.float32(LIMIT) / np.float32(self.levels))
        if not self.packing.valid(packed):
            raise ValueError(f"code is outside -{self.levels}..{self.levels}")
        if self.packing.codes_per_byte == 2 and elems % 2 and packed[-1] >> 4:
            raise ValueError("padding is not zero")

    def decode(self, chunk: Bytes, elems: int, block: int) -> Vector:
        scale, packed = _split(chunk, elems, block)
        grid = _grid(self.packing.unpack(packed)[:elems].astype(np.float32), block)
        grid *= scale[:, None]
        return grid.ravel()[:elems]


class LloydCodec:
    """Two bits for each element: a sign and one of two magnitudes in units of the block's RMS."""

    INNER, OUTER, BORDER = np.float32(0.4528), np.float32(1.5104), np.float32(0.9816)
    LEVELS = np.array([INNER, OUTER, -INNER, -OUTER], np.float32)
    MOST = np.float32(LIMIT) / OUTER
    LEAST = np.float32(2.0**-60)
    """Below it squares are lost in fp32."""

    def length(self, elems: int, block: int) -> int:
        return SCALE_BYTES * -(-elems // block) + -(-elems // 4)

    def encode(self, values: Vector, block: int) -> bytes:
        _check_magnitudes(np.abs(values))
        grid = _grid(values, block)
        counts = np.full(len(grid), block, np.float32)
        if values.size % block:
            counts[-1] = values.size % block
        scale = np.minimum(np.sqrt(halving_sum(grid * grid) / counts), self.MOST)
        scale[scale < self.LEAST] = 0
        codes = (grid < 0).astype(np.uint8) << 1
        codes |= np.abs(grid) > (scale * self.BORDER)[:, None]
        codes[scale == 0] = 0
        flat = np.append(codes.ravel()[: values.size], np.zeros(-values.size % 4, np.uint8)).reshape(-1, 4)
        packed = flat[:, 0] | flat[:, 1] << 2 | flat[:, 2] << 4 | flat[:, 3] << 6
        return b"".join([scale.astype("<f4").tobytes(), packed.tobytes()])

    def check(self, chunk: Bytes, elems: int, block: int) -> None:
        scale, packed = _split(chunk, elems, block)
        _check_scales(scale, self.MOST)
        if elems % 4 and packed[-1] >> 2 * (elems % 4):
            raise ValueError("padding is not zero")

    def decode(self, chunk: Bytes, elems: int, block: int) -> Vector:
        scale, packed = _split(chunk, elems, block)
        grid = _grid(_QUARTETS[packed].ravel()[:elems], block)
        grid *= scale[:, None]
        return grid.ravel()[:elems]


class FloatCodec:
    """fp32 as it is."""

    def length(self, elems: int, block: int) -> int:
        return 4 * elems

    def encode(self, values: Vector, block: int) -> bytes:
        _check_magnitudes(np.abs(values))
        return values.astype("<f4").tobytes()

    def check(self, chunk: Bytes, elems: int, block: int) -> None:
        _check_magnitudes(np.abs(chunk.view("<f4")))

    def decode(self, chunk: Bytes, elems: int, block: int) -> Vector:
        return chunk.view("<f4").astype(np.float32)


def _pack_nibbles(codes: Codes) -> Bytes:
    if codes.size % 2:
        codes = np.append(codes, np.int8(0))
    pairs = (codes.view(np.uint8) & 0x0F).view("<u2")
    packed: Bytes = (pairs | pairs >> 4).astype(np.uint8)
    return packed


def _unpack_nibbles(packed: Bytes) -> Codes:
    return _NIBBLES[packed].view(np.int8)


_SIGNED = (np.arange(16) + 8) % 16 - 8
_NIBBLES = np.array([_SIGNED[b & 15] % 256 + (_SIGNED[b >> 4] % 256 << 8) for b in range(256)], "<u2")
"""The two codes of each byte, as the bytes of one 16-bit number: a table is the fastest unpacking."""
_HAS_MINUS_8 = np.array([b & 15 == 8 or b >> 4 == 8 for b in range(256)])

_BYTES = Packing(
    codes_per_byte=1,
    pack=lambda codes: codes.view(np.uint8),
    unpack=lambda packed: packed.view(np.int8),
    valid=lambda packed: not (packed == 0x80).any(),
)
_NIBBLE_PAIRS = Packing(
    codes_per_byte=2,
    pack=_pack_nibbles,
    unpack=_unpack_nibbles,
    valid=lambda packed: not _HAS_MINUS_8[packed].any(),
)

_QUARTETS = LloydCodec.LEVELS[np.arange(256)[:, None] >> np.array([0, 2, 4, 6]) & 3]

CODECS: dict[str, Codec] = {
    "int8": BlockCodec(127, _BYTES),
    "int4": BlockCodec(7, _NIBBLE_PAIRS),
    "int2": LloydCodec(),
    "fp32": FloatCodec(),
}


def chunk_sizes(elems: int, wire: WireSection) -> list[int]:
    """Elements of each chunk of a vector of `elems` elements."""
    full, rest = divmod(elems, wire.chunk_elems)
    return [wire.chunk_elems] * full + ([rest] if rest else [])


def chunk_bytes(elems: int, wire: WireSection) -> int:
    """Exact length of an encoded chunk of `elems` elements."""
    return CODECS[wire.codec].length(elems, wire.block_elems)


def encode(vector: Vector, wire: WireSection) -> list[bytes]:
    """All chunks of a vector, in order.

    Raises:
        ValueError: an element is NaN, infinite or above `LIMIT`.
    """
    codec = CODECS[wire.codec]
    starts = range(0, vector.size, wire.chunk_elems)
    return [codec.encode(vector[start : start + wire.chunk_elems], wire.block_elems) for start in starts]


def check(chunk: bytes | memoryview, elems: int, wire: WireSection) -> None:
    """Refuse bytes that `encode` never makes, before any arithmetic with them.

    Raises:
        ValueError: wrong length; NaN, infinite, negative, subnormal or too large scale; code or
            value out of range. The text is the reason.
    """
    expected = chunk_bytes(elems, wire)
    if len(chunk) != expected:
        raise ValueError(f"chunk has {len(chunk)} bytes, {wire.codec} of {elems} elements has {expected}")
    CODECS[wire.codec].check(np.frombuffer(chunk, np.uint8), elems, wire.block_elems)


def decode(chunk: bytes | memoryview, elems: int, wire: WireSection) -> Vector:
    """The `elems` float32 values of a chunk that has passed `check`."""
    return CODECS[wire.codec].decode(np.frombuffer(chunk, np.uint8), elems, wire.block_elems)


def decode_all(chunks: list[bytes], elems: int, wire: WireSection) -> Vector:
    """The whole vector from all its chunks, each of which has passed `check`."""
    pieces = [decode(c, n, wire) for c, n in zip(chunks, chunk_sizes(elems, wire), strict=True)]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def _grid(values: Vector, block: int) -> Vector:
    """Values as rows of `block` elements; the last row is filled up with zeros."""
    if missing := -values.size % block:
        values = np.append(values, np.zeros(missing, np.float32))
    return values.reshape(-1, block)


def _split(chunk: Bytes, elems: int, block: int) -> tuple[Vector, Bytes]:
    """Scales and packed codes of a chunk."""
    cut = SCALE_BYTES * -(-elems // block)
    return chunk[:cut].view("<f4").astype(np.float32, copy=False), chunk[cut:]


def _check_scales(scale: Vector, most: np.float32) -> None:
    if not np.isfinite(scale).all():
        raise ValueError("scale is NaN or infinite")
    if np.signbit(scale).any():
        raise ValueError("scale is negative")
    if (scale > most).any():
        raise ValueError(f"scale is above {most:g}")
    if ((scale > 0) & (scale < SMALLEST_SCALE)).any():
        raise ValueError("scale is subnormal")


def halving_sum(grid: Vector) -> Vector:
    """Row sums in one order on every machine: halves are added until one column is left."""
    while (width := grid.shape[1]) > 1:
        middle = (width + 1) // 2
        halved = grid[:, :middle].copy()  # the middle column of an odd number stays as it is
        halved[:, : width - middle] += grid[:, middle:]
        grid = halved
    return grid[:, 0]


def _check_magnitudes(magnitudes: Vector) -> None:
    if not (magnitudes <= LIMIT).all():  # NaN compares false, too
        raise ValueError(f"value is NaN, infinite or above {LIMIT:g}")
